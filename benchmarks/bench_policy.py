"""Do the policies hold what they promise over simulated days of real prompts?

    python -m benchmarks.bench_policy [--seeds 5]

Prompts and scores are those of ../shared/data, win rates those of the bundled router. Shares: a day of MMLU, then
GSM8K, then code, then chat prompts; the live share beside the one of the calibration as it is. Dollars: days of 8,000
requests (evenly, in bursts that nobody announced, or twice as many as forecast) whose answers are paid for some seconds
after they were decided on; beside a wall (the forecast's threshold until the money is gone, then weak), a wall without
a router (strong until the money is gone), and the best fixed threshold in hindsight, which knows the whole day.
Prices of ParetoBandit's prompts are real; the other prompts' tokens are drawn.
"""

import argparse
import heapq
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.targets import at_most
from pointsman.core.calibration import strong_share, threshold_for_cost
from pointsman.core.pacing import Pacer, PacerCosts
from pointsman.core.recent import RecentWinRates
from pointsman.core.share_control import ShareControl
from pointsman.core.traffic import TrafficShape
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.policy.budget import Budget, Reservation

_DATA = Path(__file__).parents[2] / "shared" / "data"
DAY_S, BEGIN = 86_400.0, 20_000 * 86_400.0
_REQUESTS = 8000
_TARGETS = (0.1, 0.3, 0.5, 0.8)
_CEILINGS = (0.2, 0.5)  # of what always strong costs more than always weak
_WINDOW = 1000
_CODE_PAIR = ("Qwen2.5-Coder-7B-Instruct", "gemma-2-9b-it")
_COST_PAIR = ("google/gemini-2.5-pro", "meta-llama/llama-3.1-8b-instruct")


@dataclass(frozen=True)
class Prompts:
    """Prompts whose answers are known: arrays of shape (n_prompts,)."""

    win_rates: np.ndarray
    strong: np.ndarray
    weak: np.ndarray
    strong_usd: np.ndarray
    weak_usd: np.ndarray

    def take(self, rows: np.ndarray) -> "Prompts":
        return Prompts(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Outcome:
    """A day's dollars and mean score."""

    usd: float
    quality: float


def main() -> int:
    """Simulates, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    win_rates = read_scorer()
    sources = read_sources(win_rates)
    shares = list(_share_rows(sources, args.seeds))
    populations = {"MMLU and GSM8K": joined(sources["MMLU"], sources["GSM8K"]), "ParetoBandit": _pareto(win_rates)}
    dollars = [row for name, prompts in populations.items() for row in _dollar_rows(name, prompts, args.seeds)]
    _print_shares(shares)
    _print_dollars(dollars)
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {
        "bench": "policy",
        "rows": shares + dollars,
        "targets": _targets(shares, dollars),
        "machine": machine,
        "commit": commit.stdout.strip(),
    }
    print(json.dumps(facts))
    return 0


def _targets(shares: list[dict[str, Any]], dollars: list[dict[str, Any]]) -> dict[str, Any]:
    return at_most(
        share_error_of_the_day_points=(max(row["held_day"] for row in shares), 1.0),
        share_error_of_any_part_points=(max(row["held_part"] for row in shares), 1.0),
        ceiling_error_percent=(max(row["off_percent"] for row in dollars), 1.0),
        quality_behind_hindsight_percent=(max(row["behind_percent"] for row in dollars), 2.0),
    )


def _print_shares(rows: list[dict[str, Any]]) -> None:
    print("error of the share in points, the worst of all days")
    held_columns = f"{'held: day':>12}{'any part':>10}{'any 1000':>10}"
    print(f"{'target':>8}{held_columns}{'calibrated only: day':>23}{'any part':>10}")
    for r in rows:
        held = f"{r['held_day']:>12.2f}{r['held_part']:>10.2f}{r['held_window']:>10.2f}"
        print(f"{r['target']:>8.0%}{held}{r['static_day']:>23.2f}{r['static_part']:>10.2f}")


def _print_dollars(rows: list[dict[str, Any]]) -> None:
    print("off the ceiling at midnight, and quality behind the best fixed threshold in hindsight: the worst day")
    head = f"{'prompts':<16}{'traffic':<20}{'ceiling':>8}{'off %':>8}{'behind %':>10}"
    print(f"{head}{'wall: off %':>13}{'behind %':>10}{'routerless: off %':>19}{'behind %':>10}")
    for r in rows:
        place = f"{r['prompts']:<16}{r['traffic']:<20}{r['ceiling']:>8.0%}{r['off_percent']:>8.2f}"
        walls = f"{r['wall_off_percent']:>13.2f}{r['wall_behind_percent']:>10.2f}{r['routerless_off_percent']:>19.2f}"
        print(f"{place}{r['behind_percent']:>10.2f}{walls}{r['routerless_behind_percent']:>10.2f}")


def read_scorer() -> Callable[[list[str]], np.ndarray]:
    read = load_router(load_checkpoint("mf")).win_rates
    return lambda prompts: np.concatenate([read(prompts[i : i + 99]) for i in range(0, len(prompts), 99)])


def read_sources(win_rates: Callable[[list[str]], np.ndarray]) -> dict[str, Prompts]:
    import pyarrow.parquet as pq

    found = {}
    for name, file in (("MMLU", "routellm_mmlu_dev"), ("GSM8K", "routellm_gsm8k_dev")):
        table = pq.read_table(_DATA / f"{file}.parquet").to_pydict()
        found[name] = _priced(table["prompt"], win_rates(table["prompt"]), table["strong"], table["weak"])
    table = pq.read_table(_DATA / "outcomes_lookahead.parquet").to_pandas()
    scores = table[table.dataset.isin(["humaneval", "mbpp"])].pivot_table("score", "prompt", "model", "first")
    prompts = list(scores.index)
    found["code"] = _priced(prompts, win_rates(prompts), *(scores[model] for model in _CODE_PAIR))
    table = pq.read_table(_DATA / "battles_qlora_oasst.parquet", columns=["prompt"]).to_pydict()
    prompts = list(dict.fromkeys(table["prompt"]))
    nothing = np.zeros(len(prompts))
    found["chat"] = _priced(prompts, win_rates(prompts), nothing, nothing)
    return found


def _priced(prompts: list[str], win_rates: np.ndarray, strong: Any, weak: Any) -> Prompts:
    """With the dollars of GPT-4 Turbo and Mixtral, a token for every four characters, and answers of a drawn length."""
    rng = np.random.default_rng(0)
    n_input = np.array([len(prompt) / 4 for prompt in prompts])
    n_output = rng.lognormal(5.5, 0.7, len(prompts))
    strong_usd = (10.0 * n_input + 30.0 * n_output) / 1e6
    weak_usd = 0.6 * (n_input + n_output * rng.lognormal(0.0, 0.3, len(prompts))) / 1e6
    return Prompts(win_rates, np.asarray(strong, float), np.asarray(weak, float), strong_usd, weak_usd)


def _pareto(win_rates: Callable[[list[str]], np.ndarray]) -> Prompts:
    import pyarrow.parquet as pq

    table = pq.read_table(_DATA / "outcomes_paretobandit.parquet").to_pandas()
    by_model = [table[table.model == model].drop_duplicates("prompt").set_index("prompt") for model in _COST_PAIR]
    prompts = [prompt for prompt in by_model[0].index if prompt in by_model[1].index]
    strong, weak = (frame.loc[prompts] for frame in by_model)
    arrays = (strong.score, weak.score, strong.cost_usd, weak.cost_usd)
    return Prompts(win_rates(prompts), *(np.asarray(values, float) for values in arrays))


def joined(*parts: Prompts) -> Prompts:
    return Prompts(*(np.concatenate([getattr(p, name) for p in parts]) for name in Prompts.__dataclass_fields__))


def _share_rows(sources: dict[str, Prompts], seeds: int) -> Iterator[dict[str, Any]]:
    calibration = load_checkpoint("mf").calibration
    assert calibration is not None
    n_part = _REQUESTS // len(sources)
    for target in _TARGETS:
        worst: dict[str, float] = {}
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            rates = np.concatenate([rng.choice(prompts.win_rates, n_part) for prompts in sources.values()])
            held = _held(rates, target, RecentWinRates(calibration.quantiles))
            static = rates >= calibration.threshold(target)
            errors = {
                "held_day": abs(held.mean() - target),
                "held_part": np.abs(held.reshape(-1, n_part).mean(axis=1) - target).max(),
                "held_window": np.abs(np.convolve(held, np.full(_WINDOW, 1 / _WINDOW), "valid") - target).max(),
                "static_day": abs(strong_share(rates, calibration.threshold(target)) - target),
                "static_part": np.abs(static.reshape(-1, n_part).mean(axis=1) - target).max(),
            }
            worst = {name: max(worst.get(name, 0.0), 100.0 * float(error)) for name, error in errors.items()}
        yield {"what": "share", "target": target, **{name: round(value, 3) for name, value in worst.items()}}


def _held(rates: np.ndarray, target: float, recent: RecentWinRates) -> np.ndarray:
    control, went = ShareControl(target), np.zeros(len(rates), bool)
    for i, rate in enumerate(rates.tolist()):
        went[i] = rate >= control.threshold(recent)
        recent.add(rate)
        control.count(strong=bool(went[i]))
    return went


def _dollar_rows(name: str, prompts: Prompts, seeds: int) -> Iterator[dict[str, Any]]:
    for traffic in ("even", "bursts", "double", "bursts, no forecast", "even, 4 processes"):
        for part in _CEILINGS:
            worst: dict[str, float] = {}
            for seed in range(seeds):
                found = _compare(prompts, traffic, part, np.random.default_rng(seed))
                worst = {key: max(worst.get(key, -np.inf), value) for key, value in found.items()}
            rounded = {key: round(value, 3) for key, value in worst.items()}
            yield {"what": "dollars", "prompts": name, "traffic": traffic, "ceiling": part, **rounded}


def _compare(prompts: Prompts, traffic: str, part: float, rng: np.random.Generator) -> dict[str, float]:
    """Percent off the ceiling, and percent of quality behind hindsight, of each way to spend a day's money."""
    n = _REQUESTS * (2 if traffic == "double" else 1)
    day = prompts.take(rng.integers(0, len(prompts.win_rates), n))
    times = _arrivals(traffic, n, rng)
    ceiling = float(day.weak_usd.sum() + part * (day.strong_usd - day.weak_usd).sum())
    best = spend(day, day.win_rates >= fixed_threshold(day, ceiling / n))
    n_processes = 4 if "processes" in traffic else 1
    forecast = None if "no forecast" in traffic else [_REQUESTS / n_processes / 24.0] * 24
    yesterday = prompts.take(rng.integers(0, len(prompts.win_rates), _REQUESTS))
    ways = {
        "": spend(day, paced(day, times, ceiling, rng, forecast=forecast, n_processes=n_processes)),
        "wall_": _walled(day, fixed_threshold(yesterday, ceiling / _REQUESTS), ceiling),
        "routerless_": _walled(day, 0.0, ceiling),
    }
    found = {}
    for way, outcome in ways.items():
        found[f"{way}off_percent"] = 100.0 * abs(outcome.usd / ceiling - 1.0)
        found[f"{way}behind_percent"] = 100.0 * (1.0 - outcome.quality / best.quality)
    return found


def fixed_threshold(day: Prompts, usd: float) -> float:
    """The lowest threshold that costs at most `usd` a prompt on a day; 0 where all of it can go to strong."""
    if day.strong_usd.mean() <= usd:
        return 0.0
    return threshold_for_cost(day.win_rates, strong_usd=day.strong_usd, weak_usd=day.weak_usd, max_cost_usd=usd)


def _arrivals(traffic: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Seconds after midnight; of bursts 60 % of the traffic comes in twenty of some minutes each."""
    if not traffic.startswith("bursts"):
        return np.sort(rng.random(n)) * DAY_S
    n_burst = int(0.6 * n)
    bursts = rng.choice(rng.random(20), n_burst) + rng.exponential(0.004, n_burst)
    return np.sort(np.concatenate([rng.random(n - n_burst), bursts % 1.0])) * DAY_S


class _Ledger:
    """What all processes have spent today, as one of them knows it: its own at once, the others' a second later."""

    def __init__(self, processes: list["_Ledger"]) -> None:
        self.own_usd, self.known_usd, self.n_requests = 0.0, 0.0, 0
        self._processes = processes

    @property
    def own_part(self) -> float:
        return (self.n_requests + 1) / (sum(ledger.n_requests for ledger in self._processes) + 1)

    def spent_usd(self, period: str, *, key: str | None = None) -> float:
        return self.own_usd + self.known_usd

    def sync(self) -> None:
        self.known_usd = sum(ledger.own_usd for ledger in self._processes) - self.own_usd


def paced(
    day: Prompts,
    times: np.ndarray,
    ceiling: float,
    rng: np.random.Generator,
    *,
    forecast: list[float] | None,
    n_processes: int = 1,
) -> np.ndarray:
    """Which prompts of a day budgets send to the strong model, shape (n_prompts,).

    Args:
        times: seconds after midnight.
        forecast: prompts an hour and process, 24 of them; None where nothing is known.
    """
    calibration = load_checkpoint("mf").calibration
    assert calibration is not None
    start = PacerCosts(float(np.median(day.strong_usd)), float(np.median(day.weak_usd)))
    ledgers: list[_Ledger] = []
    ledgers += [_Ledger(ledgers) for _ in range(n_processes)]
    budgets, recents, synced = [], [], 0.0
    for ledger in ledgers:
        costs = PacerCosts(start.strong_usd, start.weak_usd)
        pacer = Pacer(ceiling, "day", costs=costs, traffic=TrafficShape(forecast))
        budgets.append(Budget("budget:day", pacer, ledger, hard=False))
        recents.append(RecentWinRates(calibration.quantiles))
    seconds = rng.lognormal(1.5, 0.8, len(times))  # from a decision to its bill
    process = rng.integers(0, n_processes, len(times))
    went, waiting = np.zeros(len(times), bool), []
    reserved: dict[int, Reservation] = {}
    usd = np.where(went, day.strong_usd, day.weak_usd)
    for i, at in enumerate(times.tolist()):
        while waiting and waiting[0][0] <= at:
            _, j = heapq.heappop(waiting)
            ledgers[process[j]].own_usd += float(usd[j])
            ledgers[process[j]].n_requests += 1
            reserved.pop(j).end(float(usd[j]), strong=bool(went[j]))
        if at - synced >= 1.0:
            synced = at
            for ledger in ledgers:
                ledger.sync()
        budget, recent = budgets[process[i]], recents[process[i]]
        went[i] = day.win_rates[i] >= budget.ruling(BEGIN + at, recent).threshold
        usd[i] = day.strong_usd[i] if went[i] else day.weak_usd[i]
        reserved[i] = budget.begin(BEGIN + at, strong=bool(went[i]))
        recent.add(float(day.win_rates[i]))
        heapq.heappush(waiting, (at + seconds[i], i))
    return went


def _walled(day: Prompts, threshold: float, ceiling: float) -> Outcome:
    wanted = day.win_rates >= threshold
    spent = np.cumsum(np.where(wanted, day.strong_usd, day.weak_usd))
    return spend(day, wanted & (spent <= ceiling))


def spend(day: Prompts, went: np.ndarray) -> Outcome:
    usd = np.where(went, day.strong_usd, day.weak_usd).sum()
    return Outcome(float(usd), float(np.where(went, day.strong, day.weak).mean()))


if __name__ == "__main__":
    sys.exit(main())
