"""The short ways into metrics do what prometheus_client's public ones do."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pointsman.serve.observers.quick_metrics import Adders, adder, observes

BUCKETS = (0.1, 0.5, 1.0, 5.0)
VALUES = st.lists(st.floats(0.0, 10.0) | st.sampled_from(BUCKETS), max_size=20)


def text(observe):
    """Prometheus' text of four metrics that `observe` was given."""
    registry = CollectorRegistry()
    observe(
        Counter("counted", "Counted.", ["label"], registry=registry),
        Gauge("gauged", "Gauged.", registry=registry),
        Histogram("plain", "Without labels.", buckets=BUCKETS, registry=registry),
        Histogram("labelled", "With labels.", ["label"], buckets=BUCKETS, registry=registry),
    )
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


@given(VALUES)
def test_as_the_public_methods(values):
    """Any values leave the same metrics, whichever way they are counted and observed."""

    def public(counter, gauge, plain, labelled):
        for value in values:
            counter.labels("a").inc(value)
            gauge.inc(-value)
            plain.observe(value)
            labelled.labels("a").observe(value)

    def quick(counter, gauge, plain, labelled):
        counted, of_labels, fall, observe = Adders(counter), Adders(labelled), adder(gauge), observes(plain)
        for value in values:
            counted[("a",)](value)
            fall(-value)
            observe(value)
            of_labels[("a",)](value)

    assert text(quick) == text(public)
