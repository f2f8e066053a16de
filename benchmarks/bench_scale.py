"""What breaks first as traffic grows, and what does it cost?

    python -m benchmarks.bench_scale [--requests 3000]

One process is measured: CPU seconds per request of the server and of the client. A discrete-event simulation fed with
them (clients that ask again as soon as they are answered; processes that each use one core at a time; the machine's
cores, which servers and clients share) predicts 1, 2 and 4 processes, which are then measured on this machine; what
else it does is taken off by what spinning processes get of it. The same service times and the leases' own rules give
the plan for up to a million requests a second.
"""

import argparse
import asyncio
import heapq
import json
import os
import platform
import re
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import Load, Target, run_load

_SERVE = "from pointsman.serve.cli import main; raise SystemExit(main())"
_CLIENTS = 32
_PROCESSES = (1, 2, 4)
_SPIN_S = 3.0
_RATES = (1_000, 10_000, 100_000, 1_000_000)
_HEADROOM = 0.6  # of a core that is used at a replica's target
_TRANSACTION_ROWS = 1000  # store.batch_rows
_DECISION_BYTES = 450  # of a row in PostgreSQL, its indices included
_ROWS_PER_S = 40_000  # that one PostgreSQL takes in batches of a thousand: bench_store


def main() -> int:
    """Measures, predicts, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=3000)
    n = parser.parse_args().requests
    measured = {processes: _measure(processes, n) for processes in _PROCESSES}
    server_s, client_s = measured[1][1] / n, measured[1][2] / n
    cores = os.cpu_count() or 1
    rows = []
    for processes in _PROCESSES:
        load = measured[processes][0]
        predicted = simulate(processes, cores=cores, clients=_CLIENTS, server_s=server_s, client_s=client_s, n=n)
        predicted *= measured[processes][3]
        row = {
            "processes": processes,
            "speed": round(measured[processes][3], 2),
            "measured": round(load.requests_per_s),
        }
        server_us = round(1e6 * measured[processes][1] / n)
        rows.append({**row, "predicted": round(predicted), "server_us": server_us, "p99_ms": round(load.ms(99), 1)})
    print(f"{'processes':>9}{'measured/s':>12}{'predicted/s':>13}{'CPU us':>8}{'p99 ms':>8}")
    for row in rows:
        print("{processes:>9}{measured:>12}{predicted:>13}{server_us:>8}{p99_ms:>8}".format(**row))
    plan = [plan_for(rate, server_s) for rate in _RATES]
    print(
        f"{'requests/s':>10}{'cores':>8}{'replicas':>9}{'rows/s':>9}{'transactions/s':>15}{'GB/day':>8}{'leases/s':>9}{'PostgreSQLs':>12}"
    )
    for row in plan:
        print(
            "{rate:>10,}{cores:>8,}{replicas:>9,}{rows:>9,}{transactions:>15,}{gb:>8,}{leases:>9,}{databases:>12}".format(
                **row
            )
        )
    worst = max(abs(row["predicted"] / row["measured"] - 1.0) for row in rows)
    targets = {"prediction_error": {"value": round(worst, 3), "goal": 0.3, "met": bool(worst <= 0.3)}}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = f"{platform.machine()}, {cores} cores, load {os.getloadavg()[0]:.1f}"
    told = {"bench": "scale", "rows": rows, "plan": plan, "targets": targets, "machine": machine}
    print(json.dumps({**told, "commit": commit.stdout.strip()}))
    return 0


def simulate(processes: int, *, cores: int, clients: int, server_s: float, client_s: float, n: int) -> float:
    """Requests a second that a closed loop of clients gets answered.

    Each request takes `client_s` of the one client process and `server_s` of one server process, whose core it needs
    meanwhile: at most one at a time per process, at most `cores` in all, first come first served.
    """
    waiting: deque[tuple[int, float, int]] = deque((-1, client_s, i % processes) for i in range(clients))
    busy: set[int] = set()
    events: list[tuple[float, int, int, int]] = []
    now, n_done, order = 0.0, 0, 0
    while n_done < n:
        for _ in range(len(waiting)):
            process, seconds, target = waiting.popleft()
            if process in busy or len(busy) >= cores:
                waiting.append((process, seconds, target))
                continue
            busy.add(process)
            heapq.heappush(events, (now + seconds, order, process, target))
            order += 1
        now, _, process, target = heapq.heappop(events)
        busy.discard(process)
        if process == -1:
            waiting.append((target, server_s, target))
        else:
            n_done += 1
            waiting.append((-1, client_s, target))
    return n_done / now


def plan_for(rate: int, server_s: float) -> dict[str, Any]:
    """What a rate of requests takes, with a row for each decision and a lease of one hard budget in each replica."""
    cores = rate * server_s / _HEADROOM
    replicas = max(2, round(cores + 0.5))
    return {
        "rate": rate,
        "cores": round(cores + 0.5),
        "replicas": replicas,
        "rows": rate,
        "transactions": max(round(rate / _TRANSACTION_ROWS), min(replicas * 4, rate)),
        "gb": round(rate * 86_400 * _DECISION_BYTES / 1e9),
        "leases": replicas,
        "databases": -(-rate // _ROWS_PER_S),
    }


def _measure(processes: int, n: int) -> tuple[Load, float, float, float]:
    """The load's figures, CPU seconds of all server processes and of this one while it lasted, and the machine's speed.

    The speed is the part of its cores that as many spinning processes get just before: the rest is other people's.
    """
    spinning = min(os.cpu_count() or 1, processes + 1)
    spin = [sys.executable, "-c", f"import time\nend = time.time() + {_SPIN_S}\nwhile time.time() < end: pass\n"
            "print(time.process_time())"]  # fmt: skip
    spinners = [subprocess.Popen(spin, stdout=subprocess.PIPE, text=True) for _ in range(spinning)]
    speed = sum(float(each.communicate()[0]) for each in spinners) / (spinning * _SPIN_S)
    command = [sys.executable, "-c", _SERVE, "serve", "--port", "0", "--workers", str(processes)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as server:
        assert server.stderr is not None
        found = None
        while found is None:
            line = server.stderr.readline()
            assert line, "the server ended"
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        target = Target(int(found[1]), "auto")
        try:
            asyncio.run(run_load(target, clients=_CLIENTS, seconds=60.0, n_requests=max(200, n // 10)))
            before, own = _cpu_s(server.pid), sum(os.times()[:2])
            load = asyncio.run(run_load(target, clients=_CLIENTS, seconds=60.0, n_requests=n))
            return load, _cpu_s(server.pid) - before, sum(os.times()[:2]) - own, speed
        finally:
            server.terminate()


def _cpu_s(pid: int) -> float:
    root = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (root, *root.children(recursive=True)))


if __name__ == "__main__":
    sys.exit(main())
