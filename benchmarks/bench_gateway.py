"""What does a request cost that goes through a gateway, and how many go through?

    python benchmarks/install_peers.py; python -m benchmarks.bench_gateway [--only NAME ...] [--soak]

One machine, one run, one mock upstream, one load generator, each gateway in one process with its own recommended
settings: Pointsman (default router `mf`; `store`, the same with a store and a policy; `full`, with the prompts' text
and embeddings in the store, a budget, prices, drift watching and keys as well; and `random`), RouteLLM's server,
LiteLLM's proxy, Portkey, and as the limits bare proxies: uvicorn, on which Pointsman is built, nginx and Envoy. All get
the same 512 prompts. "Added" is over asking the mock upstream directly. Every answer is checked, every stream read to
its end. The start, until the first answer, is the median of five; Pointsman's byte code is there, as in every installed
package. A peer that is not installed is left out. --soak sends 200,000 more requests through each Pointsman measured,
and follows its memory.

A machine that others use is quicker at one time than at another. So `mf`, `random` and the peers are then loaded in
turns, 20 times each, and compared round by round; so are, by one client, `mf` and what a store and all the rest add to
it (`--turns-only` for these comparisons alone).
"""

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.gateways import Gateway, Running, compile_pointsman, gateways, mock_upstream, running
from benchmarks.load import Load, Target, run_load, run_streams
from benchmarks.pairs import compare, compare_throughput
from benchmarks.peers.mock_upstream import N_CHUNKS

_SECONDS = 4.0
_STREAMS = 512
_STARTS = 5
_SOAK = 200_000
_ROUNDS = 20
_COMPARED = ("pointsman mf", "pointsman store", "pointsman full")
_MULTIPLES = {"routellm random": 20.0, "litellm proxy": 35.0, "portkey": 3.5, "nginx": 1 / 8}  # of their requests/s
_NOT_LOADED = ("pointsman store", "pointsman full")

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
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="of the comparison in turns; 0 leaves it out")
    parser.add_argument("--turns-only", action="store_true", help="that comparison alone")
    args = parser.parse_args()
    rows, turns, throughput = [], [], []
    compile_pointsman()
    with tempfile.TemporaryDirectory() as folder, mock_upstream() as upstream:
        direct = Target(upstream, "bench")
        if not args.turns_only:
            rows = _measure_each(Path(folder), direct, only=set(args.only or ()), soak=args.soak)
        if args.rounds:
            again = Path(folder) / "turns"
            again.mkdir()
            compared = [gateway for gateway in gateways(again, upstream) if gateway.name in _COMPARED]
            turns = compare(direct, compared, rounds=args.rounds)
            _print_turns(turns)
            throughput = _load_in_turns(again, upstream, rounds=args.rounds)
    machine = f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    report = {"bench": "gateway", "rows": rows, "in_turns": turns, "throughput": throughput}
    report["targets"] = _targets(rows, turns, throughput)
    print(json.dumps({**report, "machine": machine, "commit": commit.stdout.strip()}))
    return 0


def _measure_each(folder: Path, direct: Target, *, only: set[str], soak: bool) -> list[dict[str, Any]]:
    """One after the other, each by itself."""
    _print_titles()
    rows = [_measure("direct", None, direct)]
    _print(rows[-1])
    for gateway in gateways(folder, direct.port):
        name = gateway.name
        if only and not only & {name, *name.split()}:
            continue
        if gateway.command is None:
            print(f"{name}: not installed, left out (benchmarks/install_peers.py)", file=sys.stderr)
            continue
        try:
            rows.append(_measure_one(gateway, direct=rows[0], soak=soak))
        except (OSError, asyncio.IncompleteReadError, AssertionError) as error:
            if name.startswith("pointsman"):
                raise
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        _print(rows[-1])
    return rows


def _measure_one(gateway: Gateway, *, direct: dict[str, Any], soak: bool) -> dict[str, Any]:
    starts = [_start_up_s(gateway) for _ in range(_STARTS - 1)]
    with running(gateway) as server:
        row = _measure(gateway.name, server, gateway.target, direct=direct)
        row["start_up_s"] = round(statistics.median([*starts, server.start_up_s]), 2)
        if soak and gateway.name.startswith("pointsman"):
            row["soak"] = uvloop.run(_soak(server, gateway.target))
    return row


def _start_up_s(gateway: Gateway) -> float:
    with running(gateway) as server:
        return server.start_up_s


def _measure(
    name: str, server: Running | None, target: Target, *, direct: dict[str, Any] | None = None
) -> dict[str, Any]:
    busy = os.getloadavg()[0]
    uvloop.run(run_load(target, clients=8, seconds=1.0))
    one = uvloop.run(run_load(target, clients=1, seconds=_SECONDS))
    some = uvloop.run(run_load(target, clients=32, seconds=_SECONDS))
    many = uvloop.run(run_load(target, clients=256, seconds=_SECONDS))
    first = uvloop.run(run_streams(target, streams=10, words=N_CHUNKS, in_turn=True))
    streams = uvloop.run(run_streams(target, streams=_STREAMS, words=N_CHUNKS))
    row = {"gateway": name, **_figures(one, some, many, first, streams), "load_average": round(busy, 1)}
    row["start_up_s"] = 0.0
    row["resident_mb"] = round(server.resident_mb) if server is not None else 0
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


async def _soak(server: Running, target: Target) -> dict[str, Any]:
    """Memory after each tenth of many requests."""
    memory, served, started = [], 0, time.perf_counter()
    while served < _SOAK:
        load = await run_load(target, clients=32, seconds=600.0, n_requests=_SOAK // 10)
        served += len(load.latencies_s)
        memory.append(round(server.resident_mb, 1))
    return {"n_requests": served, "resident_mb": memory, "seconds": round(time.perf_counter() - started)}


def _load_in_turns(folder: Path, upstream: int, *, rounds: int) -> list[dict[str, Any]]:
    """Requests/s of all that run at the same time; a peer that does not start is left out."""
    servers: dict[str, Target] = {}
    with ExitStack() as stack:
        for gateway in gateways(folder, upstream):
            if gateway.command is None or gateway.name in _NOT_LOADED:
                continue
            try:
                stack.enter_context(running(gateway))
            except (OSError, AssertionError) as error:
                print(f"{gateway.name}: left out: {error}", file=sys.stderr)
            else:
                servers[gateway.name] = gateway.target
        rows = compare_throughput(servers, rounds=rounds)
    for row in rows:
        multiples = [f"{key}: {value[0]} [{value[1]}, {value[2]}]" for key, value in row.items() if key.endswith("it")]
        print(f"{row['gateway']:<17}{row['requests_per_s']:>8} requests/s   {'   '.join(multiples)}", flush=True)
    return rows


def _targets(
    rows: list[dict[str, Any]], turns: list[dict[str, Any]], throughput: list[dict[str, Any]]
) -> dict[str, Any]:
    """Those that were measured. Of added milliseconds the upper end of the interval has to meet the goal."""
    targets: dict[str, Any] = {}
    for row in turns:
        name = row["gateway"].removeprefix("pointsman ")
        figure, goal = ("added_p50_ms", 0.6) if name == "mf" else ("more_p50_ms", 0.1)
        targets[f"{name}_{figure}"] = {"value": row[figure], "goal": goal, "met": row[figure][2] < goal}
    for row in throughput:
        if (goal := _MULTIPLES.get(row["gateway"])) is not None:
            ratio = row["pointsman mf over it"]
            targets[f"mf over {row['gateway']}"] = {"value": ratio, "goal": goal, "met": ratio[0] >= goal}
    by_name = {row["gateway"]: row for row in rows}
    ours = by_name.get("pointsman mf")
    if ours is None:
        return targets
    targets["added_p50_ms"] = {"value": ours["added_p50_ms"], "goal": 0.6, "met": ours["added_p50_ms"] < 0.6}
    lost = ours["streams_512_failed"]
    targets["streams_512_failed"] = {"value": lost, "goal": 0, "met": lost == 0}
    return targets


def _print_titles() -> None:
    print(f"{'gateway':<17}" + "".join(f"{title:>14}" for _, title in _COLUMNS), flush=True)


def _print_turns(turns: list[dict[str, Any]]) -> None:
    """Median of the rounds' differences and its interval, in milliseconds."""
    titles = ("+p50 ms", "+mean ms", "p50 over mf", "mean over mf")
    print(f"\n{'in turns':<17}" + "".join(f"{title:>26}" for title in titles) + f"{'cpu us':>10}")
    for row in turns:
        print(f"{row['gateway']:<17}", end="")
        for key in ("added_p50_ms", "added_mean_ms", "more_p50_ms", "more_mean_ms"):
            print(f"{_interval(row.get(key)):>26}", end="")
        print(f"{row['cpu_us']:>10}", flush=True)


def _interval(found: list[float] | None) -> str:
    return "-" if found is None else f"{found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}]"


def _shown(value: object) -> str:
    return "-" if value is None else str(value)


def _print(row: dict[str, Any]) -> None:
    print(f"{row['gateway']:<17}" + "".join(f"{_shown(row.get(key)):>14}" for key, _ in _COLUMNS), flush=True)


if __name__ == "__main__":
    sys.exit(main())
