"""Prometheus metrics of the autopilot."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from pointsman.serve.autopilot.draw import RESULTS

__all__ = ["AutopilotMetrics"]

_GAUGES = {
    "certified_share": "Share of the traffic that is certified for the weak model.",
    "threshold": "Certified threshold: strong iff the win rate is at least this; 0 while nothing is certified.",
    "loss": "Estimated mean loss of quality of the certified policy.",
    "generation": "Number of the active generation.",
    "paused": "1 while comparisons are paused.",
}


class AutopilotMetrics:
    """Those of one process.

    Attributes:
        results: of the draws.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.results = Counter(
            "pointsman_autopilot_comparisons", "Requests drawn for comparison: compared, failed, over budget, busy.",
            ["result"], registry=registry,
        )  # fmt: skip
        for result in RESULTS:
            self.results.labels(result)
        self._gauges = {
            name: Gauge(f"pointsman_autopilot_{name}", text, registry=registry, multiprocess_mode="livemostrecent")
            for name, text in _GAUGES.items()
        }

    def show(self, generation: dict[str, Any], *, threshold: float, paused: bool) -> None:
        """Shows what serves: what `describe_generation` says of it, {} while nothing does."""
        loss = generation.get("loss")
        values = {
            "certified_share": generation.get("certified_share", 0.0),
            "threshold": threshold,
            "loss": loss["value"] if loss else 0.0,
            "generation": generation.get("number", 0),
            "paused": float(paused),
        }
        for name, value in values.items():
            self._gauges[name].set(value)
