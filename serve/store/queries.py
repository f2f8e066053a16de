"""Queries of the store, as SQL for both databases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ColumnExpressionArgument,
    Select,
    Table,
    case,
    cast,
    func,
    select,
    type_coerce,
)

from pointsman.serve.request.ids import first_row_id
from pointsman.serve.store.rows import clean_text
from pointsman.serve.store.schema import UNANSWERED, decisions, feedback

__all__ = [
    "DecisionFilter",
    "Group",
    "Said",
    "Total",
    "select_bins",
    "select_decisions",
    "select_said",
    "select_totals",
    "within",
]

SLOT_S = 900
Group: TypeAlias = Literal["slot", "model", "key_id", "policy", "outcome", "router", "tier", "checkpoint", "rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFilter:
    """Filters of decisions; None for any.

    Attributes:
        since, until: since <= at < until, in seconds since 1970.
        model, key_id, policy, outcome, router, rule, session: as in `DecisionRow`.
        text: contained in the prompt, if kept, or in the request id, regardless of the case of ASCII letters.
    """

    since: float | None = None
    until: float | None = None
    model: str | None = None
    key_id: str | None = None
    policy: str | None = None
    outcome: str | None = None
    router: str | None = None
    rule: str | None = None
    session: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over some decisions.

    Attributes:
        group: their common values, in the order of the grouping; a slot is its start in seconds since 1970.
        n_requests: decisions; n_answered, n_estimated, n_priced: those that were answered, whose tokens were
            counted here, whose cost is known.
        input_tokens, output_tokens, cached_tokens, cost_usd: over those where they are known.
        n_compared, compared_usd, strong_usd, weak_usd: over those whose own cost and the pair's are known: how many,
            what they cost, and what they would have cost with the strong and with the weak model.
        saved_usd2: sum of (strong_usd - cost_usd)² over those, for intervals of the saving.
        total_ms: total time.
    """

    group: tuple[Any, ...]
    n_requests: int
    n_answered: int
    n_estimated: int
    n_priced: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float
    n_compared: int
    compared_usd: float
    strong_usd: float
    weak_usd: float
    saved_usd2: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Said:
    """Feedback with the model that it is about; see `FeedbackRow`."""

    at: float
    kind: str
    value: float
    model: str | None


def within(table: Table, since: float | None, until: float | None) -> list[ColumnElement[bool]]:
    """Conditions for a span of time, by ids, which sort by time."""
    bounds = []
    if since is not None:
        bounds.append(table.c.id >= first_row_id(since))
    if until is not None:
        bounds.append(table.c.id < first_row_id(until))
    return bounds


def select_decisions(
    chosen: DecisionFilter, *, limit: int, before: str | None = None, after: str | None = None
) -> Select[Any]:
    """Decisions page by page: the newest first, or from `after` on the oldest first."""
    query = select(decisions).where(*_conditions(chosen)).limit(limit)
    if before is not None:
        query = query.where(decisions.c.id < before)
    if after is not None:
        return query.where(decisions.c.id > after).order_by(decisions.c.id)
    return query.order_by(decisions.c.id.desc())


def select_totals(chosen: DecisionFilter, by: Sequence[Group]) -> Select[Any]:
    """One row per group: its values, then the sums in the order of `Total`."""
    columns = decisions.c
    groups = [_slot() if name == "slot" else columns[name] for name in by]
    compared = columns.cost_usd.is_not(None) & columns.strong_usd.is_not(None) & columns.weak_usd.is_not(None)
    saved = columns.strong_usd - columns.cost_usd
    sums = (
        func.count(),
        _count(columns.outcome == "answered"),
        _count(columns.usage_estimated),
        func.count(columns.cost_usd),
        *(_whole(columns[name]) for name in ("input_tokens", "output_tokens", "cached_tokens")),
        func.coalesce(func.sum(columns.cost_usd), 0.0),
        _count(compared),
        *(_sum(columns[name], compared) for name in ("cost_usd", "strong_usd", "weak_usd")),
        _sum(saved * saved, compared),
        func.coalesce(func.sum(columns.total_ms), 0.0),
    )
    return select(*groups, *sums).where(*_conditions(chosen)).group_by(*groups).order_by(*groups)


def select_bins(chosen: DecisionFilter, *, n_bins: int) -> Select[Any]:
    """One row per bin of win rates, of width 1 / n_bins: its number and how many decisions it has, then, of those where
    the dollars of both models are known, how many, and the sums of s, w, s², w² and s w.
    """
    columns = decisions.c
    strong, weak = columns.strong_usd, columns.weak_usd
    known = strong.is_not(None) & weak.is_not(None)
    number = func.round(n_bins * columns.win_rate - 0.5 + 1e-9)  # floor, which not every SQLite has; 0.57 * 1000 < 570
    sums = [_sum(value, known) for value in (strong, weak, strong * strong, weak * weak, strong * weak)]
    query = select(number, func.count(), _count(known), *sums).where(columns.win_rate.is_not(None))
    return query.where(*_conditions(chosen)).group_by(number).order_by(number)


def select_said(since: float | None) -> Select[Any]:
    """Feedback since a time with the model that answered, in the order of `Said`, the oldest first."""
    columns = feedback.c
    joined = feedback.join(decisions, columns.decision_id == decisions.c.id)
    query = select(columns.at, columns.kind, columns.value, decisions.c.model).select_from(joined)
    return query.where(*within(feedback, since, None)).order_by(columns.id)


def _conditions(chosen: DecisionFilter) -> list[ColumnExpressionArgument[bool]]:
    conditions: list[ColumnExpressionArgument[bool]] = [*within(decisions, chosen.since, chosen.until)]
    for name in ("model", "key_id", "policy", "outcome", "router", "rule", "session"):
        if (value := getattr(chosen, name)) is not None:
            conditions.append(decisions.c[name] == clean_text(value))
    if chosen.outcome not in (None, "answered"):
        conditions.append(UNANSWERED)  # literally, as the index has it
    if chosen.text:
        wanted = clean_text(chosen.text)
        found = decisions.c.prompt.icontains(wanted, autoescape=True)
        conditions.append(found | decisions.c.request_id.icontains(wanted, autoescape=True))
    return conditions


def _slot() -> ColumnElement[int]:
    milliseconds = type_coerce(decisions.c.at, BigInteger)
    return (milliseconds // (1000 * SLOT_S) * SLOT_S).label("slot")


def _whole(value: ColumnElement[int]) -> ColumnElement[int]:
    """A sum of whole numbers; PostgreSQL's own would be a Decimal."""
    return cast(func.coalesce(func.sum(value), 0), BigInteger)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _sum(value: ColumnElement[float], condition: ColumnElement[bool]) -> ColumnElement[float]:
    return func.coalesce(func.sum(case((condition, value))), 0.0)
