"""Fast counting and observing: prometheus_client's methods check the metric, its labels and each bucket every time.

A request needs a dozen of them. They use private attributes of prometheus_client; a test compares them with
its public methods. In one process they take no lock, so only the event loop's thread may use them.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, TypeAlias

from prometheus_client.metrics import Counter, Gauge, Histogram
from prometheus_client.values import MutexValue

__all__ = ["Adders", "Observes", "adder", "observes"]

Observes: TypeAlias = Callable[[float], None]


def adder(metric: Counter | Gauge) -> Observes:
    """`metric.inc`, for a metric with its labels set."""
    value: Any = metric._value
    if type(value) is not MutexValue:
        add: Observes = value.inc
        return add

    def add_here(amount: float) -> None:
        value._value += amount

    return add_here


def observes(histogram: Histogram) -> Observes:
    """`histogram.observe`, for a histogram with its labels set."""
    bounds, total, buckets = histogram._upper_bounds, histogram._sum, histogram._buckets
    if type(total) is not MutexValue:

        def observe(value: float) -> None:
            total.inc(value)
            buckets[bisect_left(bounds, value)].inc(1)

        return observe

    def observe_here(value: float) -> None:
        total._value += value
        buckets[bisect_left(bounds, value)]._value += 1.0

    return observe_here


class Adders(dict[tuple[str, ...], Observes]):
    """The adders of a counter, or the observers of a histogram, by their labels."""

    def __init__(self, metric: Counter | Histogram) -> None:
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Observes:
        child = self._metric.labels(*labels)
        found = self[labels] = observes(child) if isinstance(child, Histogram) else adder(child)
        return found
