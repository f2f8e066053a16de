"""What those who run the server see: readiness, metrics, logs, and a shutdown that loses nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.processes import wait_until
from support.upstream import LocalServer

HELLO = [{"role": "user", "content": "A secret prompt"}]
STRONG, WEAK = "router-random-0", "router-random-1"


@pytest.fixture
def config(upstream):
    model = {"base_url": upstream.url, "retry": {"attempts": 0}, "breaker": {"failures": 1, "open_s": 30}}
    models = {"big": {**model, "model": "big-1"}, "small": {**model, "model": "small-1"}, "status-500": model}
    return {"strong": "big", "weak": "small", "models": models, "routers": {"random": {}}}


@pytest.fixture
def front(config):
    with LocalServer(create_app(make_config(config))) as server:
        yield server


def ask(front, model=STRONG, **more):
    headers = more.pop("headers", {})
    body = {"model": model, "messages": HELLO, **more}
    return httpx.post(f"{front.url}/v1/chat/completions", json=body, headers=headers)


def metric(front, name, **labels):
    """The value of one sample in GET /metrics; 0 where there is none."""
    for line in httpx.get(f"{front.url}/metrics").text.splitlines():
        match = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
            return float(match[2])
    return 0.0


def test_metrics_count_what_happened(front):
    """Requests, decisions, attempts, times and breakers are there after a few requests of each kind."""
    for model in (STRONG, STRONG, WEAK, "nope", "status-500"):
        ask(front, model)
    ask(front, STRONG, stream=True)
    assert metric(front, "pointsman_requests_total", outcome="answered", status="200") == 4
    assert metric(front, "pointsman_requests_total", outcome="refused", status="404") == 1
    assert metric(front, "pointsman_requests_total", outcome="failed", status="500") == 1
    assert metric(front, "pointsman_decisions_total", router="random", model="big", reason="win_rate") == 3
    assert metric(front, "pointsman_decisions_total", router="random", model="small", reason="win_rate") == 1
    assert metric(front, "pointsman_decisions_total", router="", model="status-500", reason="pass-through") == 1
    assert metric(front, "pointsman_upstream_tries_total", model="status-500", result="500") == 1
    assert metric(front, "pointsman_win_rate_count", router="random") == 4
    assert metric(front, "pointsman_overhead_seconds_count") == 5
    assert metric(front, "pointsman_routing_seconds_sum") > 0
    assert metric(front, "pointsman_breaker_open", model="status-500") == 1
    assert metric(front, "pointsman_breaker_open", model="big") == 0
    assert metric(front, "pointsman_requests_in_flight") == 0


def test_ready_is_whether_a_routed_request_could_be_answered(upstream, config):
    """One model down is no reason to take the server out; both are."""
    config["models"]["big"]["model"] = "status-500"
    with LocalServer(create_app(make_config(config))) as front:
        assert httpx.get(f"{front.url}/ready").json()["models"] == {"big": "up", "small": "up"}
        ask(front, "big")
        ready = httpx.get(f"{front.url}/ready")
        assert (ready.status_code, ready.json()["models"]["big"]) == (200, "circuit open")
    config["models"]["small"]["model"] = "status-500"
    with LocalServer(create_app(make_config(config))) as front:
        ask(front, "big")
        ask(front, "small")
        assert httpx.get(f"{front.url}/ready").status_code == 503
        assert httpx.get(f"{front.url}/health").status_code == 200


def test_a_server_that_was_not_ready_becomes_so_by_itself(upstream, config):
    """Once the models may be asked again it is ready, though nobody who heeds /ready has asked in the meantime."""
    for name in ("big", "small"):
        config["models"][name].update(model="status-500")
    app = create_app(make_config(config))
    with LocalServer(app) as front:
        ask(front, STRONG)
        ask(front, WEAK)
        assert httpx.get(f"{front.url}/ready").status_code == 503
        for name in ("big", "small"):
            app.engine.services[name].breaker._open_s = 0.0
        assert httpx.get(f"{front.url}/ready").status_code == 200
        assert metric(front, "pointsman_breaker_open", model="big") == 0


def test_requests_are_logged_without_their_content(front, caplog):
    """One line per request, with its id, decision and times, and nothing of prompts or answers."""
    caplog.set_level("INFO", "pointsman.requests")
    response = ask(front, headers={"X-Request-Id": "abc-123"})
    assert response.headers["x-pointsman-request-id"] == "abc-123"
    assert len(ask(front, headers={"X-Request-Id": "not well formed"}).headers["x-pointsman-request-id"]) == 28
    httpx.get(f"{front.url}/metrics")  # which lets nothing wait any more
    fields = [record.fields for record in caplog.records if record.name == "pointsman.requests"]
    assert len(fields) == 2
    assert fields[0]["request_id"] == "abc-123"
    assert (fields[0]["model"], fields[0]["router"], fields[0]["outcome"]) == ("big", "random", "answered")
    assert 0 < fields[0]["routing_ms"] < fields[0]["total_ms"]
    assert "secret" not in caplog.text


def serve(tmp_path, config, *flags, stderr):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    run = "from pointsman.serve.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", run, "serve", "--config", str(path), "--port", "0", *flags]
    process = subprocess.Popen(command, stderr=stderr, text=True, env=os.environ)
    for line in process.stderr:
        if line.startswith("Pointsman serves"):
            url = line.split()[2].removesuffix("/v1")
        if line.startswith("Try: curl"):
            break
    wait_until(lambda: listens(url))
    return process, url


def listens(url):
    try:
        return bool(httpx.get(f"{url}/health"))
    except httpx.TransportError:
        return False


def test_sigterm_lets_streams_finish(tmp_path, upstream, config):
    """A stream that runs when the server is told to stop reaches its end; new connections are refused."""
    upstream.held = True
    config["server"] = {"log": "json"}
    process, url = serve(tmp_path, config, stderr=subprocess.PIPE)
    seen = []

    def read():
        body = {"model": STRONG, "messages": HELLO, "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
            for line in response.iter_lines():
                seen.append(line)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: seen)
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: not listens(url))
    upstream.held = False
    reader.join(timeout=60)
    _, errors = process.communicate(timeout=60)
    assert "data: [DONE]" in seen
    logged = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert [entry["outcome"] for entry in logged if entry["logger"] == "pointsman.requests"] == ["answered"]


def test_worker_processes_share_port_key_and_metrics(tmp_path, upstream, config, monkeypatch):
    """Each has the key of the command line, and whichever answers GET /metrics tells of all of them."""
    monkeypatch.setenv("SOME_KEY", "sk-worker")
    process, url = serve(tmp_path, config, "--workers", "2", "--api-key", "env:SOME_KEY", stderr=subprocess.PIPE)
    try:
        for _ in range(12):
            httpx.post(f"{url}/v1/chat/completions", json={"model": STRONG, "messages": HELLO})

        def n_answered():
            text = httpx.get(f"{url}/metrics").text
            return sum(map(float, re.findall(r'pointsman_requests_total{.*outcome="answered".*} (\S+)', text)))

        wait_until(lambda: n_answered() == 12)
        assert {request.headers["authorization"] for request in upstream.received} == {"Bearer sk-worker"}
    finally:
        process.terminate()
        process.communicate(timeout=60)
