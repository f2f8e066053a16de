"""The life cycle of one request: its outcome is recorded, priced and passed to the observers."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from types import TracebackType
from typing import Self

from pointsman.serve.http.asgi import ClientGone
from pointsman.serve.http.errors import RequestError, UpstreamFailure
from pointsman.serve.money.billing import Billing
from pointsman.serve.request.record import Observer, Record

__all__ = ["Lifecycle"]


class Lifecycle:
    """A `with` block around one request. When it ends, the record is complete and every observer has seen it."""

    def __init__(self, record: Record, billing: Billing, observers: Sequence[Observer]) -> None:
        self.record = record
        self._billing = billing
        self._observers = observers

    def note(self, error: BaseException) -> None:
        """Records how a request failed."""
        record = self.record
        if isinstance(error, RequestError):
            record.outcome, record.status = "refused", error.status
        elif isinstance(error, UpstreamFailure):
            record.outcome, record.status = "failed", error.status
        elif isinstance(error, (ClientGone, asyncio.CancelledError, GeneratorExit)):
            record.outcome = "gone"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None:
            self.note(error)
        self.record.ended_at = perf_counter()
        context = self.record.context
        if context is not None and context.cascade is not None and context.cascade.answered_by is not None:
            self.record.model = context.cascade.answered_by  # of a held stream it was not known when it began
        self._billing.settle(self.record)
        for observe in self._observers:
            observe(self.record)
