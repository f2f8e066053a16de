"""How long does the similarity-weighted ranking take for a query, beside RouteLLM's router?

    python -m benchmarks.bench_sw_ranking [--peer-queries 5]

45,000 and 160,000 battles with 1536-dimensional embeddings, two threads. Both rate the same battles between the same
ten tiers (RouteLLM's router mistreats battles inside a tier, so they are left out for both), and must agree on the win
rate. The matrix-vector product alone is the floor of what reading all embeddings once can cost.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.install_peers import peer_python
from benchmarks.planted import plant_battles

_SIZES, _DIM, _N_THREADS, _BATCH = (45_000, 160_000), 1536, 2, 64
_PEER = Path(__file__).parent / "peers" / "routellm_sw.py"


def main() -> int:
    """Checks, measures, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer-queries", type=int, default=5)
    args = parser.parse_args()
    from threadpoolctl import threadpool_limits

    with threadpool_limits(_N_THREADS):
        rows = [_measure(size, args.peer_queries) for size in _SIZES]
    print(f"{'battles':>9}{'ours ms':>10}{'matvec ms':>11}{'batch ms':>10}{'routellm ms':>13}{'ratio':>8}")
    for row in rows:
        print(
            f"{row['n_battles']:>9,}{row['query_ms']:>10.1f}{row['matvec_ms']:>11.1f}{row['batch_query_ms']:>10.2f}"
            f"{row['routellm_ms']:>13.1f}{row['times_faster']:>8.1f}"
        )
    targets = {}
    for row in rows:
        n = row["n_battles"]
        for name, goal, met in (
            ("times_faster", 15.0, row["times_faster"] >= 15.0),
            ("times_matvec", 1.3, row["times_matvec"] <= 1.3),
            ("times_faster_in_batches", 5.0, row["times_faster_in_batches"] >= 5.0),
        ):
            targets[f"{name}_{n}"] = {"value": row[name], "goal": goal, "met": met}
    machine = f"{os.cpu_count()} x {platform.machine()}, {_N_THREADS} threads, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    report = {"bench": "sw_ranking", "rows": rows, "targets": targets, "machine": machine}
    print(json.dumps({**report, "commit": commit.stdout.strip()}))
    return 0


def _measure(n_battles: int, peer_queries: int) -> dict[str, Any]:
    from pointsman.backends.import_routellm import arena_models
    from pointsman.core.battles import Battles, win_table
    from pointsman.core.ratings import fit_ratings
    from pointsman.core.routers.sw_ranking import fold_battles, score_queries
    from pointsman.core.tiers import assign_tiers

    data = plant_battles(n_battles + _BATCH, _DIM, arena_models())
    queries, rows = data.embeddings[n_battles:], slice(0, n_battles)
    outcome = data.a_won[rows].astype(float)
    battles = Battles(data.models, data.model_a[rows], data.model_b[rows], outcome, np.ones(n_battles))
    tiers = assign_tiers(fit_ratings(win_table(battles)).ratings, 10)
    folded = fold_battles(battles, data.embeddings[rows], tiers)
    by_tier = np.argsort(tiers, kind="stable")
    pair = data.models[by_tier[0]], data.models[by_tier[len(by_tier) // 2]]
    strong, weak = (int(tiers[data.models.index(name)]) for name in pair)
    tier_of = dict(zip(data.models, tiers.tolist(), strict=True))
    peer = _run_peer(battles, data.embeddings[rows], queries, tier_of, pair, peer_queries)
    ours = score_queries(folded, queries[:peer_queries], strong, weak)
    gap = float(np.abs(ours - np.array(peer["win_rates"])).max())
    if not gap < 0.005:
        raise AssertionError(f"win rates differ from RouteLLM's by {gap:.4f}")
    query_ms = _median_ms(lambda i: score_queries(folded, queries[i : i + 1], strong, weak))
    matvec_ms = _median_ms(lambda i: folded.embeddings @ queries[i])
    batch_ms = _median_ms(lambda i: score_queries(folded, queries, strong, weak), n=5) / _BATCH
    peer_ms = float(np.median(peer["ms"]))
    return {
        "n_battles": n_battles,
        "n_between_tiers": len(folded.embeddings),
        "query_ms": query_ms,
        "matvec_ms": matvec_ms,
        "batch_query_ms": batch_ms,
        "routellm_ms": peer_ms,
        "times_faster": peer_ms / query_ms,
        "times_matvec": query_ms / matvec_ms,
        "times_faster_in_batches": query_ms / batch_ms,
        "largest_gap": gap,
    }


def _run_peer(
    battles: Any,
    embeddings: np.ndarray,
    queries: np.ndarray,
    tiers: dict[str, int],
    pair: tuple[str, str],
    n_queries: int,
) -> dict[str, Any]:
    """RouteLLM's milliseconds and win rates; battles inside a tier are left out."""
    rows, kept = [], []
    for i, (a, b) in enumerate(zip(battles.model_a, battles.model_b, strict=True)):
        first, second = battles.models[a], battles.models[b]
        if tiers[first] != tiers[second]:
            winner = "model_a" if battles.outcome[i] == 1.0 else "model_b"
            rows.append({"model_a": first, "model_b": second, "winner": winner})
            kept.append(i)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "embeddings.npy", embeddings[kept])
        np.save(folder / "queries.npy", queries)
        (folder / "battles.json").write_text(json.dumps(rows))
        (folder / "meta.json").write_text(json.dumps({"tiers": tiers, "strong": pair[0], "weak": pair[1]}))
        command = [peer_python("routellm"), str(_PEER), name, str(n_queries), str(_N_THREADS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _median_ms(call: Callable[[int], object], *, n: int = 21) -> float:
    """Median over `n` calls after one to warm up."""
    times = []
    for i in range(n + 1):
        started = perf_counter()
        call(i)
        times.append(1e3 * (perf_counter() - started))
    return float(np.median(times[1:]))


if __name__ == "__main__":
    raise SystemExit(main())
