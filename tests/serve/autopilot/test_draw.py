"""Draws: a score that is known only after a weak answer has been read is drawn as one that was known before."""

import asyncio
import itertools
import random
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from pointsman.core.certificate import Certificate
from pointsman.core.comparison_plan import ComparisonPlan
from pointsman.core.pair import ModelPair
from pointsman.core.threshold_chain import Chain
from pointsman.serve.autopilot import draw
from pointsman.serve.autopilot.draw import Draws
from pointsman.serve.autopilot.generation import Generation
from pointsman.serve.autopilot.place import Prompt
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.feedback.comparison import Compared, Other
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.store.rows import AutopilotRow, ComparisonRow
from pointsman.serve.upstreams.tries import Attempt

PAIR = ModelPair("big", "small")
CHAIN = Chain([0.25, 0.5, 0.75], [0.25, 0.5, 0.75])
SCORES = st.lists(st.floats(0.0, 1.0), max_size=40)

_ENDED = itertools.count()  # comparisons so far


def generation(plan: ComparisonPlan | None) -> Generation:
    certificate = Certificate(CHAIN, max_loss=0.1, error=0.05) if plan is not None else None
    return Generation(0, "r", None, 0.0, certificate=certificate, plan=plan)


class _Process:
    """Draws whose comparisons are ties, and the rows that they make."""

    def __init__(self, plan: ComparisonPlan | None, *, seed: int) -> None:
        self.rows: list[AutopilotRow] = []
        self.config = AutopilotConfig(max_loss=0.1, judge="judge", queue=1000)
        results = Counter("results", "Results.", ["result"], registry=CollectorRegistry())
        self.draws = Draws(self.config, put=self._put, compare=_compare, results=results, rng=random.Random(seed))
        self.draws.follow([generation(plan)])

    async def settle(self) -> None:
        await asyncio.gather(*(task for _, task in self.draws._pending), return_exceptions=True)
        self.draws.flush(self.config, PAIR)

    def _put(self, row) -> None:
        if isinstance(row, AutopilotRow):
            self.rows.append(row)

    @property
    def fates(self) -> list[tuple[float, float, float, int]]:
        return [(row.cost_usd, row.score, row.probability, row.n_undrawn) for row in self.rows]


def sample(i: int) -> Sample:
    return Sample(f"{i}", None, "big", {}, "q", "a", 1)


async def _compare(of: Sample, other: Other | None, charges: list[Charge]) -> Compared:
    row = ComparisonRow(
        id=f"{next(_ENDED):06}",
        request_id=of.request_id,
        at=1.0,
        model_a="big",
        model_b="small",
        outcome=0.5,
        judge="judge",
        cost_usd=float(of.request_id),
    )
    return Compared(row, True, 0.5, other or Other("b", Attempt("small"), 1), "a")


def read(score: float):
    async def answer(charges: list[Charge]) -> tuple[Prompt, Other]:
        charges.append(Charge("small", Usage(1, 1), 0.25))
        return Prompt(score, 1, None), Other("b", Attempt("small"), 1)

    return answer


@settings(max_examples=25, deadline=None)
@given(SCORES, st.integers(0, 9), st.data())
def test_what_is_read_first_is_drawn_as_what_was_known(scores, seed, data):
    """The same requests are compared, with the same probabilities and the same undrawn ones between them."""

    async def both() -> None:
        plan = ComparisonPlan(2, 0.7, 0.2)
        known, unknown = _Process(plan, seed=seed), _Process(plan, seed=seed)
        for i, score in enumerate(scores):
            known.draws.draw(partial(sample, i), Prompt(score, 1, None), known.config)
            unknown.draws.draw(partial(sample, i), None, unknown.config, read=read(score))
            if data.draw(st.booleans()):
                await unknown.settle()
        await known.settle()
        await unknown.settle()
        assert unknown.fates == known.fates
        assert unknown.draws._n_undrawn == known.draws._n_undrawn
        assert sum(row.n_undrawn + 1 for row in known.rows) + known.draws._n_undrawn == len(scores)
        assert all(row.probability == (0.7 if row.score < 0.5 else 0.2) for row in known.rows)
        counts = unknown.draws.counts
        assert counts.read_usd == 0.25 * counts.n_read
        assert counts.n_read + len(unknown.rows) <= len(scores)

    asyncio.run(both())


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_comparisons_are_counted_in_the_order_of_the_draw(order):
    """Whichever ends first: the store counts by id, and a comparison whose loss takes longer must not count later."""

    async def ended_in_that_order() -> list[float]:
        process = _Process(ComparisonPlan(3, 1.0, 1.0), seed=0)
        ends = [asyncio.Event() for _ in order]

        async def compare(of: Sample, other: Other | None, charges: list[Charge]) -> Compared:
            await ends[int(of.request_id)].wait()
            return await _compare(of, other, charges)

        process.draws._compare = compare
        for i in range(len(order)):
            process.draws.draw(partial(sample, i), Prompt(0.1, 1, None), process.config)
        for i in order:
            ends[i].set()
            await asyncio.wait([process.draws._pending[0][1]], timeout=0)
            process.draws.flush(process.config, PAIR)
        await process.settle()
        return [row.cost_usd for row in sorted(process.rows, key=lambda row: row.id)]

    assert asyncio.run(ended_in_that_order()) == [float(i) for i in range(len(order))]


async def test_answers_are_read_until_the_chain_can_be_made(monkeypatch):
    """Without a chain nothing is compared, and the first answers are read for their scores alone."""
    monkeypatch.setattr(draw, "_WARM_UP", 5)
    process = _Process(None, seed=0)
    for i in range(5):
        assert process.draws.warmed_up() == {}
        process.draws.draw(partial(sample, i), None, process.config, read=read(i / 10))
        await process.settle()
    assert process.draws.warmed_up() == {0: [0.0, 0.1, 0.2, 0.3, 0.4]}
    assert (process.rows, process.draws.counts.n_read) == ([], 5)


async def test_undrawn_requests_of_another_plan_are_left_out():
    """What was read under a plan that is no longer in force counts for none: that only costs wealth."""
    process = _Process(ComparisonPlan(1, 0.999999, 1e-9), seed=1)
    process.draws.draw(partial(sample, 0), None, process.config, read=read(0.9))  # read, then not compared
    process.draws.follow([generation(ComparisonPlan(3, 1.0, 1.0))])
    process.draws.draw(partial(sample, 1), Prompt(0.1, 1, None), process.config)
    await process.settle()
    assert [(row.cost_usd, row.n_undrawn) for row in process.rows] == [(1.0, 0)]
    assert process.draws.counts.n_read == 1


async def test_a_budget_that_is_exhausted_and_a_reader_that_fails_count_for_nothing():
    """The request is left out with those before it; it is told apart in the counts."""
    process = _Process(ComparisonPlan(3, 1.0, 1.0), seed=0)

    async def exhausted(charges: list[Charge]) -> None:
        return None

    async def broken(charges: list[Charge]) -> tuple[Prompt, Other]:
        charges.append(Charge("small", Usage(1, 1), 0.5))
        raise RuntimeError("no")

    process.draws.draw(partial(sample, 0), None, process.config, read=exhausted)
    process.draws.draw(partial(sample, 1), None, process.config, read=broken)
    process.draws.pass_over()
    process.draws.draw(partial(sample, 2), Prompt(0.1, 1, None), process.config)
    await process.settle()
    counts = process.draws.counts
    assert (counts.n_over_budget, counts.n_failed, counts.n_read) == (1, 1, 0)
    assert counts.without_row_usd == 0.5  # what failed is paid, too
    assert [(row.cost_usd, row.n_undrawn) for row in process.rows] == [(2.0, 1)]
    assert process.rows[0].loss == pytest.approx(0.0)


async def test_answers_that_are_only_read_count_as_made_when_failures_are_counted():
    """An upstream that fails at a quarter of the readings is no reason to pause at half, though nothing is compared."""
    process = _Process(ComparisonPlan(1, 0.999999, 1e-9), seed=1)

    async def broken(charges: list[Charge]) -> tuple[Prompt, Other]:
        charges.append(Charge("small", Usage(1, 1), 0.5))
        raise RuntimeError("no")

    for i in range(200):
        process.draws.draw(partial(sample, i), None, process.config, read=broken if i % 4 == 0 else read(0.9))
    await process.settle()
    assert (process.draws.counts.n_failed, process.draws.counts.n_read) == (50, 150)
    assert process.draws.pause is None
    for i in range(40):
        process.draws.draw(partial(sample, i), None, process.config, read=broken if i % 4 else read(0.9))
    await process.settle()
    assert process.draws.pause is not None
