"""Rejected requests (authentication or rate limit): counted and logged like served ones."""

from collections.abc import Collection

from starlette.types import Scope

from pointsman.serve.observers.prometheus import Metrics
from pointsman.serve.observers.request_log import log_request
from pointsman.serve.request.ids import request_id
from pointsman.serve.request.record import Record
from pointsman.serve.request.together import Together

__all__ = ["Refusals"]


class Refusals:
    """Records rejected requests."""

    def __init__(self, metrics: Metrics, together: Together, *, paths: Collection[str], log: bool) -> None:
        """Starts with none.

        Args:
            together: flushed first, so that earlier requests are logged before.
            paths: counted separately; all others, which anyone can make up, count as "other".
            log: whether to log one line per request.
        """
        self._metrics = metrics
        self._together = together
        self._paths = frozenset(paths)
        self._log = log

    def __call__(self, scope: Scope, status: int) -> None:
        """A request was rejected with this status before it was read."""
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.refuse(path, status)
        if self._log:
            self._together.flush()
            log_request(Record(request_id(scope), path, outcome="refused", status=status))
