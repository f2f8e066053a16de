"""Huge bodies wait in line for one thread: that of a client who hung up leaves it."""

import json
import threading
import time

import httpx
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols import off_loop, requests

from support.upstream import LocalServer


def test_a_body_whose_client_is_gone_is_not_read(monkeypatch):
    """Clients who time out and try again would keep each other waiting for longer and longer."""
    read, go_on = [], threading.Event()
    monkeypatch.setattr(requests, "read_large", lambda body, loads: read.append(len(body)) or json.loads(body))
    model = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "retry": {"attempts": 0}}
    config = make_config({"strong": "a", "weak": "b", "models": {"a": model, "b": model}, "routers": {"random": {}}})
    body = json.dumps({"model": "a", "messages": [{"role": "user", "content": "x" * 2_000_000}]})
    with LocalServer(create_app(config)) as front:
        off_loop._ONE.submit(go_on.wait, 30.0)
        try:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{front.url}/v1/chat/completions", content=body, timeout=0.5)
            time.sleep(0.5)
        finally:
            go_on.set()
        off_loop._ONE.submit(int).result(30.0)
        assert read == []
        assert httpx.post(f"{front.url}/v1/chat/completions", content=body, timeout=30.0).status_code == 502
        assert read == [len(body)]
