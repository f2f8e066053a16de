"""The mean loss of paired answers and its interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.paired_loss import paired_loss

LOSSES = st.lists(st.sampled_from((-1.0, -0.5, 0.0, 0.5, 1.0)), min_size=1, max_size=40)


@given(LOSSES)
def test_the_value_is_the_mean_and_lies_in_its_interval(losses):
    """The interval holds the mean, stays in [-1, 1], and has a width however much the pairs agree."""
    found = paired_loss(losses)
    assert found.value == pytest.approx(np.mean(losses)) and found.n_pairs == len(losses)
    assert -1.0 <= found.low <= found.value <= found.high <= 1.0 and found.high - found.low > 0.0


@given(LOSSES, st.integers(1, 5))
def test_equal_weights_count_for_nothing(losses, weight):
    """Pairs that were all drawn with the same probability give what unweighted ones do."""
    plain, weighted = paired_loss(losses), paired_loss(losses, [float(weight)] * len(losses))
    assert (weighted.value, weighted.low, weighted.high) == pytest.approx((plain.value, plain.low, plain.high))


@given(LOSSES)
def test_swapping_the_models_turns_the_loss_around(losses):
    """What one model loses the other wins."""
    one, other = paired_loss(losses), paired_loss([-loss for loss in losses])
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low))


@pytest.mark.parametrize(("p_lost", "p_won", "n"), [(0.15, 0.1, 60), (0.02, 0.0, 60), (0.3, 0.3, 25)])
def test_the_interval_covers(p_lost, p_won, n):
    """Over 2,000 draws, the true mean loss is outside in at most 7 %, also where few pairs differ."""
    rng = np.random.default_rng(0)
    drawn = rng.choice([1.0, -1.0, 0.0], size=(2000, n), p=[p_lost, p_won, 1.0 - p_lost - p_won])
    ends = [(found.low, found.high) for found in map(paired_loss, drawn)]
    outside = np.mean([not low <= p_lost - p_won <= high for low, high in ends])
    assert outside <= 0.07


def test_unequal_weights_make_it_right():
    """Where losses were drawn more often than ties, weights by 1 / probability give back the mean of all."""
    rng = np.random.default_rng(1)
    losses = rng.choice([1.0, 0.0], size=20_000, p=[0.2, 0.8])
    probability = np.where(losses > 0.0, 0.5, 0.1)
    drawn = rng.random(losses.size) < probability
    found = paired_loss(losses[drawn], 1.0 / probability[drawn])
    assert found.low <= 0.2 <= found.high and np.mean(losses[drawn]) > 0.5


def test_no_pair_gives_no_loss():
    """Nothing compared: nothing said."""
    assert paired_loss([]) is None


@pytest.mark.parametrize(
    ("losses", "weights"), [([1.5], None), ([float("nan")], None), ([0.0], [0.0]), ([0.0], [1, 2])]
)
def test_what_is_no_loss_is_refused(losses, weights):
    """A loss out of range, or a weight that is not positive or missing, is an error."""
    with pytest.raises(ValueError, match=r"wanted losses in \[-1, 1\]"):
        paired_loss(losses, weights)
