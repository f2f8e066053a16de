"""The drift monitor of a server: what it sees, says, does and remembers."""

import asyncio
import json

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.decision import Decision
from pointsman.core.errors import PointsmanError
from pointsman.core.novelty import Centroids
from pointsman.core.reference import Reference
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.checkpoints.load import load_checkpoint
from pointsman.serve.cli import main
from pointsman.serve.config.drift import DriftConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.drift.monitor import DriftMonitor
from pointsman.serve.drift.watch import Watch
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.protocols.requests import ChatRequest
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.record import Record
from pointsman.serve.server.app import create_app

from support.upstream import LocalServer

RNG = np.random.default_rng


def reference(*, embeds=True):
    rates = RNG(0).random(1000)
    if not embeds:
        return Reference("uniform", rates)
    centroids = Centroids(np.eye(4)[:1])
    return Reference("uniform", rates, centroids.distances(RNG(1).random((1000, 4))), centroids)


def watch(config=None, **options):
    return Watch(reference(**options), config or DriftConfig(), rng=RNG(0), clock=lambda: 12.0)


def routers(found=None):
    return {"mine": ServedRouter("mine", None, None, 0.5, thresholds={"max_loss=0.05": {}}, reference=found)}


def record(win_rate, embedding=None, router="mine"):
    made = Record("id", "/v1/chat/completions")
    made.context = RequestContext(ChatRequest(b"", {}, "auto", False, "Hi"), win_rate=win_rate, embedding=embedding)
    made.context.decision = Decision("weak", win_rate, 0.5, router, "win_rate", ("strong", "weak"))
    return made


class Facts:
    """Keeps facts as a store does, and may be away."""

    def __init__(self):
        self.rows, self.away = {}, False

    async def status(self, name):
        if self.away:
            raise PointsmanError("away")
        return self.rows.get(name)

    async def set_status(self, name, value):
        if self.away:
            raise PointsmanError("away")
        version = self.rows[name].version + 1 if name in self.rows else 1
        self.rows[name] = type("Row", (), {"value": json.loads(json.dumps(value)), "version": version})()


def has_alarm(monitor):
    return monitor.status()["routers"]["mine"]["state"] == "alarm"


def test_win_rates_alone_raise_an_alarm():
    """A router without embeddings is watched by its win rates; the alarm says when, by what, and how sure."""
    seen = watch(embeds=False)
    assert not any(seen.take([(rate, None, None)]) for rate in RNG(2).random(1000))
    assert seen.towards_alarm < 0.3
    assert not any(seen.take([(0.7 + 0.3 * rate, None, None)]) for rate in RNG(3).random(12))
    assert 0.0 < seen.status()["towards_alarm"] < 1.0
    assert any(seen.take([(0.7 + 0.3 * rate, None, None)]) for rate in RNG(3).random(500))
    assert seen.status()["towards_alarm"] == 1.0
    assert (seen.alarm.test, seen.alarm.at) == ("win rate", 12.0)
    assert seen.alarm.evidence >= seen.alarm.level == 10_000 / 0.01
    assert not seen.take([(0.9, None, None)]) and seen.n_prompts == seen.alarm.n_prompts


@given(st.integers(0, 1000), st.sampled_from(["ends", "middle", "high", "one value"]), st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_prompts_of_one_key_raise_no_alarm_for_the_others(seed, kind, times):
    """Whatever one key sends, however often, the alarm is its own; and the others' own drift is still found."""
    rng, seen = RNG(seed), watch(embeds=False)
    hostile = {"ends": lambda x: float(x > 0.5), "middle": lambda x: 0.5, "high": lambda x: 0.8 + 0.2 * x}.get(
        kind, lambda x: 0.123
    )
    for rate in rng.random(600):
        seen.take([(float(rate), None, "honest"), *[(hostile(x), None, "hostile") for x in rng.random(times)]])
    assert seen.alarm is None and list(seen.key_alarms) == ["hostile"]
    assert seen.is_on("hostile") and not seen.is_on("honest") and not seen.is_on(None)
    for rate in rng.random(300):
        seen.take([(0.8 + 0.2 * float(rate), None, "honest")])
    assert seen.is_on("honest")
    seen.reset()
    assert not seen.is_on("hostile")


def test_drift_that_several_keys_show_is_everybodys():
    """Two keys whose prompts change alike raise the alarm of all, though one sends three times as much."""
    seen = watch(embeds=False)
    for rate in RNG(3).random(300):
        key = "busy" if rate < 0.6 else "quiet"
        seen.take([(0.7 + 0.3 * float(RNG(int(rate * 1e6)).random()), None, key)])
    assert seen.is_on("busy") and seen.is_on("quiet") and seen.alarm is not None


async def test_alarms_of_keys_are_shared_by_processes_and_reset_together():
    """What one process found of a key holds in the other and after a restart, until it is reset."""
    facts, key = Facts(), AccessKey("hostile", "h", "", 0)
    one, other = (DriftMonitor(DriftConfig(on_alarm="strong"), lambda: facts) for _ in range(2))
    for monitor in (one, other):
        monitor.reconfigure(routers(reference(embeds=False)))
    for rate in RNG(1).random(400):
        for value, whose in ((rate, None), (0.5, key)):
            made = record(float(value))
            made.context.key = whose
            one(made)
        await one._take_waiting()
    await other.load()
    for monitor in (one, other):
        assert monitor.falls_back("mine", "hostile") and not monitor.falls_back("mine", "honest")
    assert list(other.status()["routers"]["mine"]["key_alarms"]) == ["hostile"]
    await other.reset()
    await one.load()
    assert not one.falls_back("mine", "hostile")


def test_novelty_raises_an_alarm_where_win_rates_stay():
    """Prompts that lie elsewhere are found though their win rates are as before."""
    seen, elsewhere = watch(), np.array([-1.0, 0.5, 0.5, 0.5], dtype=np.float32)
    assert not any(seen.take([(*pair, None)]) for pair in zip(RNG(2).random(500), RNG(4).random((500, 4)), strict=True))
    assert any(seen.take([(rate, elsewhere, None)]) for rate in RNG(5).random(300))
    assert seen.alarm.test == "novelty"


def test_the_traffic_can_be_its_own_reference():
    """Without a checkpoint's reference the first prompts are what later ones must be like."""
    config = DriftConfig(reference="traffic", warm_up=300)
    seen = Watch(None, config, rng=RNG(0))
    assert not any(seen.take([(0.9 + 0.1 * rate, None, None)]) for rate in RNG(2).random(300))
    assert seen.status()["state"] == "warming up"
    assert not any(seen.take([(0.9 + 0.1 * rate, None, None)]) for rate in RNG(3).random(1000))
    assert seen.status()["state"] == "watching"
    assert any(seen.take([(rate, None, None)]) for rate in RNG(4).random(300))


def test_without_a_reference_nothing_is_watched():
    """A checkpoint without a reference cannot raise an alarm, and the status says what to do."""
    seen = Watch(None, DriftConfig(), rng=RNG(0))
    assert not seen.take([(0.5, None, None)])
    assert seen.status()["state"] == "not watched" and "pointsman calibrate" in seen.status()["reference"]


async def test_the_monitor_warns_once_and_marks_guarantees_void(caplog):
    """An alarm is logged, shown by metric and status, and voids the stored guarantees; a reset takes it back."""
    registry = CollectorRegistry()
    monitor = DriftMonitor(DriftConfig(), registry=registry)
    monitor.reconfigure(routers(reference(embeds=False)))
    await monitor.start()
    assert b'pointsman_drift_alarm{router="mine"} 0.0' in generate_latest(registry)
    for _ in range(600):
        monitor(record(0.99))
    await monitor.close()
    assert [line.message.partition(":")[0] for line in caplog.records] == ["drift"]
    found = monitor.status()["routers"]["mine"]
    assert found["state"] == "alarm" and found["guarantees"] == {"max_loss=0.05": "void"}
    assert not monitor.falls_back("mine")
    assert b'pointsman_drift_alarm{router="mine"} 1.0' in generate_latest(registry)
    assert await monitor.reset() == ["mine"]
    assert monitor.status()["routers"]["mine"]["guarantees"] == {"max_loss=0.05": "held"}
    assert b'pointsman_drift_alarm{router="mine"} 0.0' in generate_latest(registry)


async def test_a_reload_keeps_what_is_known_of_the_same_reference():
    """Routers whose reference stays go on with their evidence; another reference starts fresh."""
    monitor = DriftMonitor(DriftConfig())
    monitor.reconfigure(routers(reference(embeds=False)))
    for _ in range(600):
        monitor(record(0.99))
    await monitor.start()
    await monitor.close()
    monitor.reconfigure(routers(reference(embeds=False)))
    assert has_alarm(monitor)
    monitor.reconfigure(routers(reference()))
    assert not has_alarm(monitor)


async def test_processes_share_alarms_and_resets(monkeypatch):
    """What one process finds or resets the others learn from the store; while it is away they go on."""
    monkeypatch.setattr("pointsman.serve.drift.monitor._PAUSE_S", 0.01)
    facts = Facts()
    one, other = (DriftMonitor(DriftConfig(on_alarm="strong"), lambda: facts) for _ in range(2))
    for monitor in (one, other):
        monitor.reconfigure(routers(reference(embeds=False)))
        await monitor.start()
    facts.away = True
    for _ in range(600):
        one(record(0.99))
    await _until(lambda: one.falls_back("mine"))
    assert not other.falls_back("mine")
    facts.away = False
    await _until(lambda: other.falls_back("mine"))
    await other.reset("mine")
    await _until(lambda: not has_alarm(one))
    await one.close()
    await other.close()
    fresh = DriftMonitor(DriftConfig(), lambda: facts)
    fresh.reconfigure(routers(reference(embeds=False)))
    await fresh.start()
    assert not has_alarm(fresh)
    await fresh.close()


class SlowFacts(Facts):
    """Looks up at once, and says so when it is let."""

    def __init__(self):
        super().__init__()
        self.n_asked, self.let = 0, asyncio.Semaphore(0)

    async def status(self, name):
        found = await super().status(name)
        self.n_asked += 1
        await self.let.acquire()
        return found


async def test_what_was_read_before_a_reset_does_not_bring_the_alarm_back(monkeypatch):
    """An alarm that is reset while this process is reading it stays reset."""
    monkeypatch.setattr("pointsman.serve.drift.monitor._PAUSE_S", 0.01)
    facts = SlowFacts()
    alarm = {"test": "win rate", "at": 1.0, "n_prompts": 500, "evidence": 9.0, "level": 5.0}
    monitor = DriftMonitor(DriftConfig(), lambda: facts)
    monitor.reconfigure(routers(reference(embeds=False)))
    await facts.set_status("drift mine", {"identity": monitor._watches["mine"].identity, "alarm": alarm})
    await monitor.start()
    await _until(lambda: facts.n_asked == 1)
    reset = asyncio.create_task(monitor.reset())
    await asyncio.sleep(0)
    facts.let.release()  # the look
    facts.let.release()  # what the reset writes is read again
    await reset
    await _until(lambda: facts.n_asked == 3)
    assert not has_alarm(monitor)
    await monitor.close()


async def test_an_embedding_that_is_no_number_does_not_end_the_watch(caplog):
    """A prompt that cannot be tested is skipped and logged; the next ones are tested."""
    monitor = DriftMonitor(DriftConfig())
    monitor.reconfigure(routers(reference()))
    await monitor.start()
    monitor(record(0.5, np.full(4, np.nan, dtype=np.float32)))
    await _until(lambda: "were not tested" in caplog.text)
    monitor(record(0.5, np.ones(4, dtype=np.float32)))
    await monitor.close()
    assert monitor.status()["routers"]["mine"]["n_prompts"] == 1


def test_a_server_falls_back_to_strong_until_it_is_reset(tmp_path, capsys):
    """Prompts unlike the calibration's send everything to strong, reason "drift"; inspect shows it; a reset ends it."""
    write_checkpoint(read_checkpoint(load_checkpoint("mf").path), tmp_path / "mf")
    config = make_config({"routers": {"mine": {"checkpoint": str(tmp_path / "mf")}}, "drift": {"on_alarm": "strong"}})
    with LocalServer(create_app(config)) as server:
        asked = {"model": "router-mine-1", "messages": [{"role": "user", "content": "zxqv wvut ponm lkjh"}]}
        for _ in range(500):
            status, _ = post(server.url + "/v1/chat/completions", asked)
            assert status == 200
            reason = post(server.url + "/v1/route", asked)[1]["reason"]
            if reason == "drift":
                break
        assert reason == "drift"
        assert post(server.url + "/v1/route", asked)[1]["model"] == "stand-in-strong"
        assert main(["inspect", "--server", server.url]) == 0
        assert "alarm" in capsys.readouterr().out
        for wrong in ("other", [], {}):
            assert post(server.url + "/v1/drift/reset", {"router": wrong})[0] == 400
        assert post(server.url + "/v1/drift/reset", {"router": "mine"}) == (200, {"reset": ["mine"]})
        assert post(server.url + "/v1/route", asked)[1]["model"] == "stand-in-weak"


def test_a_server_that_watches_nothing_says_so():
    """Without a drift section the paths say what to add."""
    with LocalServer(create_app(make_config({}))) as server:
        assert post(server.url + "/v1/drift/reset", {})[0] == 404


async def _until(holds):
    for _ in range(6000):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come about")


def post(url, value):
    answer = httpx.post(url, json=value, timeout=60)
    return answer.status_code, answer.json()
