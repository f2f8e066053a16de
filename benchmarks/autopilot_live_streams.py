"""Is a certified bound ever broken, on streams of planted truth through the server's own parts?

    python -m benchmarks.autopilot_live_streams [--streams 1000] [--requests 800] [--only NAME ...]

A cascade is certified, and the choice among three candidates.

The streams are those of tests/support/live_streams.py, looked at after every 25 requests.
"""

import argparse
import asyncio
import json
import logging
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from pointsman.serve.autopilot import draw as draw_module

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the streams are the tests' own
from support.live_streams import CONFIDENCE, OF_THREE, SCENARIOS, stream_is_broken


def main() -> int:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=800)
    parser.add_argument("--only", nargs="*", metavar="NAME", default=[], help="scenarios whose names begin so")
    args = parser.parse_args()
    draw_module._WARM_UP = 40
    logging.disable(logging.WARNING)  # of comparisons that fail as planted
    error = 1.0 - CONFIDENCE
    allowed = error + 1.645 * math.sqrt(error * (1 - error) / args.streams)
    rows: list[dict[str, Any]] = []
    wanted = [one for one in (*SCENARIOS, *OF_THREE) if not args.only or one.name.startswith(tuple(args.only))]
    for scenario in wanted:
        began = time.perf_counter()
        found = [asyncio.run(stream_is_broken(scenario, s, n_requests=args.requests)) for s in range(args.streams)]
        broken, share = (sum(each) / args.streams for each in zip(*found, strict=True))
        rows.append({"scenario": scenario.name, "streams": args.streams, "broken": broken, "share": round(share, 3)})
        took = f"{time.perf_counter() - began:.0f} s"
        print(f"{scenario.name:<22}{args.streams:>6} streams, broken {broken:>6.1%}, certified {share:>4.0%}, {took}",
              flush=True)  # fmt: skip
    worst = max(row["broken"] for row in rows)
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    targets = {"share_of_streams_broken": {"value": worst, "goal": round(allowed, 4), "met": worst <= allowed}}
    print(json.dumps({"bench": "autopilot_live_streams", "rows": rows, "targets": targets, "machine": machine}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
