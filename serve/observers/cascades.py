"""Prometheus metrics of cascades: how often answers are escalated, why, and the cost."""

from prometheus_client.metrics import Counter
from prometheus_client.registry import CollectorRegistry

from pointsman.serve.request.record import Record

__all__ = ["CascadeMetrics"]


class CascadeMetrics:
    """Counts verdicts on answers; an observer of records.

    Attributes:
        unchecked: answers that an external checker did not check in time.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Starts at zero."""
        self._answers = Counter(
            "pointsman_cascade_answers", "Cascade answers checked, by model, verdict and reason.",
            ["model", "verdict", "reason"], registry=registry,
        )  # fmt: skip
        self._usd = Counter(
            "pointsman_cascade_escalated_usd",
            "Dollars spent on answers that were escalated, by model.",
            ["model"],
            registry=registry,
        )
        self._seconds = Counter(
            "pointsman_cascade_escalated_seconds", "Seconds spent on answers that were escalated, by model.",
            ["model"], registry=registry,
        )  # fmt: skip
        self._looks = Counter(
            "pointsman_cascade_looks", "Plans by prompt: cascade, strong (clearly hard), weak (clearly easy), checks.",
            ["look"], registry=registry,
        )  # fmt: skip
        self.unchecked = Counter(
            "pointsman_cascade_unchecked", "Answers that the external checker did not score in time.", registry=registry
        )

    def __call__(self, record: Record) -> None:
        """A request has ended."""
        run = record.context.cascade if record.context is not None else None
        if run is None:
            return
        self._looks.labels(run.look).inc()
        for stage in run.stages:
            self._answers.labels(stage.model, stage.verdict, stage.reason).inc()
            if stage.verdict == "escalated" and stage.model != run.answered_by:
                self._seconds.labels(stage.model).inc(stage.seconds)
                charged = [charge.cost_usd or 0.0 for charge in record.charges if charge.model == stage.model]
                self._usd.labels(stage.model).inc(sum(charged))
