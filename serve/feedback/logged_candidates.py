"""Reads traffic of any number of candidates from a store, in the shape that a replay takes."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.errors import DataError
from pointsman.core.replay_candidates import LoggedCandidates

if TYPE_CHECKING:
    from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow
    from pointsman.serve.store.store import Store

__all__ = ["candidates_from_rows", "read_candidates"]

_LIMIT = 50_000


async def read_candidates(
    store: "Store",
    models: Sequence[str],
    *,
    router: str | None = None,
    rule: str | None = None,
    since: float | None = None,
) -> "tuple[list[DecisionRow], LoggedCandidates]":
    """The newest 50,000 routed and answered requests that were decided among some of the models.

    Args:
        models: the candidates, the reference first.
        router: only what this one decided.
        rule: only what met this configured rule.
        since: seconds since 1970.

    Raises:
        DataError: there is none.
        StoreError: the store cannot be read.
    """
    from pointsman.serve.store.queries import DecisionFilter

    chosen = DecisionFilter(router=router, rule=rule, since=since, outcome="answered")
    rows = (await store.decisions(chosen, limit=_LIMIT))[::-1]
    comparisons, feedback = await store.comparisons(since=since), await store.feedback(since=since)
    return candidates_from_rows(rows, comparisons, feedback, models)


def candidates_from_rows(
    rows: "Sequence[DecisionRow]",
    comparisons: "Sequence[ComparisonRow]",
    feedback: "Sequence[FeedbackRow]",
    models: Sequence[str],
) -> "tuple[list[DecisionRow], LoggedCandidates]":
    """The rows that count, and what happened to them; see `read_candidates`.

    A gain is the mean over a request's comparisons of the reference with that model. The share of the requests of one
    model that have it is taken for the probability with which it is observed.
    """
    from pointsman.serve.feedback.export import latest_feedback

    column = {name: i for i, name in enumerate(models)}
    routed = [row for row in rows if row.weighed and row.reference == models[0] and row.decided in column]
    if not routed:
        seen = Counter(row.reference for row in rows if row.weighed)
        told = f"those of {', '.join(map(str, seen))}" if seen else "none among more than two models"
        raise DataError(
            f"the store holds no request decided among {', '.join(models)} with {models[0]} as the reference; it holds "
            f"{told}: name the candidates as the configuration does"
        )
    at = {row.id: i for i, row in enumerate(routed)}
    gains: dict[tuple[int, int], list[float]] = defaultdict(list)
    for found in comparisons:
        i, pair = at.get(found.decision_id or ""), {found.model_a, found.model_b}
        others = [name for name in pair - {models[0]} if name in column]
        if i is not None and models[0] in pair and others:
            share = found.outcome if found.model_a == models[0] else 1.0 - found.outcome
            gains[i, column[others[0]]].append(2.0 * share - 1.0)
    ratings: dict[int, list[float]] = defaultdict(list)
    for said in latest_feedback(feedback):
        if said.kind == "rating" and (i := at.get(said.decision_id or "")) is not None:
            ratings[i].append(said.value)
    shape = len(routed), len(models)
    gain, usd, rating = np.full(shape, np.nan), np.full(shape, np.nan), np.full(len(routed), np.nan)
    for where, values in gains.items():
        gain[where] = np.mean(values)
    for i, each in ratings.items():
        rating[i] = np.mean(each)
    for i, row in enumerate(routed):
        for weighed in row.weighed or ():
            if weighed["model"] in column and weighed["usd"] is not None:
                usd[i, column[weighed["model"]]] = weighed["usd"]
    asked = np.array([column[row.decided] for row in routed if row.decided is not None])
    return routed, LoggedCandidates(asked, usd, gain, _observed(asked, gain), rating)


def _observed(asked: np.ndarray, gain: FloatArray) -> FloatArray:
    """Share of the requests of each request's model whose gain is known, by candidate; the reference's own is 0."""
    probability = np.zeros(gain.shape)
    for model in np.unique(asked):
        mine = asked == model
        probability[mine] = np.isfinite(gain[mine]).mean(axis=0)
    return probability
