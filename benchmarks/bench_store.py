"""What does keeping a request in the store cost, and how long do questions about 100,000 of them take?

    python -m benchmarks.bench_store [--rows 100000] [--url postgresql://...]

"Observer" is the time that a request waits for its row to be made and queued, the median and the 99th percentile.
Then the queue is written: "loop" is the CPU time that this takes of the event loop's thread per row, "stall" the 99th
percentile of how late a task is woken that sleeps for 5 ms, "rows/s" what the database took. Every row is found
again before the questions are timed, as medians of 20. Without --url the database is SQLite's.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import uvloop
from prometheus_client import CollectorRegistry

from pointsman.core.decision import Decision
from pointsman.serve.config import StoreConfig
from pointsman.serve.protocols.requests import ChatRequest
from pointsman.serve.protocols.usage import Usage
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.in_step import InStep
from pointsman.serve.request.record import Record
from pointsman.serve.store.metrics import StoreMetrics
from pointsman.serve.store.queries import DecisionFilter
from pointsman.serve.store.recorder import Recorder
from pointsman.serve.store.store import Store
from pointsman.serve.store.writer import Writer
from pointsman.serve.upstreams.tries import Attempt

_PROMPT = "What is the capital of France and why has it been that for so long?"
_EMBEDDING = np.ones(256, dtype=np.float32)
_COLUMNS = ("observer_us", "observer_p99_us", "loop_us", "stall_ms", "rows_per_s")


def main() -> int:
    """Writes, checks, asks, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000, help="requests to keep")
    parser.add_argument("--url", help="an empty PostgreSQL database, instead of SQLite")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = args.url or f"sqlite:///{folder}/store.db"
        rows = [uvloop.run(_measure(url, n_rows=args.rows, kept=kept)) for kept in ("hash", "text")]
        questions = uvloop.run(_ask(url, n_rows=2 * args.rows))
    print(f"{'kept':6}" + "".join(f"{column:>16}" for column in _COLUMNS))
    for row in rows:
        print(f"{row['kept']:6}" + "".join(f"{row[column]:16,.1f}" for column in _COLUMNS))
    for question, milliseconds in questions.items():
        print(f"{question:40}{milliseconds:10.2f} ms")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    worst = max(row["observer_us"] for row in rows)
    slowest = max(questions[name] for name in questions if name.startswith("page"))
    report = {
        "bench": "store",
        "rows": [*rows, {"questions": questions}],
        "targets": {
            "observer_us": {"value": worst, "goal": 50.0, "met": worst <= 50.0},
            "page_ms": {"value": slowest, "goal": 20.0, "met": slowest <= 20.0},
        },
        "machine": f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}",
        "commit": commit.stdout.strip(),
    }
    print(json.dumps(report))
    return 0


async def _measure(url: str, *, n_rows: int, kept: str) -> dict[str, Any]:
    values = {"url": url, "prompts": kept, "embeddings": kept == "text", "queue_rows": n_rows, "queue_bytes": 10**10}
    async with Store(StoreConfig.model_validate({**values, "drain_s": 600.0})) as store:
        writer = Writer(store, metrics=StoreMetrics(CollectorRegistry()))
        recorder = Recorder(store, writer.put, in_step=InStep())
        await recorder.start()
        before = (await store.totals())[0].n_requests
        waits = [_observe(recorder, i) for i in range(n_rows)]
        await recorder.close()
        stalls: list[float] = []
        watch = asyncio.get_running_loop().create_task(_watch(stalls))
        await writer.start()
        started, cpu = time.perf_counter(), time.thread_time()
        await writer.close()
        elapsed_s, cpu_s = time.perf_counter() - started, time.thread_time() - cpu
        watch.cancel()
        assert (await store.totals())[0].n_requests == before + n_rows
    return {
        "kept": kept,
        "observer_us": 1e6 * statistics.fmean(waits),
        "observer_p99_us": 1e6 * float(np.percentile(waits, 99)),
        "loop_us": 1e6 * cpu_s / n_rows,
        "stall_ms": 1e3 * float(np.percentile(stalls, 99)),
        "rows_per_s": n_rows / elapsed_s,
    }


def _observe(recorder: Recorder, i: int) -> float:
    record = Record(f"request-{i}", "/v1/chat/completions", outcome="answered", status=200)
    record.context = RequestContext(ChatRequest(b"", {}, "router-mf-30pct", False, _PROMPT), embedding=_EMBEDDING)
    record.context.attempts = [Attempt("big", "200")]
    record.context.decision = Decision("big", 0.7, 0.6, "mf", "win_rate", ("big", "small"), f"policy{i % 3}")
    record.model, record.usage, record.cost_usd = f"model{i % 3}", Usage(20, 300), 0.001
    record.strong_usd, record.weak_usd, record.routing_s = 0.001, 0.0001, 5e-5
    record.decided_at, record.answered_at = record.started_at, record.started_at + 0.1
    started = time.perf_counter()
    recorder(record)
    return time.perf_counter() - started


async def _watch(stalls: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        stalls.append(time.perf_counter() - before - 0.005)


async def _ask(url: str, *, n_rows: int) -> dict[str, float]:
    """Milliseconds that questions about `n_rows` decisions take."""
    async with Store(StoreConfig(url=url)) as store:
        (middle,) = [page[-1] async for page in store.scan(page=n_rows // 2)][:1]
        questions: dict[str, Callable[[], Awaitable[Any]]] = {
            "page of the newest 100": lambda: store.decisions(limit=100),
            "page of 100 from the middle": lambda: store.decisions(limit=100, before=middle.id),
            "page of 100 of one model": lambda: store.decisions(DecisionFilter(model="model1"), limit=100),
            "page of a model that there is not": lambda: store.decisions(DecisionFilter(model="none"), limit=100),
            "page of failed requests": lambda: store.decisions(DecisionFilter(outcome="failed"), limit=100),
            "one decision by its request id": lambda: store.decision("request-77"),
            f"sums of all {n_rows:,} by model": lambda: store.totals(["model"]),
        }
        return {name: await _median_ms(ask) for name, ask in questions.items()}


async def _median_ms(ask: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(20):
        before = time.perf_counter()
        await ask()
        times.append(1e3 * (time.perf_counter() - before))
    return statistics.median(times)


if __name__ == "__main__":
    raise SystemExit(main())
