"""A labelled table of many models as traffic for the autopilot's simulation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.autopilot_simulation import Table
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.ladder import fixed_bills, ladder, length_shift
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.calibrate_candidates import known_bills
from pointsman.serve.commands.candidate_predictions import predictions

if TYPE_CHECKING:
    from pointsman.backends.data.score_tables import ScoreTable

__all__ = ["candidate_traffic"]


def candidate_traffic(
    source: str, candidates: Sequence[str], router: str, *, judge_usd: float, scale: tuple[float, float]
) -> "tuple[ScoreTable, Table]":
    """The prompts on which all candidates were scored, as a table and as traffic for the simulation.

    Args:
        candidates: the reference first.
        router: checkpoint that was trained on them.
        judge_usd: dollars of having two answers judged.
        scale: lowest and highest score possible.

    Raises:
        ConfigError: there are only two candidates.
        DataError: the table is malformed, a candidate is missing, or no prompt has a score of each.
    """
    from pointsman.backends.data.score_tables import check_candidates, read_score_table

    if len(candidates) < 3:
        raise ConfigError("--candidates names two models: replay a pair with --strong and --weak")
    table = read_score_table([source], candidates, scale=scale)
    check_candidates(table, candidates)
    table = table.of(candidates)
    whole = np.isfinite(table.scores).all(axis=1)
    if not whole.any():
        raise DataError(f"{table.source} has no prompt that all of {', '.join(table.models)} were scored on")
    table = table.take(np.flatnonzero(whole))
    found = predictions(load_router(load_checkpoint(router), candidates=tuple(candidates)), table)
    priced = bool(np.isfinite(table.usd).any(axis=0).all())
    usd = known_bills(table.usd) if priced else np.zeros(table.usd.shape)
    bills = fixed_bills(usd.mean(axis=0).tolist() if priced else [None] * len(candidates))
    if min(bills) >= 1.0:
        raise DataError(f"{table.source}: no candidate is cheaper than {candidates[0]}, the reference: nothing to save")
    begins, ends = _rungs(found.win_rates, bills, table.prompts)
    losses, paid = table.scores[:, [0]] - table.scores[:, 1:], usd.T
    compared = paid[0] + paid[1:] - paid[:, None] * _asked(len(candidates))[:, :, None]
    return table, Table(begins, losses.T, paid[0] - paid, compared + judge_usd, ends)


def _rungs(win_rates: FloatArray, bills: Sequence[float], prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Where each prompt's rungs begin and end, by candidate without the reference; infinite if it has none."""
    begins = np.full((len(bills) - 1, len(win_rates)), np.inf)
    ends = begins.copy()
    for row, (rates, prompt) in enumerate(zip(win_rates.tolist(), prompts, strict=True)):
        for rung in ladder(rates, bills, shift=length_shift(len(prompt))):
            begins[rung.candidate - 1, row], ends[rung.candidate - 1, row] = rung.since, rung.until
    return begins, ends


def _asked(n: int) -> FloatArray:
    """1 where the answering model (the row) is one of the two compared: the reference and the column's candidate."""
    return np.array([[float(who in (0, 1 + other)) for other in range(n - 1)] for who in range(n)])
