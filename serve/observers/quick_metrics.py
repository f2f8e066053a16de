"""Short ways to count and observe: prometheus_client's own check the metric, its labels and each bucket every time.

A request takes a dozen of them. They rest on attributes that prometheus_client keeps to itself; a test holds them to
what its public methods do.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import TypeAlias

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["Adders", "Observes", "adder", "observes"]

Observes: TypeAlias = Callable[[float], None]


def adder(metric: Counter | Gauge) -> Observes:
    """`metric.inc`, for a metric that has its labels."""
    add: Observes = metric._value.inc
    return add


def observes(histogram: Histogram) -> Observes:
    """`histogram.observe`, for a histogram that has its labels."""
    bounds = histogram._upper_bounds
    add, buckets = histogram._sum.inc, [bucket.inc for bucket in histogram._buckets]

    def observe(value: float) -> None:
        add(value)
        buckets[bisect_left(bounds, value)](1)

    return observe


class Adders(dict[tuple[str, ...], Observes]):
    """The adders of a counter, or the observers of a histogram, by their labels."""

    def __init__(self, metric: Counter | Histogram) -> None:
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Observes:
        child = self._metric.labels(*labels)
        found = self[labels] = observes(child) if isinstance(child, Histogram) else adder(child)
        return found
