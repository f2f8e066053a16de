"""`pointsman evaluate`: measures routers on stored outcomes of a strong and a weak model."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import DataError, MissingExtraError
from pointsman.core.pair import ModelPair
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.arguments import add_column_arguments, add_config_argument, mapped
from pointsman.serve.commands.evaluate_candidates import check_condition, evaluate_candidates
from pointsman.serve.commands.on_ray import add_engine_arguments, win_rates_on_ray
from pointsman.serve.commands.pair_dollars import add_price_arguments, pair_dollars
from pointsman.serve.commands.progress import progress_bar
from pointsman.serve.commands.training.inputs import name_list
from pointsman.serve.commands.verifiers import report_cascade

if TYPE_CHECKING:
    from pointsman.backends.evaluation.outcome_pairs import PairOutcomes
    from pointsman.backends.evaluation.report import Evaluation

__all__ = ["add_arguments", "run"]

_BATCH = 4096
_FEW = 30
_COLUMN = "column:"
_FIGURES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add = parser.add_argument
    add("outcomes", help="table of outcomes (prompt and a column per model, or prompt, model, score); "
        "with --benchmark: folder or data set with RouteLLM's files")  # fmt: skip
    add("--routers", nargs="+", default=["mf"], metavar="ROUTER",
        help="router kinds, checkpoint directories, or column:NAME for win rates of the table (mf)")  # fmt: skip
    add("--verifier", metavar="DIR", help="also compare the cascade of this verifier with the routers")
    add("--benchmark", choices=("mmlu", "gsm8k", "mt-bench"), help="read this benchmark in RouteLLM's format")
    add("--strong", help="strong model: a column, or a name in column `model` (default: column strong)")
    add("--weak", help="weak model: a column, or a name in column `model` (default: column weak)")
    add("--candidates", type=name_list, default=[], metavar="A,B,C",
        help="quality against dollars of any number of models, the reference first")  # fmt: skip
    add("--fail-if", type=check_condition, metavar="CONDITION",
        help='with --candidates: exit with 1 where it holds, e.g. "gain_over_hull < 0.01"')  # fmt: skip
    add("--group", metavar="COLUMN", help="column of groups (default: domain, dataset, category or group if there)")
    add("--scale", nargs=2, type=float, default=[0.0, 1.0], metavar=("LOW", "HIGH"), help="range of the scores (0 1)")
    add("--cost-usd", nargs=2, type=float, metavar=("STRONG", "WEAK"), help="dollars per thousand prompts")
    add_price_arguments(parser)
    add_config_argument(parser, "YAML file with the prices of the two models")
    add_column_arguments(parser, winners=True)
    add("--share", nargs="+", type=float, default=[0.2, 0.3, 0.5], help="report the quality at these strong shares")
    add("--quality", nargs="+", type=float, default=[], help="report the dollars at these qualities")
    add("--deciles", action="store_true", help="also report APGR from the 11 points of the RouteLLM paper")
    add("--holdout", action="store_true",
        help="add nearest neighbours trained on this very table: on other prompts, and on other groups")  # fmt: skip
    add("--replicates", type=int, default=1000, help="number of bootstrap replicates (default: 1000)")
    add("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    add("--journal", metavar="FILE", help="keep win rates in this file, so that an interrupted run can continue")
    add("--figure", metavar="FILE", help=f"draw the curves; format by suffix ({', '.join(_FIGURES)})")
    add("--html", metavar="FILE", help="write a report in one file")
    add("--json", action="store_true", help="print everything as JSON")
    add_engine_arguments(parser, folders=False)


def run(args: argparse.Namespace) -> int:
    """Reads the outcomes, scores the prompts, and prints the report."""
    from pointsman.backends.evaluation.figures import Options, evaluate_routers
    from pointsman.backends.evaluation.leakage import learnt_from
    from pointsman.backends.evaluation.text import as_text

    _check(args)
    if args.candidates:
        return evaluate_candidates(args)
    outcomes = _priced(args, _read(args))
    checkpoints = {name: load_checkpoint(name) for name in args.routers if not name.startswith(_COLUMN)}
    win_rates = _win_rates(args, outcomes, checkpoints)
    if args.holdout:
        from pointsman.backends.evaluation.holdout import held_out_win_rates

        win_rates |= held_out_win_rates(outcomes, seed=args.seed)
    options = Options(tuple(args.share), tuple(args.quality), args.replicates, args.seed)
    learnt = [name for name, checkpoint in checkpoints.items() if learnt_from(checkpoint, args.outcomes)]
    told = tuple(f"{name} was trained on a file of this name, so its figures may be too good" for name in learnt)
    notes = (*outcomes.notes, *told, *_doubts(outcomes))
    evaluation = evaluate_routers(replace(outcomes, notes=notes), win_rates, options)
    _write(args, evaluation)
    facts, text = evaluation.to_dict(), as_text(evaluation, deciles=args.deciles)
    if args.verifier:
        from pointsman.backends.evaluation.cascades import cascade_text

        cascade = report_cascade(args)
        facts["cascade"], text = asdict(cascade), f"{text}\n\n{cascade_text(cascade)}"
    print(json.dumps(facts) if args.json else text)
    return 0


def _doubts(outcomes: "PairOutcomes") -> tuple[str, ...]:
    """Warnings where the figures say little: few prompts, or outcomes the wrong way round."""
    n, pair, found = len(outcomes), outcomes.pair, []
    if n < _FEW:
        found.append(f"{n:,} prompt{'s' * (n > 1)}: too few for meaningful intervals, wanted at least {_FEW}")
    if outcomes.strong.mean() <= outcomes.weak.mean():
        found.append(f"{pair.strong} does no better than {pair.weak} here: is the pair the right way round?")
    return tuple(found)


def _check(args: argparse.Namespace) -> None:
    for share in args.share:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"--share is {share}, wanted numbers in [0, 1]")
    if args.figure and Path(args.figure).suffix.lower() not in _FIGURES:
        raise ValueError(f"--figure is {args.figure}, wanted a file ending in {', '.join(_FIGURES)}")
    if args.replicates < 1:
        raise ValueError(f"--replicates is {args.replicates}, wanted at least 1")
    if not args.scale[0] < args.scale[1]:
        raise ValueError(f"--scale is {args.scale}, wanted a lower and a higher number")
    if args.cost_usd and min(args.cost_usd) < 0:
        raise ValueError(f"--cost-usd is {args.cost_usd}, wanted dollars that are not negative")
    if args.verifier and args.benchmark:
        raise ValueError("--verifier needs a table with answers, not --benchmark")
    for path in filter(None, (args.figure, args.html)):  # said before prompts are scored
        if not Path(path).parent.is_dir():
            raise DataError(f"cannot write {path}: there is no directory {Path(path).parent}")
        if find_spec("matplotlib") is None:
            raise MissingExtraError("matplotlib", "plot")


def _read(args: argparse.Namespace) -> "PairOutcomes":
    from pointsman.backends.evaluation.outcome_pairs import read_pair_outcomes
    from pointsman.backends.evaluation.routellm import read_benchmark

    columns = [name.removeprefix(_COLUMN) for name in args.routers if name.startswith(_COLUMN)]
    if args.benchmark:
        if columns:
            raise ValueError("--routers column:NAME needs a table of outcomes, not --benchmark")
        outcomes = read_benchmark(args.benchmark, args.outcomes, strong=args.strong, weak=args.weak)
    else:
        outcomes = read_pair_outcomes(
            mapped(args.outcomes, args),
            strong=args.strong,
            weak=args.weak,
            group=args.group,
            columns=columns,
            scale=(args.scale[0], args.scale[1]),
        )
    return outcomes


def _priced(args: argparse.Namespace, outcomes: "PairOutcomes") -> "PairOutcomes":
    """The outcomes with the dollars of every prompt, where they are known."""
    if args.cost_usd:
        strong, weak = (np.full(len(outcomes), cost / 1000.0) for cost in args.cost_usd)
        return replace(outcomes, strong_usd=strong, weak_usd=weak)
    found = pair_dollars(args, outcomes)
    return outcomes if found is None else replace(outcomes, strong_usd=found[0], weak_usd=found[1])


def _win_rates(
    args: argparse.Namespace, outcomes: "PairOutcomes", checkpoints: Mapping[str, Checkpoint]
) -> dict[str, FloatArray]:
    from pointsman.backends.evaluation.journal import WinRateJournal, router_key

    journal = WinRateJournal(args.journal) if args.journal else None
    found: dict[str, FloatArray] = {}
    with progress_bar("prompts") as bar:
        for name in args.routers:
            if name.startswith(_COLUMN):
                column = name.removeprefix(_COLUMN)
                found[_unused(column, found)] = outcomes.columns[column]
                continue
            checkpoint = checkpoints[name]
            pair = _pair_for(checkpoint, outcomes.pair)
            if args.engine == "ray":
                options = {"address": args.address, "n_actors": args.actors}
                rates = win_rates_on_ray(outcomes.prompts, name, pair, batch=_BATCH, **options)
                found[_unused(Path(name).name, found)] = rates
                continue
            router, key = load_router(checkpoint, pair=pair), router_key(checkpoint, pair)
            task = bar.add_task(f"Scoring with {name}", total=len(outcomes))
            parts = []
            for first in range(0, len(outcomes), _BATCH):
                prompts = outcomes.prompts[first : first + _BATCH]
                parts.append(journal.win_rates(router, prompts, key=key) if journal else router.win_rates(prompts))
                bar.advance(task, len(prompts))
            found[_unused(Path(name).name, found)] = np.concatenate(parts)
    return found


def _pair_for(checkpoint: Checkpoint, pair: ModelPair) -> ModelPair:
    """The models of the outcomes if the checkpoint knows both, else the pair it was trained for."""
    return pair if {pair.strong, pair.weak} <= set(checkpoint.models) else checkpoint.pair


def _unused(name: str, taken: dict[str, Any]) -> str:
    return name if name not in taken else next(f"{name} {k}" for k in range(2, 1000) if f"{name} {k}" not in taken)


def _write(args: argparse.Namespace, evaluation: "Evaluation") -> None:
    if not (args.figure or args.html):
        return
    from pointsman.backends.plotting.figure import draw

    try:
        if args.figure:
            draw(evaluation, args.figure)
        if args.html:
            from pointsman.backends.evaluation.html import as_html

            Path(args.html).write_text(as_html(evaluation, draw(evaluation), deciles=args.deciles), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the report: {error}") from error
