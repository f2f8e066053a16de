"""`pointsman calibrate`: chooses a threshold from win rates, by one of three rules."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.calibration import (
    Calibration,
    calibrate_threshold,
    mean_cost_usd,
    strong_share,
    threshold_for_cost,
    tie_mass,
)
from pointsman.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pointsman.core.errors import CheckpointError, ConfigError, DataError
from pointsman.core.guarantee import certify_threshold
from pointsman.core.operating_points import labelled_points
from pointsman.core.probability import METHODS, cross_fitted, expected_calibration_error, pair_outcomes
from pointsman.core.reference import with_reference
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder, load_router
from pointsman.serve.commands.arguments import add_column_arguments, amount, checkpoint_output, fraction, mapped
from pointsman.serve.commands.calibrate_candidates import calibrate_candidates
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
    add("--confidence", type=float, default=0.95, help="of --max-loss (default: 0.95)")
    add("--verifier", metavar="DIR", help="certify the whole cascade of this verifier, on a table with answers, "
        "and store it there; with --max-loss")  # fmt: skip
    add("--candidates", type=name_list, default=[], metavar="A,B,C",
        help="calibrate the choice among any number of models, the reference first, on their outcomes")  # fmt: skip
    add("--router", help="compute the win rates with this router kind or checkpoint directory")
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
    add("--keep-prompts", action="store_true", help="write some short prompts into the checkpoint, to explain by")
    add("--journal", metavar="FILE", help="keep computed win rates here, so that a run that was cut short can go on")
    add("--seed", type=int, default=0, help="of folds and of the order of graded labels (default: 0)")
    add("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Reads or computes the win rates, finds the threshold, and writes it where asked."""
    if args.verifier:
        return calibrate_cascade(args)
    if args.candidates:
        return calibrate_candidates(args, _further_files)
    checkpoint = _target(args)
    data = _read(args)
    if checkpoint is not None:
        _check_same_router(checkpoint, data, args)
    for note in (*data.notes, *_learnt(args)):
        print(note, file=sys.stderr)
    if data.n_repeated:
        print(f"{data.n_repeated:,} rows repeat a prompt{_what_then(args)}", file=sys.stderr)
    for note in _doubts(args, data.distinct()):
        print(f"note: {note}", file=sys.stderr)
    result = _threshold(args, data)
    result["data"] = {"source": data.source, "n_rows": data.win_rates.size, "sha256": data.fingerprint}
    result["assumption"] = _ASSUMPTION
    probability = _probability(args, data) if args.probability else None
    if probability is not None:
        result["probability"] = {key: value for key, value in probability.items() if key != "map"}
    if checkpoint is not None:
        _write(args, checkpoint, data, result, probability)
        result["checkpoint"] = args.checkpoint
    print(json.dumps(result) if args.json else _text(result))
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
    """A threshold on one router's scale means nothing to another: the first prompts are scored again and compared."""
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
    """A word where the router may have been trained on the prompts that it is calibrated on."""
    from pointsman.backends.evaluation.leakage import learnt_from

    if args.router is None or not learnt_from(load_checkpoint(args.router), args.input):
        return ()
    return (f"{args.router} learnt from a file of this name: calibrated on prompts that it has seen, "
            "it promises too much of others",)  # fmt: skip


def _doubts(args: argparse.Namespace, data: "ScoredPrompts") -> list[str]:
    """What makes the result say little: few prompts, or labels the wrong way round."""
    n, found = data.win_rates.size, []
    if n < _FEW:
        found.append(f"{n:,} prompts say little about others: wanted at least {_FEW} to calibrate on")
    if data.strong is not None and data.weak is not None and data.strong.mean() <= data.weak.mean():
        found.append(f"{args.strong} does no better than {args.weak} here: is the pair the right way round?")
    return found


def _what_then(args: argparse.Namespace) -> str:
    return ": the first of each counts" if args.max_loss is not None else ": each row counts"


def _threshold(args: argparse.Namespace, data: "ScoredPrompts") -> dict[str, Any]:
    if args.max_loss is not None:
        return _by_loss(args, data.distinct())
    if args.max_cost_usd is not None:
        return _by_cost(args, data)
    threshold = calibrate_threshold(data.win_rates, strong_share=args.strong_share)
    return _dollars(args, data, threshold) | {
        "rule": "strong_share",
        "wanted": args.strong_share,
        "threshold": threshold,
        "strong_share": strong_share(data.win_rates, threshold),
        "tie_mass": tie_mass(data.win_rates, threshold),
        "n_prompts": data.win_rates.size,
    }


def _by_cost(args: argparse.Namespace, data: "ScoredPrompts") -> dict[str, Any]:
    strong_usd, weak_usd = _costs(args, data)
    known = ~np.isnan(strong_usd + weak_usd)
    if not known.any():
        raise DataError(f"{data.source}: no row has the cost of both models")
    if not known.all():
        print(f"{(~known).sum():,} rows left out: their cost is unknown", file=sys.stderr)
        strong_usd, weak_usd = strong_usd[known], weak_usd[known]
    rates = data.win_rates[known]
    threshold = threshold_for_cost(
        rates, strong_usd=strong_usd, weak_usd=weak_usd, max_cost_usd=args.max_cost_usd / 1000.0
    )
    return {
        "rule": "max_cost_usd",
        "wanted": args.max_cost_usd,
        "threshold": threshold,
        "cost_usd": 1000.0 * mean_cost_usd(rates, threshold, strong_usd=strong_usd, weak_usd=weak_usd),
        "always_strong_usd": 1000.0 * float(strong_usd.mean()),
        "always_weak_usd": 1000.0 * float(weak_usd.mean()),
        "strong_share": strong_share(rates, threshold),
        "tie_mass": tie_mass(rates, threshold),
        "n_prompts": rates.size,
    }


def _dollars(args: argparse.Namespace, data: "ScoredPrompts", threshold: float) -> dict[str, float]:
    """Dollars of a thousand prompts at a threshold, and of always asking strong, where they can be told."""
    priced, columns = args.strong_price and args.weak_price, set(data.numbers)
    counted = args.tokens or {"input_tokens", "output_tokens"} <= columns
    if not (priced and counted) and (priced or not {"strong_usd", "weak_usd"} <= columns):
        return {}
    strong_usd, weak_usd = _costs(args, data)
    known = ~np.isnan(strong_usd + weak_usd)
    if not known.any():
        return {}
    rates, strong_usd, weak_usd = data.win_rates[known], strong_usd[known], weak_usd[known]
    spent = mean_cost_usd(rates, threshold, strong_usd=strong_usd, weak_usd=weak_usd)
    return {"cost_usd": 1000.0 * spent, "always_strong_usd": 1000.0 * float(strong_usd.mean())}


def _costs(args: argparse.Namespace, data: "ScoredPrompts") -> tuple[FloatArray, FloatArray]:
    """Dollars of each prompt with each model: columns of the table, or prices times tokens."""
    n, numbers = data.win_rates.size, data.numbers
    if not (args.strong_price and args.weak_price):
        if {"strong_usd", "weak_usd"} <= set(numbers):
            return numbers["strong_usd"], numbers["weak_usd"]
        raise ConfigError(
            "--max-cost-usd needs --strong-price IN OUT and --weak-price IN OUT in dollars per million tokens, "
            "or columns strong_usd and weak_usd in the table"
        )
    if args.tokens:
        tokens = [np.full(n, count) for count in args.tokens]
    elif {"input_tokens", "output_tokens"} <= set(numbers):
        tokens = [numbers["input_tokens"], numbers["output_tokens"]]
    else:
        raise ConfigError(
            "--max-cost-usd needs --tokens IN OUT, or columns input_tokens and output_tokens in the table"
        )
    strong, weak = ((p[0] * tokens[0] + p[1] * tokens[1]) / 1e6 for p in (args.strong_price, args.weak_price))
    return strong, weak


def _by_loss(args: argparse.Namespace, data: "ScoredPrompts") -> dict[str, Any]:
    strong, weak, width = _labels(args, data)
    found = certify_threshold(
        data.win_rates, strong, weak, max_loss=args.max_loss / width, confidence=args.confidence, seed=args.seed
    )
    facts = asdict(found) | {"max_loss": args.max_loss, "loss": width * found.loss}
    dollars = _dollars(args, data, found.threshold)
    return {"rule": "max_loss", "wanted": facts.pop("max_loss"), **facts, "certified": found.certified, **dollars}


def _labels(args: argparse.Namespace, data: "ScoredPrompts") -> tuple[FloatArray, FloatArray, float]:
    """Scores of both models on a scale from 0 to 1, and the width of the scale they came from."""
    low, high = args.scale
    if not low < high:
        raise ConfigError(f"--scale is {low:g} {high:g}, wanted a lower and a higher number")
    for name, values in ((args.strong, data.strong), (args.weak, data.weak)):
        if values is not None and not ((values >= low) & (values <= high)).all():
            bad = values[~((values >= low) & (values <= high))][0]
            raise ConfigError(
                f"{data.source}: {name} holds {bad:g}, wanted [{low:g}, {high:g}]; name the range: --scale"
            )
    strong, weak = (np.asarray((values - low) / (high - low)) for values in (data.strong, data.weak))
    return strong, weak, high - low


def _probability(args: argparse.Namespace, data: "ScoredPrompts") -> dict[str, Any]:
    labelled = data.distinct()
    strong, weak, _ = _labels(args, labelled)
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
    write_checkpoint(changed, args.checkpoint, files=_further_files(checkpoint))


def _with_labelled(checkpoint: Checkpoint, data: "ScoredPrompts") -> dict[str, Any]:
    """The checkpoint's figures, with what every threshold gives on these labels; without those of labels before."""
    found = {name: value for name, value in checkpoint.metrics.items() if name != "labelled"}
    labelled = data.distinct()
    if labelled.strong is None or labelled.weak is None:
        return found
    return found | {"labelled": labelled_points(labelled.win_rates, labelled.strong, labelled.weak)}


def _referenced(args: argparse.Namespace, checkpoint: Checkpoint, data: "ScoredPrompts") -> Checkpoint:
    """The checkpoint with a sample of these prompts to compare live traffic with; without one if there are none."""
    from pointsman.backends.training.drift_sample import recalibrated

    prompts = [prompt for prompt, _ in data.drawn]
    if not prompts or checkpoint.kind == "random":
        return with_reference(checkpoint, None)
    rates = np.array([rate for _, rate in data.drawn])
    embed = load_embedder(checkpoint)
    return recalibrated(checkpoint, prompts, rates, embed=embed, source=data.source, keep_prompts=args.keep_prompts)


def _further_files(checkpoint: Checkpoint) -> dict[str, Path]:
    if checkpoint.path is None:
        return {}
    own = {"pointsman.json", "weights.safetensors"}
    files = {p.relative_to(checkpoint.path).as_posix(): p for p in checkpoint.path.rglob("*") if p.is_file()}
    return {name: path for name, path in files.items() if name not in own}


def _text(result: dict[str, Any]) -> str:
    lines = [f"threshold {result['threshold']:.6g}", *_explained(result)]
    if "probability" in result:
        p = result["probability"]
        lines.append(f"ECE {p['ece_before']:.4f}, after the {p['method']} map {p['ece_after']:.4f} (cross-fitted)")
    if result["rule"] != "max_cost_usd" and result.get("always_strong_usd"):
        usd, always = result["cost_usd"], result["always_strong_usd"]
        lines.append(f"${usd:,.4g} per thousand prompts, always strong ${always:,.4g}: saves {1.0 - usd / always:.1%}")
    if "checkpoint" in result:
        lines.append(f"written to {result['checkpoint']}")
    return "\n".join([*lines, f"holds as long as {result['assumption']}"])


def _explained(result: dict[str, Any]) -> list[str]:
    share = f"{result['strong_share']:.2%} of the prompts go to the strong model"
    if result["rule"] == "strong_share":
        return [f"{share} (wanted {result['wanted']:.2%}; {result['tie_mass']:.2%} are tied at the threshold)"]
    if result["rule"] == "max_cost_usd":
        always = f"always strong ${result['always_strong_usd']:,.4g}, always weak ${result['always_weak_usd']:,.4g}"
        saved = 1.0 - result["cost_usd"] / (result["always_strong_usd"] or 1.0)
        return [share, f"${result['cost_usd']:,.4g} per thousand prompts ({always}): saves {saved:.1%}"]
    bound = f"a mean loss of at most {result['wanted']:g} with {result['confidence']:.1%} confidence"
    if result["certified"]:
        return [f"{share}, on {result['n_labels']:,} labels", f"{bound}; measured loss {result['loss']:.4f}"]
    needed = result["labels_needed"]
    remedy = (
        f"about {needed:,} labels would be needed to certify any other"
        if needed is not None
        else "more labels would not help: as measured, every other threshold of this router loses more"
    )
    return [f"nothing but always strong guarantees {bound} on {result['n_labels']:,} labels", remedy]
