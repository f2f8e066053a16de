"""Where does the processor time of a request go?

    python -m benchmarks.bench_stages [--only NAME ...] [--clients N] [--seconds S] [--functions N]

Each Pointsman of `bench_gateway` is loaded by so many clients while its own processor time is sampled, a thousand times
a second of it. A sample belongs to the stage of the innermost function that is named below; what belongs to none is
the server library's and the event loop's. Time in the kernel counts where it was caused. The sampling itself costs some
10 %, spread over all stages. --functions lists the functions in which most time was spent, themselves alone.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.gateways import Gateway, gateways, mock_upstream, running
from benchmarks.load import run_load

_SAMPLER = Path(__file__).parent / "stage_sampler.py"
_OUT_S = 30.0
# The innermost of these that is on the stack names the stage; from inner to outer where they nest.
_STAGES = {
    "receive": ("LimitedProtocol.data_received", "read_body"),
    "parse": ("read_chat", "check_model", "naming_headers"),
    "decide: score": ("ScorePrompt.__call__", "_Batch.read"),
    "decide: rest": ("Engine.decide",),
    "send upstream": ("ConnectionPool.post",),
    "receive upstream": ("Connection.data_received", "OpenAIUpstream.send"),
    "relay": ("_send_answered",),
    "bill": ("Billing.settle",),
    "log": ("log_request",),
    "metrics": ("Metrics.__call__", "MoneyMetrics.__call__", "Metrics.begin"),
    "store": ("Recorder.__call__",),
    "other observers": ("Lifecycle.__exit__",),
    "retries, breaker": ("Engine.answer",),
    "rest of the request": ("Completions.__call__",),
}
_STAGE_OF = {name: stage for stage, names in _STAGES.items() for name in names}


def main() -> int:
    """Measures, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", metavar="NAME", default=["mf", "random", "full"])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--functions", type=int, default=0)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, mock_upstream() as upstream:
        wanted = {f"pointsman {name}" for name in args.only}
        for gateway in [gateway for gateway in gateways(Path(folder), upstream) if gateway.name in wanted]:
            row, functions = _measure(gateway, Path(folder) / "samples.json", args.clients, args.seconds)
            rows.append(row)
            print(f"\n{gateway.name}: {row['us']:.0f} us of processor time per request, {row['requests']:,} requests")
            for name, us in (*row["stages"].items(), *functions.most_common(args.functions)):
                print(f"  {name:<60}{us:>8.1f} us{us / row['us']:>7.1%}")
    machine = f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(json.dumps({"bench": "stages", "rows": rows, "machine": machine, "commit": commit.stdout.strip()}))
    return 0


def _measure(gateway: Gateway, out: Path, clients: int, seconds: float) -> tuple[dict[str, Any], Counter[str]]:
    """Microseconds of each stage, and of each function by itself."""
    assert gateway.command is not None
    flags = gateway.command[gateway.command.index("serve") :]
    with running(replace(gateway, command=[sys.executable, str(_SAMPLER), str(out), *flags])) as server:
        uvloop.run(run_load(gateway.target, clients=clients, seconds=2.0))
        server.process.send_signal(signal.SIGUSR2)
        before = server.cpu_s
        load = uvloop.run(run_load(gateway.target, clients=clients, seconds=seconds))
        us = 1e6 * (server.cpu_s - before) / len(load.latencies_s)
        server.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + _OUT_S
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    samples = json.loads(out.read_text())
    out.unlink()
    total = sum(n for _, n in samples)
    stages, functions = Counter[str](), Counter[str]()
    for stack, n in samples:
        names = [frame.rpartition(":")[2] for frame in stack]
        stages[next((_STAGE_OF[name] for name in names if name in _STAGE_OF), "event loop, server library")] += n
        functions[f"{Path(stack[0].rpartition(':')[0]).name}:{names[0]}"] += n
    per_sample = us / total
    named = {stage: stages[stage] * per_sample for stage in (*_STAGES, "event loop, server library") if stages[stage]}
    row = {"gateway": gateway.name, "us": us, "requests": len(load.latencies_s), "samples": total, "stages": named}
    return row, Counter({name: n * per_sample for name, n in functions.items()})


if __name__ == "__main__":
    sys.exit(main())
