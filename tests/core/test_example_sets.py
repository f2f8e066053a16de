"""Sets of example texts: how similar a text is to each, and from which similarity on it belongs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.example_sets import directions, left_out_similarities, similarities, similarity_threshold

COSINES = st.lists(st.floats(-1.0, 1.0).map(lambda x: round(x, 3)), min_size=1, max_size=12)


@given(COSINES, COSINES)
@settings(max_examples=60)
def test_no_other_threshold_is_right_more_often(inside, outside):
    """The share of texts inside at or above plus the share outside below is the largest of any threshold."""

    def right(t):
        return np.mean(np.array(inside) >= t) + np.mean(np.array(outside) < t)

    found = similarity_threshold(np.array(inside), np.array(outside))
    assert right(found) >= max(right(t) for t in np.linspace(-1.01, 1.01, 2021)) - 1e-9


def test_the_threshold_lies_in_the_middle_of_the_gap():
    """Texts that are apart are parted halfway; without any outside the least similar one inside is the threshold."""
    assert similarity_threshold(np.array([0.6, 0.8]), np.array([0.1, 0.2])) == pytest.approx(0.4)
    assert similarity_threshold(np.array([0.6, 0.8]), np.array([])) == 0.6


@given(st.integers(0, 1000), st.integers(2, 6))
@settings(max_examples=30)
def test_left_out_similarities_are_those_of_the_other_examples(seed, n):
    """Each example's similarity is the one to the direction of the mean of all others, made one by one."""
    examples = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    slow = [similarities(directions([np.delete(examples, i, axis=0)]), examples[i])[0] for i in range(n)]
    assert left_out_similarities(examples) == pytest.approx(slow, abs=1e-5)


def test_a_text_of_norm_zero_is_like_nothing():
    """An empty embedding has similarity 0 to every set, and lengths of embeddings do not count."""
    vectors = directions([np.eye(3)[:1], np.eye(3)[1:]])
    assert similarities(vectors, np.zeros(3, dtype=np.float32)).tolist() == [0.0, 0.0]
    one = np.array([0.0, 3.0, 1.0], dtype=np.float32)
    assert similarities(vectors, one) == pytest.approx(similarities(vectors, 10 * one), abs=1e-6)
