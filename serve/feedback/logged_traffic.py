"""Reads traffic that was served, from a store or a file, in the shape that a replay takes."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pointsman.core.arrays import FloatArray
from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.core.replay import Logged

if TYPE_CHECKING:
    from pointsman.backends.data.tables import Source, Table
    from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow
    from pointsman.serve.store.store import Store

__all__ = ["Traffic", "read_store", "read_traffic_file", "traffic_from_rows"]

Decide: TypeAlias = Callable[[Sequence[str]], tuple[FloatArray, float] | None]

_LIMIT = 50_000
_NUMBERS = ("win_rate", "strong_usd", "weak_usd", "strong", "weak", "gain", "probability", "rating")


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Routed prompts, the oldest first.

    Attributes:
        source: where they are from.
        prompts: text of each; None where it was not kept.
        embeddings: of each, shape (dim,); None where it was not kept.
        win_rates: of the router that decided, NaN where not known, shape (n_prompts,).
        logged: what happened to them.
        notes: what was left out or assumed.
        by_rule: whether a configured rule chose the model, which another router would not change; none if None.
        rule_thresholds: thresholds that rules set, NaN where none did, shape (n_prompts,); none if None.
    """

    source: str
    prompts: Sequence[str | None]
    embeddings: Sequence[np.ndarray | None]
    win_rates: FloatArray
    logged: Logged
    notes: tuple[str, ...] = field(default=())
    by_rule: NDArray[np.bool_] | None = None
    rule_thresholds: FloatArray | None = None

    def choices(self, win_rates: FloatArray, threshold: float) -> NDArray[np.bool_]:
        """Which prompts another router would send to the strong model: rules hold for it as they did.

        Args:
            win_rates: that router's, shape (n_prompts,).
            threshold: where no rule set one.
        """
        thresholds: FloatArray | float = threshold
        if self.rule_thresholds is not None:
            thresholds = np.where(np.isnan(self.rule_thresholds), threshold, self.rule_thresholds)
        strong = win_rates >= thresholds
        return strong if self.by_rule is None else np.where(self.by_rule, self.logged.went_strong, strong)


async def read_store(
    store: "Store",
    *,
    router: str | None = None,
    rule: str | None = None,
    strong: str | None = None,
    since: float | None = None,
) -> Traffic:
    """The newest 50,000 routed and answered requests of an open store.

    Args:
        router: only what this one decided.
        rule: only what met this configured rule.
        strong: name of the strong model; told from the decisions if None.
        since: seconds since 1970.

    Raises:
        DataError: there is none, or the strong model cannot be told.
        StoreError: the store cannot be read.
    """
    from pointsman.serve.store.queries import DecisionFilter

    chosen = DecisionFilter(router=router, rule=rule, since=since, outcome="answered")
    rows = (await store.decisions(chosen, limit=_LIMIT))[::-1]
    return traffic_from_rows(
        rows, await store.comparisons(since=since), await store.feedback(since=since), strong=strong, source="the store"
    )


def traffic_from_rows(
    rows: "Sequence[DecisionRow]",
    comparisons: "Sequence[ComparisonRow]",
    feedback: "Sequence[FeedbackRow]",
    *,
    strong: str | None = None,
    source: str,
) -> Traffic:
    """Traffic from rows of a store; see `read_store`.

    The gain of a request is the mean over its comparisons. A side's share of compared requests is taken for the
    probability with which each of that side was compared. Its rating is the mean of the last words on it.
    """
    from pointsman.serve.feedback.export import latest_feedback

    routed = [row for row in rows if row.router is not None and row.win_rate is not None and row.decided is not None]
    strong = strong or _strong_model(routed)
    if not routed or strong is None:
        raise DataError(
            f"{source} has no routed request with a win rate, or none that identifies the strong model: --strong"
        )
    gains: dict[str | None, list[float]] = defaultdict(list)
    for found in comparisons:
        if strong in (found.model_a, found.model_b):
            share = found.outcome if found.model_a == strong else 1.0 - found.outcome
            gains[found.decision_id].append(2.0 * share - 1.0)
    ratings: dict[str | None, list[float]] = defaultdict(list)
    for said in latest_feedback(feedback):
        if said.kind == "rating":
            ratings[said.decision_id].append(said.value)
    gain = np.array([_mean(gains.get(row.id)) for row in routed])
    went_strong = np.array([row.decided == strong for row in routed])
    logged = Logged(
        went_strong=went_strong,
        strong_usd=_column([row.strong_usd for row in routed]),
        weak_usd=_column([row.weak_usd for row in routed]),
        gain=gain,
        probability=_shares(went_strong, gain),
        rating=np.array([_mean(ratings.get(row.id)) for row in routed]),
    )
    return Traffic(
        source,
        [row.prompt for row in routed],
        [None if row.embedding is None else np.frombuffer(row.embedding, dtype="<f4") for row in routed],
        _column([row.win_rate for row in routed]),
        logged,
        _notes(logged, len(rows) - len(routed)),
        by_rule=np.array(["rule: " in (row.reason or "") for row in routed]),
        rule_thresholds=_column([row.threshold if (row.policy or "").startswith("rule:") else None for row in routed]),
    )


def read_traffic_file(source: "Source", *, strong: str | None = None, decide: Decide | None = None) -> Traffic:
    """Traffic from chat logs or a table of prompts.

    Who answered is what the first of these says: column went_strong; columns win_rate and threshold; column model, if
    it names the strong one; `decide`. Further columns count where there are any: strong_usd and weak_usd; gain, or
    strong and weak for the scores of both; probability, with which the gain was observed (a side's share of observed
    gains if it is missing); rating.

    Args:
        strong: name of the strong model.
        decide: gives the win rates, shape (n_prompts,), and the threshold of the router that serves these prompts, or
            None where none is known.

    Raises:
        DataError: a column is missing or malformed, or nothing says who answered.
        MissingExtraError: the format needs `pointsman[data]`.
    """
    from pointsman.backends.data.labels import prompt_texts
    from pointsman.backends.data.sources import source_name
    from pointsman.backends.data.tables import read_table

    table, path = read_table(source), source_name(source)
    prompts = prompt_texts(table, "prompt" if "prompt" in table.columns else None)
    columns = {name: _column(table.columns[name]) if name in table.columns else None for name in _NUMBERS}
    nothing = np.full(len(prompts), np.nan)
    notes: tuple[str, ...] = ()
    found = _who_answered(table, columns["win_rate"], strong)
    if found is None:
        decided = None if decide is None else decide(prompts)
        if decided is None:
            raise DataError(
                f"{path} does not say which model answered: add column went_strong, or win_rate and threshold, or name "
                "the configuration whose router serves these prompts (pointsman.yaml)"
            )
        columns["win_rate"], threshold = decided
        found = decided[0] >= threshold
        notes = ("the log does not say which model answered: now is what the configuration's router decides",)
    went_strong, rates = found, columns["win_rate"]
    win_rates = nothing if rates is None else rates
    gain, of_strong, of_weak = columns["gain"], columns["strong"], columns["weak"]
    if gain is None:
        gain = nothing if of_strong is None or of_weak is None else of_strong - of_weak
    probability = columns["probability"]
    try:
        logged = Logged(
            went_strong=went_strong,
            strong_usd=nothing if columns["strong_usd"] is None else columns["strong_usd"],
            weak_usd=nothing if columns["weak_usd"] is None else columns["weak_usd"],
            gain=gain,
            probability=_shares(went_strong, gain) if probability is None else probability,
            rating=nothing if columns["rating"] is None else columns["rating"],
        )
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return Traffic(path, prompts, [None] * len(prompts), win_rates, logged, (*notes, *_notes(logged, 0)))


def _who_answered(table: "Table", win_rates: FloatArray | None, strong: str | None) -> NDArray[np.bool_] | None:
    """Where the strong model answered; None where the table does not say."""
    if "went_strong" in table.columns:
        return np.array([_flag(value, table.source, k) for k, value in enumerate(table.columns["went_strong"])])
    if "threshold" in table.columns and win_rates is not None:
        return win_rates >= _column(table.columns["threshold"])
    if strong is not None and strong in table.columns.get("model", ()):
        return np.array([name == strong for name in table.columns["model"]])
    return None


def _strong_model(rows: "Sequence[DecisionRow]") -> str | None:
    """Who answers where a win rate reached its threshold."""
    names = Counter(
        row.decided
        for row in rows
        if row.reason == "win_rate" and row.threshold is not None and (row.win_rate or 0.0) >= row.threshold
    )
    return names.most_common(1)[0][0] if names else None


def _shares(went_strong: np.ndarray, gain: FloatArray) -> FloatArray:
    """Share of observed gains of each prompt's side."""
    seen = ~np.isnan(gain)
    sides = [float(seen[side].mean()) if side.any() else 0.0 for side in (~went_strong, went_strong)]
    return np.where(went_strong, sides[1], sides[0])


def _notes(logged: Logged, n_left_out: int) -> tuple[str, ...]:
    notes = [f"{counted(n_left_out, 'request')} not routed by a win rate left out"] if n_left_out else []
    if not np.isnan(logged.gain).all():
        for side, name in ((logged.went_strong, "strong"), (~logged.went_strong, "weak")):
            if side.any() and not logged.probability[side].any():
                notes.append(f"no answer of the {name} model was compared: what it would lose or gain is not known")
    return tuple(notes)


def _flag(value: Any, path: str, row: int) -> bool:
    if value in (True, False):
        return bool(value)
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise DataError(f"{path}, row {row + 1}: went_strong is {value!r:.60}, wanted true or false")


def _column(values: Sequence[Any]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _mean(values: Sequence[float] | None) -> float:
    return float(np.mean(values)) if values else float("nan")
