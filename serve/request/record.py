"""What happened to one request: filled in while it is served, then passed to every observer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import TypeAlias

from pointsman.core.decision import Decision
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.ids import new_row_id

__all__ = ["Observer", "Record"]


@dataclass(slots=True)
class Record:
    """One request.

    Attributes:
        id: the client's X-Request-Id where it is well-formed, else a new one.
        path: where it was sent.
        outcome: "answered", "refused" (the client's fault), "failed" (no answer from upstream), "broken" (a stream that
            ended in an error), "gone" (the client disconnected), "crashed" (a defect of our own).
        status: HTTP status of the answer; 0 where none was sent.
        context: the request with what is known of it; None where it could not be read.
        model: the model that answered, if any.
        started_at: when its head had been read, on the `perf_counter` clock in seconds, like the next four.
        received_at, decided_at, answered_at, ended_at: when its body had come, the decision was made, the first byte of
            the answer had come, the last was passed on; None for what did not happen.
        usage: tokens of the answer; None if no model was called.
        cost_usd: what all attempts cost; None where a price is not known.
        charges: the cost of each attempt that was charged.
        strong_usd, weak_usd: what as many tokens of the strong, of the weak model cost; None where the request was not
            routed or the price is not known.
        routing_s: how long the decision took.
        recorded_at: when its row in the store says that it ended, in seconds since 1970; None where it has none.
    """

    id: str
    path: str
    outcome: str = "crashed"
    status: int = 0
    context: RequestContext | None = None
    model: str | None = None
    started_at: float = field(default_factory=perf_counter)
    usage: Usage | None = None
    cost_usd: float | None = None
    charges: tuple[Charge, ...] = ()
    strong_usd: float | None = None
    weak_usd: float | None = None
    routing_s: float | None = None
    received_at: float | None = None
    decided_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    recorded_at: float | None = None
    _row_id: str | None = field(default=None, init=False, repr=False)

    @property
    def decision(self) -> Decision | None:
        """None where the request was refused before one was made."""
        return self.context.decision if self.context is not None else None

    @property
    def stream(self) -> bool:
        """Whether an event stream was asked for."""
        return self.context is not None and self.context.request.stream

    @property
    def trail(self) -> tuple[str, ...]:
        """Every attempt in order, e.g. ("small 503", "small upstream_timeout", "big 200")."""
        attempts = self.context.attempts if self.context is not None else ()
        return tuple([f"{attempt.model} {attempt.result}" for attempt in attempts if attempt.result])

    @property
    def row_id(self) -> str | None:
        """Of its row in the store, made when it is first asked for; None where it has none, or not yet."""
        if self._row_id is None and self.recorded_at is not None:
            self._row_id = new_row_id(self.recorded_at)
        return self._row_id

    @property
    def ended_clock_s(self) -> float:
        """When it ended, in seconds since 1970."""
        return time() - (perf_counter() - self.ended_at if self.ended_at is not None else 0.0)

    @property
    def total_s(self) -> float:
        """From the head of the request to the end of its answer."""
        return (self.ended_at or perf_counter()) - self.started_at

    @property
    def upstream_s(self) -> float | None:
        """From the decision to the first byte of the answer, all attempts and pauses included."""
        if self.decided_at is None or self.answered_at is None:
            return None
        return self.answered_at - self.decided_at

    @property
    def overhead_s(self) -> float | None:
        """From the end of the request to the first byte of its answer, without the decision and the upstream."""
        if self.received_at is None or self.upstream_s is None or self.answered_at is None:
            return None
        return self.answered_at - self.received_at - self.upstream_s - (self.routing_s or 0.0)

    @property
    def routing_ms(self) -> float | None:
        """`routing_s` in milliseconds, as logs, store and dashboard have it."""
        return None if self.routing_s is None else 1e3 * self.routing_s

    @property
    def upstream_ms(self) -> float | None:
        """`upstream_s` likewise."""
        return None if (seconds := self.upstream_s) is None else 1e3 * seconds

    @property
    def overhead_ms(self) -> float | None:
        """`overhead_s` likewise."""
        return None if (seconds := self.overhead_s) is None else 1e3 * seconds

    @property
    def total_ms(self) -> float:
        """`total_s` likewise."""
        return 1e3 * self.total_s


Observer: TypeAlias = Callable[[Record], None]
