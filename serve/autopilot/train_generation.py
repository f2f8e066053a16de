"""Trains a generation on the comparisons in the store; run as a process of its own, see `training.py`.

python -m pointsman.serve.autopilot.train_generation < TASK.json > RESULT.json
"""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from pointsman.core.autopilot import expected_to_pay
from pointsman.core.errors import PointsmanError
from pointsman.core.learned_score import LearnedScore, Seen, fit_learned_score
from pointsman.serve.config import StoreConfig
from pointsman.serve.store.rows import AutopilotRow
from pointsman.serve.store.store import Store

__all__ = ["main", "train"]

_NICE = 10


def main() -> int:
    """Reads a task from the standard input, trains within its bounds, and prints the result."""
    task = json.load(sys.stdin)
    _bound(int(task["memory_mb"]), int(task["seconds"]))
    try:
        rows = asyncio.run(_read(task))
        found = train(rows, serving=task["serving"], max_loss=float(task["max_loss"]))
    except (PointsmanError, ValueError, MemoryError) as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(found))
    return 0


def train(rows: Sequence[AutopilotRow], *, serving: dict[str, Any] | None, max_loss: float) -> dict[str, Any]:
    """The learned score of some comparisons, and whether it is expected to pay.

    Args:
        rows: those without what it takes to learn from them are left out.
        serving: the learned score that serves; None for the router's win rate.

    Raises:
        ValueError: there are too few.
    """
    dims = [len(row.embedding or b"") for row in rows]
    usual = max(set(dims), key=dims.count) if dims else 0
    used = [row for row, dim in zip(rows, dims, strict=True) if dim == usual and row.win_rate is not None]
    seen = Seen(
        np.array([row.win_rate for row in used], dtype=np.float64),
        np.array([row.n_characters for row in used], dtype=np.float64),
        np.frombuffer(b"".join(row.embedding or b"" for row in used), dtype="<f4").reshape(len(used), usual // 4),
    )
    losses = np.array([row.loss if row.label is None else row.label for row in used], dtype=np.float64)
    weights = np.array([1.0 / row.probability for row in used], dtype=np.float64)
    score, left_out = fit_learned_score(seen, losses)
    now = seen.win_rates if serving is None else LearnedScore.from_dict(serving).many(seen)
    pays = expected_to_pay(left_out, now, losses, weights, max_loss)
    return {"learned": score.to_dict(), "pays": pays, "n": len(used)}


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
