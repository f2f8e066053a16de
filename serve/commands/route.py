"""`pointsman route`: one decision."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from pointsman.core.decision import Decision
from pointsman.serve.commands.arguments import add_config_argument, fraction

if TYPE_CHECKING:
    from pointsman.serve.config import Config

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("prompt", help="the prompt to decide on; - reads it from stdin")
    parser.add_argument("--router", help="router kind or checkpoint directory (default: the config's first, or mf)")
    setting = parser.add_mutually_exclusive_group()
    setting.add_argument("--threshold", type=fraction, help="strong iff win rate >= this (default: the router's)")
    setting.add_argument("--strong-share", type=fraction, help="share of prompts for the strong model")
    add_config_argument(parser, "YAML file with routers and models")
    parser.add_argument("--explain", action="store_true", help="say what the decision rests on, costs and saves")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the chosen model and why."""
    if args.prompt == "-":
        args.prompt = sys.stdin.read()
    decision, explanation = _decide(args)
    if args.json:
        extra = {} if explanation is None else {"explanation": explanation}
        print(json.dumps({**decision.to_dict(), **extra}))
        return 0
    if explanation is not None:
        from pointsman.serve.engine.explain import explanation_lines

        print("\n".join(explanation_lines(explanation)))
        return 0
    print(f"{decision.model}: {decision.why}")
    return 0


def _decide(args: argparse.Namespace) -> tuple[Decision, dict[str, Any] | None]:
    """The decision, and the explanation if one is asked for."""
    from dataclasses import replace

    from pointsman.core.pair import ModelPair
    from pointsman.serve.config.load import make_config, read_values
    from pointsman.serve.policy.served_router import serve_router
    from pointsman.serve.protocols.model_field import ModelField

    values = read_values(args.config) if args.config else {}
    config = make_config(values, routers=[args.router] if args.router else None, source=args.config or "command line")
    if config.candidates:
        return _decide_among(args, config)
    name, router_config = next(iter(config.routers.items()))
    served = serve_router(name, router_config)
    threshold = served.threshold(ModelField(name, args.threshold, args.strong_share))
    pair = ModelPair(config.strong or "strong", config.weak or "weak")
    decision = replace(served.router.route(args.prompt, threshold, pair), router=name)
    if not args.explain:
        return decision, None
    from pointsman.serve.engine.explain import Explainer
    from pointsman.serve.money.price_list import read_price_list

    reading = served.router.read(args.prompt)
    explainer = Explainer({name: served}, pair, read_price_list(config))
    return decision, explainer.explain(decision, prompt=args.prompt, embedding=reading.embedding)


def _decide_among(args: argparse.Namespace, config: "Config") -> tuple[Decision, dict[str, Any] | None]:
    """The same for configured candidates, as a server with this configuration decides."""
    from pointsman.serve import Controller
    from pointsman.serve.engine.explain import Explainer

    with Controller(config=config) as controller:
        decision = controller.route(args.prompt, threshold=args.threshold, strong_share=args.strong_share)
        if not args.explain:
            return decision, None
        engine = controller.engine
        explainer = Explainer(engine.routers, engine.pair, engine.price_list)
        return decision, explainer.explain(decision, prompt=args.prompt)
