"""What do many connections cost: idle ones, and slow streams, beside a steady load?

    python -m benchmarks.bench_connections [--idle 5000] [--streams 1000] [--rate 500] [--router mf]

One server in one process, before an upstream that answers at once. Clients ask once, and keep their connection; others
read a stream whose pieces come half a second apart. Memory is told per connection and per stream; a steady load,
sent at a fixed rate whatever the answers do, is timed alone, beside the idle clients, and beside the streams as well.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.gateways import Running, gateways, mock_upstream, running
from benchmarks.load import Target, read_answer
from benchmarks.peers.mock_upstream import N_CHUNKS

_PIECE_S = 0.5
_AT_ONCE = 50  # connections that are opened together
_SETTLE_S = 2.0
_LOAD_S = 6.0
_WORKERS = 100  # connections of the steady load
_MORE_FILES = 500


def main() -> int:
    """Starts everything, measures, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second beside them")
    parser.add_argument("--router", default="mf", choices=("mf", "random"))
    args = parser.parse_args()
    wanted, hard = args.idle + args.streams + _WORKERS + _MORE_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if wanted > hard:
        parser.error(
            f"{args.idle} idle clients and {args.streams} streams need {wanted} open files, {hard} are allowed"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), hard))
    with tempfile.TemporaryDirectory() as folder, mock_upstream(pause_s=_PIECE_S) as upstream:
        gateway = next(each for each in gateways(Path(folder), upstream) if each.name == f"pointsman {args.router}")
        with running(gateway) as server:
            found = uvloop.run(_measure(server, gateway.target, args.idle, args.streams, args.rate))
    machine = f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}"
    report = {"bench": "connections", "idle": args.idle, "streams": args.streams, "rate": args.rate, **found}
    print(json.dumps({**report, "load_average": round(os.getloadavg()[0], 1), "machine": machine}))
    return 0


async def _measure(server: Running, target: Target, n_idle: int, n_streams: int, rate: float) -> dict[str, object]:
    await _steady(target, rate, seconds=_SETTLE_S)
    found: dict[str, object] = {"alone": await _steady(target, rate, seconds=_LOAD_S)}
    before = server.resident_mb
    async with _idle_clients(target, n_idle):
        await asyncio.sleep(_SETTLE_S)
        idle = server.resident_mb
        found["kb_per_idle"] = round(1e3 * (idle - before) / n_idle, 1)
        found["beside_idle"] = await _steady(target, rate, seconds=_LOAD_S)
        asked = itertools.islice(itertools.cycle(target.requests(stream=True)), n_streams)
        reading = [asyncio.create_task(_read_stream(target.port, i / n_streams, each)) for i, each in enumerate(asked)]
        await asyncio.sleep(_SETTLE_S)
        found["kb_per_stream"] = round(1e3 * (server.resident_mb - idle) / n_streams, 1)
        found["beside_streams"] = await _steady(target, rate, seconds=_LOAD_S)
        read = await asyncio.gather(*reading, return_exceptions=True)
        found["streams_failed"] = sum(pieces != N_CHUNKS for pieces in read)
    return found


@asynccontextmanager
async def _idle_clients(target: Target, n: int) -> AsyncIterator[None]:
    """Clients that asked once, and stay."""
    requests = itertools.cycle(target.requests(stream=False))
    writers: list[asyncio.StreamWriter] = []

    async def ask(request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        writers.append(writer)
        writer.write(request)
        await read_answer(reader)

    for begun in range(0, n, _AT_ONCE):
        await asyncio.gather(*(ask(next(requests)) for _ in range(min(_AT_ONCE, n - begun))))
    try:
        yield
    finally:
        for writer in writers:
            writer.close()


async def _read_stream(port: int, later_s: float, request: bytes) -> int:
    """How many pieces of its text a stream had."""
    await asyncio.sleep(later_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    pieces = 0
    while (line := await reader.readline()) and not line.startswith(b"data: [DONE]"):
        pieces += b'"content"' in line
    writer.close()
    return pieces


async def _steady(target: Target, rate: float, *, seconds: float) -> dict[str, float]:
    """Milliseconds from when a request was due to its whole answer: a server that lags makes all that follow wait."""
    requests = itertools.cycle(target.requests(stream=False))
    due = iter(np.arange(0.0, seconds, 1.0 / rate).tolist())
    took: list[float] = []
    started = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        for at in due:
            await asyncio.sleep(max(0.0, started + at - time.perf_counter()))
            writer.write(next(requests))
            await read_answer(reader)
            took.append(time.perf_counter() - started - at)
        writer.close()

    await asyncio.gather(*(client() for _ in range(_WORKERS)))
    p50, p99 = np.quantile(took, [0.5, 0.99]) * 1e3
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2), "requests": len(took)}


if __name__ == "__main__":
    sys.exit(main())
