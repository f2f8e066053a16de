"""The autopilot certifies a cascade: the weak model's own answer decides, live."""

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pointsman.serve.autopilot import autopilot as autopilot_module
from pointsman.serve.autopilot import draw
from pointsman.serve.commands.autopilot import _lines
from pointsman.serve.config.load import make_config

from support.autopilot_server import ask, prompt, serving, settings, settled
from support.cascading import CascadingUpstream
from support.cascading import ask as cascading_ask
from support.planted_models import RIGHT, PlantedModels
from support.upstream import LocalServer

_UPSTREAM = PlantedModels(tells_doubt=True)


@pytest.fixture(scope="module")
def upstream():
    """Where the models are asked: the same place for all, as a certificate is void where that changes."""
    with LocalServer(_UPSTREAM.app()) as server:
        _UPSTREAM.url = f"{server.url}/v1"
        yield server


@pytest.fixture
def planted(upstream):
    """The models as they were."""
    _UPSTREAM.tells_doubt, _UPSTREAM.failing = True, set()
    _UPSTREAM.asked.clear()
    return _UPSTREAM


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The autopilot turns when a test says so, and makes its chain of thirty requests."""
    _make_small(monkeypatch)


def _make_small(monkeypatch) -> None:
    monkeypatch.setattr(autopilot_module, "_TURN_S", 3600.0)
    monkeypatch.setattr(draw, "_WARM_UP", 30)


def cascading(planted, store: str, **more) -> dict:
    scorer = {"entry_point": "support.planted_models:score_answer"}  # without the requests that a judge takes
    autopilot = {"judge": "none", "scorer": scorer, **more.pop("autopilot", {})}
    return settings(planted.url, store, cascade={}, routers={"random": {}}, autopilot=autopilot, **more)


@dataclass(frozen=True)
class Earned:
    """The first 111 requests of a server: who answered the first 31 and the others, what was said then, the store."""

    first: list[str]
    second: list[str]
    warmed_up: dict
    certified: dict
    store: Path


@pytest.fixture(scope="module")
def earned(upstream, tmp_path_factory):
    """Something is certified; the tests go on from a copy of the store."""
    store = tmp_path_factory.mktemp("earned") / "c.db"

    async def earn() -> Earned:
        async with serving(cascading(_UPSTREAM, f"sqlite:///{store}")) as (client, app):
            first = await ask(client, 0, 31)
            warmed_up = await settled(app)
            second = await ask(client, 31, 80)
            return Earned(first, second, warmed_up, await settled(app), store)

    with pytest.MonkeyPatch.context() as monkeypatch:
        _make_small(monkeypatch)
        return asyncio.run(earn())


@pytest.fixture
def store(earned, tmp_path):
    """URL of a store in which something is certified."""
    return f"sqlite:///{shutil.copy(earned.store, tmp_path)}"


async def test_the_weak_answer_decides_once_it_is_certified(planted, earned, store):
    """All is strong at first; then the answers of which the weak model is surest are returned, within the bound."""
    assert {*earned.first, *earned.second} == {"big"}
    facts = earned.warmed_up
    assert (facts["decides_by"], facts["generation"]["steps"] > 10) == ("answer", True)
    assert facts["comparisons"]["read"] >= 30  # which made the chain
    async with serving(cascading(planted, store)) as (client, app):
        facts = await settled(app)
        assert facts["certified_share"] == earned.certified["certified_share"] > 0.1
        before = facts["saved_usd"]
        answered = await ask(client, 1000, 40)
        doubts = {
            m: [1 - planted.luck(prompt(1000 + i)) for i, by in enumerate(answered) if by == m]
            for m in ("big", "small")
        }
        assert max(doubts["small"]) < facts["threshold"] <= min(doubts["big"])
        lost = sum(planted.is_wrong(prompt(1000 + i)) for i, model in enumerate(answered) if model == "small")
        assert lost / len(answered) <= 0.2
        n_small, n_big = answered.count("small"), answered.count("big")
        facts = await settled(app)
        # each request pays for the weak answer; those that it escalates for the strong one, too
        strong_usd, weak_usd = (100 * 10 + 50 * 30) / 1e6, (100 * 1 + 50 * 2) / 1e6
        assert facts["saved_usd"] - before == pytest.approx(
            n_small * strong_usd - (n_small + n_big) * weak_usd, abs=1e-6
        )
        weak = [document for document in planted.asked if document["model"] == "small"]
        assert len(weak) == 40  # a comparison of an escalated request reuses the answer that it has


async def test_what_the_certificate_counts_is_what_clients_got(planted, earned, store):
    """Of each comparison the score is that of the weak answer, the loss that of the two answers, drawn as planned."""
    async with serving(cascading(planted, store)) as (client, app):
        await ask(client, 1000, 50)
        await settled(app)
        rows = await app.engine.state.store.autopilot()
        texts = {planted.luck(prompt(i)): prompt(i) for i in [*range(111), *range(1000, 1050)]}
        for row in rows:
            luck = min(texts, key=lambda each: abs(each - (1 - row.score)))
            assert luck == pytest.approx(1 - row.score, abs=1e-6)
            assert row.loss == float(planted.is_wrong(texts[luck]))
            _, inside, outside = row.plan
            assert row.probability in (inside, outside)
        assert len({row.id for row in rows}) == len(rows) == app.engine.state.autopilot.status()["comparisons"]["n"]
        certificate = app.engine.state.autopilot._generation.certificate
        assert certificate.n_requests <= 130
        assert certificate.n_compared == len(rows)


async def test_requests_that_cannot_be_read_go_to_strong(planted, store):
    """Streams without `stream: hold`, and answers without log-probabilities, are the strong model's."""
    async with serving(cascading(planted, store)) as (client, app):
        planted.tells_doubt = False
        before = app.engine.state.autopilot.status()["requests"]
        assert set(await ask(client, 2000, 30)) == {"big"}
        facts = await settled(app)
        assert (facts["requests"]["n"] - before["n"], facts["requests"]["weak"]) == (30, before["weak"])
        decided = (
            await client.post(
                "/v1/route", json={"model": "auto", "stream": True, "messages": [{"role": "user", "content": "x"}]}
            )
        ).json()
        assert decided["model"] == "big"


async def test_held_streams_are_certified_like_whole_answers(tmp_path):
    """With `stream: hold` the weak answer of a stream is read, and an escalated stream's is reused for comparing."""
    upstream = CascadingUpstream()
    with LocalServer(upstream.app()) as server:
        models = {
            name: {
                "base_url": f"{server.url}/v1", "model": f"{name}-1", "timeouts": {"connect_s": 60.0},
                "price": {"input_usd_per_million": 1.0 + 9.0 * (name == "big"), "output_usd_per_million": 2.0},
            }
            for name in ("big", "small")
        }  # fmt: skip
        scorer = {"entry_point": "support.planted_models:score_answer"}
        values = settings(
            "http://127.0.0.1:1/v1", f"sqlite:///{tmp_path}/h.db", models=models, cascade={"stream": "hold"},
            routers={"random": {}}, autopilot={"judge": "none", "scorer": scorer},
        )  # fmt: skip
        async with serving(values) as (client, app):
            await _stream(client, range(31))
            await settled(app)
            await _stream(client, range(31, 91))
            facts = await settled(app)
            assert facts["certified_share"] > 0.1
            upstream.received.clear()
            rows = {row.id for row in await app.engine.state.store.autopilot()}
            answered = await _stream(client, range(200, 230))
            await settled(app)
            for i, said in answered.items():
                weak = 1.0 - _sure(i) < facts["threshold"]
                assert f"of {'small' if weak else 'big'}" in said
            assert len(upstream.asked("small-1")) == 30
            new = [row for row in await app.engine.state.store.autopilot() if row.id not in rows]
            assert new
            assert all(row.loss == (row.score > 0.5) for row in new)


async def test_reading_that_costs_more_than_it_saves_is_not_done(planted, store):
    """While the certified share is below the weak model's relative price, the strong model answers alone."""
    values = cascading(planted, store)
    values["models"]["small"]["price"] = {"input_usd_per_million": 9.9, "output_usd_per_million": 29.9}
    async with serving(values) as (client, app):
        facts = await settled(app)
        assert 0.1 < facts["certified_share"] < facts["weak_cost"] < 1.0
        assert set(await ask(client, 1000, 20)) == {"big"}
        assert any("not used yet: reading every answer of small costs 99." in line for line in _lines(facts))


def _sure(i: int) -> float:
    return 0.02 + 0.96 * (i * 37 % 101) / 101


async def _stream(client, numbers) -> dict[int, str]:
    """Asks for streams, whose weak answer is wrong where it is unsure; what was said."""

    async def one(i: int) -> str:
        right = RIGHT if _sure(i) > 0.5 else "a wrong answer"
        acts = {"id": i, "small": {"text": f"{right} of small", "sure": _sure(i)}, "big": {"text": f"{RIGHT} of big"}}
        document = {**cascading_ask(acts), "model": "auto", "stream": True}
        answer = await client.post("/v1/chat/completions", json=document)
        assert answer.status_code == 200, answer.text
        chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])

    numbers = list(numbers)
    return dict(zip(numbers, await asyncio.gather(*(one(i) for i in numbers)), strict=True))


async def test_outages_of_either_model_count_for_nothing(planted, store):
    """A weak model that is down, and a strong one after an escalation, leave the certificate as it was."""
    values = cascading(planted, store, autopilot={"max_failures": 0.99})
    for name in ("big", "small"):
        values["models"][name] |= {"retry": {"attempts": 1, "base_s": 0.01}, "breaker": {"failures": 10_000}}
    async with serving(values) as (client, app):
        before = await settled(app)
        for down in ("small", "big"):
            planted.failing = {down}
            assert set(await ask(client, 3000, 20)) == {"big" if down == "small" else "small"}
            facts = await settled(app)
            drawn = facts["requests"]["n"] - before["requests"]["n"]
            assert drawn <= sum(1 - planted.luck(prompt(3000 + i)) < before["threshold"] for i in range(20))
        assert facts["comparisons"]["n"] == before["comparisons"]["n"]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"cascade": {"stream": {"prefix": 5}}}, "wanted stream: hold"),
        ({"cascade": {"max_wait_s": 5}}, "leave out cascade.max_wait_s"),
        ({"cascade": {"logprobs": False}}, "nothing scores the answers"),
        ({"cascade": {"verifier": "v", "threshold": 0.5}}, "the autopilot sets the threshold"),
        ({"cascade": {"verifier": {"small": "v"}}}, "cascade.verifier: DIR"),
        ({"cascade": {"models": ["big", "small"]}}, "the weak before the strong model"),
        ({"cascade": {}, "sessions": {}}, "wanted no sessions"),
    ],
)
def test_what_cannot_be_certified_is_refused_with_the_way_out(more, problem):
    """A cascade whose answers are not read whole, or whose threshold is set elsewhere, is no policy to certify."""
    with pytest.raises(Exception, match=problem):
        make_config(settings("http://localhost:1/v1", "sqlite:///x.db", **more))
