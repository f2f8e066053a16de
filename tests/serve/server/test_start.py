"""The serve and route commands as users run them."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest

from pointsman.core.errors import UpstreamError
from pointsman.core.routers.random import RandomRouter
from pointsman.serve import create_app
from pointsman.serve.cli import main
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols.token_count import _pieces
from pointsman.serve.server.launch import build_engine

from support.autopilot_server import lifespan

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
LATE = ["fastapi", "starlette.routing", "yaml", "sqlalchemy", "aiohttp", "rich", "numpy.random"]
LATE += ["sqlite3", "asyncpg", "httpx", "requests", "pyarrow"]
LATE += [
    f"pointsman.serve.{name}"
    for name in (
        "autopilot", "drift.monitor", "engine.cascade", "engine.explain", "engine.rules", "feedback", "judging",
        "observers.tracing", "protocols.translation", "server.fastapi_app", "server.openapi", "store.rows",
        "store.store", "upstreams.translated.litellm", "upstreams.translated.translations",
    )
]  # fmt: skip
HEAVY = ["torch", "jax", "flax", "transformers", "datasets", "pandas", "sklearn", "litellm"]


@contextmanager
def serving(*flags, **variables):
    """A server process on a free port, given as (process, url, what it says about itself)."""
    run = "from pointsman.serve.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", run, "serve", "--port", "0", *flags]
    environment = {**os.environ, **variables}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith("Try: curl"):
                break
        url = next(word for word in "".join(said).split() if word.startswith("http://")).removesuffix("/v1")
        yield process, url, "".join(said)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def wait_for(url, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            return httpx.get(f"{url}/health")
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError(f"no answer from {url} within {timeout_s} s")


def test_a_newcomer_is_served_without_key_or_model():
    """With no option the default router decides, and the stand-ins say so; a signal ends the server with success."""
    with serving() as (process, url, said):
        assert wait_for(url).status_code == 200
        assert "No models are configured" in said
        response = httpx.post(f"{url}/v1/chat/completions", json={"model": "auto", "messages": HELLO})
        assert response.headers["x-pointsman-router"] == "mf"
        assert "built-in stand-in" in response.json()["choices"][0]["message"]["content"]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--strong-model", "gpt-4o"], "weak"),
        (["--strong-model", "gpt-4o", "--weak-model", "gpt-4o-mini"], "OPENAI_API_KEY"),
        (["--routers", "nope"], "nope"),
        (["--routers", "bert"], "no bundled checkpoint"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["--api-key", "env:NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
    ],
)
def test_what_cannot_be_served_is_refused_at_start(flags, problem, capsys, monkeypatch):
    """The reason is one message on stderr and the exit status 1; nothing listens."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["serve", "--check", *flags]) == 1
    captured = capsys.readouterr()
    assert problem in captured.err
    assert captured.out == ""


def test_a_bad_checkpoint_is_refused_at_start(tmp_path, capsys):
    """A damaged checkpoint is named with its defect."""
    (tmp_path / "pointsman.json").write_text("{")
    assert main(["serve", "--check", "--routers", str(tmp_path)]) == 1
    assert "not valid JSON" in capsys.readouterr().err


def test_wrong_usage_exits_with_2(capsys):
    """Unknown flags and impossible values are usage errors."""
    assert main(["serve", "--nope"]) == 2
    assert main(["serve", "--workers", "0"]) == 2
    assert main(["route", "Hi", "--threshold", "1.5"]) == 2
    assert main(["route", "Hi", "--threshold", "0.5", "--strong-share", "0.5"]) == 2
    capsys.readouterr()


def test_a_taken_port_says_so(capsys):
    """The message names address, port and the flag to change it."""
    with serving("--routers", "random") as (_, url, _said):
        port = url.rpartition(":")[2]
        assert main(["serve", "--routers", "random", "--port", port]) == 1
        assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_check_and_schema_print_their_result_alone(capsys):
    """--check says ok; --schema prints a JSON schema."""
    assert main(["serve", "--check", "--routers", "mf", "random"]) == 0
    assert capsys.readouterr().out == "ok: routers mf, random; models stand-in-strong, stand-in-weak\n"
    assert main(["serve", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Config"


def test_route_prints_one_decision(capsys):
    """The chosen model and why, or the same as JSON; thresholds and shares are taken."""
    assert main(["route", "Prove it.", "--router", "random", "--threshold", "0"]) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(r"stand-in-strong: win rate [01]\.\d{4} >= threshold 0\.0000 \(router random\)\n", line)
    assert main(["route", "Prove it.", "--strong-share", "0", "--json"]) == 0
    decision = json.loads(capsys.readouterr().out)
    assert decision["router"] == "mf"
    assert decision["candidates"] == ["stand-in-strong", "stand-in-weak"]
    assert main(["route", "Prove it.", "--router", "mf", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["win_rate"] == decision["win_rate"]


def test_route_goes_to_strong_where_the_router_fails(capsys, monkeypatch):
    """The command then says why, in the place of a win rate."""

    def fail(router, prompt):
        raise UpstreamError("the embedding service is down")

    monkeypatch.setattr(RandomRouter, "read", fail)
    assert main(["route", "Prove it.", "--router", "random", "--threshold", "1"]) == 0
    assert capsys.readouterr().out == "stand-in-strong: router failed: UpstreamError\n"


def test_serving_loads_no_framework():
    """After a request to the default router none of the heavy packages is loaded."""
    code = f"""
import sys
import threading
from starlette.testclient import TestClient
from pointsman.serve import create_app
with TestClient(create_app(), base_url="http://localhost") as client:
    body = {{"model": "auto", "messages": {HELLO!r}}}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_start_loads_nothing_that_no_request_has_asked_for():
    """Neither the checks of a start nor completions and those who watch the server need the framework, the dashboard,
    or what is not configured; the first request that needs the framework has it loaded."""
    code = f"""
import asyncio, json, sys
import numpy
of_numpy = set(sys.modules)  # NumPy 1.26 loads all of its parts
from pointsman.serve import create_app
from pointsman.serve.cli import main
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols.token_count import _pieces
models = ["--strong-model", "a", "--weak-model", "claude-sonnet-4", "--base-url", "http://127.0.0.1:9/v1"]
assert main(["serve", "--check", *models]) == 0
app = create_app()
from pointsman.serve.server.launch import _SETTINGS, UvicornConfig, limit_heads
UvicornConfig(app, http=limit_heads(app.engine.config.server), **_SETTINGS).load()
async def ask(method, path, body=None):
    scope = {{"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}}
    async def receive():
        return {{"type": "http.request", "body": json.dumps(body).encode()}}
    async def send(message):
        assert message.get("status", 200) == 200
    await app(scope, receive, send)
async def use():
    await ask("POST", "/v1/chat/completions", {{"model": "auto", "messages": {HELLO!r}}})
    for path in ("/health", "/ready", "/metrics"):
        await ask("GET", path)
    print([name for name in {LATE!r} if name in sys.modules and name not in of_numpy])
    await ask("GET", "/v1/models")
    print("fastapi" in sys.modules)
asyncio.run(use())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[1:] == ["[]", "True"]


def test_who_watches_workers_holds_no_weights_and_collects_its_garbage(monkeypatch):
    """The engine that was built for its checks is gone before the workers build their own."""
    built, seen = [], []

    def build(options):
        engine = build_engine(options)
        built.append(weakref.ref(engine))
        return engine

    def watch(config, doors):
        for door in doors[1:]:
            door.close()
        return SimpleNamespace(run=lambda: seen.append((gc.isenabled(), built[0]())))

    for variable in ("POINTSMAN_SERVE_OPTIONS", "PROMETHEUS_MULTIPROC_DIR", "POINTSMAN_SHARED_FOLDER"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr("pointsman.serve.server.launch.build_engine", build)
    monkeypatch.setattr("pointsman.serve.server.launch.set_up_logging", lambda _: None)
    monkeypatch.setattr("pointsman.serve.server.supervisor.Supervisor", watch)
    assert main(["serve", "--routers", "random", "--workers", "2", "--port", "0"]) == 0
    assert seen == [(True, None)]
    assert "POINTSMAN_SHARED_SESSIONS" not in os.environ  # its folder is gone


async def test_the_vocabulary_is_loaded_before_anything_is_counted():
    """In a thread: otherwise the first answer whose upstream tells no usage kept all requests waiting for it."""
    _pieces.cache_clear()
    async with lifespan(create_app(make_config(routers=["random"]))):
        for thread in threading.enumerate():
            if thread.name == "pointsman-vocabulary":
                thread.join()
        assert _pieces.cache_info().currsize == 1
