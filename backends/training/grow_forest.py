"""Growing a forest: extremely randomised trees (Geurts, Ernst and Wehenkel 2006) whose cuts tell the models apart.

Of some features, drawn anew in every node, each is cut at a point drawn evenly between its ends; the cut that leaves
the least squared error of the models' scores is taken, as long as both sides keep enough prompts. All trees grow
together, level by level.
"""

import numpy as np

from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.forest import LEAF, Forest, features_along
from pointsman.core.score_models import column_means

__all__ = ["grow_forest", "principal_axes"]

_N_DIRECTIONS = 8  # of the scores that cuts are judged by
_TRIED = 0.3  # part of the features that are tried in a node
_MOST_LEVELS = 40
_MOST_PROMPTS = 5000  # that a tree is grown on


def principal_axes(embeddings: Float32Array, n_axes: int, *, n_kept: int) -> Float32Array:
    """Directions to cut along, shape (n_features, dim): the principal axes, and the last coordinates as they are.

    Args:
        embeddings: shape (n_prompts, dim).
        n_axes: principal axes of the other coordinates, fewer where there are fewer.
        n_kept: coordinates at the end that mean something by themselves.
    """
    dim = embeddings.shape[1]
    free = features_along(np.eye(dim, dtype=np.float32)[: dim - n_kept], embeddings, n_kept).astype(np.float64)
    free -= free.mean(axis=0)
    _, vectors = np.linalg.eigh(free.T @ free)
    top = vectors[:, ::-1][:, :n_axes].T
    axes = np.zeros((len(top) + n_kept, dim), dtype=np.float32)
    axes[: len(top), : dim - n_kept] = top
    axes[len(top) :, dim - n_kept :] = np.eye(n_kept)
    return axes


def grow_forest(
    axes: Float32Array,
    embeddings: Float32Array,
    scores: FloatArray,
    *,
    n_trees: int,
    n_kept: int,
    min_leaf: int,
    rng: np.random.Generator,
) -> Forest:
    """A forest for labelled prompts.

    Args:
        axes, n_kept: see `core.forest`.
        embeddings: shape (n_prompts, dim).
        scores: shape (n_prompts, n_models); where one is not known it is taken for the model's mean.
        min_leaf: prompts that each leaf keeps.
    """
    x, targets = features_along(axes, embeddings, n_kept), _targets(scores)
    n_features, n = x.shape[1], min(len(x), _MOST_PROMPTS)
    drawn = [np.arange(n) if n == len(x) else np.sort(rng.permutation(len(x))[:n]) for _ in range(n_trees)]
    sample = np.concatenate(drawn)  # of each tree, sorted by node
    size = np.full(n_trees, n)  # of each open node
    number = np.arange(n_trees)  # of each open node in the forest
    features, cuts, children = ([np.zeros(n_trees, kind)] for kind in (np.int32, np.float32, np.int32))
    n_nodes, depth = n_trees, 0
    features[0][:], cuts[0][:], children[0][:] = 0, LEAF, number
    for _ in range(_MOST_LEVELS):
        wide = size >= 2 * min_leaf
        sample, size, number = sample[np.repeat(wide, size)], size[wide], number[wide]
        if not number.size:
            break
        feature, cut = _best_cuts(x, targets, sample, size, min_leaf, max(1, round(_TRIED * n_features)), rng)
        split = cut < LEAF
        sample, size, number = sample[np.repeat(split, size)], size[split], number[split]
        feature, cut = feature[split], cut[split]
        if not number.size:
            break
        depth += 1
        right = x[sample, np.repeat(feature, size)] > np.repeat(cut, size)
        node = np.repeat(np.arange(len(size)), size)
        child = 2 * node + right
        sample, size = sample[np.argsort(child, kind="stable")], np.bincount(child, minlength=2 * len(number))
        flat = np.concatenate(features), np.concatenate(cuts), np.concatenate(children)
        left = n_nodes + 2 * np.arange(len(number))
        for values, new in zip(flat, (feature, cut, left), strict=True):
            values[number] = new
        number = np.arange(n_nodes, n_nodes + 2 * len(left))
        n_nodes += len(number)
        features = [flat[0], np.zeros(len(number), np.int32)]
        cuts = [flat[1], np.full(len(number), LEAF, np.float32)]
        children = [flat[2], number.astype(np.int32)]
    arrays = np.concatenate(features), np.concatenate(cuts), np.concatenate(children)
    return Forest(axes, arrays[0].astype(np.int64), arrays[1], arrays[2].astype(np.int64), n_trees, n_kept, depth)


def _targets(scores: FloatArray) -> FloatArray:
    """Scores less their means, in their main directions, shape (n_prompts, at most 8)."""
    centred = np.where(np.isfinite(scores), scores - column_means(scores), 0.0)
    _, _, vt = np.linalg.svd(centred.T @ centred)
    return np.asarray(centred @ vt[:_N_DIRECTIONS].T)


def _best_cuts(
    x: Float32Array,
    targets: FloatArray,
    sample: IntArray,
    size: IntArray,
    min_leaf: int,
    n_tried: int,
    rng: np.random.Generator,
) -> tuple[IntArray, Float32Array]:
    """Feature and cut of each open node; the cut is `LEAF` where none leaves less error."""
    starts = np.concatenate([[0], np.cumsum(size)[:-1]])
    y = targets[sample]
    total = np.add.reduceat(y, starts, axis=0)
    best = (total**2).sum(axis=1) / size + 1e-12
    feature, cut = np.zeros(len(size), dtype=np.int64), np.full(len(size), LEAF, dtype=np.float32)
    tried = np.argsort(rng.random((len(size), x.shape[1])), axis=1)[:, :n_tried]
    drawn = rng.random(tried.shape)
    for k in range(n_tried):
        value = x[sample, np.repeat(tried[:, k], size)]
        least, most = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
        at = (least + drawn[:, k] * (most - least)).astype(np.float32)
        right = value > np.repeat(at, size)
        n_right = np.add.reduceat(right.astype(np.int64), starts)
        sums = np.add.reduceat(y * right[:, None], starts, axis=0)
        n_left = size - n_right
        able = np.minimum(n_left, n_right) >= min_leaf
        gained = ((total - sums) ** 2).sum(axis=1) / np.maximum(n_left, 1)
        gained += (sums**2).sum(axis=1) / np.maximum(n_right, 1)
        better = able & (gained > best)
        best, feature, cut = (
            np.where(better, gained, best),
            np.where(better, tried[:, k], feature),
            np.where(better, at, cut),
        )
    return feature, cut
