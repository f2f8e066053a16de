"""The gateways that are compared: how each is started, told of the upstream, asked, and ended."""

import asyncio
import compileall
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks.install_peers import PEERS
from benchmarks.load import Target, run_load
from benchmarks.peers.mock_upstream import PAUSE_S
from pointsman.serve.auth.keys import new_key, write_keys

__all__ = ["Gateway", "Running", "compile_pointsman", "gateways", "mock_upstream", "running"]

_START_S = 120.0
_SERVE = "from pointsman.serve.cli import main; raise SystemExit(main())"
_OFFLINE = {"OPENAI_API_KEY": "x", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    upstream mock {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
        }}
    }}
}}
"""
_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: mock}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: mock
    connect_timeout: 5s
    load_assignment:
      cluster_name: mock
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


@dataclass(frozen=True)
class Gateway:
    """One gateway.

    Attributes:
        command: starts it; None where it is not installed.
        target: how it is asked.
    """

    name: str
    command: list[str] | None
    target: Target
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A gateway that was started.

    Attributes:
        start_up_s: until its first answer.
    """

    process: psutil.Process
    start_up_s: float

    @property
    def resident_mb(self) -> float:
        """Memory of the process and its children."""
        return sum(member.memory_info().rss for member in self._family()) / 1e6

    @property
    def cpu_s(self) -> float:
        """Seconds of all processors so far, likewise."""
        times = [member.cpu_times() for member in self._family()]
        return float(sum(each.user + each.system for each in times))

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def compile_pointsman() -> None:
    """Writes the byte code of Pointsman, as pip does where it installs a package: a checkout need not have any."""
    for name in ("core", "serve", "backends"):
        compileall.compile_dir(Path(__file__).parents[1] / name, quiet=1)


def gateways(folder: Path, upstream: int) -> Iterator[Gateway]:
    """All of them, before an upstream on a port of this machine; their files go into `folder`."""
    url = f"http://127.0.0.1:{upstream}/v1"
    for router in ("mf", "random"):
        port = _free_port()
        flags = ["serve", "--routers", router, "--strong-model", "a", "--weak-model", "b", "--base-url", url]
        command = [sys.executable, "-c", _SERVE, *flags, "--port", str(port)]
        yield Gateway(f"pointsman {router}", command, Target(port, f"router-{router}-0.5"))
    for name, config in (("store", _stored(folder, url)), ("full", _full(folder, url))):
        port, file = _free_port(), folder / f"{name}.yaml"
        file.write_text(json.dumps(config))
        command = [sys.executable, "-c", _SERVE, "serve", "--config", str(file), "--port", str(port)]
        headers = (("Authorization", f"Bearer {_key(folder)}"),) if name == "full" else ()
        yield Gateway(f"pointsman {name}", command, Target(port, "auto", headers=headers))
    yield _routellm(url)
    yield _litellm(folder, url)
    yield _portkey(url)
    yield _bare(upstream)
    yield _nginx(folder, upstream)
    yield _envoy(folder, upstream)


def _routellm(url: str) -> Gateway:
    port, python = _free_port(), PEERS / "routellm/bin/python"
    flags = ["--routers", "random", "--strong-model", "openai/a", "--weak-model", "openai/b"]
    command = [str(python), "-m", "routellm.openai_server", *flags, "--base-url", url, "--api-key", "x"]
    started = [*command, "--port", str(port)] if python.exists() else None
    return Gateway("routellm random", started, Target(port, "router-random-0.5"), _OFFLINE)


def _litellm(folder: Path, url: str) -> Gateway:
    port, litellm = _free_port(), PEERS / "litellm/bin/litellm"
    model = {"model_name": "bench", "litellm_params": {"model": "openai/bench", "api_base": url, "api_key": "x"}}
    (folder / "litellm.yaml").write_text(json.dumps({"model_list": [model]}))
    command = [str(litellm), "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    path = f"{litellm.parent}{os.pathsep}{os.environ['PATH']}"
    unlocked = {**_OFFLINE, "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true", "PATH": path}
    return Gateway("litellm proxy", command if litellm.exists() else None, Target(port, "bench"), unlocked)


def _portkey(url: str) -> Gateway:
    port, script = _free_port(), PEERS / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    headers = (("x-portkey-provider", "openai"), ("x-portkey-custom-host", url))
    command = ["node", str(script), "--headless", f"--port={port}"]
    trusted = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    return Gateway("portkey", command if script.exists() else None, Target(port, "bench", headers=headers), trusted)


def _bare(upstream: int) -> Gateway:
    """The limit in Python: the same server library, and nothing between it and the upstream."""
    port, script = _free_port(), Path(__file__).parent / "peers/bare_proxy.py"
    return Gateway("bare uvicorn", [sys.executable, str(script), str(port), str(upstream)], Target(port, "bench"))


def _nginx(folder: Path, upstream: int) -> Gateway:
    """The limit: one process in C that passes everything on."""
    port, program = _free_port(), shutil.which("nginx")
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, upstream=upstream, port=port))
    command = None if program is None else [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    return Gateway("nginx", command, Target(port, "bench"))


def _envoy(folder: Path, upstream: int) -> Gateway:
    port, program = _free_port(), next(PEERS.glob("envoy/lib/python*/site-packages/envoy/_bin/envoy"), None)
    (folder / "envoy.yaml").write_text(_ENVOY.format(upstream=upstream, port=port))
    flags = ["-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return Gateway("envoy", None if program is None else [str(program), *flags], Target(port, "bench"))


def _stored(folder: Path, url: str) -> dict[str, Any]:
    """A configuration with a store and a policy."""
    return {
        "strong": "a",
        "weak": "b",
        "models": {name: {"base_url": url} for name in ("a", "b")},
        "policy": {"strong_share": 0.5},
        "store": {"url": f"sqlite:///{folder / 'store.db'}"},
    }


def _full(folder: Path, url: str) -> dict[str, Any]:
    """A configuration with everything on the way of a request."""
    price = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    return {
        **_stored(folder, url),
        "models": {name: {"base_url": url, "price": price} for name in ("a", "b")},
        "policy": {"strong_share": 0.5, "budgets": [{"usd": 1e6}]},
        "store": {"url": f"sqlite:///{folder / 'full.db'}", "prompts": "text", "embeddings": True},
        "drift": {},
        "server": {"keys_file": str(folder / "keys.json")},
    }


def _key(folder: Path) -> str:
    key, text = new_key("bench")
    write_keys(folder / "keys.json", {key.id: key})
    return text


@contextmanager
def mock_upstream(*, pause_s: float = PAUSE_S) -> Iterator[int]:
    """The port of an upstream that costs next to nothing; `pause_s` lies between the pieces of its streams."""
    port = _free_port()
    script = Path(__file__).parent / "peers/mock_upstream.py"
    process = subprocess.Popen([sys.executable, str(script), str(port), str(pause_s)])
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(gateway: Gateway) -> Iterator[Running]:
    """A gateway from its first answer on; what it logged is printed where it ended by itself."""
    assert gateway.command is not None
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(gateway.command, env={**os.environ, **gateway.environment}, stdout=log, stderr=log)
        try:
            _wait_for(gateway.target.port, process)
            while True:
                try:
                    uvloop.run(run_load(gateway.target, clients=1, seconds=60.0, n_requests=1))
                    break
                except (OSError, asyncio.IncompleteReadError, AssertionError):
                    if time.perf_counter() - started > _START_S:
                        raise
                    time.sleep(0.05)
            yield Running(psutil.Process(process.pid), time.perf_counter() - started)
        finally:
            _kill(process)
            log.seek(0)
            if process.returncode != -signal.SIGKILL:
                print(log.read()[-2000:].decode("utf-8", "replace"), file=sys.stderr)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
    process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.perf_counter() + _START_S
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"{process.args} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise AssertionError(f"{process.args} does not listen on {port} after {_START_S:g} s")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
