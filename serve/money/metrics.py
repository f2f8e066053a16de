"""Prometheus metrics of dollars and tokens."""

from prometheus_client.metrics import Counter, Gauge
from prometheus_client.registry import CollectorRegistry

from pointsman.serve.observers.quick_metrics import Adders, Observes, adder
from pointsman.serve.protocols.usage import Charge
from pointsman.serve.request.record import Record

__all__ = ["MoneyMetrics"]


class MoneyMetrics:
    """Counts tokens and dollars of requests; an observer of records."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Starts at zero."""
        self._spend = Counter("pointsman_spend_usd", "Dollars charged, by model.", ["model"], registry=registry)
        self._tokens = Counter(
            "pointsman_tokens", "Tokens charged, by model: input, cached (part of input), output.", ["model", "kind"],
            registry=registry,
        )  # fmt: skip
        self._estimated = Adders(
            Counter(
                "pointsman_usage_estimated", "Charges with estimated tokens, because the upstream reported none.",
                ["model"], registry=registry,
            )
        )  # fmt: skip
        self._unpriced = Adders(
            Counter(
                "pointsman_usage_unpriced", "Charges of models without a known price.", ["model"], registry=registry
            )
        )
        # A gauge: a request whose weak model failed costs more than the strong model alone.
        self._saved = adder(
            Gauge(
                "pointsman_saved_usd",
                "Dollars saved against always using the strong model, at equal answer length; of more than two "
                "candidates against the reference, at its expected length.",
                registry=registry, multiprocess_mode="sum",
            )
        )  # fmt: skip
        self._of_model: dict[str, tuple[Observes, ...]] = {}

    def __call__(self, record: Record) -> None:
        """A request has ended."""
        for charge in record.charges:
            self.count(charge)
        if record.strong_usd is not None and record.cost_usd is not None:
            self._saved(record.strong_usd - record.cost_usd)

    def count(self, charge: Charge) -> None:
        """Counts a charge."""
        model, usage = charge.model, charge.usage
        spend, read, cached, written = self._counters(model)
        read(usage.input_tokens)
        if usage.cached_tokens:
            cached(usage.cached_tokens)
        written(usage.output_tokens)
        if charge.cost_usd is None:
            self._unpriced[(model,)](1.0)
        else:
            spend(charge.cost_usd)
        if usage.estimated:
            self._estimated[(model,)](1.0)

    def _counters(self, model: str) -> tuple[Observes, ...]:
        """Dollars, input, cached and output tokens of a model; looking labels up each time would take longer."""
        if model not in self._of_model:
            kinds = [self._tokens.labels(model, kind) for kind in ("input", "cached", "output")]
            self._of_model[model] = tuple([adder(child) for child in (self._spend.labels(model), *kinds)])
        return self._of_model[model]
