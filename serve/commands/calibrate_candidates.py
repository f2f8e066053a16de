"""`pointsman calibrate --candidates`: chooses the threshold among many models by share, dollars or loss."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint, write_checkpoint
from pointsman.core.choice_calibration import certify_choice, share_at, threshold_for_share, threshold_for_usd
from pointsman.core.choice_rows import Weighing, turning_points, weigh_rows
from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.pair import ModelPair
from pointsman.core.reference import with_reference
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder, load_router
from pointsman.serve.commands.arguments import mapped
from pointsman.serve.commands.candidate_predictions import Predictions, predictions, require_bills

if TYPE_CHECKING:
    from pointsman.backends.data.score_tables import ScoreTable

__all__ = ["calibrate_candidates", "calibrated_choice", "known_bills"]

_MAX_REFERENCE = 2000  # prompts: half of them may have to give centroids
_DRAWN = ("curve", "singles", "hull")
_ASSUMPTION = "prompts to come are drawn like the ones that this was calibrated on (exchangeable), at these bills"


def calibrate_candidates(args: argparse.Namespace) -> int:
    """Scores the prompts of an outcome table, finds the threshold, and writes it where asked."""
    from pointsman.backends.data.score_tables import check_candidates, read_score_table

    name = args.router or args.checkpoint
    if name is None:
        raise ConfigError("--candidates needs the router to calibrate: name it with --router or --checkpoint")
    table = read_score_table([mapped(args.input, args)], args.candidates, scale=args.scale)
    check_candidates(table, args.candidates)
    table = _scored(table.of(args.candidates))
    checkpoint = load_checkpoint(name)
    found = predictions(load_router(checkpoint, candidates=_weighed(args.candidates)), table)
    weighing = weigh_rows(found.win_rates, found.usd, point_usd=found.point_usd)
    result = _threshold(args, table, weighing)
    chosen = weighing.chosen(result["threshold"])
    result |= {
        "spend_share": share_at(weighing, result["threshold"]),
        "quality": float(table.scores[np.arange(len(table)), chosen].mean()),
        "reference_quality": float(table.scores[:, 0].mean()),
        "asked": {model: float((chosen == i).mean()) for i, model in enumerate(table.models)},
        "n_prompts": len(table),
        "assumption": _ASSUMPTION,
    }
    if args.checkpoint is not None:
        target = calibrated_choice(checkpoint, table, found, result)
        write_checkpoint(target, args.checkpoint, files=checkpoint.further_files())
        result["checkpoint"] = args.checkpoint
    print(json.dumps(result) if args.json else _text(result))
    return 0


def _weighed(candidates: Sequence[str]) -> tuple[str, ...]:
    if len(candidates) < 3:
        raise ConfigError("--candidates names two models: calibrate a pair with --strong and --weak")
    return tuple(candidates)


def _scored(table: "ScoreTable") -> "ScoreTable":
    """The prompts on which every candidate was scored."""
    whole = np.isfinite(table.scores).all(axis=1)
    if not whole.any():
        raise DataError(f"{table.source} has no prompt that all of {', '.join(table.models)} were scored on")
    if not whole.all():
        print(f"{counted(int((~whole).sum()), 'prompt')} left out: a candidate was not scored on them", file=sys.stderr)
    return table.take(np.flatnonzero(whole))


def _threshold(args: argparse.Namespace, table: "ScoreTable", weighing: Weighing) -> dict[str, Any]:
    if args.max_loss is not None:
        found = certify_choice(
            weighing, table.scores, max_loss=args.max_loss, confidence=args.confidence, seed=args.seed
        )
        facts = {**asdict(found), "confidence": args.confidence, "certified": found.certified}
        return {"rule": "max_loss", "wanted": args.max_loss, **facts}
    if args.max_cost_usd is None:
        threshold = threshold_for_share(weighing, args.strong_share)
        return {"rule": "strong_share", "wanted": args.strong_share, "threshold": threshold}
    require_bills(table, "--max-cost-usd")
    usd = known_bills(table.usd)
    try:
        threshold = threshold_for_usd(weighing, usd, args.max_cost_usd / 1000.0)
    except ValueError as error:
        cheapest = 1000.0 * float(usd[np.arange(len(usd)), weighing.chosen(1.0)].mean())
        raise DataError(
            f"--max-cost-usd is {args.max_cost_usd:g}, and the cheapest models cost {dollars(cheapest)} per thousand "
            "prompts: raise it, or add a cheaper candidate"
        ) from error
    spent = usd[np.arange(len(usd)), weighing.chosen(threshold)].mean()
    costs = {"cost_usd": 1000.0 * float(spent), "reference_usd": 1000.0 * float(usd[:, 0].mean())}
    return {"rule": "max_cost_usd", "wanted": args.max_cost_usd, "threshold": threshold, **costs}


def known_bills(usd: FloatArray) -> FloatArray:
    """Bills, with the model's mean where one is unknown."""
    known = np.isfinite(usd)
    means = np.where(known, usd, 0.0).sum(axis=0) / known.sum(axis=0)
    return np.where(known, usd, means)


def calibrated_choice(
    checkpoint: Checkpoint, table: "ScoreTable", found: Predictions, result: dict[str, Any]
) -> Checkpoint:
    """The checkpoint for these candidates, with the threshold and the quantiles of their turning points."""
    levels = 1.0 - np.random.default_rng(0).random(len(table))
    points = turning_points(found.win_rates, found.usd, levels=levels, point_usd=found.point_usd)
    rule = f"{result['rule']}={result['wanted']:g}"
    if result["rule"] == "max_loss":
        rule += f",confidence={result['confidence']:g}"
    same = tuple(table.models) == checkpoint.candidates
    return replace(
        _referenced(checkpoint, table, found),
        candidates=tuple(table.models),
        pair=ModelPair(table.models[0], table.models[-1]),
        calibration=Calibration.from_win_rates(points, source=table.source),
        thresholds={**(checkpoint.thresholds if same else {}), rule: result},
        metrics=_with_labelled(checkpoint, table, found),
    )


def _with_labelled(checkpoint: Checkpoint, table: "ScoreTable", found: Predictions) -> dict[str, Any]:
    """The checkpoint's figures, with quality against dollars on these labels instead of earlier ones."""
    from pointsman.backends.evaluation.quality_by_dollars import threshold_curve

    figures = {name: value for name, value in checkpoint.metrics.items() if name != "labelled"}
    if not np.isfinite(table.usd).any(axis=0).all():
        return figures
    curve = threshold_curve(found.win_rates, found.usd, table.scores, table.usd, point_usd=found.point_usd)
    drawn = curve.to_dict(table.models)
    return figures | {"labelled": {"candidates": list(table.models)} | {key: drawn[key] for key in _DRAWN}}


def _referenced(checkpoint: Checkpoint, table: "ScoreTable", found: Predictions) -> Checkpoint:
    """The checkpoint with a sample of these prompts to compare live traffic with."""
    from pointsman.backends.training.drift_sample import recalibrated

    if checkpoint.kind == "random":
        return with_reference(checkpoint, None)
    rows = np.random.default_rng(0).permutation(len(table))[:_MAX_REFERENCE]
    prompts, rates = [table.prompts[row] for row in rows], found.win_rates[rows, 1:].mean(axis=1)
    return recalibrated(checkpoint, prompts, rates, embed=load_embedder(checkpoint), source=table.source)


def _text(result: dict[str, Any]) -> str:
    asked = ", ".join(f"{model} {share:.1%}" for model, share in result["asked"].items() if share > 0.0)
    lines = [
        f"threshold {result['threshold']:.6g}",
        f"asked: {asked}; {result['spend_share']:.1%} of the way from the cheapest bill to the reference's",
        f"quality {result['quality']:.4f}, the reference {result['reference_quality']:.4f}",
    ]
    if result["rule"] == "max_cost_usd":
        usd, reference = result["cost_usd"], result["reference_usd"]
        saved = f": saves {1.0 - usd / reference:.1%}" if reference > 0.0 else ""
        lines.append(f"{dollars(usd)} per thousand prompts, the reference {dollars(reference)}{saved}")
    if result["rule"] == "max_loss":
        bound = f"a mean loss of at most {result['wanted']:g} with {result['confidence']:.1%} confidence"
        held = f"{bound}; measured loss {result['loss']:.4f} on {counted(result['n_labels'], 'prompt')}"
        nothing = f"nothing but the reference guarantees {bound} on {counted(result['n_labels'], 'prompt')}: label more"
        lines.append(held if result["certified"] else nothing)
    if "checkpoint" in result:
        lines.append(f"written to {result['checkpoint']}")
    return "\n".join([*lines, f"holds as long as {result['assumption']}"])
