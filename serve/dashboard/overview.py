"""The first view: am I saving money, is quality holding, what should I change."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pointsman.serve.dashboard.advice import Found, best_step, checklist
from pointsman.serve.dashboard.alarms import alarms_now
from pointsman.serve.dashboard.quality import Bound, Loss, by_span, ratings_of, served_loss
from pointsman.serve.dashboard.rules_in_force import bound_in_force, why_this_share
from pointsman.serve.dashboard.saving import Dollars, Saving, saving_of
from pointsman.serve.dashboard.spans import BY, By, Spans
from pointsman.serve.dashboard.verdict import budget_verdict, quality_verdict, saving_verdict
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.errors import RequestError
from pointsman.serve.money.ledger import SHADOW_KEY
from pointsman.serve.money.savings import SavingsTally
from pointsman.serve.observers.live import LiveHub

if TYPE_CHECKING:
    from pointsman.serve.store.rows import ComparisonRow
    from pointsman.serve.store.store import Store

__all__ = ["Overview"]

_SAMPLED = 2000  # requests whose lengths tell how long the reference's answers would have been
_PAGE = 250
_LEAST_KEPT_S = 5.0
_LEAST_SPANS = 7
_PART_OF_TIME = 0.05  # that reading the store may take


class Overview:
    """Reads the store at most as often as is cheap, and puts what it holds beside what is in force now."""

    def __init__(self, engine: Engine, hub: LiveHub, *, bundled: bool, clock: Callable[[], float] = time.time) -> None:
        """Reads nothing yet.

        Args:
            bundled: whether the first router is the one of the package.
        """
        self._engine, self._hub, self._bundled, self._clock = engine, hub, bundled, clock
        self._kept: dict[By, tuple[float, dict[str, Any]]] = {}
        self._reading = asyncio.Lock()

    async def read(self, query: dict[str, str]) -> dict[str, Any]:
        """Everything on the first view, as JSON types.

        Args:
            query: `by`, one of hour, day and week.

        Raises:
            RequestError: 400, `by` is something else.
            StoreError: the store cannot be reached.
        """
        by = query.get("by", "day")
        if by not in BY:
            raise RequestError(f"by is {by!r:.40}, wanted one of {', '.join(BY)}", param="by")
        async with self._reading:
            until, history = self._kept.get(by, (0.0, {}))
            if time.monotonic() >= until:
                began = time.monotonic()
                history = await self._history(by) | {"read_at": self._clock()}
                taken = time.monotonic() - began
                self._kept[by] = (time.monotonic() + max(_LEAST_KEPT_S, taken / _PART_OF_TIME), history)
        return self._now(by, history)

    def _now(self, by: By, history: dict[str, Any]) -> dict[str, Any]:
        engine, state = self._engine, self._engine.state
        saving: Saving | None = history["saving"]
        loss: Loss | None = history["loss"]
        bound = bound_in_force(engine)
        void: str | None = None
        if bound is not None and bound.void_since is not None and history["spans"]:
            void = history["label"](bound.void_since)
        alarms = alarms_now(engine, bound=bound, loss=loss, failed=self._hub.pace.failed())
        found = Found(
            n_requests=history["n_requests"], seconds=history["seconds"], n_comparisons=history["n_comparisons"],
            bundled=self._bundled, saving=saving, loss=loss, bound=bound, alarms=alarms,
        )  # fmt: skip
        budgets, why = engine.policies.describe()["budgets"], why_this_share(engine)
        priced = all(name in engine.price_list for name in engine.candidates)
        autopilot = state.autopilot.status() if state.autopilot is not None and engine.config.autopilot else None
        nothing_away = autopilot is not None and next(iter(why))["threshold"] == 0.0
        parts = [
            saving_verdict(
                saving, engine.roles, stand_in=not engine.config.routed, priced=priced, learning=autopilot is not None
            ),
            quality_verdict(
                loss, bound, engine.roles, nothing_away=nothing_away
            ),
            budget_verdict(budgets),
        ]  # fmt: skip
        return {
            "by": by,
            "stand_in": not engine.config.routed,
            "verdict": [part for part in parts if part is not None],
            "alarms": [alarm.to_dict() for alarm in alarms],
            "saving": None if saving is None else saving.to_dict(),
            "spans": [span | {"bound": _bound_in(span, bound, void)} for span in history["spans"]],
            "loss": None if loss is None else loss.to_dict(),
            "ratings": history["ratings"],
            "bound": None if bound is None else _bound(bound, loss),
            "reference": engine.pair.strong,
            "advice": best_step(engine, found).to_dict(),
            "checklist": checklist(engine, found),
            "why": why,
            "budgets": budgets,
            "autopilot": autopilot,
            "cascade": state.cascade_tally.facts() if engine.config.cascade is not None else None,
            "n_requests": history["n_requests"],
            "read_at": history["read_at"],
            "age_s": self._clock() - history["read_at"],
            "kept": state.store is not None,
        }

    async def _history(self, by: By) -> dict[str, Any]:
        store = self._engine.state.store
        return self._of_process() if store is None else await self._of_store(store.for_searches(), by)

    def _of_process(self) -> dict[str, Any]:
        """What this process has seen since it started."""
        totals, since = self._hub.pace.totals()
        known = Dollars(totals.n_priced, totals.priced_usd, totals.priced_usd + totals.saved_usd, 0.0)
        seconds = self._clock() - since
        saving = None
        if known.n_requests:
            saving, _ = saving_of(known, SavingsTally(), seconds=seconds, series={})
        return {
            "saving": saving, "spans": [], "n_requests": totals.routed, "n_comparisons": 0, "seconds": seconds,
            "ratings": None, "loss": None,
        }  # fmt: skip

    async def _of_store(self, store: "Store", by: By) -> dict[str, Any]:
        from pointsman.serve.store.queries import DecisionFilter

        reference = self._engine.pair.strong
        spans = Spans(by, self._clock(), ZoneInfo(self._engine.config.policy.timezone))
        chosen = DecisionFilter(since=spans.since)
        dollars = {label: Dollars() for label in spans.labels()}
        counts = {label: [0, 0] for label in dollars}  # routed and answered, and those not by the reference
        first: float | None = None
        for total in await store.totals(["slot", "model", "router"], chosen):
            slot, model, router = total.group
            if router is None:
                continue
            first = slot if first is None else min(first, slot)
            label = spans.label(slot)
            dollars.setdefault(label, Dollars()).add(
                total.n_compared, total.compared_usd, total.strong_usd, total.weak_usd
            )
            count = counts.setdefault(label, [0, 0])
            count[0] += total.n_answered
            count[1] += total.n_answered if model != reference else 0
        comparisons = await store.comparisons(since=spans.since)
        said = await store.said(since=spans.since)
        drawn = await store.comparison_probabilities(since=spans.since)
        whole = Dollars()
        for one in dollars.values():
            whole.add(one.n_requests, one.spent_usd, one.strong_usd, one.weak_usd)
        seconds = self._clock() - first if first is not None else 0.0
        saving: Saving | None = None
        spent: list[dict[str, Any]] = [{"label": label} for label in dollars]
        if whole.n_requests:
            sample = await self._sample(store, chosen, comparisons)
            saving, spent = await asyncio.to_thread(saving_of, whole, sample, seconds=seconds, series=dollars)
        n_answered, n_weak = (sum(count[k] for count in counts.values()) for k in (0, 1))

        def lost(rows: list["ComparisonRow"], about: list[Any], answered: int, weak: int) -> Loss | None:
            share = weak / answered if answered else None
            return served_loss(rows, about, reference=reference, weak_share=share, probabilities=drawn)

        if first is not None:
            spent = _since(spent, spans.label(first))
        apart = by_span(spans.label, comparisons, said)
        for span in spent:
            loss = lost(*apart.get(span["label"], ([], [])), *counts[span["label"]])
            span["loss"] = None if loss is None or not loss.n_comparisons else loss.to_dict()
        return {
            "saving": saving, "spans": spent, "label": spans.label, "n_requests": n_answered, "seconds": seconds,
            "n_comparisons": len(comparisons), "loss": lost(comparisons, said, n_answered, n_weak),
            "ratings": ratings_of(said, reference),
        }  # fmt: skip

    async def _sample(self, store: "Store", chosen: Any, comparisons: list["ComparisonRow"]) -> SavingsTally:
        """The newest requests, and all comparisons."""
        listed = self._engine.price_list.get(self._engine.pair.strong)
        spent = await store.spent_by_key(chosen.since)
        tally = SavingsTally(
            self._engine.pair.strong,
            listed.price if listed is not None else None,
            shadow_usd=spent.get(SHADOW_KEY, 0.0),
        )
        tally.compare(comparisons)
        before = None
        for _ in range(_SAMPLED // _PAGE):
            rows = await store.decisions(chosen, limit=_PAGE, before=before)
            tally.add(rows)
            if len(rows) < _PAGE:
                break
            before = rows[-1].id
        return tally


def _since(spans: list[dict[str, Any]], label: str) -> list[dict[str, Any]]:
    """The spans from the first with a request, but never fewer than seven."""
    n = len(spans)
    return [span for k, span in enumerate(spans) if span["label"] >= label or k >= n - _LEAST_SPANS]


def _bound_in(span: dict[str, Any], bound: Bound | None, void: str | None) -> str | None:
    """What became of the bound in a span: "void" from the span `void` on, "broken" by what was compared, or "held"."""
    if bound is None or span.get("loss") is None:
        return None
    if void is not None and span["label"] >= void:
        return "void"
    loss = span["loss"]
    return "broken" if loss["tells"] and loss["low"] > bound.max_loss else "held"


def _bound(bound: Bound, loss: Loss | None) -> dict[str, Any]:
    return {"max_loss": bound.max_loss, "confidence": bound.confidence, "source": bound.source, "why": bound.why,
            "state": bound.state if bound.kept_by(loss) else "broken"}  # fmt: skip
