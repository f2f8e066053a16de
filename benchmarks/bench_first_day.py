"""Does a budget spend its first day well, before anything is known of the traffic?

    python -m benchmarks.bench_first_day [--seeds 5]

A server starts in the morning with a budget for the day. Traffic comes evenly, over office hours, as a ramp, in a burst
of 1,200 prompts in nine seconds, or as a batch job, early or late. Prompts, outcomes and prices are those of
`bench_policy`. Beside it the best fixed threshold in hindsight, which knows the whole day: quality, dollars, and
the strong share by quarters of the prompts. "Over" is what weak answers cost after the money was gone. "Starved" are
prompts in a hundred of which none went to strong while more than a tenth of the money was left.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.bench_policy import DAY_S, Prompts, fixed_threshold, joined, paced, read_scorer, read_sources, spend
from benchmarks.targets import at_most

_START_S = 9 * 3600.0
_TRAFFIC = ("even", "office", "ramp", "burst", "burst alone", "batch", "late batch")
_CEILINGS = {"20 %": 0.2, "50 %": 0.5, "50 dollars": None, "cheap, $50": None}  # of strong's extra cost; or dollars
_CHEAP = 0.05  # of the prices


def main() -> int:
    """Simulates, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    sources = read_sources(read_scorer())
    prompts = joined(sources["MMLU"], sources["GSM8K"])
    rows = list(_rows(prompts, args.seeds))
    _print(rows)
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {"bench": "first_day", "rows": rows, "targets": _targets(rows), "machine": machine}
    print(json.dumps(facts | {"commit": commit.stdout.strip()}))
    return 0


def _targets(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return at_most(
        quality_behind_hindsight_percent=(max(row["behind_percent"] for row in rows), 2.0),
        starved_percent=(max(row["starved_percent"] for row in rows), 1.0),
    )


def _print(rows: list[dict[str, Any]]) -> None:
    print("first days: strong share beside the ideal, the mean day; quality and dollars, the worst day")
    head = f"{'traffic':<13}{'ceiling':<12}{'ideal':>7}{'share by quarters of the prompts':>36}"
    print(f"{head}{'behind %':>10}{'unspent %':>11}{'over %':>8}{'starved %':>11}")
    for r in rows:
        shares = " ".join(f"{share:>8.0%}" for share in r["shares"])
        figures = f"{r['behind_percent']:>10.2f}{r['unspent_percent']:>11.2f}{r['over_percent']:>8.2f}"
        print(
            f"{r['traffic']:<13}{r['ceiling']:<12}{r['ideal']:>7.0%}{shares:>36}{figures}{r['starved_percent']:>11.2f}"
        )


def _rows(prompts: Prompts, seeds: int) -> Iterator[dict[str, Any]]:
    for traffic in _TRAFFIC:
        for name, part in _CEILINGS.items():
            priced = _cheaper(prompts) if name.startswith("cheap") else prompts
            days = [_day(priced, traffic, part, np.random.default_rng(seed)) for seed in range(seeds)]
            yield {
                "traffic": traffic,
                "ceiling": name,
                "ideal": round(float(np.mean([day["ideal"] for day in days])), 3),
                "shares": np.mean([day["shares"] for day in days], axis=0).round(3).tolist(),
                **{key: round(max(day[key] for day in days), 3) for key in days[0] if key.endswith("percent")},
            }


def _cheaper(prompts: Prompts) -> Prompts:
    return replace(prompts, strong_usd=_CHEAP * prompts.strong_usd, weak_usd=_CHEAP * prompts.weak_usd)


def _day(prompts: Prompts, traffic: str, part: float | None, rng: np.random.Generator) -> dict[str, Any]:
    times = _arrivals(traffic, rng)
    day = prompts.take(rng.integers(0, len(prompts.win_rates), len(times)))
    ceiling = 50.0 if part is None else float(day.weak_usd.sum() + part * (day.strong_usd - day.weak_usd).sum())
    went = paced(day, times, ceiling, rng, forecast=None)
    ideal = day.win_rates >= fixed_threshold(day, ceiling / len(times))
    spent, best = spend(day, went), spend(day, ideal)
    usd = np.where(went, day.strong_usd, day.weak_usd)
    left = 1.0 - (np.cumsum(usd) - usd) / ceiling
    # runs of a hundred prompts of which none went to strong, though hindsight sends some there
    runs = np.array_split(np.arange(len(times)), max(len(times) // 100, 1))
    starved = sum(len(run) for run in runs if not went[run].any() and ideal[run].any() and left[run].min() > 0.1)
    return {
        "ideal": ideal.mean(),
        "shares": [part.mean() for part in np.array_split(went, 4)],
        "behind_percent": 100.0 * (1.0 - spent.quality / best.quality),
        "unspent_percent": 100.0 * max(best.usd / spent.usd - 1.0, 0.0),
        "over_percent": 100.0 * max(spent.usd / ceiling - 1.0, 0.0),
        "starved_percent": 100.0 * starved / len(times),
    }


def _arrivals(traffic: str, rng: np.random.Generator) -> np.ndarray:
    """Seconds after midnight, rising, from the start on."""
    rest = DAY_S - _START_S
    n = 8000 if traffic in ("even", "office", "ramp") else 100 if traffic == "burst alone" else 2000
    places = rng.random(n)
    if traffic == "ramp":
        places = np.sqrt(places)
    if traffic == "office":  # most of it until six
        places = np.where(rng.random(n) < 0.85, 0.6 * rng.random(n), places)
    times = _START_S + rest * places
    if traffic.startswith("burst"):
        times = np.concatenate([_START_S + 9.0 * rng.random(1200), times])
    elif traffic == "batch":
        times = np.concatenate([_START_S + 1200.0 * rng.random(4000), times])
    elif traffic == "late batch":
        times = np.concatenate([20 * 3600.0 + 1800.0 * rng.random(6000), times])
    return np.sort(times)


if __name__ == "__main__":
    sys.exit(main())
