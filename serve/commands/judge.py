"""`pointsman judge`: battles between two models on your prompts, judged by a third."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.prices import Price
from pointsman.serve.commands.arguments import FORMATS_HELP, add_column_arguments, add_config_argument, mapped
from pointsman.serve.commands.on_ray import add_engine_arguments
from pointsman.serve.commands.progress import progress_bar
from pointsman.serve.judging.judge import Judging, JudgingReport, estimate_cost_usd, judge_prompts

__all__ = ["add_arguments", "complete_models", "judge_with_journal", "print_failures", "read_judging", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("input", help=f"prompts: {FORMATS_HELP}")
    parser.add_argument("-o", "--output", required=True, help="battles, format by its suffix")
    parser.add_argument(
        "--model-a", help="model string, or a name under models of the config (default: its strong, or the reference)"
    )
    parser.add_argument("--model-b", help="the model to compare it with (default: the config's weak)")
    parser.add_argument("--judge", help="the model that compares their answers (default: the config's shadow.judge)")
    add_config_argument(parser, "YAML file that says where the models are")
    parser.add_argument("--base-url", help="OpenAI-protocol URL for models that the config gives none")
    add_column_arguments(parser)
    parser.add_argument(
        "--price", action="append", default=[], metavar="MODEL=IN,OUT", help="dollars per million tokens, repeatable"
    )
    parser.add_argument("--max-cost-usd", type=float, help="most dollars to spend; needs prices")
    parser.add_argument("--max-tokens", type=int, default=1024, help="most tokens of a reply (default: 1024)")
    parser.add_argument(
        "--parameters", default="{}", help="further request parameters as JSON, e.g. '{\"temperature\": 0}'"
    )
    parser.add_argument(
        "--keep-answers", action="store_true", help="write the texts of both answers beside the verdict"
    )
    parser.add_argument("--concurrency", type=int, default=8, help="concurrent calls (default: 8)")
    parser.add_argument("--requests-per-minute", type=float, help="most calls started per minute")
    parser.add_argument(
        "--journal", help="file that keeps paid calls, to continue after a stop (default: OUTPUT.journal)"
    )
    parser.add_argument("--estimate", action="store_true", help="print the estimated cost and stop")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Judges, or only estimates; returns 1 if the ceiling or a failure left prompts without battles."""
    from pointsman.backends.data.labels import read_prompts
    from pointsman.backends.data.table_writer import TableWriter
    from pointsman.backends.data.tables import Table

    complete_models(args)
    judging, parameters = read_judging(args)
    judging = replace(judging, keep_answers=args.keep_answers)
    if args.engine == "ray":
        from pointsman.serve.commands.judge_on_ray import judge_on_ray

        return judge_on_ray(args, judging, parameters)
    writer = TableWriter(args.output)  # refuses an unknown format before a call is paid for
    read = (prompt for _, part in read_prompts(mapped(args.input, args)) for prompt in part)
    prompts = list(dict.fromkeys(prompt for prompt in read if prompt.strip()))
    if not prompts:
        raise DataError(f"{args.input} holds no prompts")
    estimate = estimate_cost_usd(judging, prompts) if judging.prices else None
    if estimate is not None:
        print(f"{counted(len(prompts), 'prompt')} will cost about {dollars(estimate)} at most", file=sys.stderr)
    if args.estimate:
        print(json.dumps({"n_prompts": len(prompts), "estimate_usd": estimate}))
        return 0
    journal = Path(args.journal or f"{args.output}.journal")
    report = judge_with_journal(prompts, judging, parameters, journal, args)
    if report.battles:
        with writer as out:
            out.write(Table({name: [row[name] for row in report.battles] for name in report.battles[0]}))
    _print_report(report, len(prompts), args)
    return 0 if report.n_prompts == len(prompts) else 1


def complete_models(args: argparse.Namespace) -> None:
    """Fills in the models that the command line does not name from the configuration.

    Raises:
        ConfigError: a model is named in neither.
    """
    from pointsman.serve.config.load import read_values

    values = read_values(args.config) if args.config else {}
    shadow, candidates = values.get("shadow"), values.get("candidates")
    judge = shadow.get("judge") if isinstance(shadow, dict) else None
    strong, weak = values.get("strong"), values.get("weak")
    if isinstance(candidates, list) and len(candidates) > 1:
        strong = candidates[0]
        weak = candidates[1] if len(candidates) == 2 else None
        if weak is None and args.model_b is None:
            others = ", ".join(map(str, candidates[1:]))
            raise ConfigError(f"--model-b is not given, wanted the candidate to compare with {strong}: one of {others}")
    for name, found in (("model_a", strong), ("model_b", weak), ("judge", judge)):
        if getattr(args, name) is None:
            if found is None:
                raise ConfigError(
                    f"--{name.replace('_', '-')} is not given, and the configuration names no such "
                    "model: give a model string such as gpt-4o, or strong, weak and shadow.judge in the configuration"
                )
            setattr(args, name, found)


def judge_with_journal(
    prompts: Sequence[str], judging: Judging, parameters: dict[str, Any], path: Path, args: argparse.Namespace
) -> JudgingReport:
    """Judges prompts with the configured models; every paid call goes into the journal at `path`, and survives Ctrl-C.

    Prints to stderr where the journal is if the block is interrupted.
    """
    try:
        return asyncio.run(_judge(prompts, judging, parameters, path, args))
    except KeyboardInterrupt:
        print(f"Answered calls are kept in {path}; run the same command again to continue.", file=sys.stderr)
        raise


def print_failures(report: JudgingReport) -> None:
    """Prints to stderr why prompts have no verdict."""
    for failure in report.failures:
        print(f"  {failure}", file=sys.stderr)


async def _judge(
    prompts: Sequence[str], judging: Judging, parameters: dict[str, Any], path: Path, args: argparse.Namespace
) -> JudgingReport:
    from pointsman.serve.commands.ask_model import ControllerAsk
    from pointsman.serve.config.load import read_values
    from pointsman.serve.judging.journal import Journal
    from pointsman.serve.python_api.controller import Controller

    values = dict(read_values(args.config)) if args.config else {}
    for name in ("candidates", "rules", "cascade"):  # of more than these models
        values.pop(name, None)
    models: dict[str, Any] = {name: {} for name in (judging.model_a, judging.model_b, judging.judge)}
    values["models"] = {**models, **(values.get("models") or {})}
    with (
        Controller(["random"], judging.model_a, judging.model_b, values, api_base=args.base_url) as controller,
        Journal(path) as journal,
        progress_bar("prompts") as bar,
    ):
        task = bar.add_task("Judging", total=len(prompts))
        ask = ControllerAsk(controller, parameters)
        return await judge_prompts(prompts, judging, ask, journal, on_prompt=lambda: bar.advance(task))


def read_judging(args: argparse.Namespace) -> tuple[Judging, dict[str, Any]]:
    """Settings, limits and request parameters from the command line.

    Raises:
        ValueError, ConfigError: an option or the configuration is malformed.
    """
    try:
        further = json.loads(args.parameters)
    except ValueError as error:
        raise ValueError(f"--parameters is not JSON: {error}") from error
    if not isinstance(further, dict):
        raise ValueError(f"--parameters is {args.parameters}, wanted a JSON object")
    parameters = {"max_tokens": args.max_tokens, **further}
    judging = Judging(
        args.model_a,
        args.model_b,
        args.judge,
        prices={**_configured_prices(args), **dict(map(_read_price, args.price))},
        max_cost_usd=args.max_cost_usd,
        max_tokens=args.max_tokens,
        concurrency=args.concurrency,
        requests_per_minute=args.requests_per_minute,
        settings=json.dumps(parameters, sort_keys=True),
    )
    return judging, {name: value for name, value in parameters.items() if value is not None}


def _configured_prices(args: argparse.Namespace) -> dict[str, Price]:
    """Prices of the three models from the configuration, if it has them; --price takes precedence."""
    if not args.config:
        return {}
    from pointsman.serve.config.load import make_config, read_values
    from pointsman.serve.money.price_list import read_price_list

    values = dict(read_values(args.config))
    named: dict[str, Any] = {name: {} for name in (args.model_a, args.model_b, args.judge)}
    values["models"] = {**named, **(values.get("models") or {})}
    listed = read_price_list(make_config(values, source=f"config file {args.config}"))
    return {name: listed[name].price for name in named if name in listed}


def _read_price(text: str) -> tuple[str, Price]:
    model, _, prices = text.rpartition("=")
    try:
        given, taken = map(float, prices.split(","))
    except ValueError as error:
        raise ValueError(f"--price is {text!r}, wanted MODEL=IN,OUT in dollars per million tokens") from error
    return model, Price(given, taken)


def _print_report(report: JudgingReport, n_prompts: int, args: argparse.Namespace) -> None:
    facts = {name: value for name, value in asdict(report).items() if name != "battles"}
    facts |= {"n_battles": len(report.battles), "output": args.output if report.battles else None}
    if args.json:
        print(json.dumps(facts))
        return
    print(
        f"{report.n_prompts:,} of {counted(n_prompts, 'prompt')} judged in both orders: "
        f"{counted(report.n_calls, 'call')} made, "
        f"{report.n_from_journal:,} from the journal, {report.n_refused:,} refused, "
        f"{counted(report.n_unparsable, 'verdict')} unreadable, {counted(report.n_failed, 'prompt')} failed, "
        f"{dollars(report.spent_usd)} spent",
        file=sys.stderr,
    )
    print_failures(report)
    if report.stopped:
        print("Stopped at the ceiling of --max-cost-usd; raise it to continue from the journal.", file=sys.stderr)
    if report.battles:
        print(args.output)
