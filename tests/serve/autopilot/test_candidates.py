"""The autopilot among three candidates: one of them is compared with the reference at a time."""

import json
import random

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter

from pointsman.core.certificate import Certificate
from pointsman.core.comparison_plan import make_plan
from pointsman.core.errors import ConfigError
from pointsman.core.ladder import rung_at
from pointsman.core.learned_candidates import LearnedCandidates
from pointsman.core.learned_score import LearnedScore
from pointsman.core.threshold_chain import make_chain
from pointsman.serve import create_app
from pointsman.serve.autopilot import autopilot as autopilot_module
from pointsman.serve.autopilot import draw
from pointsman.serve.autopilot.draw import Draws
from pointsman.serve.autopilot.generation import Generation
from pointsman.serve.autopilot.place import Prompt, place_of
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.autopilot.training import due
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.store.rows import AutopilotRow

from support.autopilot_server import PRICES, ask, serving, settings, settled
from support.planted_models import PlantedModels
from support.upstream import LocalServer

BILLS = (("big", 1.0), ("middle", 0.4), ("small", 0.0))
NAMES = [name for name, _ in BILLS]


@pytest.fixture
def values(tmp_path, monkeypatch):
    """The configuration of a server with three candidates, whose models are planted; `middle` is always right."""
    monkeypatch.setattr(draw, "_WARM_UP", 20)
    monkeypatch.setattr(autopilot_module, "_TURN_S", 3600.0)  # it turns when the test says so
    monkeypatch.setitem(PRICES, "middle", (4.0, 12.0))
    planted = PlantedModels(hard=0.3)
    with LocalServer(planted.app()) as server:
        found = settings(
            f"{server.url}/v1",
            f"sqlite:///{tmp_path}/c.db",
            autopilot={"max_loss": 0.4},
            routers={"random": {"threshold": 0.5}},
        )
        del found["strong"], found["weak"]
        yield found | {"candidates": NAMES}


async def test_savings_are_earned_among_three(values):
    """Everything goes to the reference until something is certified; then to whom the threshold says, and a restart
    serves on; each comparison is of the reference and the candidate that was drawn, and what it costs is counted.
    """
    async with serving(values) as (client, app):
        state = app.engine.state
        assert set(await ask(client, 0, 21)) == {"big"}
        await settled(app)
        await ask(client, 21, 40)
        facts = await settled(app)
        assert facts["candidates"] == NAMES
        assert facts["training"]["next_at"] == 300

        def open_all(kept, rows):
            found = AutopilotState.from_dict(kept)
            found.current.certificate._most[:] = 99.0  # as if many comparisons had been without a loss
            return found.to_dict()

        await state.store.fold_autopilot("autopilot", open_all, limit=0)
        await state.autopilot._turn()
        assert set(await ask(client, 100, 40)) >= {"middle", "small"}
        before = await settled(app)
        rows = await state.store.autopilot()
        assert {row.candidate for row in rows} == {"middle", "small"}
        assert all(0.0 <= row.score < row.until <= 1.0 for row in rows)
        assert all(row.loss == 0.0 for row in rows if row.candidate == "middle")
        assert len(rows) == before["comparisons"]["n"]
        compared = await state.store.comparisons()
        assert all("big" in (row.model_a, row.model_b) for row in compared)
        assert before["comparisons"]["usd"] == pytest.approx(sum(row.cost_usd for row in rows), abs=1e-5)
    async with serving(values) as (client, app):
        after = app.engine.state.autopilot.status()
        assert (after["certified_share"] > 0.5, after["threshold"] > 0.0) == (True, True)
        assert (after["certified_share"], after["threshold"]) == (before["certified_share"], before["threshold"])
        assert set(await ask(client, 200, 40)) >= {"middle", "small"}


def _generation() -> Generation:
    prompts = [Prompt(0.5, 500, None, _rates(seed)) for seed in range(100)]
    generation = Generation(0, "r", None, 0.0, bills=BILLS)
    begins = [prompt.begins(generation) for prompt in prompts]
    state = AutopilotState("", generations=[generation], serving=0)
    state.begin_chain(0, begins, AutopilotConfig(max_loss=0.1, judge="judge", compare=0.5), 1.0)
    return generation


def _plan(generation: Generation) -> tuple[int, float, float]:
    return (generation.plan.reach, generation.plan.inside, generation.plan.outside)


def _rates(seed: int) -> tuple[float, ...]:
    lots = random.Random(seed)
    return (0.5, lots.random(), lots.random())


def test_a_candidate_is_drawn_with_the_probability_that_its_row_tells():
    """Over many draws of one prompt, each candidate comes as often as is told, and no step's least is above that."""
    generation, seen = _generation(), list[tuple[str, float, float]]()
    config = AutopilotConfig(max_loss=0.1, judge="judge", compare=0.5)
    results = Counter("results", "Results.", ["result"], registry=CollectorRegistry())
    draws = Draws(config, put=lambda row: None, compare=None, results=results, rng=random.Random(1))
    draws.follow([generation])
    plan, n = draws._plan, 4000
    rungs = generation.rungs((0.5, 0.4, 0.45), 500, None)
    assert [rung.candidate for rung in rungs] == [1, 2]
    lots = random.Random(2)
    for _ in range(n):
        place = place_of(Prompt(0.5, 500, None, (0.5, 0.4, 0.45)), draws._running, plan, lots.random())
        if place is not None:
            seen.append((place.candidate, place.probability, *place.untils))
    least = plan.least(0, len(generation.certificate.chain))
    for rung in rungs:
        name = NAMES[rung.candidate]
        mine = [each for each in seen if each[0] == name]
        assert {(probability, until) for _, probability, until in mine} == {(mine[0][1], rung.until)}
        assert len(mine) / n == pytest.approx(mine[0][1], abs=0.03)
        first, last = generation.certificate.chain.cells([rung.since, rung.until])
        assert (least[first:last] <= mine[0][1] + 1e-12).all()


def test_learned_win_rates_are_certified_beside_the_first_ones():
    """Both generations count each comparison by their own ladders; one that never chooses the candidate loses nothing
    by it; the learned one survives the store and serves once it has certified more savings.
    """
    first, config = _generation(), AutopilotConfig(max_loss=0.1, judge="judge", compare=0.5)
    state = AutopilotState("", generations=[first], serving=0)
    never = LearnedScore(np.zeros(1, np.float32), 0.0, 0.0, 1.0)  # middle always loses
    always = LearnedScore(np.ones(1, np.float32), 0.0, 0.0, -1.0)
    state.begin_learned(LearnedCandidates((never, always)), 200, 1.0)
    second = state.generations[1]
    prompts = [Prompt(0.5, 500, np.ones(1, np.float32), _rates(seed)) for seed in range(100)]
    state.begin_chain(1, [prompt.begins(second) for prompt in prompts], config, 1.0)
    state = AutopilotState.from_dict(json.loads(json.dumps(state.to_dict())))
    second = state.generations[1]
    assert [rung.candidate for rung in second.rungs((0.5, 0.1, 0.9), 500, prompts[0].embedding)] == [2]
    assert second.rungs((0.5, 0.1, 0.9), 500, None) == ()
    rows, n_undrawn, lots = [], 0, random.Random(3)
    results = Counter("results", "Results.", ["result"], registry=CollectorRegistry())
    draws = Draws(config, put=lambda row: None, compare=None, results=results, rng=lots)
    draws.follow(state.running)
    for i in range(3000):
        prompt = prompts[i % 100]
        place = place_of(prompt, draws._running, draws._plan, lots.random())
        if place is None:
            n_undrawn += 1
            continue
        chosen_by_second = place.candidate == "small"
        assert (place.scores[1] < place.untils[1]) == chosen_by_second
        other = (1, place.scores[1], *_plan(second), place.untils[1])
        rows.append(
            AutopilotRow(
                id=f"{i:06}", at=2.0, generation=0, score=place.scores[0], loss=float(not chosen_by_second),
                probability=place.probability, n_undrawn=n_undrawn, plan=_plan(first), agreed=True, cost_usd=0.0,
                others=(other,), until=place.untils[0], candidate=place.candidate,
            )
        )  # fmt: skip
        n_undrawn = 0
    state.count(rows, config, 3.0)
    assert (state.serving, state.generations[0].share) == (1, 0.0)
    assert 0.8 < state.current.share <= 1.1
    assert state.current.saving == state.current.share  # small is the cheapest


def test_a_generation_keeps_its_bills():
    """They survive the store, so that new prices change no policy; and what prompts it sends where stays the same."""
    generation = _generation()
    again = Generation.from_dict(generation.to_dict())
    assert again.bills == BILLS
    prompt = ((0.5, 0.4, 0.45), 20, None)
    assert rung_at(again.rungs(*prompt), 0.47) == rung_at(generation.rungs(*prompt), 0.47)
    state = AutopilotState("terms", generations=[generation], serving=0, n_since=5000)
    state.serve("r", None, "terms", 2.0, bills=(("big", 1.0), ("middle", 0.1), ("small", 0.0)))
    assert state.current.bills == BILLS
    assert due(state, AutopilotConfig(max_loss=0.1, judge="judge"), 3.0) == 2700


def test_a_plan_of_many_has_the_least_probability():
    """With more candidates a prompt's probability is shared, so the plan's is smaller."""
    certificate = Certificate(make_chain([0.1, 0.2, 0.3]), max_loss=0.1, error=0.05)
    assert make_plan(certificate, 0.4, most=2).inside == pytest.approx(
        make_plan(certificate, 0.4).inside / 2.0, rel=0.1
    )


def test_what_cannot_be_certified_among_many_is_refused(values):
    """A cascade of many, a reference that is the cheapest, and a candidate without a price are errors."""
    with pytest.raises(ConfigError, match="a cascade and 3 candidates"):
        make_config(values | {"cascade": {}})
    with pytest.raises(ConfigError, match="no candidate is cheaper than small, the reference"):
        create_app(make_config(values | {"candidates": ["small", "middle", "big"]}))
    del values["models"]["middle"]["price"]
    with pytest.raises(ConfigError, match="needs the price of middle"):
        create_app(make_config(values))
