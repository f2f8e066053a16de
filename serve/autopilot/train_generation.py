"""Trains a generation on the comparisons in the store; run as a process of its own, see `training.py`.

python -m pointsman.serve.autopilot.train_generation < TASK.json > RESULT.json
"""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.autopilot import Policies, expected_to_pay
from pointsman.core.counted import counted
from pointsman.core.errors import PointsmanError
from pointsman.core.ladder import Rung, ladder
from pointsman.core.learned_candidates import fit_learned_candidates
from pointsman.core.learned_score import LearnedScore, Seen, fit_learned_score
from pointsman.serve.autopilot.generation import learned_from, rungs_of
from pointsman.serve.config import StoreConfig
from pointsman.serve.store.rows import AutopilotRow
from pointsman.serve.store.store import Store

__all__ = ["main", "train", "train_candidates"]

_NICE = 10


def main() -> int:
    """Reads a task from the standard input, trains within its bounds, and prints the result."""
    task = json.load(sys.stdin)
    _bound(int(task["memory_mb"]), int(task["seconds"]))
    try:
        rows = asyncio.run(_read(task))
        bills = [(name, float(bill)) for name, bill in task["bills"]]
        teach = partial(train_candidates, bills=bills) if bills else train
        found = teach(rows, serving=task["serving"], max_loss=float(task["max_loss"]))
    except (PointsmanError, ValueError, MemoryError) as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(found))
    return 0


def train(rows: Sequence[AutopilotRow], *, serving: Any, max_loss: float) -> dict[str, Any]:
    """The learned score of some comparisons, and whether it is expected to pay.

    Args:
        rows: those without what it takes to learn from them are left out.
        serving: the learned score that serves; None for the router's win rate.

    Raises:
        ValueError: there are too few.
    """
    used, embeddings = _alike([row for row in rows if row.win_rate is not None])
    seen = Seen(_column(used, lambda row: row.win_rate), _column(used, lambda row: row.n_characters), embeddings)
    losses, weights = _losses(used), _weights(used)
    score, left_out = fit_learned_score(seen, losses)
    now = seen.win_rates if serving is None else LearnedScore.from_dict(serving).many(seen)
    pays = expected_to_pay(Policies(left_out), Policies(now), losses, weights, max_loss=max_loss)
    return {"learned": score.to_dict(), "pays": pays, "n": len(used)}


def train_candidates(
    rows: Sequence[AutopilotRow], *, serving: Any, max_loss: float, bills: Sequence[tuple[str, float]]
) -> dict[str, Any]:
    """Likewise of more than two candidates: the learned win rates over each.

    Args:
        bills: each candidate's relative one, the reference first.

    Raises:
        ValueError: no candidate was compared often enough.
    """
    columns = {name: column for column, (name, _) in enumerate(bills)}
    known = [row for row in rows if row.candidate in columns and len(row.win_rates) == len(bills)]
    used, embeddings = _alike(known)
    if not used:
        raise ValueError(f"none of {counted(len(rows), 'comparison')} tells the win rates over {len(bills)} candidates")
    win_rates = np.array([row.win_rates for row in used], dtype=np.float64)
    compared = np.array([columns[row.candidate or ""] for row in used])
    losses, weights = _losses(used), _weights(used)
    lengths = _column(used, lambda row: row.n_characters)
    learned, left_out = fit_learned_candidates(win_rates, lengths, embeddings, compared, losses)
    relative, before = [bill for _, bill in bills], learned_from(serving)
    new = [ladder(rates, relative) for rates in left_out.tolist()]
    old = [
        rungs_of(before, bills, row.win_rates, row.n_characters, np.frombuffer(row.embedding or b"", dtype="<f4"))
        for row in used
    ]
    pays = expected_to_pay(
        _policies(new, compared), _policies(old, compared), losses, weights,
        max_loss=max_loss, gains=1.0 - np.array(relative)[compared], n=sum(row.n_undrawn + 1 for row in used),
    )  # fmt: skip
    return {"learned": learned.to_dict(), "pays": pays, "n": len(used)}


def _policies(ladders: Sequence[Sequence[Rung]], compared: IntArray) -> Policies:
    """Where the compared candidate of each prompt is chosen; nowhere if no threshold chooses it."""
    found = [[rung for rung in rungs if rung.candidate == m] for rungs, m in zip(ladders, compared, strict=True)]
    since = np.array([rungs[0].since if rungs else np.inf for rungs in found])
    until = np.array([rungs[0].until if rungs and rungs[0].until < 1.0 else np.inf for rungs in found])
    return Policies(since, until)


def _alike(rows: Sequence[AutopilotRow]) -> tuple[list[AutopilotRow], Float32Array]:
    """Those with embeddings of the usual dimension, and these embeddings."""
    dims = [len(row.embedding or b"") for row in rows]
    usual = max(set(dims), key=dims.count) if dims else 0
    used = [row for row, dim in zip(rows, dims, strict=True) if dim == usual]
    values = np.frombuffer(b"".join(row.embedding or b"" for row in used), dtype="<f4")
    return used, values.reshape(len(used), usual // 4)


def _losses(rows: Sequence[AutopilotRow]) -> FloatArray:
    return _column(rows, lambda row: row.loss if row.label is None else row.label)


def _weights(rows: Sequence[AutopilotRow]) -> FloatArray:
    return _column(rows, lambda row: 1.0 / row.probability)


def _column(rows: Sequence[AutopilotRow], value: Callable[[AutopilotRow], float | None]) -> FloatArray:
    return np.array([value(row) for row in rows], dtype=np.float64)


async def _read(task: dict[str, Any]) -> list[AutopilotRow]:
    async with Store(StoreConfig.model_validate(task["store"])) as store:
        return await store.autopilot(since=float(task["since"]), newest=int(task["rows"]))


def _bound(memory_mb: int, seconds: int) -> None:
    """Gives way to what serves, and ends by itself where it takes too much, whatever becomes of its parent."""
    os.nice(_NICE)
    size = memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    signal.alarm(2 * seconds)


if __name__ == "__main__":
    sys.exit(main())
