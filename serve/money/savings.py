"""What routing saved against always asking the strong model (of more candidates the reference), from a store."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pointsman.core.counted import counted
from pointsman.core.prices import Price
from pointsman.core.savings import TotalEstimate, length_features, ratio_total, regression_total
from pointsman.serve.money.ledger import SHADOW_KEY
from pointsman.serve.store.queries import DecisionFilter
from pointsman.serve.store.rows import ComparisonRow, DecisionRow
from pointsman.serve.store.store import Store

__all__ = ["Savings", "SavingsTally", "read_savings"]

_MIN_FIT = 30
_EQUAL = "the strong model's answers assumed to be as long as those given; no interval"
_EXPECTED = "the reference's answers assumed to be as long as its labelled or live ones; no interval"


@dataclass(frozen=True, slots=True)
class Savings:
    """Dollars saved, over the routed requests whose prices are known.

    Attributes:
        n_requests, n_weak: number of requests, and of those not answered by the strong model.
        spent_usd: what they cost.
        always_strong_usd: what the strong model would have charged for all of them.
        saved_usd: the difference, with the ends of its interval, if there is one.
        method: how the lengths of the strong model's missing answers were estimated.
        confidence: of the interval.
        shadow_usd: cost of shadow comparisons, including failed ones; not part of `spent_usd`.
        reference: name of the reference where there were more than two candidates; None for a pair.
    """

    n_requests: int
    n_weak: int
    spent_usd: float
    always_strong_usd: float
    saved_usd: float
    low_usd: float | None
    high_usd: float | None
    method: str
    confidence: float
    shadow_usd: float = 0.0
    reference: str | None = None


@dataclass(slots=True)
class SavingsTally:
    """Accumulates decisions and comparisons, and estimates the savings.

    Attributes:
        strong: name of the strong model, or the reference; None for that of each row.
        price: its price; None likewise. Without it answers count as equally long.
        shadow_usd: cost of shadow comparisons.
    """

    strong: str | None = None
    price: Price | None = None
    n_requests: int = 0
    spent_usd: float = 0.0
    strong_usd: float = 0.0
    shadow_usd: float = 0.0
    _reference: str | None = None  # of more than two candidates
    _input_usd: float = 0.0  # to add to strong_usd for what is charged without the answers that were not given
    _weak: list[tuple[float, float, float]] = field(default_factory=list)
    _fit: list[tuple[float, float, float]] = field(default_factory=list)
    _pairs: list[tuple[float, float]] = field(default_factory=list)

    def add(self, rows: Sequence[DecisionRow]) -> None:
        """Adds decisions."""
        for row in rows:
            if row.router is None or row.cost_usd is None or row.strong_usd is None:
                continue
            self.n_requests += 1
            self.spent_usd += row.cost_usd
            self.strong_usd += row.strong_usd
            if row.outcome != "answered" or row.input_tokens is None or row.output_tokens is None:
                continue
            win_rate = 1.0 if row.win_rate is None else row.win_rate
            length = (float(row.input_tokens), win_rate, float(row.output_tokens))
            strong = self.strong or row.reference
            if strong is None:
                continue
            if row.weighed:
                self._reference = strong
            if row.model != strong:
                self._weak.append(length)
                self._input_usd += self._of_input(row)
            elif not row.usage_estimated:
                self._fit.append(length)

    def _of_input(self, row: DecisionRow) -> float:
        """What the strong model charges for a request but for its answer, less the row's own estimate with one."""
        if self.price is None or row.input_tokens is None or row.strong_usd is None:
            return 0.0
        if not row.weighed:  # estimated with an answer as long as the one that was given
            return -(row.output_tokens or 0) * self.price.output_usd / 1e6
        return self.price.cost_usd(row.input_tokens, 0, cached_tokens=row.cached_tokens or 0) - row.strong_usd

    def compare(self, rows: Sequence[ComparisonRow]) -> None:
        """Adds comparisons; those with the strong model show how long its answers are."""
        for row in rows:
            if row.model_b == self.strong and row.tokens_a is not None and row.tokens_b is not None:
                self._pairs.append((float(row.tokens_a), float(row.tokens_b)))

    def savings(self, *, confidence: float = 0.95, seed: int = 0) -> Savings:
        """The savings, by the best of three methods for which there is enough data."""
        found, method = self._lengths(confidence, np.random.default_rng(seed))
        per_token = self.price.output_usd / 1e6 if self.price is not None else 0.0
        always = self.strong_usd
        low: float | None = None
        high: float | None = None
        if found is not None:
            base = self.strong_usd + self._input_usd
            always = base + per_token * found.total
            low = base + per_token * found.low - self.spent_usd
            high = base + per_token * found.high - self.spent_usd
        return Savings(
            n_requests=self.n_requests,
            n_weak=len(self._weak),
            spent_usd=self.spent_usd,
            always_strong_usd=always,
            saved_usd=always - self.spent_usd,
            low_usd=low,
            high_usd=high,
            method=method,
            confidence=confidence,
            shadow_usd=self.shadow_usd,
            reference=self._reference,
        )

    def _lengths(self, confidence: float, rng: np.random.Generator) -> tuple[TotalEstimate | None, str]:
        """Estimated tokens of the strong model's missing answers, and the method."""
        if self.strong is None or self.price is None or not self._weak:
            return None, self._assumed
        weak = np.array(self._weak)
        pairs = np.array(self._pairs).reshape(-1, 2)
        if len(pairs) >= _MIN_FIT and pairs[:, 0].sum() > 0:
            found = ratio_total(weak[:, 2], pairs[:, 0], pairs[:, 1], confidence=confidence, rng=rng)
            return found, f"ratio of lengths in {counted(len(pairs), 'shadow comparison')}, bootstrap interval"
        if len(self._fit) < _MIN_FIT:
            return None, self._assumed
        fit = np.array(self._fit)
        features, fit_features = (length_features(rows[:, 0], rows[:, 1]) for rows in (weak, fit))
        found = regression_total(features, fit_features, fit[:, 2], confidence=confidence, rng=rng)
        return found, (
            f"regression of {counted(len(fit), 'answer')} of {self._reference or 'the strong model'} on the prompt's "
            "length and win rate, "
            "bootstrap interval"
        )

    @property
    def _assumed(self) -> str:
        return _EQUAL if self._reference is None else _EXPECTED


async def read_savings(
    store: Store,
    *,
    strong: str | None = None,
    price: Price | None = None,
    since: float | None = None,
    until: float | None = None,
    confidence: float = 0.95,
) -> Savings:
    """The savings in a span of time; see `SavingsTally`."""
    spent = await store.spent_by_key(since or 0.0, until)
    tally = SavingsTally(strong, price, shadow_usd=spent.get(SHADOW_KEY, 0.0))
    tally.compare(await store.comparisons(since=since, until=until))
    async for rows in store.scan(DecisionFilter(since=since, until=until)):
        tally.add(rows)
    return tally.savings(confidence=confidence)
