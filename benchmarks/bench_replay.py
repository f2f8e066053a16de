"""Does a replay tell a better candidate from a worse one, and do its intervals hold the truth?

    python -m benchmarks.bench_replay [--runs 200]

MMLU outcomes of ../shared/data are all the traffic there is, so that every candidate's true quality is known. The log
is 2,000 of its prompts, routed half and half by the bundled router; a random share of each side's answers was compared.
Candidates: two that were given a part of the outcomes (better) or of their opposite (worse); and real ones, whose
differences are small: one trained on the outcomes of other prompts, one that turns the bundled router's win rates
around, and the bundled router at other thresholds. Beside the doubly robust estimate, on the same logs, the plain mean
over the compared prompts.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.core.replay import Logged, replay
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder, load_router

_SHARED = Path(__file__).parents[2] / "shared" / "data"
_N_LOGGED = 2000
_SHADOWS = {"10 % of both": (0.10, 0.10), "10 % of weak, 3 % of strong": (0.10, 0.03), "10 % of weak": (0.10, 0.0)}
_LEVEL = 0.95
_HINT = 0.7  # standard deviations of the win rates


def main() -> int:
    """Simulates, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    args = parser.parse_args()
    if not _SHARED.is_dir():
        print(f"{_SHARED} is missing: there are no outcomes to replay", file=sys.stderr)
        return 1
    rates, gains, candidates = _traffic()
    current = rates >= np.median(rates)
    rows = [
        _simulate(name, shadow, (current, goes, np.column_stack([rates, other]), gains), args.runs)
        for name, (other, goes) in candidates.items()
        for shadow in _SHADOWS
    ]
    print(f"{'candidate':<22}{'compared':<29}{'truth':>8}{'held':>7}{'told':>7}{'width':>8}{'plain held':>12}")
    for r in rows:
        place = f"{r['candidate']:<22}{r['compared']:<29}{r['truth']:>+8.4f}"
        print(f"{place}{r['held']:>7.1%}{r['told']:>7.1%}{r['width']:>8.4f}{r['plain_held']:>12.1%}")
    worst = min(r["held"] for r in rows)
    allowed = _LEVEL - 1.645 * math.sqrt(_LEVEL * (1 - _LEVEL) / args.runs)
    both = [r for r in rows if r["compared"] == "10 % of both" and r["candidate"] in ("better", "worse")]
    told = min(r["told"] for r in both)
    targets = {
        "share_of_intervals_that_hold_the_truth": {"value": worst, "goal": round(allowed, 4), "met": worst >= allowed},
        "share_of_logs_that_tell_better_and_worse": {"value": told, "goal": 0.9, "met": told >= 0.9},
    }
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {"bench": "replay", "rows": rows, "targets": targets, "machine": machine, "commit": commit.stdout.strip()}
    print(json.dumps(facts))
    return 0


def _traffic() -> tuple[np.ndarray, np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Win rates and gains of the traffic; win rates and choices of each candidate."""
    import pyarrow.parquet as pq

    table = pq.read_table(_SHARED / "routellm_mmlu_dev.parquet").to_pydict()
    fold = np.array(table["fold"])
    gains = np.array(table["strong"]) - np.array(table["weak"])
    checkpoint = load_checkpoint("mf")
    embed = load_embedder(checkpoint)
    assert embed is not None
    embeddings = embed(table["prompt"])
    trained, live = fold < 2, fold >= 2
    x, y = embeddings[trained].astype(np.float64), gains[trained]
    slope = np.linalg.solve(x.T @ x + 3.0 * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    fitted = embeddings[live] @ slope
    rates = load_router(checkpoint).win_rates([p for p, kept in zip(table["prompt"], live, strict=True) if kept])

    def best(values: np.ndarray, share: float) -> np.ndarray:
        return np.asarray(values >= np.quantile(values, 1.0 - share))

    hint = _HINT * rates.std() * gains[live]
    candidates = {
        "better": (rates + hint, best(rates + hint, 0.5)),
        "worse": (rates - hint, best(rates - hint, 0.5)),
        "trained": (fitted, best(fitted, 0.5)),
        "turned around": (-rates, best(-rates, 0.5)),
        "60 % to strong": (rates, best(rates, 0.6)),
        "40 % to strong": (rates, best(rates, 0.4)),
    }
    return rates, gains[live], candidates


def _simulate(name: str, shadow: str, population: Any, n_runs: int) -> dict[str, Any]:
    current, goes, features, gains = population
    weak_share, strong_share = _SHADOWS[shadow]
    contrast = goes.astype(float) - current
    truth = float((contrast * gains).mean())
    held = told = plain_held = 0
    widths = []
    for seed in range(n_runs):
        rng = np.random.default_rng(seed)
        rows = rng.integers(0, len(gains), _N_LOGGED)
        probability = np.where(current[rows], strong_share, weak_share)
        seen = rng.random(_N_LOGGED) < probability
        none = np.full(_N_LOGGED, np.nan)
        logged = Logged(current[rows], none, none, np.where(seen, gains[rows], np.nan), probability, none)
        found = replay(logged, goes[rows], features[rows], confidence=_LEVEL).quality.difference
        held += found.low <= truth <= found.high
        told += found.low > 0 if truth > 0 else found.high < 0
        widths.append(found.high - found.low)
        plain = (contrast[rows] * gains[rows])[seen]
        reach = 1.96 * plain.std(ddof=1) / math.sqrt(plain.size)
        plain_held += abs(plain.mean() - truth) <= reach
    shares = {"held": held / n_runs, "told": told / n_runs, "plain_held": plain_held / n_runs}
    width = round(float(np.median(widths)), 4)
    return {"candidate": name, "compared": shadow, "truth": round(truth, 4), **shares, "width": width}


if __name__ == "__main__":
    sys.exit(main())
