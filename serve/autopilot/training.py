"""Has a generation trained in a process of its own: bounded in time and memory, and never in the way of requests."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from pointsman.core.autopilot import TRAINED_AT
from pointsman.core.errors import PointsmanError, StoreError
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.autopilot import AutopilotConfig

__all__ = ["Trainer", "TrainingError", "due", "train_in_process"]

_LOG = logging.getLogger(__name__)
_ROWS = 10_000
_MODULE = "pointsman.serve.autopilot.train_generation"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class TrainingError(PointsmanError):
    """A generation could not be trained; the one that serves goes on."""


class Trainer:
    """Trains the generations that one process has claimed, one at a time."""

    def __init__(
        self,
        writer: str,
        fold: Callable[[Callable[[Any, Any], Any]], Awaitable[Any]],
        *,
        clock: Callable[[], float],
    ) -> None:
        """Trains nothing before `begin_if_claimed`.

        Args:
            writer: identifies the process.
            fold: changes the shared state: `Store.fold_autopilot` of it.
        """
        self._writer, self._fold, self._clock = writer, fold, clock
        self._task: asyncio.Task[None] | None = None

    def begin_if_claimed(self, state: AutopilotState, config: AutopilotConfig, store: StoreConfig) -> None:
        """Begins to train a generation, where it falls to this process and none is being trained."""
        claimed = state.training is not None and state.training["by"] == self._writer
        if claimed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._train(state, config, store))

    async def close(self) -> None:
        """Ends a training that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _train(self, state: AutopilotState, config: AutopilotConfig, store: StoreConfig) -> None:
        """Has a generation trained, and certified beside what serves if it is expected to pay."""
        try:
            found = await train_in_process(state, config, store)
        except (TrainingError, OSError) as error:
            found = {"error": str(error)}
            _LOG.warning("the autopilot could not train a generation: %s", error)
        since, now = state.since, self._clock()

        def change(kept: Any, rows: Any) -> Any:
            latest = AutopilotState.from_dict(kept)
            if latest.since == since and latest.training is not None and latest.training["by"] == self._writer:
                latest.trained(found, now)
            return latest.to_dict()

        try:
            await self._fold(change)
        except StoreError as error:
            _LOG.warning("a trained generation is lost, as the store is down: %s", error)


def due(state: AutopilotState, config: AutopilotConfig, now: float) -> int | None:
    """The number of comparisons at which a generation is to be trained now; None where none is."""
    if not config.train or state.current is None or state.paused:
        return None
    if state.training is not None and now < state.training["until"]:
        return None
    reached = [n for n in (config.train_at or TRAINED_AT) if state.trained_at < n <= state.n_since]
    return max(reached, default=None)


async def train_in_process(state: AutopilotState, config: AutopilotConfig, store: StoreConfig) -> dict[str, Any]:
    """What `train_generation.train` gives for the comparisons since evidence last became void.

    Raises:
        TrainingError: it failed, or took too much time or memory.
    """
    current = state.current
    task = {
        "store": store.model_dump(mode="json"),
        "since": state.since,
        "rows": _ROWS,
        "serving": current.learned.to_dict() if current is not None and current.learned is not None else None,
        "bills": current.bills if current is not None else (),
        "max_loss": config.max_loss,
        "memory_mb": config.train_memory_mb,
        "seconds": config.train_seconds,
    }
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", _MODULE, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    )
    try:
        async with asyncio.timeout(config.train_seconds):
            out, err = await process.communicate(json.dumps(task).encode())
    except TimeoutError:
        raise TrainingError(f"training took longer than {config.train_seconds} s: raise train_seconds") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _result(process.returncode or 0, out, err)


def _result(code: int, out: bytes, err: bytes) -> dict[str, Any]:
    try:
        found = json.loads(out)
    except ValueError:
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        raise TrainingError(f"the training process ended with {code}: {last[:300] or 'it said nothing'}") from None
    if "error" in found:
        raise TrainingError(f"training failed: {found['error']}")
    return dict(found)
