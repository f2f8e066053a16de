"""Prometheus metrics of the served requests."""

import os
from collections.abc import Mapping

from prometheus_client.metrics import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from pointsman.serve.observers.log_writer import lost_lines
from pointsman.serve.observers.quick_metrics import Adders, adder, observes
from pointsman.serve.request.record import Record
from pointsman.serve.upstreams.attempts import Service

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_FAST_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0)
_SLOW_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SHARES = tuple(i / 20 for i in range(1, 21))


class Metrics:
    """Counts and times requests; an observer of their records."""

    def __init__(self, services: Mapping[str, Service], *, parts: CollectorRegistry | None = None) -> None:
        """Starts at zero.

        Args:
            services: models whose breakers to show.
            parts: metrics of other components, to be included.
        """
        self._parts = parts
        self._services = services
        self._digest: str | None = None
        registry = self._registry = CollectorRegistry()
        self._requests = Adders(
            Counter("pointsman_requests", "Requests by outcome.", ["path", "outcome", "status"], registry=registry)
        )
        self._decisions = Adders(
            Counter(
                "pointsman_decisions", "Decisions by router, chosen model and reason.", ["router", "model", "reason"],
                registry=registry,
            )
        )  # fmt: skip
        self._rules = Adders(
            Counter("pointsman_rules", "Requests that matched a configured rule, by rule.", ["rule"], registry=registry)
        )
        self._tries = Adders(
            Counter("pointsman_upstream_tries", "Upstream attempts by result.", ["model", "result"], registry=registry)
        )
        self._win_rates = Adders(
            Histogram(
                "pointsman_win_rate", "Win rates of routed prompts.", ["router"], buckets=_SHARES, registry=registry
            )
        )
        self._routing = observes(
            Histogram("pointsman_routing_seconds", "Time of the routing decision.", buckets=_FAST_S, registry=registry)
        )
        self._upstream = Adders(
            Histogram(
                "pointsman_upstream_seconds", "Time from the decision to the first byte.", ["model"],
                buckets=_SLOW_S, registry=registry,
            )
        )  # fmt: skip
        self._overhead = observes(
            Histogram(
                "pointsman_overhead_seconds", "Time to the first byte spent in neither the decision nor the upstream.",
                buckets=_FAST_S, registry=registry,
            )
        )  # fmt: skip
        self._total = observes(
            Histogram("pointsman_request_seconds", "Time of a whole request.", buckets=_SLOW_S, registry=registry)
        )
        self._breakers = Gauge(
            "pointsman_breaker_open", "1 while the circuit breaker of the model is open.", ["model"], registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip
        self._reloads = Counter("pointsman_reloads", "Configuration reloads by result.", ["result"], registry=registry)
        self._config = Gauge(
            "pointsman_config", "1 for the digest of the active configuration.", ["digest"], registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip
        self._lost = Counter(
            "pointsman_log_lines_lost", "Log lines dropped because stderr was not read in time.", registry=registry
        )
        self._n_lost = 0
        self._in_flight = adder(
            Gauge("pointsman_requests_in_flight", "Requests in flight.", registry=registry, multiprocess_mode="livesum")
        )

    def reconfigure(self, services: Mapping[str, Service], *, digest: str) -> None:
        """Switches to the models and the digest of a new configuration."""
        for name in self._services.keys() - services.keys():
            self._breakers.labels(name).set(0)
        if self._digest is not None:
            self._config.labels(self._digest).set(0)
        self._config.labels(digest).set(1)
        self._services, self._digest = services, digest

    def reloaded(self, result: str) -> None:
        """Counts a reload as "accepted" or "refused"."""
        self._reloads.labels(result).inc()

    def begin(self) -> None:
        """A request has arrived."""
        self._in_flight(1.0)

    def refuse(self, path: str, status: int) -> None:
        """Counts a request rejected before it was read (authentication or rate limit)."""
        self._requests[path, "refused", str(status)](1.0)

    def __call__(self, record: Record) -> None:
        """A request has ended."""
        self._in_flight(-1.0)
        self._requests[record.path, record.outcome, str(record.status)](1.0)
        self._total(record.total_s)
        decision, upstream_s = record.decision, record.upstream_s
        if decision is not None:
            reason = decision.reason.partition(":")[0]
            self._decisions[decision.router or "", decision.model, reason](1.0)
            if decision.rule is not None:
                self._rules[(decision.rule,)](1.0)
            if decision.win_rate is not None and decision.router is not None:
                self._win_rates[(decision.router,)](decision.win_rate)
        if record.routing_s is not None:
            self._routing(record.routing_s)
        if record.model is not None and upstream_s is not None:
            self._upstream[(record.model,)](upstream_s)
        if (overhead_s := record.overhead_s) is not None:
            self._overhead(overhead_s)
        for attempt in record.context.attempts if record.context is not None else ():
            if attempt.result:
                self._tries[attempt.model, attempt.result](1.0)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, of all worker processes."""
        from prometheus_client.exposition import generate_latest

        for name, service in self._services.items():
            self._breakers.labels(name).set(service.breaker.is_open)
        self._lost.inc(lost_lines() - self._n_lost)
        self._n_lost = lost_lines()
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return generate_latest(self._registry) + (generate_latest(self._parts) if self._parts is not None else b"")
        from prometheus_client.multiprocess import MultiProcessCollector

        gathered = CollectorRegistry()
        MultiProcessCollector(gathered)  # type: ignore[no-untyped-call]
        return generate_latest(gathered)
