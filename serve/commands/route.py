"""`pointsman route`: one decision."""

import argparse
import gc
import json
import sys
from typing import Any

from pointsman.core.decision import Decision
from pointsman.serve.commands.arguments import add_config_argument, fraction

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("prompt", help="the prompt to decide on; - reads it from stdin")
    parser.add_argument("--router", help="router kind or checkpoint directory (default: the config's first, or mf)")
    setting = parser.add_mutually_exclusive_group()
    setting.add_argument("--threshold", type=fraction, help="strong iff win rate >= this (default: the router's)")
    setting.add_argument(
        "--strong-share", type=fraction,
        help="share of prompts for the strong model; of more candidates of the way from the cheapest bill to the "
        "reference's",
    )  # fmt: skip
    add_config_argument(parser, "YAML file with routers and models")
    parser.add_argument(
        "--explain", action="store_true", help="explain the decision: why, what it costs, what it saves"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the chosen model and why."""
    if args.prompt == "-":
        args.prompt = sys.stdin.read()
    gc.disable()  # hardly anything of what is loaded for one decision is garbage
    try:
        decision, explanation = _decide(args)
    finally:
        gc.enable()
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
    """The decision of a server with this configuration, and an explanation if requested."""
    import asyncio

    from pointsman.serve.config.load import make_config, read_values
    from pointsman.serve.config.secret import Secret
    from pointsman.serve.engine.engine import Engine
    from pointsman.serve.protocols.model_field import AUTO, ROUTER_PREFIX
    from pointsman.serve.protocols.requests import read_question
    from pointsman.serve.request.context import RequestContext

    values = read_values(args.config) if args.config else {}
    config = make_config(values, routers=[args.router] if args.router else None, source=args.config or "command line")
    if config.store is not None:
        from pointsman.serve.store.url import holds_a_store

        if not holds_a_store(config.store.url):
            config = config.model_copy(update={"store": None, "shadow": None})  # asking makes no database file
    engine = Engine(config, api_key=Secret("no model is asked", "unused"))
    field = AUTO
    if args.threshold is not None:
        field = f"{ROUTER_PREFIX}{next(iter(engine.routers))}-{args.threshold}"
    elif args.strong_share is not None:
        field = f"{ROUTER_PREFIX}{next(iter(engine.routers))}-{100.0 * args.strong_share:.10g}pct"
    question = read_question(json.dumps({"model": field, "prompt": args.prompt}).encode())
    context = RequestContext(question, dry_run=True)
    decision = asyncio.run(engine.decide_alone(context))
    if not args.explain:
        return decision, None
    from pointsman.serve.engine.explain import Explainer

    explainer = Explainer(engine.routers, engine.pair, engine.price_list, drift=engine.state.drift)
    return decision, explainer.explain_context(decision, context)
