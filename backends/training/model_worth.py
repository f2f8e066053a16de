"""Where a model is worth its cost beside those that a checkpoint knows, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pointsman.backends.training.onboarding import Measured, estimate_column
from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.hull import upper_hull
from pointsman.core.novelty import fit_centroids
from pointsman.core.score_models import column_means
from pointsman.core.similarity import unit_rows

__all__ = ["model_worth"]

_Z = 1.96  # of an interval of 95 %
_PER_GROUP, _MAX_GROUPS, _MIN_GROUP, _N_STARTS = 30, 8, 10, 8


def model_worth(
    checkpoint: Checkpoint, name: str, measured: Measured, texts: Sequence[str | None], *, seed: int = 0
) -> dict[str, Any]:
    """The model's mean score and bill over all prompts, and its gain over mixtures of the others at its cost.

    Intervals of 95 % from leave-one-out errors, the other models' means taken as they are. Groups are of landmarks that
    are alike, each compared by itself.

    Args:
        checkpoint: before the model was added.
        texts: of its rows, for examples.

    Returns:
        JSON-ready figures; `lines` say them in words.
    """
    tables = {table: _known(checkpoint, table) for table in ("scores", "usd")}
    at = [checkpoint.models.index(model) for model in checkpoint.candidates]
    embeddings = checkpoint.array("embeddings", ndim=2).astype(np.float32)
    score = _interval(tables["scores"], embeddings, measured.rows, measured.scores)
    usd = _interval(tables["usd"], embeddings, measured.rows, measured.usd)
    others, bills = column_means(tables["scores"])[at], column_means(tables["usd"])[at]
    facts: dict[str, Any] = {"n_landmarks": int(np.isfinite(measured.scores).sum()), "score": _told(score), "usd": None}
    lines = [
        f"{name}: score {_percent(score)} on {counted(len(tables['scores']), 'prompt')}, "
        f"from {counted(facts['n_landmarks'], 'landmark')}"
    ]
    if not (np.isfinite(bills).all() and np.isfinite(usd).all()):
        difference = score - others.max()
        facts["gain"] = _told(difference)
        best = checkpoint.candidates[int(others.argmax())]
        return {**facts, "groups": [], "lines": [*lines, f"no bills: {_points(difference)} against {best}, the best"]}
    facts["usd"] = _told(usd)
    gain = score - _hull_at(usd, bills, others)
    facts["gain"] = _told(gain)
    lines[0] += f", {dollars(usd[0])} [{dollars(usd[1])}, {dollars(usd[2])}] a prompt"
    lines.append(f"{_points(gain)} over mixtures of the other candidates at its cost: {_verdict(gain)}")
    facts["groups"] = _groups(checkpoint, measured, tables, at, texts, seed)
    for group in facts["groups"]:
        if group["gain"]["low"] > 0.0:
            lines.append(
                f"worth it on {group['n']} landmarks such as {group['example']!r:.70}: {_points(group['gain'])}"
            )
    return {**facts, "lines": lines}


def _known(checkpoint: Checkpoint, table: str) -> FloatArray:
    stored = checkpoint.array(table, ndim=2).astype(np.float64)
    return np.where(stored < 0.0, np.nan, stored)


def _interval(others: FloatArray, embeddings: np.ndarray, rows: np.ndarray, values: FloatArray) -> FloatArray:
    """Mean of a model's estimated column and the ends of its interval, shape (3,)."""
    column, error = estimate_column(others, embeddings, rows, values)
    return np.asarray(column.mean() + _Z * error * np.array([0.0, -1.0, 1.0]))


def _hull_at(usd: FloatArray, bills: FloatArray, scores: FloatArray) -> FloatArray:
    """Quality of mixtures at the model's mean bill: at one cost, as its interval is far smaller than its score's."""
    hull = upper_hull(bills, scores)
    return np.full(3, np.interp(usd[0], hull.usd, hull.quality))


def _groups(
    checkpoint: Checkpoint,
    measured: Measured,
    tables: dict[str, FloatArray],
    at: Sequence[int],
    texts: Sequence[str | None],
    seed: int,
) -> list[dict[str, Any]]:
    """Landmarks that are alike, and the model's gain over mixtures of the others on them."""
    known = np.isfinite(measured.scores) & np.isfinite(measured.usd)
    rows, scores, usd = measured.rows[known], measured.scores[known], measured.usd[known]
    unit = unit_rows(checkpoint.array("embeddings", ndim=2)[rows].astype(np.float32))
    n_groups = min(max(len(unit) // _PER_GROUP, 1), _MAX_GROUPS)
    starts = [fit_centroids(unit, n_groups, rng=np.random.default_rng(seed + i)) for i in range(_N_STARTS)]
    cosines = max((unit @ found.vectors.T for found in starts), key=lambda each: float(each.max(axis=1).sum()))
    groups = []
    for k in range(cosines.shape[1]):
        inside = np.flatnonzero(cosines.argmax(axis=1) == k)
        others, bills = (column_means(tables[table][rows[inside]][:, at]) for table in ("scores", "usd"))
        if len(inside) < _MIN_GROUP or not (np.isfinite(others).all() and np.isfinite(bills).all()):
            continue
        hull = upper_hull(bills, others)
        cost = float(usd[inside].mean())
        paired = tables["scores"][rows[inside]][:, [at[i] for i in hull.rows]]
        weights = np.array([np.interp(cost, hull.usd, unit_row) for unit_row in np.eye(len(hull.rows))])
        gains = scores[inside] - np.where(np.isfinite(paired), paired, others[hull.rows]) @ weights
        error = _Z * float(gains.std(ddof=1) / np.sqrt(len(inside)))
        mean = float(gains.mean())
        example = texts[int(rows[inside[cosines[inside, k].argmax()]])] or ""
        gain = {"value": mean, "low": mean - error, "high": mean + error}
        groups.append({"n": len(inside), "example": " ".join(example.split())[:80], "gain": gain})
    return sorted(groups, key=lambda group: -group["gain"]["value"])


def _told(interval: FloatArray) -> dict[str, float]:
    return {"value": float(interval[0]), "low": float(interval[1]), "high": float(interval[2])}


def _percent(interval: FloatArray) -> str:
    value, low, high = 100.0 * interval
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _points(gain: FloatArray | dict[str, float]) -> str:
    value, low, high = gain.values() if isinstance(gain, dict) else gain
    return f"{100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def _verdict(gain: FloatArray) -> str:
    if gain[1] > 0.0:
        return "it is worth its cost"
    if gain[2] < 0.0:
        return "it is not worth its cost on its own"
    return "these landmarks do not show whether it is worth its cost"
