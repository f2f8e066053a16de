"""A forest of trees over embeddings: a prompt's neighbours are those that share its leaves.

    x = A e / |e'|              features of a prompt of embedding e; e' without the last coordinates, which are kept
    node = child + [x_f > cut]  from the root of each tree to a leaf
    f(e) = mean over the trees of (sum_i y_i + prior mean) / (n + prior)   over the n labelled prompts of its leaf

Which directions tell the models apart is learnt by the cuts; what is predicted are means of labels, as with neighbours.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray, IntArray
from pointsman.core.embedding import check_embeddings
from pointsman.core.score_models import column_means

__all__ = ["LEAF", "Forest", "LeafMeans", "features_along"]

LEAF = np.finfo(np.float32).max  # no feature exceeds it
_CHUNK = 256


def features_along(axes: Float32Array, embeddings: AnyFloatArray, n_kept: int) -> Float32Array:
    """A e / |e'| of embeddings, shape (n_prompts, n_features); see `Forest`."""
    e = np.asarray(embeddings, dtype=np.float32)
    free = e[:, : e.shape[1] - n_kept]
    norm = np.sqrt((free * free).sum(axis=1, keepdims=True))
    return np.asarray((e @ axes.T) / np.where(norm > 0.0, norm, 1.0), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees whose nodes are numbered together, the roots first.

    Attributes:
        axes: A, shape (n_features, dim).
        features: of each node, the one that is compared, shape (n_nodes,).
        cuts: of each node; what exceeds it goes right; `LEAF` in a leaf.
        children: left child of each node, the right one being the next; in a leaf the node itself.
        n_trees: how many of the nodes are roots.
        n_kept: coordinates at the end of an embedding that do not count into its norm.
        depth: steps from the roots to the furthest leaf.

    Raises:
        ValueError: shapes do not fit, or a node points to none.
    """

    axes: Float32Array
    features: IntArray
    cuts: Float32Array
    children: IntArray
    n_trees: int
    n_kept: int
    depth: int

    def __post_init__(self) -> None:
        n = len(self.features)
        shapes = [np.shape(self.features), np.shape(self.cuts), np.shape(self.children)]
        if self.axes.ndim != 2 or shapes != [(n,)] * 3 or not 0 < self.n_trees <= n:
            raise ValueError(f"{self.n_trees} trees have axes of shape {self.axes.shape} and nodes of shapes {shapes}")
        if not 0 <= self.n_kept < self.axes.shape[1]:
            raise ValueError(f"{self.n_kept} of {self.axes.shape[1]} coordinates are kept, wanted fewer")
        within = (self.features >= 0) & (self.features < len(self.axes)) & (self.children >= 0)
        if not (within & (self.children + (self.cuts < LEAF) < n)).all() or self.depth < 0:
            raise ValueError(f"a node points outside of {n} nodes and {len(self.axes)} features")

    def read(self, embeddings: AnyFloatArray) -> Float32Array:
        """Features x of prompts, shape (n_prompts, n_features)."""
        return features_along(self.axes, check_embeddings(embeddings, self.axes.shape[1]), self.n_kept)

    def leaves(self, embeddings: AnyFloatArray) -> IntArray:
        """Node of each prompt in each tree, shape (n_prompts, n_trees)."""
        x = self.read(embeddings)
        node = np.tile(np.arange(self.n_trees), (len(x), 1))
        rows = np.arange(len(x))[:, None]
        for _ in range(self.depth):
            node = self.children[node] + (x[rows, self.features[node]] > self.cuts[node])
        return np.asarray(node)


class LeafMeans:
    """Means of labels in the leaves of a forest, each column over the prompts on which it is known."""

    def __init__(self, forest: Forest, embeddings: AnyFloatArray, values: FloatArray, *, prior: float) -> None:
        """Takes the labelled prompts.

        Args:
            embeddings: shape (n_prompts, dim).
            values: shape (n_prompts, n_columns), NaN where a value is not known.
            prior: how many prompts the column's mean counts as in each leaf, positive.
        """
        self._forest = forest
        leaves, n_nodes, means = forest.leaves(embeddings), len(forest.features), column_means(values)
        self._means = np.empty((n_nodes, values.shape[1]))
        patterns, pattern = np.unique(np.isfinite(values), axis=1, return_inverse=True)
        for number, known in enumerate(patterns.T):
            at = leaves[known].ravel()
            count = np.bincount(at, minlength=n_nodes) + prior
            for column in np.flatnonzero(pattern.ravel() == number):
                total = np.bincount(at, np.repeat(values[known, column], forest.n_trees), minlength=n_nodes)
                self._means[:, column] = (total + prior * means[column]) / count

    def __call__(self, embeddings: AnyFloatArray) -> FloatArray:
        leaves = self._forest.leaves(embeddings)
        parts = [self._means[leaves[i : i + _CHUNK]].mean(axis=1) for i in range(0, len(leaves), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self._means.shape[1]))
