"""Ray Data over the shards of a job: each actor prepares once, and takes shard after shard.

Only the names of shards pass through Ray; an actor reads its rows and writes its output itself. So what is under way is
one batch per actor, however long the input, and a shard whose actor died is done by another.
"""

import logging
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from pointsman.backends.data.shards import Shard
from pointsman.backends.ray.cluster import connected
from pointsman.core.errors import DataError, PointsmanError

__all__ = ["map_items", "map_shards"]


def map_shards(
    shards: Sequence[Shard],
    prepare: Callable[[], Callable[[Shard], Any]],
    *,
    address: str | None,
    n_actors: int,
    on_done: Callable[[Shard, Any], None],
) -> None:
    """Does the work for every shard, in any order.

    Args:
        prepare: makes the work, once in every actor: loads a checkpoint, for example. It and the results are pickled.
        address: of the cluster; None starts one of this machine's cores.
        n_actors: how many at most.
        on_done: called with each shard and the work's result for it.

    Raises:
        PointsmanError: the work failed; what was finished before stays done.
    """

    def told(i: int, result: Any) -> None:
        on_done(shards[i], result)

    map_items(shards, prepare, address=address, n_actors=n_actors, on_done=told)


def map_items(
    items: Sequence[Any],
    prepare: Callable[[], Callable[[Any], Any]],
    *,
    address: str | None,
    n_actors: int,
    on_done: Callable[[int, Any], None],
) -> None:
    """`map_shards` for any items; `on_done` is told the place of each."""
    if n_actors < 1:
        raise ValueError(f"n_actors is {n_actors}, wanted at least 1")
    with connected(address):
        import ray.data as data
        from ray.exceptions import RayError

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data.DataContext.get_current().enable_progress_bars = False
        packed = [{"place": i, "item": pickle.dumps(item)} for i, item in enumerate(items)]
        rows = data.from_items(packed, override_num_blocks=len(items))
        pool = data.ActorPoolStrategy(min_size=1, max_size=min(n_actors, len(items)), max_tasks_in_flight_per_actor=2)
        results = rows.map_batches(_worker(prepare), batch_size=1, compute=pool, num_cpus=1)
        try:
            for row in results.iter_rows():
                if row["error"] is not None:
                    raise DataError(row["error"])
                on_done(row["place"], pickle.loads(row["result"]))
        except RayError as error:
            raise PointsmanError(f"the Ray job failed: {error}; run again to continue") from error


def _worker(prepare: Callable[[], Callable[[Any], Any]]) -> type:
    """Runs in an actor. A `PointsmanError` is returned as a result: Ray would retry and wrap its message."""

    class Worker:  # it holds `prepare` itself: an actor that is started again needs nothing of the driver
        def __init__(self) -> None:
            self._work: Callable[[Any], Any] | None = None

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
            result = error = None
            try:
                if self._work is None:
                    self._work = prepare()
                result = self._work(pickle.loads(batch["item"][0]))
            except PointsmanError as failure:
                error = str(failure)
            return {"place": [int(batch["place"][0])], "result": [pickle.dumps(result)], "error": [error]}

    return Worker
