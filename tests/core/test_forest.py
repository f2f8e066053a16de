"""Forests: a prompt gets the means of its leaves, and cuts are made where models differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.backends.training.grow_forest import grow_forest, principal_axes
from pointsman.core.forest import LEAF, Forest, LeafMeans

SEEDS = st.integers(0, 2**32 - 1)


def _grown(embeddings, scores, *, n_kept=0, min_leaf=5, n_trees=4, seed=0):
    axes = principal_axes(embeddings, 4, n_kept=n_kept)
    rng = np.random.default_rng(seed)
    return grow_forest(axes, embeddings, scores, n_trees=n_trees, n_kept=n_kept, min_leaf=min_leaf, rng=rng)


def _leaf(forest, tree, features):
    """Where one prompt ends in one tree, step by step."""
    node = tree
    while forest.cuts[node] < LEAF:
        node = forest.children[node] + int(features[forest.features[node]] > forest.cuts[node])
    return node


@settings(max_examples=25)
@given(SEEDS, st.integers(10, 60), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 2))
def test_predictions_are_the_means_of_leaves(seed, n, missing, n_kept):
    """Every column is the mean over trees of its known labels in the prompt's leaf and of the prior; NaN if none is."""
    rng = np.random.default_rng(seed)
    embeddings, values = rng.standard_normal((n, 6)).astype(np.float32), rng.random((n, 3))
    values[rng.random(n) < missing, 1] = np.nan
    forest = _grown(embeddings, values, n_kept=n_kept)
    queries = rng.standard_normal((3, 6)).astype(np.float32)
    got = LeafMeans(forest, embeddings, values, prior=2.0)(queries)
    of_labels = [[_leaf(forest, tree, x) for x in forest.read(embeddings)] for tree in range(4)]
    for query, row in zip(forest.read(queries), got, strict=True):
        for column in range(3):
            known = np.isfinite(values[:, column])
            parts = []
            for tree in range(4):
                same = known & (np.array(of_labels[tree]) == _leaf(forest, tree, query))
                mean = values[known, column].mean() if known.any() else np.nan
                parts.append((values[same, column].sum() + 2.0 * mean) / (same.sum() + 2.0))
            assert row[column] == pytest.approx(np.mean(parts), nan_ok=True)


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 12))
def test_leaves_keep_enough_prompts(seed, min_leaf):
    """Every prompt lies in one leaf of each tree, and every leaf that was cut off keeps as many prompts as asked."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((50, 5)).astype(np.float32)
    forest = _grown(embeddings, (rng.random((50, 3)) < 0.5).astype(float), min_leaf=min_leaf)
    leaves = forest.leaves(embeddings)
    assert (forest.cuts[leaves] == LEAF).all()
    for tree in leaves.T:
        assert np.unique(tree, return_counts=True)[1].min() >= min_leaf


@given(SEEDS)
def test_the_scale_of_an_embedding_does_not_matter(seed):
    """A longer or shorter embedding falls into the same leaves, since only its direction is read."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((40, 6)).astype(np.float32)
    forest = _grown(embeddings, rng.random((40, 2)), n_kept=2)
    assert np.array_equal(forest.leaves(embeddings), forest.leaves(embeddings * np.float32(4.0)))


def test_cuts_are_made_where_models_differ():
    """Of many features the one that decides which model is right is found, though it is a kept one and small."""
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((600, 8)).astype(np.float32)
    embeddings[:, -1] *= 0.1
    right = embeddings[:, -1] > 0
    scores = np.stack([right, ~right], axis=1).astype(float)
    forest = _grown(embeddings[:300], scores[:300], n_kept=1, n_trees=30, min_leaf=10)
    found = LeafMeans(forest, embeddings[:300], scores[:300], prior=2.0)(embeddings[300:])
    assert ((found[:, 0] > found[:, 1]) == right[300:]).mean() > 0.85


def test_prompts_that_are_all_alike_are_not_cut():
    """Where nothing can be told apart a tree is one leaf, and predicts the mean."""
    embeddings = np.ones((30, 4), dtype=np.float32)
    scores = np.tile([[1.0, 0.0], [0.0, 1.0]], (15, 1))
    forest = _grown(embeddings, scores)
    assert forest.depth == 0 and len(forest.features) == 4
    assert LeafMeans(forest, embeddings, scores, prior=1.0)(embeddings[:2]) == pytest.approx(np.full((2, 2), 0.5))


def test_malformed_forests_are_named():
    """Nodes that point nowhere, and arrays that do not fit, are errors with their shapes."""
    axes, one = np.eye(3, dtype=np.float32), np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="outside of 1 nodes and 3 features"):
        Forest(axes, one, np.zeros(1, dtype=np.float32), one, n_trees=1, n_kept=0, depth=1)
    with pytest.raises(ValueError, match=r"nodes of shapes \[\(1,\), \(2,\), \(1,\)\]"):
        Forest(axes, one, np.full(2, LEAF), one, n_trees=1, n_kept=0, depth=0)
    with pytest.raises(ValueError, match="3 of 3 coordinates"):
        Forest(axes, one, np.full(1, LEAF), one, n_trees=1, n_kept=3, depth=0)
