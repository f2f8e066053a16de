"""The autopilot on a server: everything strong at first, then as much as is certified."""

import asyncio
import json
from unittest.mock import AsyncMock

import httpx
import numpy as np
import pytest

from pointsman.core.errors import ConfigError, StoreError
from pointsman.core.learned_score import LearnedScore
from pointsman.serve import create_app
from pointsman.serve.autopilot import autopilot as autopilot_module
from pointsman.serve.autopilot import draw, training
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.autopilot.train_generation import train
from pointsman.serve.cli import main
from pointsman.serve.config.load import make_config
from pointsman.serve.money.ledger import SHADOW_KEY
from pointsman.serve.store.store import Store

from support.autopilot_server import ask, compared, lifespan, prompt, serving, settings, settled
from support.planted_models import PlantedModels
from support.upstream import LocalServer


@pytest.fixture
def planted(monkeypatch):
    """The models, and where they are asked; a chain is made of forty requests."""
    monkeypatch.setattr(draw, "_WARM_UP", 40)
    models = PlantedModels()
    with LocalServer(models.app()) as server:
        models.url = f"{server.url}/v1"
        yield models


def autopilot_done(autopilot) -> int:
    """Comparisons that this process has made."""
    return int(autopilot._metrics.results.labels("compared")._value.get())


async def test_savings_are_earned(planted, store_url):
    """All is strong until something is certified; then the easiest prompts go to the weak model, within the bound."""
    async with serving(settings(planted.url, store_url)) as (client, app):
        autopilot = app.engine.state.autopilot
        assert set(await ask(client, 0, 45)) == {"big"}
        await settled(app)  # the first requests make the chain
        assert set(await ask(client, 110, 100)) == {"big"} or autopilot.status()["certified_share"] > 0
        facts = await settled(app)
        assert facts["state"] == "certified"
        assert 0.0 < facts["certified_share"] <= 1.0
        assert facts["loss"]["low"] <= facts["loss"]["value"] <= facts["loss"]["high"]
        answered = await ask(client, 1000, 97)
        assert "small" in answered
        lost = sum(planted.is_wrong(prompt(1000 + i)) for i, model in enumerate(answered) if model == "small")
        assert lost / len(answered) <= 0.2
        facts = await settled(app)
        assert facts["saved_usd"] == pytest.approx(answered.count("small") * (100 * 9 + 50 * 28) / 1e6, rel=0.5)
        named = await client.post(
            "/v1/chat/completions",
            json={"model": "router-mf-0", "messages": [{"role": "user", "content": prompt(1)}]},
        )
        assert named.headers["x-pointsman-policy"] == "request"
        metrics = (await client.get("/metrics")).text
        assert "pointsman_autopilot_certified_share" in metrics
        assert 'pointsman_autopilot_comparisons_total{result="compared"}' in metrics


async def test_a_restart_serves_on_and_nothing_is_counted_twice(planted, store_url):
    """What was certified is served from the first request after a restart; rows and the certificate agree."""
    values = settings(planted.url, store_url)
    async with serving(values) as (client, app):
        await ask(client, 0, 45)
        await settled(app)
        await ask(client, 110, 120)
        before = await settled(app)
    assert before["certified_share"] > 0.0
    async with serving(values) as (client, app):
        after = app.engine.state.autopilot.status()
        assert after["certified_share"] == before["certified_share"]
        assert after["comparisons"]["n"] == before["comparisons"]["n"]
        assert "small" in await ask(client, 0, 97)
        facts = await settled(app)
        rows = await app.engine.state.store.autopilot()
        assert len(rows) == facts["comparisons"]["n"] == sum(row.counted for row in rows)
        assert sum(row.cost_usd for row in rows) == pytest.approx(facts["comparisons"]["usd"], abs=1e-5)


async def test_two_processes_count_each_comparison_once(planted, store_url):
    """Two servers on one store share the certificate, and their comparisons add up."""
    values = settings(planted.url, store_url)
    async with serving(values) as (one, first), serving(values) as (two, second):
        pilots = (first.engine.state.autopilot, second.engine.state.autopilot)
        await asyncio.gather(ask(one, 0, 45), ask(two, 200, 45))
        for _ in range(3):
            await asyncio.gather(*(pilot._turn() for pilot in pilots))
        await asyncio.gather(ask(one, 400, 80), ask(two, 600, 80))
        for pilot in pilots:
            await compared(pilot)
        made = sum(autopilot_done(pilot) for pilot in pilots)
        for app in (first, second, first):
            await settled(app)
        await pilots[0]._turn()
        await pilots[1]._turn()
        assert pilots[0].status()["generation"] == pilots[1].status()["generation"]
        assert pilots[0].status()["comparisons"]["n"] == made == len(await first.engine.state.store.autopilot())


async def test_a_learned_generation_earns_its_place_and_is_rolled_back(planted, tmp_path, monkeypatch):
    """Trained from the comparisons, certified beside what serves, then served; a rollback serves what was before."""

    async def train_here(state, config, store_config):
        async with Store(store_config) as store:
            n = train(await store.autopilot(since=state.since), serving=None, max_loss=config.max_loss)["n"]
        by_length = LearnedScore(np.zeros(0, dtype=np.float32), 0.0, 0.3, -1.3)
        return {"learned": by_length.to_dict(), "pays": True, "n": n}

    monkeypatch.setattr(training, "train_in_process", train_here)
    monkeypatch.setattr(draw, "_WARM_UP", 30)
    monkeypatch.setattr(autopilot_module, "_TURN_S", 3600.0)  # it turns when the test says so
    planted.hard = 1.0
    values = settings(
        planted.url, f"sqlite:///{tmp_path}/l.db", routers={"random": {}},
        autopilot={"max_loss": 0.2, "train_at": [50]},
    )  # fmt: skip
    async with serving(values) as (client, app):
        autopilot, store = app.engine.state.autopilot, app.engine.state.store
        await ask(client, 0, 31)
        await settled(app)
        await ask(client, 31, 75)  # some are beyond the reach of the plan
        await settled(app)
        await autopilot._trainer._task
        await autopilot._turn()
        await ask(client, 106, 31)  # which make the learned score's chain
        await settled(app)
        await ask(client, 137, 20)
        facts = await settled(app)
        assert [g["role"] for g in facts["generations"]] == ["serving", "beside"]
        assert 0 < facts["generations"][1]["n_compared"] <= 20 < facts["comparisons"]["n"]

        def earn(kept, rows):
            state = AutopilotState.from_dict(kept)
            certificate = state.running[1].certificate
            certificate._most[: len(certificate.chain) // 2] = 99.0  # as if many comparisons had been without a loss
            state.running[0].certificate._most[:] = 0.0  # chance may have opened some of it
            state.count([], autopilot.config, 0.0)
            return state.to_dict()

        await store.fold_autopilot("autopilot", earn, limit=0)
        await autopilot._turn()
        assert autopilot.status()["generation"]["score"] == "learned"
        answered = await ask(client, 2000, 50)
        lengths = {m: [len(prompt(2000 + i)) for i, by in enumerate(answered) if by == m] for m in ("big", "small")}
        assert max(lengths["small"]) < min(lengths["big"])
        back = (await client.post("/v1/autopilot", json={"action": "rollback"})).json()
        assert back["generation"]["score"] == "win rate"
        assert [g["role"] for g in back["generations"]] == ["serving", "void"]
        again = await client.post("/v1/autopilot", json={"action": "rollback"})
        assert (again.status_code, "nothing to roll back" in again.text) == (400, True)


async def test_an_administrator_pauses_resumes_and_resets(planted, tmp_path):
    """Paused, nothing is compared and what is certified serves on; reset, everything is strong again."""
    async with serving(settings(planted.url, f"sqlite:///{tmp_path}/p.db")) as (client, app):
        await ask(client, 0, 45)
        await settled(app)
        await ask(client, 110, 120)
        await settled(app)
        paused = (await client.post("/v1/autopilot", json={"action": "pause"})).json()
        assert paused["state"] == "paused"
        assert "small" in await ask(client, 0, 97)
        assert (await settled(app))["comparisons"]["n"] == paused["comparisons"]["n"]
        assert (await client.post("/v1/autopilot", json={"action": "resume"})).json()["paused"] is None
        reset = (await client.post("/v1/autopilot", json={"action": "reset"})).json()
        assert reset["certified_share"] == 0.0
        assert [g["closed"] for g in reset["generations"]] == ["reset", None]
        assert set(await ask(client, 0, 97)) == {"big"}
        wrong = await client.post("/v1/autopilot", json={"action": "land"})
        assert (wrong.status_code, "wanted one of pause, resume, rollback, reset" in wrong.text) == (400, True)


async def test_turns_never_overlap(planted, tmp_path, monkeypatch):
    """Or a state of before, say, a reset would be followed after the one that has it."""
    async with serving(settings(planted.url, f"sqlite:///{tmp_path}/t.db")) as (_, app):
        autopilot, store = app.engine.state.autopilot, app.engine.state.store
        real, n_running, most = store.fold_autopilot, 0, 0

        async def watched(*args, **more):
            nonlocal n_running, most
            n_running += 1
            most = max(most, n_running)
            try:
                return await real(*args, **more)
            finally:
                n_running -= 1

        monkeypatch.setattr(store, "fold_autopilot", watched)
        await asyncio.gather(*(autopilot._turn() for _ in range(5)))
        assert most == 1


async def test_a_judge_that_answers_rubbish_is_paused(planted, tmp_path):
    """Comparisons that fail count for nothing, are counted as failed, and comparing pauses by itself."""
    planted.rubbish = True
    async with serving(settings(planted.url, f"sqlite:///{tmp_path}/r.db")) as (client, app):
        await ask(client, 0, 45)
        await settled(app)
        await ask(client, 110, 120)
        facts = await settled(app)
        assert facts["comparisons"]["n"] == facts["certified_share"] * 0
        assert facts["comparisons"]["failed"] >= 40
        assert "more than 50% of the last 40 comparisons failed" in facts["paused"]
        assert facts["state"] == "paused"
        await app.engine.state.ledger.sync()
        spent = app.engine.state.ledger.spent_usd("day", key=SHADOW_KEY)
        assert spent > 0.0
        assert facts["comparisons"]["usd"] == pytest.approx(spent, abs=1e-5)  # rubbish is paid, too


async def test_outages_are_no_losses(planted, tmp_path):
    """While the weak model is down nothing is counted against it; the strong one answers."""
    async with serving(settings(planted.url, f"sqlite:///{tmp_path}/o.db", autopilot={"max_failures": 0.99})) as (
        client,
        app,
    ):
        await ask(client, 0, 40)  # no more than the chain takes: none is compared
        await settled(app)
        planted.failing = {"small"}
        await ask(client, 0, 30)
        facts = await settled(app)
        assert facts["comparisons"]["n"] == 0
        assert facts["comparisons"]["failed"] == 30


async def test_a_drift_alarm_closes_the_certificate_once(planted, tmp_path):
    """Everything goes to the strong model, and a new generation with less of the error begins on the new traffic."""
    async with serving(settings(planted.url, f"sqlite:///{tmp_path}/d.db", drift={"reference": "traffic"})) as (
        client,
        app,
    ):
        autopilot = app.engine.state.autopilot
        await ask(client, 0, 45)
        await settled(app)
        await ask(client, 110, 120)
        assert (await settled(app))["certified_share"] > 0.0
        alarms = ["win rate at noon"]
        autopilot._alarm = lambda: alarms[-1] if alarms else None
        autopilot._reset_alarm = forget = AsyncMock(side_effect=alarms.clear)
        await autopilot._turn()
        await autopilot._turn()
        assert forget.await_count == 1  # so that the next drift is noticed, too
        facts = autopilot.status()
        assert [g["closed"] for g in facts["generations"]] == ["drift", None]
        assert set(await ask(client, 0, 97)) == {"big"}
        await ask(client, 97, 20)
        assert (await settled(app))["generation"]["error"] == pytest.approx(0.05 * 0.75 * 0.25)


async def test_another_model_voids_and_another_price_does_not(planted, tmp_path):
    """A configuration whose weak model answers otherwise starts over; a new price keeps what is certified."""
    store = f"sqlite:///{tmp_path}/m.db"
    values = settings(planted.url, store)
    async with serving(values) as (client, app):
        await ask(client, 0, 45)
        await settled(app)
        await ask(client, 110, 120)
        certified = (await settled(app))["certified_share"]
    values["models"]["small"]["price"] = {"input_usd_per_million": 2.0, "output_usd_per_million": 4.0}
    async with serving(values) as (client, app):
        assert app.engine.state.autopilot.status()["certified_share"] == certified > 0.0
    values["models"]["small"]["parameters"] = {"reasoning_effort": "low"}
    async with serving(values) as (client, app):
        facts = app.engine.state.autopilot.status()
        assert facts["certified_share"] == 0.0
        assert facts["generations"][0]["closed"] == "models, judge or bound have changed"


async def test_a_server_with_an_older_configuration_certifies_nothing_and_voids_nothing(planted, tmp_path, caplog):
    """While servers of one store are reloaded one after the other, the ones that still wait send all to the strong one,
    say so, and leave the certificate of the others alone; once reloaded they follow it.
    """
    values = settings(planted.url, f"sqlite:///{tmp_path}/v.db")
    newer = {**values, "autopilot": {**values["autopilot"], "max_loss": 0.3}}
    async with serving(values) as (client, app), serving(newer) as (_, other):
        await ask(client, 0, 45)
        for _ in range(3):
            await app.engine.state.autopilot._turn()
            await other.engine.state.autopilot._turn()
        facts = app.engine.state.autopilot.status()
        assert (facts["state"], facts["certified_share"]) == ("superseded", 0.0)
        assert [g["closed"] for g in facts["generations"]] == ["models, judge or bound have changed", None]
        assert set(await ask(client, 200, 20)) == {"big"}
        assert app.engine.state.autopilot._draws.n_pending == 0
        assert caplog.text.count("another process has a newer configuration") == 1
        state = app.engine.state.autopilot
        await state.reconfigure(other.engine.config.autopilot, other.engine._steered())
        assert state.status()["state"] == "warming up"


async def test_without_the_store_what_is_certified_serves_on(planted, tmp_path, monkeypatch):
    """A store that is away counts nothing and draws nothing; it goes on when it is back."""
    async with serving(settings(planted.url, f"sqlite:///{tmp_path}/s.db")) as (client, app):
        autopilot, store = app.engine.state.autopilot, app.engine.state.store
        await ask(client, 0, 45)
        await settled(app)
        await ask(client, 110, 120)
        before = await settled(app)
        real = store.fold_autopilot

        async def away(*_, **__):
            raise StoreError("the store is away")

        autopilot._task.cancel()  # a turn of its own that had begun would end as if the store were there
        await asyncio.gather(autopilot._task, return_exceptions=True)
        monkeypatch.setattr(store, "fold_autopilot", away)
        await autopilot._turn()
        assert "small" in await ask(client, 0, 97)
        assert autopilot.status()["state"] == "store away"
        assert not autopilot._draws.n_pending
        answer = await client.post("/v1/autopilot", json={"action": "pause"})
        assert (answer.status_code, "pause failed" in answer.text) == (503, True)
        monkeypatch.setattr(store, "fold_autopilot", real)
        after = await settled(app)
        assert after["requests"]["n"] == before["requests"]["n"] + 97


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"autopilot": {"judge": "big"}}, "autopilot.judge is 'big', wanted a name under models"),
        ({"autopilot": {"compare": 0}}, "autopilot.compare"),
        ({"autopilot": {"max_loss": 1.5}}, "autopilot.max_loss"),
        ({"policy": {"strong_share": 0.3}}, "autopilot and a policy that sets the threshold are both given"),
        ({"shadow": {"share": 0.1, "judge": "judge", "max_usd_per_day": 1}}, "autopilot and shadow are both given"),
    ],
)
def test_what_cannot_work_is_refused(change, message, tmp_path):
    """A configuration that could certify nothing, or two masters of one threshold, is an error with the way out."""
    with pytest.raises(ConfigError) as found:
        make_config(settings("http://127.0.0.1:1/v1", f"sqlite:///{tmp_path}/x.db", **change))
    assert message in str(found.value)


def test_an_autopilot_needs_a_store(tmp_path):
    """Without a place for comparisons there is no certificate; the error says what to add."""
    values = settings("http://127.0.0.1:1/v1", f"sqlite:///{tmp_path}/x.db")
    del values["store"]
    with pytest.raises(ConfigError, match="autopilot needs a store for its comparisons, wanted one"):
        make_config(values)


def test_a_price_that_is_not_known_is_refused(tmp_path):
    """A dollar ceiling without prices is an error that names the models."""
    values = settings("http://127.0.0.1:1/v1", f"sqlite:///{tmp_path}/x.db")
    del values["models"]["judge"]["price"]
    with pytest.raises(ConfigError, match=r"autopilot.max_usd_per_day needs the price of judge"):
        create_app(make_config(values))


async def test_without_an_autopilot_its_path_says_so(tmp_path):
    """GET /v1/autopilot of a server without one is 404, and names the setting."""
    app = create_app(make_config({}))
    async with lifespan(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.get("/v1/autopilot")
    assert (answer.status_code, "add `autopilot:" in answer.text) == (404, True)


async def test_rows_are_folded_once(store_url):
    """A comparison is folded into the fact by one transaction, and by no later one."""
    from pointsman.serve.config import StoreConfig
    from pointsman.serve.store.rows import AutopilotRow

    row = AutopilotRow(
        id="1", at=1.0, generation=0, score=0.5, loss=-1.0, probability=0.5, n_undrawn=3, plan=(2, 0.5, 0.1),
        agreed=True, cost_usd=0.1,
    )  # fmt: skip
    async with Store(StoreConfig(url=store_url)) as store:
        await store.add([row])
        await store.add([row])

        def count(value, rows):
            return (value or 0) + len(rows)

        assert await store.fold_autopilot("n", count) == (1, 1)
        assert await store.fold_autopilot("n", count) == (1, 0)
        (kept,) = await store.autopilot([0])
        assert (kept.plan, kept.counted) == ((2, 0.5, 0.1), 1)


async def test_the_command_shows_and_steers(planted, tmp_path, capsys):
    """`pointsman autopilot` prints the status of a running server, and pauses it."""
    app = create_app(make_config(settings(planted.url, f"sqlite:///{tmp_path}/c.db")))
    with LocalServer(app) as server:
        await asyncio.to_thread(main, ["autopilot", "status", "--server", server.url])
        assert "warming up: 0.0% of the traffic is certified to small, the rest goes to big" in capsys.readouterr().out
        assert await asyncio.to_thread(main, ["autopilot", "pause", "--server", server.url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "paused"
