"""`pointsman calibrate`: chooses a threshold from win rates, by one of three rules."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.calibration import (
    Calibration,
)
from pointsman.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pointsman.core.counted import counted
from pointsman.core.errors import CheckpointError, ConfigError
from pointsman.core.operating_points import labelled_points
from pointsman.core.probability import METHODS, cross_fitted, expected_calibration_error, pair_outcomes
from pointsman.core.reference import with_reference
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder, load_router
from pointsman.serve.commands.arguments import add_column_arguments, amount, checkpoint_output, fraction, mapped
from pointsman.serve.commands.calibrate_candidates import calibrate_candidates
from pointsman.serve.commands.calibrate_report import report
from pointsman.serve.commands.calibrate_rules import find_threshold, scaled_labels
from pointsman.serve.commands.progress import progress_bar
from pointsman.serve.commands.training.inputs import name_list
from pointsman.serve.commands.verifiers import calibrate_cascade

if TYPE_CHECKING:
    from pointsman.backends.evaluation.score_files import ScoredPrompts

__all__ = ["add_arguments", "run"]

_TOLERANCE = 1e-3
_FEW = 100
_COSTS = ("input_tokens", "output_tokens", "strong_usd", "weak_usd")
_ASSUMPTION = "prompts to come are drawn like the ones that this was calibrated on (exchangeable)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add = parser.add_argument
    add("input", help="a file that `pointsman score` wrote (prompt, win_rate; strong and weak where a rule needs "
        "labels), or with --router any table with a column prompt")  # fmt: skip
    rule = parser.add_mutually_exclusive_group(required=True)
    rule.add_argument("--strong-share", "--spend-share", type=fraction, metavar="SHARE",
                      help="send this share of the prompts to strong; with --candidates the share of the way from the "
                      "cheapest bill to the reference's")  # fmt: skip
    rule.add_argument("--max-cost-usd", type=float, metavar="USD", help="spend at most this on a thousand prompts")
    rule.add_argument("--max-loss", type=float, metavar="LOSS",
                      help="lose at most this mean score against always asking strong, with --confidence")  # fmt: skip
    add("--confidence", type=float, default=0.95, help="confidence of --max-loss (default: 0.95)")
    add("--verifier", metavar="DIR", help="certify the whole cascade of this verifier, on a table with answers, "
        "and store it there; with --max-loss")  # fmt: skip
    add("--candidates", type=name_list, default=[], metavar="A,B,C",
        help="calibrate the choice among any number of models, the reference first, on their outcomes")  # fmt: skip
    add("--router", help="compute the win rates with this kind of router or checkpoint directory")
    for side in ("strong", "weak"):
        add(f"--{side}", default=side, metavar="MODEL",
            help=f"{side} model: a column of scores, or a name in column `model` (default: column {side})")  # fmt: skip
    add_column_arguments(parser, winners=True)
    add("--scale", nargs=2, type=float, default=[0.0, 1.0], metavar=("LOW", "HIGH"), help="range of the scores (0 1)")
    add("--strong-price", nargs=2, type=amount, metavar=("IN", "OUT"), help="dollars per million tokens, strong model")
    add("--weak-price", nargs=2, type=amount, metavar=("IN", "OUT"), help="dollars per million tokens, weak model")
    add("--tokens", nargs=2, type=amount, metavar=("IN", "OUT"),
        help="mean tokens per prompt and answer (default: columns input_tokens and output_tokens)")  # fmt: skip
    add("--probability", choices=sorted(METHODS), help="also fit a map from win rates to probabilities, with its ECE")
    add("--checkpoint", metavar="DIR", type=checkpoint_output,
        help="write the result into this checkpoint (made from --router if it is new)")  # fmt: skip
    add("--keep-prompts", action="store_true", help="store some short prompts in the checkpoint, for explanations")
    add(
        "--journal",
        metavar="FILE",
        help="keep computed win rates in this file, so that an interrupted run can continue",
    )
    add("--seed", type=int, default=0, help="seed of folds and of the order of graded labels (default: 0)")
    add("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Reads or computes the win rates, finds the threshold, and writes it where asked."""
    if args.verifier:
        return calibrate_cascade(args)
    if args.candidates:
        return calibrate_candidates(args)
    checkpoint = _target(args)
    data = _read(args)
    if checkpoint is not None:
        _check_same_router(checkpoint, data, args)
    for note in (*data.notes, *_learnt(args)):
        print(note, file=sys.stderr)
    if data.n_repeated:
        print(f"{counted(data.n_repeated, 'row repeats', 'rows repeat')} a prompt{_what_then(args)}", file=sys.stderr)
    for note in _doubts(args, data.distinct()):
        print(f"note: {note}", file=sys.stderr)
    result = find_threshold(args, data)
    result["data"] = {"source": data.source, "n_rows": data.win_rates.size, "sha256": data.fingerprint}
    result["assumption"] = _ASSUMPTION
    probability = _probability(args, data) if args.probability else None
    if probability is not None:
        result["probability"] = {key: value for key, value in probability.items() if key != "map"}
    if checkpoint is not None:
        _write(args, checkpoint, data, result, probability)
        result["checkpoint"] = args.checkpoint
    print(json.dumps(result) if args.json else report(result))
    return 0


def _target(args: argparse.Namespace) -> Checkpoint | None:
    """The checkpoint to write into, read before anything is computed."""
    if args.checkpoint is None:
        return None
    if Path(args.checkpoint).exists():
        return read_checkpoint(args.checkpoint)
    if args.router is None:
        raise ConfigError(f"there is no checkpoint at {args.checkpoint}: name a router to make it from with --router")
    return load_checkpoint(args.router)


def _read(args: argparse.Namespace) -> "ScoredPrompts":
    from pointsman.backends.data.tables import count_rows
    from pointsman.backends.evaluation.journal import WinRateJournal, router_key
    from pointsman.backends.evaluation.score_files import read_scored_prompts

    labels = (args.strong, args.weak) if args.max_loss is not None or args.probability else None
    win_rates: Callable[[Sequence[str]], FloatArray] | None = None
    if args.router is not None:
        checkpoint = load_checkpoint(args.router)
        router = load_router(checkpoint)
        win_rates = router.win_rates
        if args.journal:
            journal, key = WinRateJournal(args.journal), router_key(checkpoint, checkpoint.pair)
            win_rates = partial(journal.win_rates, router, key=key)
    source = mapped(args.input, args)
    with progress_bar("prompts") as bar:
        task = bar.add_task("Reading" if win_rates is None else "Scoring", total=count_rows(source))
        return read_scored_prompts(
            source, win_rates=win_rates, labels=labels, numbers=_COSTS, on_rows=lambda n: bar.advance(task, n)
        )


def _check_same_router(checkpoint: Checkpoint, data: "ScoredPrompts", args: argparse.Namespace) -> None:
    """Checks that the checkpoint gave these win rates: a threshold on one router's scale means nothing to another."""
    if checkpoint.kind == "random":
        return
    if not data.sample:
        raise ConfigError(
            f"{data.source} has no column 'prompt': cannot tell whether {args.checkpoint} gave its win rates"
        )
    again = load_router(checkpoint).win_rates([prompt for prompt, _ in data.sample])
    far = np.abs(again - np.array([rate for _, rate in data.sample]))
    if far.max() > _TOLERANCE:
        row = int(far.argmax())
        raise CheckpointError(
            f"the win rates of {data.source} are not those of checkpoint {args.checkpoint}: row {row + 1} has "
            f"{data.sample[row][1]:.6f}, the checkpoint gives {again[row]:.6f}; score the prompts with this checkpoint"
        )


def _learnt(args: argparse.Namespace) -> tuple[str, ...]:
    """A warning if the router may have been trained on the prompts that it is calibrated on."""
    from pointsman.backends.evaluation.leakage import learnt_from

    if args.router is None or not learnt_from(load_checkpoint(args.router), args.input):
        return ()
    return (f"{args.router} was trained on a file of this name: calibrated on prompts that it has seen, "
            "it promises too much for new ones",)  # fmt: skip


def _doubts(args: argparse.Namespace, data: "ScoredPrompts") -> list[str]:
    """Warnings where the result says little: few prompts, or labels the wrong way round."""
    n, found = data.win_rates.size, []
    if n < _FEW:
        found.append(
            f"{counted(n, 'prompt says', 'prompts say')} little about others: wanted at least {_FEW} to calibrate on"
        )
    if data.strong is not None and data.weak is not None and data.strong.mean() <= data.weak.mean():
        found.append(f"{args.strong} does no better than {args.weak} here: is the pair the right way round?")
    return found


def _what_then(args: argparse.Namespace) -> str:
    return ": the first of each counts" if args.max_loss is not None else ": each row counts"


def _probability(args: argparse.Namespace, data: "ScoredPrompts") -> dict[str, Any]:
    labelled = data.distinct()
    strong, weak, _ = scaled_labels(args, labelled)
    outcomes = pair_outcomes(strong, weak)
    fitted = cross_fitted(labelled.win_rates, outcomes, method=args.probability, rng=np.random.default_rng(args.seed))
    return {
        "method": args.probability,
        "ece_before": expected_calibration_error(labelled.win_rates, outcomes),
        "ece_after": expected_calibration_error(fitted, outcomes),
        "n_labels": outcomes.size,
        "map": METHODS[args.probability](labelled.win_rates, outcomes).to_dict(),
    }


def _write(
    args: argparse.Namespace,
    checkpoint: Checkpoint,
    data: "ScoredPrompts",
    result: dict[str, Any],
    probability: dict[str, Any] | None,
) -> None:
    """The checkpoint again, with the threshold, the quantiles and a sample of these win rates, and the map."""
    rule = f"{result['rule']}={result['wanted']:g}"
    if result["rule"] == "max_loss":
        rule += f",confidence={result['confidence']:g}"
    changed = replace(
        _referenced(args, checkpoint, data),
        calibration=Calibration.from_win_rates(
            data.win_rates, source=f"{data.source} (sha256 {data.fingerprint[:16]})"
        ),
        thresholds={**checkpoint.thresholds, rule: {k: v for k, v in result.items() if k != "probability"}},
        probability_map=probability or checkpoint.probability_map,
        metrics=_with_labelled(checkpoint, data),
    )
    write_checkpoint(changed, args.checkpoint, files=checkpoint.further_files())


def _with_labelled(checkpoint: Checkpoint, data: "ScoredPrompts") -> dict[str, Any]:
    """The checkpoint's figures, with what each threshold gives on these labels instead of earlier ones."""
    found = {name: value for name, value in checkpoint.metrics.items() if name != "labelled"}
    labelled = data.distinct()
    if labelled.strong is None or labelled.weak is None:
        return found
    return found | {"labelled": labelled_points(labelled.win_rates, labelled.strong, labelled.weak)}


def _referenced(args: argparse.Namespace, checkpoint: Checkpoint, data: "ScoredPrompts") -> Checkpoint:
    """The checkpoint with a sample of these prompts, if there are any, to compare live traffic with."""
    from pointsman.backends.training.drift_sample import recalibrated

    prompts = [prompt for prompt, _ in data.drawn]
    if not prompts or checkpoint.kind == "random":
        return with_reference(checkpoint, None)
    rates = np.array([rate for _, rate in data.drawn])
    embed = load_embedder(checkpoint)
    return recalibrated(checkpoint, prompts, rates, embed=embed, source=data.source, keep_prompts=args.keep_prompts)
