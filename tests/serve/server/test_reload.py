"""New configurations and checkpoints take over while requests are served."""

import asyncio
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from pointsman.backends.assets import asset_path
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.server.app import create_app
from pointsman.serve.server.hot_swap import Application
from pointsman.serve.server.reload import Reloader, Source, _changed

from support.processes import ForkedServer, wait_until
from support.upstream import running_upstream

HELLO = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as made:
        yield made


class ConfigFile:
    """A configuration file that is rewritten as its values change."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        model = {"base_url": url, "retry": {"attempts": 0}}
        self.values = {
            "strong": "big",
            "weak": "small",
            "models": {"big": {**model, "model": "big-1"}, "small": {**model, "model": "small-1"}},
            "routers": {"random": {}},
            "server": {"log": "json"},
        }
        self.write()

    def write(self, **changed: object) -> None:
        self.values |= changed
        self.write_text(json.dumps(self.values))

    def write_text(self, text: str) -> None:
        staging = self.path.with_suffix(".new")
        staging.write_text(text)
        staging.replace(self.path)


@pytest.fixture
def file(tmp_path, upstream):
    return ConfigFile(tmp_path / "config.yaml", upstream.url)


def ask(server, model="big", **more):
    body = {"model": model, "messages": HELLO, **more}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)


def reloads(server, result):
    return server.metric("pointsman_reloads_total", f'result="{result}"')


def logged(server, words):
    return [line for line in server.lines if words in line]


def test_a_changed_file_is_served_within_seconds_and_a_touched_one_is_left_alone(file):
    """A model that is added answers soon, under another digest; a touch changes nothing at all."""
    with ForkedServer("--config", str(file.path)) as server:
        digest = server.ready()["config"]
        assert ask(server, "third").status_code == 404
        file.write(models={**file.values["models"], "third": file.values["models"]["small"]})
        wait_until(lambda: ask(server, "third").status_code == 200)
        assert reloads(server, "accepted") == 1
        changed = server.ready()["config"]
        assert changed != digest
        assert server.metric("pointsman_config", changed) == 1
        assert server.metric("pointsman_config", digest) == 0
        file.path.touch()
        time.sleep(2.5)
        assert reloads(server, "accepted") == 1


def test_sighup_reloads_where_nothing_is_watched(file):
    """With watch: false a signal takes a change over, and reloads where there is none as well."""
    file.write(server={"log": "json", "watch": False})
    with ForkedServer("--config", str(file.path)) as server:
        digest = server.ready()["config"]
        file.write(fallback="both")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.ready()["config"] != digest)
        n_accepted = wait_until(lambda: reloads(server, "accepted"))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: reloads(server, "accepted") > n_accepted)


async def test_what_is_not_watched_is_looked_at_once(tmp_path, monkeypatch):
    """With watch: false only the start looks for changes, of the time since the files were read; then asking does."""
    monkeypatch.setattr("pointsman.serve.server.reload._LOOK_S", 0.02)
    monkeypatch.setattr("pointsman.serve.server.reload._SETTLE_S", 0.01)
    path, read, results = tmp_path / "config.yaml", [], []
    path.write_text("before")

    def read_config():
        read.append(path.read_text())
        return make_config({"routers": {"random": {}}, "server": {"watch": False}})

    application = Application(Engine(read_config()), lambda engine: None)
    reloader = Reloader(Source(read_config, lambda config, engine: Engine(config, previous=engine), path))
    reloader.observe(results.append)
    await reloader.start(application)
    while len(read) < 2:
        await asyncio.sleep(0.01)
    path.write_text("after")
    await asyncio.sleep(0.5)
    assert (read, results) == (["before"] * 2, [])
    reloader.ask()
    while not results:
        await asyncio.sleep(0.01)
    assert (read[2], results) == ("after", ["accepted"])
    await reloader.close()


def test_a_bad_configuration_is_refused_with_every_problem(file):
    """The log names each of them, the old configuration answers on, and a corrected one is taken."""
    with ForkedServer("--config", str(file.path)) as server:
        digest = server.ready()["config"]
        good = dict(file.values)
        file.write(strong="big", nonsense=1, fallback="maybe", models={"big": {"api_key": "env:NOT_SET_AT_ALL"}})
        wait_until(lambda: reloads(server, "refused") == 1)
        (line,) = wait_until(lambda: logged(server, "reload rejected"))
        for problem in ("nonsense: is not a known key", "fallback: ", "NOT_SET_AT_ALL is not set"):
            assert problem in line
        file.write_text("strong: [")
        wait_until(lambda: reloads(server, "refused") == 2)
        wait_until(lambda: logged(server, "is not valid YAML"))
        assert (ask(server).status_code, server.ready()["config"]) == (200, digest)
        file.write_text(json.dumps({**good, "fallback": "none"}))
        wait_until(lambda: server.ready()["config"] != digest)
        assert len(logged(server, "reload rejected")) == 2


def test_a_file_that_was_emptied_does_not_bring_the_stand_ins(file):
    """Somebody writes it in place, or the disk is full: the models that were configured answer on."""
    with ForkedServer("--config", str(file.path)) as server:
        text = file.path.read_text()
        file.path.write_text("")
        wait_until(lambda: reloads(server, "refused") == 1)
        wait_until(lambda: logged(server, "configuration no longer names models"))
        assert ask(server).headers["x-pointsman-model"] == "big"
        file.path.write_text(text.replace('"small-1"', '"small-2"'))
        wait_until(lambda: reloads(server, "accepted") == 1)


def test_settings_that_need_a_restart_are_named(file):
    """What else has changed is taken; the log names what has not. Keys to come do not open the dashboard meanwhile."""
    with ForkedServer("--config", str(file.path)) as server:
        changed = {"log": "json", "drain_timeout_s": 5, "keys_file": "/nowhere", "cors_origins": ["https://a"]}
        file.write(server=changed, dashboard={"hosts": ["gateway.example"]})
        wait_until(lambda: reloads(server, "accepted") == 1)
        warned = " ".join(wait_until(lambda: lines if len(lines := logged(server, "restart the")) == 2 else None))
        assert "server.drain_timeout_s" in warned
        assert "server.keys_file" in warned
        answer = httpx.get(f"{server.url}/v1/models", headers={"Origin": "https://a"})
        assert answer.headers["access-control-allow-origin"] == "https://a"
        for host, status in (("gateway.example", 200), ("evil.example", 403)):
            assert httpx.get(f"{server.url}/api/about", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("part", ["shadow", "autopilot", "sessions", "dashboard"])
def test_parts_that_are_turned_on_need_a_restart(part, upstream):
    """They are not left out in silence: the warning names the part. Turned off or left as they are, they are taken."""
    price = {"input_usd_per_million": 1, "output_usd_per_million": 1}
    judged = {"judge": "judge", "max_usd_per_day": 1.0}
    asked = {"shadow": {"share": 1.0, **judged}, "autopilot": {"max_loss": 0.1, **judged}, "sessions": {}}
    values = {
        "strong": "big", "weak": "small", "store": {"url": "sqlite:///store.db"},
        "models": {name: {"base_url": upstream.url, "price": price} for name in ("big", "small", "judge")},
    }  # fmt: skip
    on = make_config({**values, part: asked.get(part, {"enabled": True})})
    off = make_config({**values, "dashboard": {"enabled": False}} if part == "dashboard" else values)
    named = "dashboard.enabled" if part == "dashboard" else part
    assert [list(_changed(*pair)) for pair in ((off, on), (on, off), (on, on))] == [[named], [], []]
    if part in ("shadow", "autopilot"):
        longer = make_config({**values, part: {**asked[part], "queue": 7}})
        assert list(_changed(on, longer)) == [f"{part}.queue"]


def test_a_checkpoint_is_taken_when_it_is_replaced_and_refused_when_it_is_damaged(file, tmp_path):
    """The new weights decide within seconds; a damaged file is named, and the old weights decide on."""
    bundled = read_checkpoint(asset_path("mf"))
    folder = tmp_path / "mine"
    write_checkpoint(bundled, folder)
    file.write(routers={"mine": {"checkpoint": str(folder)}})
    with ForkedServer("--config", str(file.path)) as server:

        def win_rate():
            return httpx.post(f"{server.url}/v1/route", json={"prompt": "Prove it."}).json()["win_rate"]

        before = win_rate()
        parts = ("classifier", "linear")  # what the win rate is the sum of
        negated = {**bundled.arrays, **{name: -np.asarray(bundled.arrays[name]) for name in parts}}
        write_checkpoint(replace(bundled, arrays=negated), folder)
        after = wait_until(lambda: win_rate() if win_rate() != before else None)
        assert after == pytest.approx(1.0 - before, abs=1e-6)
        meta = json.loads((folder / "pointsman.json").read_text())
        meta["files"]["weights.safetensors"] = "0" * 64
        (folder / "pointsman.json").write_text(json.dumps(meta))
        wait_until(lambda: reloads(server, "refused") == 1)
        wait_until(lambda: logged(server, "weights.safetensors: content differs"))
        assert win_rate() == after


def test_a_stream_ends_on_the_engine_it_began_on(file, upstream):
    """A stream of a model that the new configuration lacks goes on to its end; then its connections are closed."""
    with ForkedServer("--config", str(file.path)) as server:
        upstream.held = True
        try:
            body = {"model": "small", "messages": HELLO, "stream": True}
            with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as response:
                lines = response.iter_lines()
                seen = [next(lines)]
                file.write(weak="other", models=dict.fromkeys(("big", "other"), file.values["models"]["big"]))
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda: reloads(server, "accepted") == 1)
                assert ask(server, "small").status_code == 404
                upstream.held = False
                seen += lines
        finally:
            upstream.held = False
        assert "data: [DONE]" in seen


def test_no_request_is_lost_while_configurations_change_under_load(file):
    """While eight clients ask all the time and the configuration changes a dozen times, every answer is a 200."""
    with ForkedServer("--config", str(file.path)) as server:
        stop, statuses = threading.Event(), []

        def hammer(i):
            with httpx.Client(base_url=server.url, timeout=60) as client:
                while not stop.is_set():
                    body = {"model": "router-random-0.5", "messages": HELLO, "stream": i % 2 == 0}
                    answer = client.post("/v1/chat/completions", json=body)
                    whole = b"[DONE]" in answer.content or b"chat.completion" in answer.content
                    statuses.append(answer.status_code if whole else answer.content)
                    stop.wait(0.01)

        with ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(hammer, i) for i in range(8)]
            for i in range(12):
                file.write(fallback=("both", "none")[i % 2])
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda n=i + 1: reloads(server, "accepted") >= n)
            wait_until(lambda: len(statuses) > 100)
            stop.set()
            for client in clients:
                client.result()
        assert set(statuses) == {200}
        wait_until(lambda: server.metric("pointsman_requests_in_flight") == 0)
        assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) < 40


def test_every_worker_reloads_and_a_dead_one_does_not_end_the_server(file):
    """SIGHUP reaches all of them. One that dies while the file is bad is missed, not mourned, and comes back later."""
    file.write(server={"log": "json", "watch": False})
    with ForkedServer("--config", str(file.path), "--workers", "2") as server:
        wait_until(lambda: len(server.pids) == 2)
        before = server.ready()["config"]
        file.write(fallback="both")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: before not in live_digests(server))
        file.write_text("strong: [")
        os.kill(server.pids[0], signal.SIGKILL)
        wait_until(lambda: logged(server, "this worker cannot start"))
        assert [ask(server).status_code for _ in range(5)] == [200] * 5
        file.write(fallback="none")
        wait_until(lambda: len(live_digests(server)) == 2)


def live_digests(server):
    """The configurations that the workers serve, as one answer after the other tells."""
    return {server.ready()["config"] for _ in range(8)}


def test_what_is_known_of_a_models_health_outlives_a_reload(upstream):
    """An unchanged model keeps its breaker; one that has changed starts fresh."""
    model = {"base_url": upstream.url, "breaker": {"failures": 1}}
    values = {"strong": "big", "weak": "small", "models": {"big": model, "small": model}, "routers": {"random": {}}}
    before = Engine(make_config(values))
    for service in before.services.values():
        service.breaker.fail()
    values["models"]["small"] = {**model, "timeouts": {"connect_s": 1.0}}
    after = Engine(make_config(values), previous=before)
    assert after.state is before.state
    assert after.services["big"].breaker.is_open
    assert not after.services["small"].breaker.is_open


async def test_an_engine_closes_after_its_last_request(upstream):
    """Not before, and at once where it serves none."""
    engines = [_Engine(make_config(routers=["random"])) for _ in range(3)]
    release = asyncio.Event()

    async def serve(scope, receive, send):
        await release.wait()

    application = Application(engines[0], lambda engine: serve)
    request = asyncio.create_task(application({"type": "http"}, None, None))
    await asyncio.sleep(0)
    await application.replace(engines[1])
    await application.replace(engines[2])
    for _ in range(100):
        await asyncio.sleep(0)
    assert [engine.n_closed for engine in engines] == [0, 1, 0]
    release.set()
    await request
    for _ in range(100):
        await asyncio.sleep(0)
    assert [engine.n_closed for engine in engines] == [1, 1, 0]


class _Engine(Engine):
    n_closed = 0

    async def close(self):
        self.n_closed += 1
        await super().close()


async def test_pages_are_told_of_a_new_engine_before_they_ask_for_anything():
    """What is shown live is the current engine's, and the one before is not kept for it."""

    def config(name):
        models = {name: {"base_url": "http://127.0.0.1:9/v1"} for name in (name, "small")}
        return make_config({"strong": name, "weak": "small", "models": models, "routers": {"random": {}}})

    async def shown(app):
        events = await app.engine.state.live.watch()
        event = await anext(events)
        await events.aclose()
        return list(json.loads(event.partition(b"data: ")[2])["models"])

    app = create_app(config("big"))
    assert await shown(app) == ["big", "small"]
    await app.replace(Engine(config("bigger"), previous=app.engine))
    assert await shown(app) == ["bigger", "small"]
    await app.engine.state.live.close()
    await app.engine.close()
