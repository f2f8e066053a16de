"""`pointsman learn`: one command from a table of outcomes to a router that is ready to be served."""

import argparse
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.counted import counted
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.guarantee import certify_threshold
from pointsman.core.operating_points import labelled_points
from pointsman.serve.checkpoints.load import load_embedder
from pointsman.serve.commands.arguments import (
    FORMATS_HELP,
    add_column_arguments,
    checkpoint_output,
    fraction,
    mapped,
)
from pointsman.serve.commands.learn_candidates import learn_candidates
from pointsman.serve.commands.learn_kinds import KINDS, Tried, baselines, train_kinds
from pointsman.serve.commands.learn_output import draw_held_out, new_name, promote_and_configure
from pointsman.serve.commands.learn_report import compared, report
from pointsman.serve.commands.learn_verifier import certify_pair, fit_pair, verifier_folder
from pointsman.serve.commands.pair_dollars import add_price_arguments, pair_dollars
from pointsman.serve.commands.training.inputs import name_list

if TYPE_CHECKING:
    from pointsman.backends.evaluation.outcome_pairs import PairOutcomes

__all__ = ["add_arguments", "run"]

_LEAST_PROMPTS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add = parser.add_argument
    add("data", nargs="+", help=f"outcomes or battles of two models: {FORMATS_HELP}")
    add_column_arguments(parser, winners=True)
    for side in ("strong", "weak"):
        add(f"--{side}", metavar="MODEL", help=f"{side} model: a column of scores, or a name in the table ({side})")
    add("--candidates", type=name_list, default=[], metavar="A,B,C",
        help="any number of models instead of strong and weak, the reference first")  # fmt: skip
    add("--scale", nargs=2, type=float, default=[0.0, 1.0], metavar=("LOW", "HIGH"), help="range of the scores (0 1)")
    add("--max-loss", type=fraction, default=0.05, metavar="SHARE",
        help="lose at most this share of the scores' range against always asking strong (default: 5%%)")  # fmt: skip
    add("--confidence", type=fraction, default=0.95, help="confidence that the bound holds (default: 95%%)")
    add("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND",
        help=f"kinds of routers to try (default: {' '.join(KINDS)})")  # fmt: skip
    add("--held-out", type=fraction, default=0.4, metavar="SHARE",
        help="share of the prompts kept for comparison and calibration, not for training (default: 40%%)")  # fmt: skip
    add_price_arguments(parser)
    add("--price", nargs=3, action="append", default=[], metavar=("MODEL", "IN", "OUT"),
        help="dollars per million tokens of a candidate; repeatable")  # fmt: skip
    add("--checkpoints", default="checkpoints", metavar="DIR", help="folder for checkpoints (default: checkpoints)")
    add("--name", type=checkpoint_output, help="name of the new checkpoint (default: learned-1, learned-2, ...)")
    add("--config", default="pointsman.yaml", metavar="FILE", help="configuration to create or extend")
    add("--apply", action="store_true", help="promote it at once: a running server serves it within seconds")
    add("--seed", type=int, default=0, help="seed of the split and of training (default: 0)")
    add("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Trains several kinds of router, certifies them on held-out prompts, and writes the best one."""
    folder = Path(args.checkpoints)
    name = new_name(folder, args.name)
    if not 0.0 < args.max_loss < 1.0 or not 0.0 < args.confidence < 1.0:
        raise ConfigError("--max-loss or --confidence is 0 or 100 %, wanted a value between them, such as 5% and 95%")
    if args.candidates:
        if args.strong or args.weak or len(args.candidates) < 2:
            raise ConfigError(
                "--candidates needs at least two models and replaces --strong and --weak: leave those out"
            )
        if len(args.candidates) > 2:
            return learn_candidates(args, folder, name)
        args.strong, args.weak = args.candidates
    outcomes = _read(args)
    rows = np.arange(len(outcomes))
    drawn = draw_held_out(rows, args.held_out, seed=args.seed)
    train, held = (replace(outcomes.take(part), notes=()) for part in (np.setdiff1d(rows, drawn), drawn))
    print(f"{len(train):,} prompts for training; {len(held):,} others for comparison and calibration", file=sys.stderr)
    verifier = fit_pair(args, train, held)
    with tempfile.TemporaryDirectory(prefix="pointsman-learn-") as scratch:
        tried = [*train_kinds(args, train, held, Path(scratch)), *baselines(held)]
        n_certified = sum(one.path is not None for one in tried) + (verifier is not None)
        confidence = 1.0 - (1.0 - args.confidence) / n_certified  # so it holds for whichever is chosen
        certified = _certified(tried, held, args, confidence)
        # the cheapest that is certified; among equals the one that orders prompts best, then the quickest
        figures = compared(certified, held, seed=args.seed)
        served = [one for one in certified if one.path is not None]
        best = min(served, key=lambda one: (one.share, -figures[one.name][0], one.decision_ms))
        _write(best, held, folder / name, args)
    money = pair_dollars(args, held)
    found = report(best, certified, figures, held, money, args)
    sections = {}
    if verifier is not None:
        cascade = certify_pair(verifier, held, money, args, confidence)
        better = cascade.beats(share=found["strong_share"], usd=found.get("usd_per_1000"))
        path = verifier_folder(folder, name)
        cascade.write(path, args)
        found |= {"cascade": cascade.facts | {"verifier": str(path), "served": better}}
        found["lines"] += cascade.lines(path, better=better)
        sections = cascade.sections(Path(args.config), path, args) if better else {}
    promote_and_configure(args, folder, name, found, sections)
    return 0


def _read(args: argparse.Namespace) -> "PairOutcomes":
    """The tables joined, a row per prompt."""
    from pointsman.backends.evaluation.outcome_pairs import read_pair_outcomes

    scale = (args.scale[0], args.scale[1])
    parts = [
        read_pair_outcomes(mapped(source, args), strong=args.strong, weak=args.weak, scale=scale)
        for source in args.data
    ]
    first = parts[0]
    known = all(part.strong_usd is not None for part in parts)
    together = replace(
        first,
        prompts=tuple(prompt for part in parts for prompt in part.prompts),
        strong=np.concatenate([part.strong for part in parts]),
        weak=np.concatenate([part.weak for part in parts]),
        source=", ".join(part.source for part in parts),
        group=None,
        strong_usd=np.concatenate([p.strong_usd for p in parts if p.strong_usd is not None]) if known else None,
        weak_usd=np.concatenate([p.weak_usd for p in parts if p.weak_usd is not None]) if known else None,
        columns={},
        notes=tuple(note for part in parts for note in part.notes),
    ).merged()
    for note in together.notes:
        print(note, file=sys.stderr)
    if len(together) < _LEAST_PROMPTS:
        raise DataError(
            f"{together.source} holds {counted(len(together), 'prompt')} with outcomes of both models, wanted at least "
            f"{_LEAST_PROMPTS}; `pointsman judge` makes more from prompts alone"
        )
    return together


def _certified(tried: list[Tried], held: "PairOutcomes", args: argparse.Namespace, confidence: float) -> list[Tried]:
    """All routers with the bound certified for each, at this confidence."""
    low, high = args.scale
    strong, weak = ((scores - low) / (high - low) for scores in (held.strong, held.weak))
    return [
        one
        if one.path is None
        else replace(
            one,
            bound=certify_threshold(
                one.rates, strong, weak, max_loss=args.max_loss, confidence=confidence, seed=args.seed
            ),
        )
        for one in tried
    ]


def _write(best: Tried, held: "PairOutcomes", path: Path, args: argparse.Namespace) -> None:
    """The chosen checkpoint with its threshold, and with quantiles and a sample of the held-out prompts."""
    from pointsman.backends.training.drift_sample import recalibrated

    assert best.path is not None and best.bound is not None
    checkpoint = read_checkpoint(best.path)
    source = f"{len(held):,} held-out prompts of {held.source}"
    checkpoint = recalibrated(checkpoint, held.prompts, best.rates, embed=load_embedder(checkpoint), source=source)
    facts = asdict(best.bound) | {"certified": best.bound.certified, "confidence": args.confidence}
    rule = f"max_loss={args.max_loss:g},confidence={args.confidence:g}"
    changed = replace(
        checkpoint,
        calibration=Calibration.from_win_rates(best.rates, source=source),
        thresholds={rule: {"rule": "max_loss", "wanted": args.max_loss, **facts, "data": {"source": source}}},
        metrics={**checkpoint.metrics, "labelled": labelled_points(best.rates, held.strong, held.weak)},
    )
    write_checkpoint(changed, path, files=checkpoint.further_files())
