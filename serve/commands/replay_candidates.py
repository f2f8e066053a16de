"""`pointsman replay` of a checkpoint of more than two candidates."""

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.choice_calibration import threshold_for_share
from pointsman.core.choice_rows import Weighing, weigh_rows
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.hull import point_usd
from pointsman.core.replay import Replay
from pointsman.core.replay_candidates import LoggedCandidates, replay_candidates
from pointsman.core.router import Router
from pointsman.core.score_models import column_means
from pointsman.serve.checkpoints.load import load_router
from pointsman.serve.feedback.logged_candidates import read_candidates

if TYPE_CHECKING:
    from pointsman.serve.store.rows import DecisionRow

__all__ = ["replay_store", "with_rules"]


def replay_store(
    args: argparse.Namespace, checkpoint: Checkpoint
) -> tuple[Replay, float, dict[str, tuple[float, float]]]:
    """What the candidate would have done with a store's requests: its threshold, and each model's share now and then.

    Raises:
        ConfigError: a table was given instead of a store, or a share without a calibration.
        DataError: the store holds no such request, or not the text of every prompt.
    """
    if args.file:
        raise ConfigError(f"--file is read for two models; replay {', '.join(checkpoint.candidates)} from a store")
    models = checkpoint.candidates
    rows, logged = asyncio.run(_read(args, models))
    texts = [row.prompt for row in rows if row.prompt is not None]
    if len(texts) < len(rows):
        raise DataError(
            "the store lacks the text of some prompts: set store.prompts to text and wait for new traffic (--days)"
        )
    router = load_router(checkpoint, candidates=models)
    rates = router.win_rates(texts)
    weighing = _weighed(router, rates, logged)
    threshold = _threshold(args, checkpoint, weighing, logged)
    then = with_rules(rows, logged, weighing, threshold)
    found = replay_candidates(logged, then, rates[:, 1:], confidence=args.confidence)
    shares = {name: (float((logged.asked == i).mean()), float((then == i).mean())) for i, name in enumerate(models)}
    return found, threshold, shares


def with_rules(
    rows: "Sequence[DecisionRow]", logged: LoggedCandidates, weighing: Weighing, threshold: float
) -> IntArray:
    """Columns that another router would choose; choices and limits by configured rules are kept, as are thresholds."""
    then = weighing.chosen(threshold)
    by_rule = np.array(["rule: " in (row.reason or "") for row in rows])
    set_by_rule = [row.threshold if (row.policy or "").startswith("rule:") else None for row in rows]
    for found in {each for each in set_by_rule if each is not None}:
        at = np.array([each == found for each in set_by_rule])
        then[at] = weighing.chosen(min(found, 1.0))[at]
    return np.where(by_rule, logged.asked, then)


async def _read(args: argparse.Namespace, models: Sequence[str]) -> "tuple[list[DecisionRow], LoggedCandidates]":
    from pointsman.serve.store.opening import open_store

    since = None if args.days is None else time.time() - 86_400.0 * args.days
    async with open_store(args.store, config=args.config) as store:
        return await read_candidates(store, models, router=args.router, rule=args.rule, since=since)


def _weighed(router: Router, rates: FloatArray, logged: LoggedCandidates) -> Weighing:
    """By the bills expected then; by order where one is not known."""
    if not np.isfinite(logged.usd).all():
        return weigh_rows(rates, None)
    worth = None
    if router.means is not None:
        worth = point_usd(column_means(logged.usd), np.array([mean.score for mean in router.means]))
    return weigh_rows(rates, logged.usd, point_usd=worth)


def _threshold(args: argparse.Namespace, checkpoint: Checkpoint, weighing: Weighing, logged: LoggedCandidates) -> float:
    if args.threshold is not None:
        return float(args.threshold)
    if args.strong_share is None:
        return threshold_for_share(weighing, float(logged.share[np.arange(len(logged.asked)), logged.asked].mean()))
    if checkpoint.calibration is None:
        raise ConfigError(f"{args.candidate} is not calibrated: give --threshold, or calibrate it")
    return checkpoint.calibration.threshold(args.strong_share)
