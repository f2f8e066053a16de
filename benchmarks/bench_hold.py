"""How long does a large request keep all others waiting?

    python -m benchmarks.bench_hold [--router mf] [--rounds 3] [--most-mb 30] [--at-once 1]

Requests of 1 kB to 30 MB, one text or many messages, of several kinds of text, routed and named, plain and streamed,
go through one server, beside a small request every few milliseconds. A task on the server's event
loop sleeps for a millisecond, again and again: how much later it woke is how long the loop was held, be it by its
own work or by a thread that kept Python's lock. A part of it may be the machine's: the time for which the loop's thread
was ready and no processor free is told apart, and the client and the upstream need the processors as well.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.gateways import compile_pointsman, gateways, mock_upstream, running
from benchmarks.load import Target, read_answer
from benchmarks.targets import at_most

_SIZES = (1_000, 100_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000)
_TEXTS = {
    "plain": "How many ways lead through the garden, and which of them is the shortest? ",
    "code": 'for name in names:\n\tprint("%s\\n" % name)\n',
    "accents": "Wie viele Wege führen durch den Garten, und welcher davon ist der kürzeste? ",
    "emoji": "Which way leads through the garden \N{DECIDUOUS TREE}? ",
}
_FORMS = ("one text", "many messages")
_MESSAGE_BYTES = 2_000
_PAUSE_S = 0.005  # between the small requests
_AFTER_S = 0.1  # after an answer, for what is written and freed then
_GOAL_S = 0.02
_SERVE = """
import asyncio, sys, time, uvicorn
from pathlib import Path

async def beat(file):
    waits = Path("/proc/thread-self/schedstat").open("rb", buffering=0)

    def waited_s():
        waits.seek(0)
        return int(waits.read().split()[1]) / 1e9

    last, waited = time.monotonic(), waited_s()
    while True:
        await asyncio.sleep(0.001)
        now, total = time.monotonic(), waited_s()
        if now - last > 0.002:
            file.write(f"{now} {now - last - 0.001} {total - waited}\\n")
            file.flush()
        last, waited = now, total

async def main_loop(server):
    task = asyncio.create_task(beat(open(sys.argv[1], "w")))
    await original(server)
    task.cancel()

original, uvicorn.Server.main_loop = uvicorn.Server.main_loop, main_loop
from pointsman.serve.cli import main
raise SystemExit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class _Asked:
    """A request, and from when until when it went through the server."""

    n_bytes: int
    kind: str
    begun: float
    ended: float


def main() -> int:
    """Serves, asks, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--router", default="mf", choices=("mf", "random"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-mb", type=float, default=30.0)
    parser.add_argument("--at-once", type=int, default=1, help="how many of them at the same time")
    args = parser.parse_args()
    sizes = [size for size in _SIZES if size <= args.most_mb * 1e6]
    compile_pointsman()
    with tempfile.TemporaryDirectory() as folder, mock_upstream(pause_s=0.0) as upstream:
        gateway = next(each for each in gateways(Path(folder), upstream) if each.name == f"pointsman {args.router}")
        assert gateway.command is not None
        log = Path(folder) / "holds"
        command = [sys.executable, "-c", _SERVE, str(log), *gateway.command[3:]]
        with running(replace(gateway, command=command)):
            asked = uvloop.run(_ask_all(gateway.target, sizes, args.rounds, args.at_once))
            holds = [tuple(map(float, line.split())) for line in log.read_text().splitlines()]
    rows = [_row(size, asked, holds) for size in sizes]
    print(f"{'bytes':>12}{'requests':>10}{'longest ms':>12}{'of it ready':>13}   where")
    for row in rows:
        print(f"{row['bytes']:>12,}{row['requests']:>10}{row['hold_ms']:>12}{row['ready_ms']:>13}   {row['kind']}")
    longest = max(row["hold_ms"] for row in rows) / 1e3
    targets = at_most(longest_hold_s=(longest, _GOAL_S))
    machine = f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    report = {"bench": "hold", "router": args.router, "rows": rows, "targets": targets}
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({**report, "load_average": load, "machine": machine, "commit": commit.stdout.strip()}))
    return 0


async def _ask_all(target: Target, sizes: list[int], rounds: int, at_once: int) -> list[_Asked]:
    cases = itertools.product(range(rounds), sizes, _TEXTS, _FORMS, (target.model, "a"), (False, True))
    asked = []

    async def client() -> None:
        for _, n_bytes, text, form, model, stream in cases:
            begun = time.monotonic()
            await _ask(replace(target, model=model), _body(n_bytes, _TEXTS[text], form, stream=stream))
            await asyncio.sleep(_AFTER_S)
            kind = f"{text}, {form}, {'named' if model == 'a' else 'routed'}, {'streamed' if stream else 'plain'}"
            asked.append(_Asked(n_bytes, kind, begun, time.monotonic()))

    small = asyncio.create_task(_ask_steadily(target))
    await asyncio.gather(*(client() for _ in range(at_once)))
    if small.done():
        small.result()
    small.cancel()
    return asked


async def _ask_steadily(target: Target) -> None:
    for request in itertools.cycle(target.requests(stream=False)):
        await _send(target, request)
        await asyncio.sleep(_PAUSE_S)


async def _ask(target: Target, body: dict[str, Any]) -> None:
    text = json.dumps({"model": target.model, **body}, ensure_ascii=False).encode()
    head = f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    await _send(target, f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)


async def _send(target: Target, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1 << 20)
    writer.write(request)
    await read_answer(reader)
    writer.close()


def _body(n_bytes: int, text: str, form: str, *, stream: bool) -> dict[str, Any]:
    """About that many bytes as JSON."""
    times = max(1, n_bytes // len(json.dumps(text, ensure_ascii=False).encode()))
    if form == "one text":
        return {"messages": [{"role": "user", "content": text * times}], "stream": stream}
    each = max(1, _MESSAGE_BYTES // len(text))
    roles = itertools.cycle(("user", "assistant"))
    turns = [{"role": next(roles), "content": text * each} for _ in range(times // each)]
    return {"messages": [*turns, {"role": "user", "content": text}], "stream": stream}


def _row(n_bytes: int, asked: list[_Asked], holds: list[tuple[float, ...]]) -> dict[str, Any]:
    """The longest hold while requests of one size went through, and what kind of request that was."""
    of_size = [each for each in asked if each.n_bytes == n_bytes]
    longest = max(_longest(each, holds) for each in of_size)
    hold_s, ready_s, kind = longest
    return {
        "bytes": n_bytes,
        "requests": len(of_size),
        "hold_ms": round(hold_s * 1e3, 1),
        "ready_ms": round(ready_s * 1e3, 1),
        "kind": kind,
    }


def _longest(each: _Asked, holds: list[tuple[float, ...]]) -> tuple[float, float, str]:
    """The longest hold that overlaps with a request, in seconds, and the part of it for which no processor was free."""
    found: Iterator[tuple[float, float, str]] = (
        (hold, ready, each.kind) for at, hold, ready in holds if at - hold <= each.ended and at >= each.begun
    )
    return max(found, default=(0.0, 0.0, "none"))


if __name__ == "__main__":
    raise SystemExit(main())
