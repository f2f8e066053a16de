"""What does a request cost that goes through a gateway, and how many go through?

    benchmarks/peers/install_gateways.sh && python -m benchmarks.bench_gateway [--only NAME ...] [--soak]

One machine, one run, one mock upstream, one load generator, each gateway in one process with its own recommended
settings: Pointsman (default router `mf`; `store`, the same with a store and a policy; `full`, with the prompts' text
and embeddings in the store, a budget, prices, drift watching and keys as well; and `random`), RouteLLM's server,
LiteLLM's proxy, Portkey. "Added" is over asking the mock upstream directly. Every answer is checked, every stream read
to its end. A peer that is not installed is left out. --soak sends 200,000 more requests through each Pointsman that is
measured and follows its memory.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks.load import Load, Target, run_load, run_streams
from benchmarks.peers.mock_upstream import N_CHUNKS
from pointsman.serve.keys import new_key, write_keys

_PEERS = Path(os.environ.get("POINTSMAN_PEERS", Path(__file__).parents[1] / ".cache" / "peers")).resolve()
_SECONDS = 4.0
_STREAMS = 512
_SOAK = 200_000
_START_S = 120.0
_SERVE = "from pointsman.serve.cli import main; raise SystemExit(main())"

_COLUMNS = [
    ("added_p50_ms", "+p50 ms"),
    ("added_p99_ms", "+p99 ms"),
    ("requests_per_s_32", "req/s 32"),
    ("p99_ms_32", "p99 ms"),
    ("requests_per_s_256", "req/s 256"),
    ("p99_ms_256", "p99 ms"),
    ("added_first_token_ms", "+first ms"),
    ("streams_512_s", "512 streams s"),
    ("streams_512_failed", "failed"),
    ("resident_mb", "MB"),
    ("start_up_s", "start s"),
    ("load_average", "load"),
]


def main() -> int:
    """Starts everything, measures, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--soak", action="store_true", help="200,000 more requests, memory followed")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="words of the names to measure, e.g. mf portkey")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, _mock() as upstream:
        _print_titles()
        rows.append(_measure("direct", None, Target(upstream, "bench"), start_up_s=0.0))
        _print(rows[-1])
        for name, command, target, environment in _gateways(Path(folder), upstream):
            if args.only and not set(args.only) & {name, *name.split()}:
                continue
            if command is None:
                print(f"{name}: not installed, left out (benchmarks/peers/install_gateways.sh)", file=sys.stderr)
                continue
            with _running(command, target, environment) as (process, start_up_s):
                rows.append(_measure(name, process, target, start_up_s=start_up_s, direct=rows[0]))
                if args.soak and name.startswith("pointsman"):
                    rows[-1]["soak"] = uvloop.run(_soak(process, target))
                _print(rows[-1])
    machine = f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    report = {"bench": "gateway", "rows": rows, "targets": _targets(rows)}
    print(json.dumps({**report, "machine": machine, "commit": commit.stdout.strip()}))
    return 0


def _gateways(folder: Path, upstream: int) -> Iterator[tuple[str, list[str] | None, Target, dict[str, str]]]:
    """Name, command, target and environment of each gateway."""
    url = f"http://127.0.0.1:{upstream}/v1"
    for router in ("mf", "random"):
        port = _free_port()
        flags = ["serve", "--routers", router, "--strong-model", "a", "--weak-model", "b", "--base-url", url]
        command = [sys.executable, "-c", _SERVE, *flags, "--port", str(port)]
        yield f"pointsman {router}", command, Target(port, f"router-{router}-0.5"), {}

    for name, config in (("store", _stored(folder, url)), ("full", _full(folder, url))):
        port, file = _free_port(), folder / f"{name}.yaml"
        file.write_text(json.dumps(config))
        command = [sys.executable, "-c", _SERVE, "serve", "--config", str(file), "--port", str(port)]
        headers = (("Authorization", f"Bearer {_key(folder)}"),) if name == "full" else ()
        yield f"pointsman {name}", command, Target(port, "auto", headers=headers), {}

    port, python = _free_port(), _PEERS / "routellm/bin/python"
    flags = ["--routers", "random", "--strong-model", "openai/a", "--weak-model", "openai/b"]
    command = [str(python), "-m", "routellm.openai_server", *flags, "--base-url", url, "--api-key", "x", "--port"]
    offline = {"OPENAI_API_KEY": "x", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
    yield (
        "routellm random",
        [*command, str(port)] if python.exists() else None,
        Target(port, "router-random-0.5"),
        offline,
    )

    port, litellm = _free_port(), _PEERS / "litellm/bin/litellm"
    model = {"model_name": "bench", "litellm_params": {"model": "openai/bench", "api_base": url, "api_key": "x"}}
    (folder / "litellm.yaml").write_text(json.dumps({"model_list": [model]}))
    command = [str(litellm), "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    unlocked = {**offline, "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    path = f"{litellm.parent}{os.pathsep}{os.environ['PATH']}"
    yield "litellm proxy", command if litellm.exists() else None, Target(port, "bench"), {**unlocked, "PATH": path}

    port, script = _free_port(), _PEERS / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    headers = (("x-portkey-provider", "openai"), ("x-portkey-custom-host", url))
    command = ["node", str(script), "--headless", f"--port={port}"]
    trusted = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    yield "portkey", command if script.exists() else None, Target(port, "bench", headers=headers), trusted


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


def _measure(
    name: str,
    process: psutil.Process | None,
    target: Target,
    *,
    start_up_s: float,
    direct: dict[str, Any] | None = None,
) -> dict[str, Any]:
    busy = os.getloadavg()[0]
    uvloop.run(run_load(target, clients=8, seconds=1.0))
    one = uvloop.run(run_load(target, clients=1, seconds=_SECONDS))
    some = uvloop.run(run_load(target, clients=32, seconds=_SECONDS))
    many = uvloop.run(run_load(target, clients=256, seconds=_SECONDS))
    first = uvloop.run(run_streams(target, streams=10, words=N_CHUNKS, in_turn=True))
    streams = uvloop.run(run_streams(target, streams=_STREAMS, words=N_CHUNKS))
    row = {"gateway": name, "start_up_s": round(start_up_s, 2), **_figures(one, some, many, first, streams)}
    row["load_average"] = round(busy, 1)
    row["resident_mb"] = round(_resident_mb(process)) if process is not None else 0
    if direct is not None:
        for figure in ("p50_ms", "p99_ms", "first_token_ms"):
            row[f"added_{figure}"] = None if row[figure] is None else round(row[figure] - direct[figure], 3)
    return row


def _figures(one: Load, some: Load, many: Load, first: Load, streams: Load) -> dict[str, Any]:
    return {
        "p50_ms": round(one.ms(50), 3),
        "p99_ms": round(one.ms(99), 3),
        "requests_per_s_32": round(some.requests_per_s),
        "p99_ms_32": round(some.ms(99), 1),
        "requests_per_s_256": round(many.requests_per_s),
        "p99_ms_256": round(many.ms(99), 1),
        "first_token_ms": _ms(first),
        "streams_512_failed": streams.n_failed,
        "streams_512_s": round(streams.elapsed_s, 2),
        "first_token_ms_512": _ms(streams),
    }


def _ms(load: Load) -> float | None:
    """Median milliseconds; None where everything failed."""
    median = load.ms(50)
    return None if math.isnan(median) else round(median, 3)


async def _soak(process: psutil.Process, target: Target) -> dict[str, Any]:
    """Memory after each tenth of many requests."""
    memory, served, started = [], 0, time.perf_counter()
    while served < _SOAK:
        load = await run_load(target, clients=32, seconds=600.0, n_requests=_SOAK // 10)
        served += len(load.latencies_s)
        memory.append(round(_resident_mb(process), 1))
    return {"n_requests": served, "resident_mb": memory, "seconds": round(time.perf_counter() - started)}


@contextmanager
def _mock() -> Iterator[int]:
    port = _free_port()
    script = Path(__file__).parent / "peers/mock_upstream.py"
    process = subprocess.Popen([sys.executable, str(script), str(port)])
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def _running(command: list[str], target: Target, environment: dict[str, str]) -> Iterator[tuple[psutil.Process, float]]:
    """A gateway, and the seconds until its first answer."""
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            _wait_for(target.port, process)
            while True:
                try:
                    uvloop.run(run_load(target, clients=1, seconds=60.0, n_requests=1))
                    break
                except (OSError, asyncio.IncompleteReadError, AssertionError):
                    if time.perf_counter() - started > _START_S:
                        raise
                    time.sleep(0.05)
            yield psutil.Process(process.pid), time.perf_counter() - started
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


def _resident_mb(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return sum(member.memory_info().rss for member in family) / 1e6


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _targets(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by_name = {row["gateway"]: row for row in rows}
    ours = by_name.get("pointsman mf")
    if ours is None:
        return {}
    targets = {"added_p50_ms": {"value": ours["added_p50_ms"], "goal": 0.6, "met": ours["added_p50_ms"] < 0.6}}
    for name in ("store", "full"):
        if row := by_name.get(f"pointsman {name}"):
            more = round(row["p50_ms"] - ours["p50_ms"], 3)
            targets[f"{name}_more_p50_ms"] = {"value": more, "goal": 0.1, "met": more < 0.1}
    lost = ours["streams_512_failed"]
    targets["streams_512_failed"] = {"value": lost, "goal": 0, "met": lost == 0}
    for peer, times in (("routellm random", 12), ("litellm proxy", 20), ("portkey", 2)):
        if peer in by_name:
            ratio = round(ours["requests_per_s_32"] / by_name[peer]["requests_per_s_32"], 1)
            targets[f"requests_per_s_32 over {peer}"] = {"value": ratio, "goal": times, "met": ratio >= times}
    return targets


def _print_titles() -> None:
    print(f"{'gateway':<17}" + "".join(f"{title:>14}" for _, title in _COLUMNS), flush=True)


def _shown(value: object) -> str:
    return "-" if value is None else str(value)


def _print(row: dict[str, Any]) -> None:
    print(f"{row['gateway']:<17}" + "".join(f"{_shown(row.get(key)):>14}" for key, _ in _COLUMNS), flush=True)


if __name__ == "__main__":
    sys.exit(main())
