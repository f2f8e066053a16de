"""Am I saving money: dollars, percent and an interval, in all and by hour, day or week."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pointsman.serve.money.savings import SavingsTally

__all__ = ["Dollars", "Saving", "saving_of"]

_MONTH_S = 30.0 * 86_400.0
_LEAST_S = 3600.0  # less traffic says nothing about a month


@dataclass(slots=True)
class Dollars:
    """Sums over routed requests whose price, and the pair's, is known.

    Attributes:
        n_requests: how many.
        spent_usd: what they cost.
        strong_usd, weak_usd: what answers as long would have cost of the reference, of the cheapest.
    """

    n_requests: int = 0
    spent_usd: float = 0.0
    strong_usd: float = 0.0
    weak_usd: float = 0.0

    def add(self, n_requests: int, spent_usd: float, strong_usd: float, weak_usd: float) -> None:
        """Adds further ones."""
        self.n_requests += n_requests
        self.spent_usd += spent_usd
        self.strong_usd += strong_usd
        self.weak_usd += weak_usd


@dataclass(frozen=True, slots=True)
class Saving:
    """What was saved against always asking the reference, after what comparisons cost.

    Attributes:
        n_requests, spent_usd: as in `Dollars`.
        always_usd: what the reference would have charged.
        compared_usd: what comparisons cost, which is not in `spent_usd`.
        saved_usd, share: what is left of it, and that as a share of it; `share` is None where it is nothing.
        low_usd, high_usd, low, high: the ends of their 95 % intervals; None where there is none.
        month_usd: saved in thirty days at this rate; None where there was less than an hour of traffic.
        spread_usd: more than the cheapest alone, in thirty days: all that routing could still save.
        method: how the lengths of the answers were told that the reference was not asked for.
    """

    n_requests: int
    spent_usd: float
    always_usd: float
    compared_usd: float
    saved_usd: float
    share: float | None
    low_usd: float | None
    high_usd: float | None
    low: float | None
    high: float | None
    month_usd: float | None
    spread_usd: float | None
    method: str

    @property
    def gross_usd(self) -> float:
        """Saved before comparisons are paid."""
        return self.saved_usd + self.compared_usd

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def saving_of(
    total: Dollars, sample: SavingsTally, *, seconds: float, series: Mapping[str, Dollars]
) -> tuple[Saving, list[dict[str, Any]]]:
    """The saving in all, and of each span.

    The reference's answers to what it was not asked are as long as those given, times a factor. `sample` tells it, from
    some of the requests; its interval is that of as few.

    Args:
        total: of all requests.
        seconds: from the first of them until now.
        series: of each span, by its label.
    """
    found = sample.savings()
    equal = sample.strong_usd
    factor = found.always_strong_usd / equal if equal > 0.0 else 1.0
    always = factor * total.strong_usd
    paid = total.spent_usd + found.shadow_usd
    saved = always - paid
    low = high = None
    if found.low_usd is not None and found.high_usd is not None and equal > 0.0:
        low, high = (
            total.strong_usd * (end + found.spent_usd) / equal - paid for end in (found.low_usd, found.high_usd)
        )
    month = _MONTH_S / seconds if seconds >= _LEAST_S else None
    saving = Saving(
        n_requests=total.n_requests,
        spent_usd=total.spent_usd,
        always_usd=always,
        compared_usd=found.shadow_usd,
        saved_usd=saved,
        share=_part(saved, paid),
        low_usd=low,
        high_usd=high,
        low=None if low is None else _part(low, paid),
        high=None if high is None else _part(high, paid),
        month_usd=None if month is None else month * saved,
        spread_usd=None if month is None else month * max(total.spent_usd - total.weak_usd, 0.0),
        method=found.method,
    )
    return saving, [_span(label, one, factor) for label, one in series.items()]


def _span(label: str, one: Dollars, factor: float) -> dict[str, Any]:
    always = factor * one.strong_usd
    return {"label": label, "n_requests": one.n_requests, "spent_usd": one.spent_usd, "always_usd": always,
            "saved_usd": always - one.spent_usd, "share": _part(always - one.spent_usd, one.spent_usd)}  # fmt: skip


def _part(saved: float, spent: float) -> float | None:
    """Saved, as a share of what would have been spent."""
    return saved / (saved + spent) if saved + spent > 0.0 else None
