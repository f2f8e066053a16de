"""The server as a process: how it ends, and what it holds after clients that misbehave."""

import asyncio
import json
import os
import re
import signal
import socket
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
from pointsman.core.pair import ModelPair
from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.processes import ServerProcess, wait_until
from support.upstream import LocalServer

HELLO = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def values(upstream):
    model = {"base_url": upstream.url, "retry": {"attempts": 0}, "breaker": {"failures": 100_000}}
    return {
        "strong": "big",
        "weak": "small",
        "models": {"big": model, "small": model},
        "routers": {"random": {}},
        "server": {"log": "json"},
    }


@pytest.fixture
def config(values, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(values))
    return str(path)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_under_load_loses_nothing_and_is_a_success(config, upstream, workers):
    """Streams that run reach their end, what is asked later finds nobody, no answer is cut, the exit status is 0."""
    upstream.pause_s = 0.3
    streams, answers, refused = [], [], []
    asked_to_end = threading.Event()

    def read_stream(_):
        body = {"model": "router-random-0.5", "messages": HELLO, "stream": True}
        streams.append(httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).content)

    def hammer(_):
        while True:
            try:
                body = {"model": "router-random-0.5", "messages": HELLO}
                answers.append(httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60))
            except httpx.TransportError:
                refused.append(asked_to_end.is_set())
                return

    with ServerProcess("--config", config, "--workers", workers) as server, ThreadPoolExecutor(24) as pool:
        readers = [pool.submit(read_stream, i) for i in range(16)]
        wait_until(lambda: len(upstream.received) >= 16)
        hammers = [pool.submit(hammer, i) for i in range(4)]
        time.sleep(0.5)
        asked_to_end.set()
        server.process.send_signal(signal.SIGTERM)
        for done in (*readers, *hammers):
            done.result(timeout=60)
        assert server.process.wait(timeout=60) == 0
    assert len(streams) == 16
    assert all(content.endswith(b"data: [DONE]\n\n") for content in streams)
    assert [answer.text for answer in answers if answer.status_code != 200] == []
    assert all(answer.json()["object"] == "chat.completion" for answer in answers)
    assert refused == [True] * 4


def test_a_thousand_clients_that_hang_up_leave_no_descriptor_behind(config, upstream):
    """At whatever point they go: the server hangs up on the upstream, holds nothing of theirs, and serves on."""
    upstream.pause_s = 3600.0
    with ServerProcess("--config", config) as server:
        descriptors = Path(f"/proc/{server.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        hang_up_a_thousand_times(int(server.url.rpartition(":")[2]))
        wait_until(lambda: server.metric("pointsman_requests_in_flight") == 0)
        assert server.metric("pointsman_requests_total", 'outcome="crashed"') == 0
        assert server.metric("pointsman_requests_total", 'outcome="gone"') >= 500
        wait_until(lambda: len(list(descriptors.iterdir())) <= before + 4)  # a connection or two is kept for the next
        upstream.pause_s = 0.0
        body = {"model": "big", "messages": HELLO, "stream": True}
        assert b"[DONE]" in httpx.post(f"{server.url}/v1/chat/completions", json=body).content
    wait_until(lambda: len(upstream.cancelled) >= 500)


def test_a_thousand_clients_that_hang_up_leave_no_task_behind(values, upstream):
    """Every task that their requests began has ended."""
    upstream.pause_s = 3600.0
    application, loops = create_app(make_config(values)), []

    async def watched(scope, receive, send):
        loops.append(asyncio.get_running_loop())
        await application(scope, receive, send)

    with LocalServer(watched) as front:
        httpx.get(f"{front.url}/health")
        before = len(asyncio.all_tasks(loops[0]))
        hang_up_a_thousand_times(front.port)
        wait_until(lambda: len(asyncio.all_tasks(loops[0])) <= before)
        assert len(loops) > 1000


def hang_up_a_thousand_times(port):
    """Fifty at once, half of them without waiting for an answer, and half of them in the middle of a stream."""
    body = json.dumps({"model": "big", "messages": HELLO, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for i in range(20):
        connections = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(50)]
        for connection in connections:
            connection.sendall(head + body)
        for connection in connections:
            assert i % 2 == 0 or connection.recv(1)
            connection.close()


def test_a_worker_that_dies_takes_its_gauges_along(config, upstream):
    """What it was serving is not shown as being served for ever."""
    upstream.delay_s = 30.0
    with ServerProcess("--config", config, "--workers", "2") as server, ThreadPoolExecutor(4) as pool:
        body = {"model": "big", "messages": HELLO}
        asked = [pool.submit(httpx.post, f"{server.url}/v1/chat/completions", json=body) for _ in range(4)]
        wait_until(lambda: server.metric("pointsman_requests_in_flight") == 4)
        dead = server.pids
        for pid in dead:
            os.kill(pid, signal.SIGKILL)
        for request in asked:
            assert isinstance(request.exception(), httpx.TransportError)
        wait_until(lambda: len(server.pids) == 2 and not set(server.pids) & set(dead))
        wait_until(server._answers)
        assert server.metric("pointsman_requests_in_flight") == 0


def test_workers_share_the_weights_that_they_map(tmp_path):
    """Both map one copy of a checkpoint's arrays, the server's own, and neither has written to it."""
    bundled = read_checkpoint(asset_path("mf"))
    rng = np.random.default_rng(0)
    arrays = {
        "embeddings": rng.normal(size=(20_000, bundled.embedder.dim)).astype(np.float32),
        "tiers": np.array([0, 1]),
        "segment_starts": np.array([0, 10_000]),
        "segment_first": np.array([0, 0]),
        "segment_second": np.array([1, 1]),
        "segment_outcome": np.array([0.0, 1.0]),
    }
    folder = tmp_path / "battles"
    checkpoint = replace(
        bundled, kind="sw_ranking", models=("a", "b"), pair=ModelPair("a", "b"), arrays=arrays, options={}
    )
    write_checkpoint(checkpoint, folder)
    size_kib = (folder / "weights.safetensors").stat().st_size // 1024
    with ServerProcess("--routers", str(folder), "--workers", "2") as server:
        wait_until(lambda: [size for size, _ in mapped_kib(server) if size > size_kib // 2][1:])
        (folder / "weights.safetensors").write_bytes(b"")
        for _ in range(8):
            answer = httpx.post(f"{server.url}/v1/route", json={"model": "router-battles-0.5", "prompt": "Prove it."})
            assert 0.0 < answer.json()["win_rate"] < 1.0
        assert [own for _, own in mapped_kib(server)] == [0, 0]


def mapped_kib(server):
    """Of each worker: how much of the shared weights it has mapped and used, and how much of them is its own."""
    found = []
    for pid in server.pids:
        regions = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.MULTILINE)
        for region in regions:
            if "/weights/" in region:
                sizes = dict(re.findall(r"^(Rss|Anonymous): +(\d+)", region, re.MULTILINE))
                found.append((int(sizes["Rss"]), int(sizes["Anonymous"])))
    return found
