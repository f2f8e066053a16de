"""What does the server cost: to start, to keep, and to decide?

    python -m benchmarks.bench_server

Start-up is from the start of the process to the first 200 of GET /health, best and worst of several, with the byte code
that an installed package has. Memory is the
resident set after 1,000 requests. A decision is embedding and scoring of a prompt of 15 words, each different, and
the whole line from the body of a chat request to a Decision.
"""

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.gateways import compile_pointsman
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.protocols.requests import read_chat
from pointsman.serve.request.context import RequestContext

_SHARED = Path(__file__).parents[2] / "shared" / "data"

_N_STARTS = 7
_N_REQUESTS = 1000
_N_DECISIONS = 5000
_HEAVY = ("torch", "jax", "flax", "transformers", "datasets", "pandas", "sklearn", "litellm")
_SERVE = "from pointsman.serve.cli import main; raise SystemExit(main())"
_WORDS = ("what", "how", "why", "prove", "write", "list", "city", "number", "theorem", "history", "music", "river")
_WORDS += ("engine", "market", "protein", "summary", "python", "matrix", "capital", "weather", "planet", "recipe")
_MODULES = """
import sys
import pointsman.serve.commands.serve, pointsman.serve.server.launch, uvicorn.protocols.http.httptools_impl, uvloop
from pointsman.serve import create_app
app = create_app()
app.engine.routers["mf"].router.calculate_strong_win_rate("A prompt.")
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"pointsman"})))
"""


def main() -> int:
    """Checks, measures, prints."""
    compile_pointsman()
    starts = [_start_up_s() for _ in range(_N_STARTS)]
    models = ["--strong-model", "a", "--weak-model", "b", "--base-url", "http://127.0.0.1:9/v1"]
    with_models = [_start_up_s(*models) for _ in range(_N_STARTS)]
    memory_mb, requests_per_s = _serve_many()
    packages = _packages()
    rows = [_decision_row("win rate (embed + score)", _time_win_rates())]
    rows.append(_decision_row("body to decision", asyncio.run(_time_line())))
    print(f"start to first /health 200: median {np.median(starts):.2f} s, {min(starts):.2f} to {max(starts):.2f}")
    print(f"the same with two models: median {np.median(with_models):.2f} s")
    print(f"resident after {_N_REQUESTS:,} requests: {memory_mb:.0f} MB ({requests_per_s:,.0f} requests/s, 1 client)")
    print(f"packages: {' '.join(packages)}")
    print(f"{'decision':<26}{'median us':>10}{'p99 us':>9}")
    for row in rows:
        print(f"{row['decision']:<26}{row['median_us']:>10}{row['p99_us']:>9}")
    heavy = [name for name in _HEAVY if name in packages]
    targets = {
        "start_up_s": _target(float(np.median(starts)), 2.0),
        "start_up_with_models_s": _target(float(np.median(with_models)), 2.0),
        "resident_mb": _target(memory_mb, 250.0),
        "heavy_packages": _target(len(heavy), 0),
        "decision_median_us": _target(rows[0]["median_us"], 100.0),
    }
    machine = f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    report = {"bench": "server", "rows": rows, "packages": packages, "targets": targets}
    print(json.dumps({**report, "machine": machine, "commit": commit.stdout.strip()}))
    return 0


def _start(*flags: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _SERVE, "serve", "--port", str(port), *flags]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL), f"http://127.0.0.1:{port}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=30)


def _await_health(process: subprocess.Popen[bytes], url: str) -> None:
    with httpx.Client() as client:
        while process.poll() is None:
            try:
                if client.get(f"{url}/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.005)
    raise AssertionError(f"the server ended with exit code {process.returncode} before it answered")


def _start_up_s(*flags: str) -> float:
    started = time.perf_counter()
    process, url = _start(*flags)
    try:
        _await_health(process, url)
        return time.perf_counter() - started
    finally:
        _stop(process)


def _serve_many() -> tuple[float, float]:
    process, url = _start()
    try:
        _await_health(process, url)
        with httpx.Client(base_url=url, timeout=30) as client:
            started = time.perf_counter()
            for prompt in _prompts(_N_REQUESTS):
                messages = [{"role": "user", "content": prompt}]
                response = client.post("/v1/chat/completions", json={"model": "auto", "messages": messages})
                if response.status_code != 200 or "stand-in" not in response.text:
                    raise AssertionError(f"the server answered {response.status_code}: {response.text}")
            elapsed = time.perf_counter() - started
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, _N_REQUESTS / elapsed
    finally:
        _stop(process)


def _packages() -> list[str]:
    command = [sys.executable, "-c", _MODULES]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in names if not name.startswith("_")]


def _decision_row(name: str, times_us: list[float]) -> dict[str, Any]:
    median, p99 = np.percentile(times_us, [50, 99])
    return {"decision": name, "median_us": round(float(median), 1), "p99_us": round(float(p99), 1)}


def _time_win_rates() -> list[float]:
    """Microseconds of each win rate; the first fifth warms up."""
    router = load_router(load_checkpoint("mf"))
    prompts = _prompts(_N_DECISIONS)
    batch = router.win_rates(prompts)
    times_us = []
    for prompt, expected in zip(prompts, batch, strict=True):
        started = time.perf_counter_ns()
        win_rate = router.calculate_strong_win_rate(prompt)
        times_us.append((time.perf_counter_ns() - started) / 1e3)
        if abs(win_rate - expected) > 1e-5:
            raise AssertionError(f"{prompt!r}: {win_rate} alone, {expected} in a batch")
    return times_us[_N_DECISIONS // 5 :]


async def _time_line() -> list[float]:
    """Microseconds from the body of a chat request to its decision; the first fifth warms up."""
    engine = Engine(make_config())
    times_us = []
    for prompt in _prompts(_N_DECISIONS):
        body = json.dumps({"model": "router-mf-0.5", "messages": [{"role": "user", "content": prompt}]}).encode()
        started = time.perf_counter_ns()
        decision = await engine.decide(RequestContext(read_chat(body)))
        times_us.append((time.perf_counter_ns() - started) / 1e3)
        if decision.win_rate is None or (decision.win_rate >= 0.5) != (decision.model == engine.pair.strong):
            raise AssertionError(f"{prompt!r}: {decision}")
    return times_us[_N_DECISIONS // 5 :]


def _prompts(n: int) -> list[str]:
    """`n` different prompts of 15 words, real ones where ../shared/data is there."""
    if _SHARED.is_dir():
        import pyarrow.parquet as pq

        texts: set[str] = set()
        for path in sorted(_SHARED.glob("*.parquet")):
            texts.update(text for text in pq.read_table(path, columns=["prompt"])["prompt"].to_pylist() if text)
        found = sorted(" ".join(words[:15]) for words in map(str.split, texts) if len(words) >= 15)
        rng = np.random.default_rng(0)
        return [found[i] for i in rng.permutation(len(found))[:n]]
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(_WORDS, 15)) for _ in range(n)]


def _target(value: float, goal: float) -> dict[str, Any]:
    return {"value": round(value, 2), "goal": goal, "met": value <= goal}


if __name__ == "__main__":
    sys.exit(main())
