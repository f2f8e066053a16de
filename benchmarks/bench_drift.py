"""How often does the drift monitor cry wolf, and how soon does it find a shift?

    python -m benchmarks.bench_drift [--runs 100] [--stationary 1000]

MMLU prompts of ../shared/data are the traffic; HumanEval and MBPP prompts are what it turns into. Two routers: the
bundled one, calibrated on 2,000 MMLU prompts, and a nearest-neighbour router trained on them. Each run shuffles the
prompts anew, and so calibrates and trains on others. A shift is found when the alarm comes after it, within 500
prompts. Beside it, on the same runs, a two-sample Kolmogorov-Smirnov test of the last 200 prompts against the
reference, at 1 %, repeated every 50 prompts.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backends.data.outcomes import Outcomes
from pointsman.backends.training.drift_sample import recalibrated
from pointsman.backends.training.embeddings import embed_prompts
from pointsman.backends.training.knn import KNNRecipe, fit_knn, referenced_knn
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.reference import Reference, read_reference
from pointsman.core.registry import build_router
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder
from pointsman.serve.config.drift import DriftConfig
from pointsman.serve.drift.watch import Watch

_SHARED = Path(__file__).parents[2] / "shared" / "data"
_RATES = (0.01, 0.5)
_N_CALIBRATION = 2000
_N_AFTER = 500
_BEFORE = (0, 1000, 2000)
_KS_WINDOW, _KS_EVERY, _KS_LEVEL = 200, 50, 0.01


@dataclass(frozen=True)
class Prompts:
    """Embeddings and win rates of some prompts."""

    embeddings: np.ndarray
    rates: np.ndarray

    def take(self, rows: np.ndarray) -> "Prompts":
        return Prompts(self.embeddings[rows], self.rates[rows])


@dataclass(frozen=True)
class Case:
    """A router with the reference of one run, and its traffic."""

    reference: Reference
    live: Prompts
    code: Prompts


def main() -> int:
    """Runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="with a shift, of each kind")
    parser.add_argument("--stationary", type=int, default=100, help="without one")
    parser.add_argument("--routers", nargs="+", choices=("mf", "knn"), default=["mf", "knn"])
    args = parser.parse_args()
    if not _SHARED.is_dir():
        print(f"{_SHARED} is missing: there is nothing to test on", file=sys.stderr)
        return 1
    rows = []
    for name in args.routers:
        cases = _MF() if name == "mf" else _KNN()
        rows += _stationary(name, cases, args.stationary)
        rows += _shifted(name, cases, args.runs)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    ours = [row for row in rows if row["test"] == "pointsman"]
    least = min(row["p_value"] for row in ours if row["what"] == "stationary")
    found = [row for row in ours if row["what"] == "all code"]
    targets = {
        "p_value_of_so_many_false_alarms_at_the_stated_rate": {"value": least, "goal": 0.05, "met": least >= 0.05},
        "shifts_missed_within_500": {
            "value": sum(row["missed"] for row in found), "goal": 0, "met": not any(row["missed"] for row in found),
        },
        "worst_prompts_to_find": {
            "value": max(row["worst"] for row in found), "goal": 500, "met": max(row["worst"] for row in found) <= 500,
        },
    }  # fmt: skip
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {"bench": "drift", "rows": rows, "targets": targets, "machine": machine, "commit": commit.stdout.strip()}
    print(json.dumps(facts))
    return 0


class _Cases(ABC):
    """What each run works on, by its seed: 2,000 MMLU prompts to calibrate or train on, the others as traffic."""

    def __init__(self) -> None:
        self.checkpoint = load_checkpoint("mf")
        self.embed = load_embedder(self.checkpoint)
        self.texts = _mmlu()
        self.embedded = embed_prompts(self.texts, self.embed)
        self.embeddings = self.embedded.values
        self.code_embeddings = self.embed(_code())
        self._made: dict[int, tuple[Reference, np.ndarray, np.ndarray, np.ndarray]] = {}

    def draw(self, seed: int) -> Case:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.texts))
        chosen, live = order[:_N_CALIBRATION], order[_N_CALIBRATION:]
        if seed not in self._made:
            made = self.prepare(chosen, seed)
            reference = read_reference(made)
            assert reference is not None
            router = build_router(made, self.embed)
            rates = [router.score(values) for values in (self.embeddings[live], self.code_embeddings)]
            self._made[seed] = (reference, live, rates[0], rates[1])
        reference, live, live_rates, code_rates = self._made[seed]
        code = Prompts(self.code_embeddings, code_rates).take(rng.permutation(len(code_rates)))
        return Case(reference, Prompts(self.embeddings[live], live_rates), code)

    @abstractmethod
    def prepare(self, chosen: np.ndarray, seed: int) -> Checkpoint:
        """The checkpoint of one run."""


class _MF(_Cases):
    """The bundled router, calibrated on the prompts that are chosen."""

    def prepare(self, chosen: np.ndarray, seed: int) -> Checkpoint:
        texts = [self.texts[k] for k in chosen]
        rates = build_router(self.checkpoint, self.embed).score(self.embeddings[chosen])
        return recalibrated(self.checkpoint, texts, rates, embed=self.embed, source="MMLU")


class _KNN(_Cases):
    """A nearest-neighbour router trained on them, with the reference that training writes."""

    def prepare(self, chosen: np.ndarray, seed: int) -> Checkpoint:
        outcomes = _outcomes([self.texts[k] for k in chosen])
        embedded = replace(self.embedded, values=self.embeddings[chosen])
        made = fit_knn(outcomes, embedded, ["strong"], ["weak"], KNNRecipe())
        return referenced_knn(made, source="MMLU", seed=seed)


def _stationary(name: str, cases: Any, n_runs: int) -> list[dict[str, Any]]:
    rows = []
    for rate in _RATES:
        alarms, length = 0, 0
        for seed in range(n_runs):
            case = cases.draw(seed)
            length = len(case.live.rates)
            alarms += _first_alarm(case.reference, [case.live], rate, seed) is not None
        rows.append(_stationary_row((name, "pointsman"), rate, length, alarms, n_runs))
    naive = 0
    for seed in range(n_runs):
        case = cases.draw(seed)
        naive += _first_ks(case.reference, [case.live]) is not None
    rows.append(_stationary_row((name, "repeated KS"), 0.01, length, naive, n_runs))
    return rows


def _stationary_row(who: tuple[str, str], rate: float, length: int, alarms: int, n_runs: int) -> dict[str, Any]:
    """Runs with an alarm, and the probability of as many or more if each had one with the stated probability."""
    place = {"what": "stationary", "router": who[0], "test": who[1], "rate": rate, "n_prompts": length}
    stated = rate * length / 10_000
    fewer = sum(math.comb(n_runs, k) * stated**k * (1 - stated) ** (n_runs - k) for k in range(alarms))
    return {
        **place,
        "runs": n_runs,
        "alarms": alarms,
        "stated": round(stated * n_runs, 2),
        "p_value": round(max(0.0, 1.0 - fewer), 4),
    }


def _shifted(name: str, cases: Any, n_runs: int) -> list[dict[str, Any]]:
    rows = []
    for what, share in (("all code", 1.0), ("half code", 0.5)):
        for before in _BEFORE:
            delays: list[int | None] = []
            early = 0
            for seed in range(n_runs):
                rng = np.random.default_rng(seed)
                case = cases.draw(seed)
                first = case.live.take(np.arange(before))
                after = _mix(case.code, case.live.take(np.arange(before, before + _N_AFTER)), share, rng)
                at = _first_alarm(case.reference, [first, after], 0.01, seed)
                early += at is not None and at <= before
                delays.append(None if at is None else at - before)
            found = sorted(d for d in delays if d is not None and d > 0)
            facts = {"missed": sum(d is None for d in delays), "early": early}
            times = {
                "median": found[len(found) // 2] if found else None,
                "p95": found[int(0.95 * len(found))] if found else None,
                "worst": found[-1] if found else _N_AFTER + 1,
            }
            rows.append({"what": what, "router": name, "test": "pointsman", "before": before, **facts, **times})
    return rows


def _mix(code: Prompts, mmlu: Prompts, share: float, rng: np.random.Generator) -> Prompts:
    """500 prompts of which a share is code, each piece of code once, then again."""
    is_code = rng.random(_N_AFTER) < share
    turn = np.cumsum(is_code) % len(code.rates)
    embeddings = np.where(is_code[:, None], code.embeddings[turn], mmlu.embeddings)
    return Prompts(embeddings, np.where(is_code, code.rates[turn], mmlu.rates))


def _first_alarm(reference: Reference, parts: Sequence[Prompts], rate: float, seed: int) -> int | None:
    ties = np.random.default_rng([seed, 1])  # not those numbers again that the prompts were shuffled by
    watch = Watch(reference, DriftConfig(false_alarm_rate=rate), rng=ties)
    for part in parts:
        prompts = list(zip(part.rates.tolist(), part.embeddings, strict=True))
        for start in range(0, len(prompts), 16):
            if watch.take(prompts[start : start + 16]):
                return watch.n_prompts
    return None


def _first_ks(reference: Reference, parts: Sequence[Prompts]) -> int | None:
    assert reference.centroids is not None and reference.distances is not None
    rates = np.concatenate([part.rates for part in parts])
    distances = reference.centroids.distances(np.concatenate([part.embeddings for part in parts]))
    for end in range(_KS_WINDOW, len(rates) + 1, _KS_EVERY):
        for sample, live in ((reference.win_rates, rates), (reference.distances, distances)):
            if _ks_p_value(sample, live[end - _KS_WINDOW : end]) < _KS_LEVEL:
                return end
    return None


def _ks_p_value(one: np.ndarray, other: np.ndarray) -> float:
    """Asymptotic p-value of the two-sample Kolmogorov-Smirnov statistic."""
    both = np.concatenate([one, other])
    gap = np.abs(
        np.searchsorted(np.sort(one), both, "right") / len(one)
        - np.searchsorted(np.sort(other), both, "right") / len(other)
    ).max()
    x = gap * math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    return min(1.0, 2.0 * sum((-1) ** (k - 1) * math.exp(-2.0 * k * k * x * x) for k in range(1, 101)))


def _mmlu() -> list[str]:
    import pyarrow.parquet as pq

    return list(dict.fromkeys(pq.read_table(_SHARED / "routellm_mmlu_dev.parquet")["prompt"].to_pylist()))


def _outcomes(texts: Sequence[str]) -> Outcomes:
    import pyarrow.parquet as pq

    table = pq.read_table(_SHARED / "routellm_mmlu_dev.parquet").to_pydict()
    scores = {p: (s, w) for p, s, w in zip(table["prompt"], table["strong"], table["weak"], strict=True)}
    n = len(texts)
    score = np.array([scores[text] for text in texts], dtype=np.float64).ravel()
    return Outcomes(tuple(texts), ("strong", "weak"), np.repeat(np.arange(n), 2), np.tile([0, 1], n), score)


def _code() -> list[str]:
    import pyarrow.parquet as pq

    table = pq.read_table(_SHARED / "outcomes_lookahead.parquet", columns=["prompt", "dataset"]).to_pydict()
    pairs = zip(table["prompt"], table["dataset"], strict=True)
    return list(dict.fromkeys(prompt for prompt, name in pairs if name in ("humaneval", "mbpp")))


if __name__ == "__main__":
    sys.exit(main())
