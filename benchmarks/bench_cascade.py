"""What does reading the cheap model's answer gain over routing by the prompt, and does its guarantee hold?

    python -m benchmarks.bench_cascade [--draws 1000]

Real answers of ../shared/data: `cascades_dev`, five random splits into halves, each half trained on and tested on in
turn; `gsm8k_answers_dev` (no log-probabilities), five times five-fold cross-validated. Peers in the same run: the
prompt alone, the model's confidence alone. Dollars are of the cheapest threshold that reaches a quality on the tested
half.
Of nine models the best single one and the cascade, its thresholds included, are chosen on the trained half alone; what
both score and cost on the tested half is compared. The guarantee is drawn from a tested half, with
replacement, and its true loss looked up there.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backends.data.answers import AnswerTable, read_answers
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.evaluation.cascades import evaluate_cascade
from pointsman.backends.training.chain import fit_chain
from pointsman.backends.training.embeddings import embed_prompts
from pointsman.backends.training.verifier import fit_verifier
from pointsman.core.cascade import Window, cascade_bills, cascade_scores
from pointsman.core.cascade_guarantee import certify_cascade
from pointsman.core.chain import play_chain
from pointsman.core.verifier import Verifier, read_verifier

_SHARED = Path(__file__).parents[2] / "shared" / "data"
_PAIRS = {
    ("gpt-4o-mini", "gpt-4o"): 0.80,
    ("llama3.1-8b", "gpt-4o"): 0.70,
    ("llama3.1-70b", "llama3.1-405b"): 0.82,
    ("qwen2.5-72b-instruct", "gpt-4o"): 0.88,
}
_POLICIES = ("prompt only", "confidence alone", "cascade", "both looks")
_TWO = ("gpt-4o", "gpt-4o-mini")  # of the nine: who comes first in the table
_N_SPLITS = 5
_ERROR = 0.05
_BOUNDS = (0.01, 0.02, 0.05)
_LABELS = (500, 2000)
_ALWAYS = Window(hard=0.0, easy=0.0)


def main() -> int:
    """Trains, reads, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    if not _SHARED.is_dir():
        print(f"no real answers at {_SHARED}", file=sys.stderr)
        return 1
    embed = resolve_embedder("static")
    cascades, gsm8k = str(_SHARED / "cascades_dev.parquet"), str(_SHARED / "gsm8k_answers_dev.parquet")
    rows = [
        row
        for weak, strong in _PAIRS
        for row in _quality(read_answers(cascades, strong=strong, weak=weak), embed, _halves)
    ]
    rows += _quality(read_answers(gsm8k, strong="strong", weak="weak"), embed, _folds)
    best = _nine_models(cascades, embed)
    guarantee = [
        row
        for weak, strong in list(_PAIRS)[:2]
        for row in _guarantee(read_answers(cascades, strong=strong, weak=weak), embed, draws)
    ]
    _print(rows, best, guarantee)
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {"bench": "cascade", "rows": [*rows, best, *guarantee], "targets": _targets(rows, best, guarantee, draws)}
    print(json.dumps({**facts, "machine": machine, "commit": commit.stdout.strip()}))
    return 0


def _halves(n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed in range(_N_SPLITS):
        order = np.random.default_rng(seed).permutation(n)
        first, second = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
        yield first, second
        yield second, first


def _folds(n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed in range(_N_SPLITS):
        fold = np.random.default_rng(seed).permutation(n) % 5
        for k in range(5):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


def _trained(table: AnswerTable, embeddings: Any, rows: np.ndarray, embed: Any) -> Verifier:
    some = replace(embeddings, values=embeddings.values[rows])
    return read_verifier(fit_verifier(table.rows(rows), some), embed)


def _quality(table: AnswerTable, embed: Any, splits: Any) -> list[dict[str, Any]]:
    """One row per policy: means over the splits, and the standard error of the difference to confidence alone."""
    embeddings = embed_prompts(table.prompts, embed)
    found: dict[str, list[Any]] = {}
    strong_usd = []
    for learnt, tested in splits(len(table)):
        verifier = _trained(table, embeddings, learnt, embed)
        report = evaluate_cascade(table.rows(tested), verifier, embeddings=embeddings.values[tested], n_replicates=200)
        strong_usd.append(report.strong_usd)
        for row in report.rows:
            found.setdefault(row.name, []).append(row)
    strong, weak = table.models[:2]
    source = Path(table.report.source).stem
    rows = []
    for name in _POLICIES:
        if name not in found:
            continue
        of = found[name]
        rows.append(
            {
                "source": source,
                "weak": weak,
                "strong": strong,
                "policy": name,
                "apgr": _mean([row.apgr for row in of]),
                "half_interval": _mean([(row.high - row.low) / 2 for row in of if row.high is not None]),
                **{f"cpt{part}": _mean([row.cpt[part] for row in of]) for part in ("50", "80", "95")},
                **{
                    f"dollars_at_{level}": _mean(
                        [row.usd[level] / whole for row, whole in zip(of, strong_usd, strict=True)]
                    )
                    for level in ("0.95", "1")
                    if of[0].usd
                },
            }
        )
    return rows


def _mean(values: Sequence[float | None]) -> float:
    return round(float(np.mean([np.nan if value is None else value for value in values])), 4)


def _nine_models(source: str, embed: Any) -> dict[str, Any]:
    """The best single model against the cascade that `train verifier --candidates` chooses on the other half."""
    table = read_answers(source, strong=_TWO[0], weak=_TWO[1])
    embeddings = embed_prompts(table.prompts, embed)
    ratios, gaps, promised, chosen = [], [], [], []
    for learnt, tested in _halves(len(table)):
        chain = fit_chain(table.rows(learnt), replace(embeddings, values=embeddings.values[learnt]), table.models)
        some, values = table.rows(tested), embeddings.values[tested]
        places, best = [some.models.index(name) for name in chain.models], some.models.index(chain.best)
        verifiers = [read_verifier(verifier, embed) for verifier in chain.verifiers]
        played = play_chain(
            [verifier.prompt_win_rates(some.prompts, embeddings=values) for verifier in verifiers],
            [
                verifier.win_rates(some.prompts, [answer for answer in some.answers[k] if answer], embeddings=values)
                for verifier, k in zip(verifiers, places, strict=False)
            ],
            chain.thresholds,
            chain.zones,
            score=some.score[:, places],
            usd=some.usd[:, places],
        )
        ratios.append(float(played.usd.mean() / some.usd[:, best].mean()))
        gaps.append(float(played.score.mean() - some.score[:, best].mean()))
        promised.append(chain.usd / chain.best_usd)
        chosen.append(" before ".join(chain.models))
    return {
        "source": Path(source).stem,
        "policy": "cascade among nine models",
        "dollars_of_best_single": _mean(ratios),
        "promised_dollars": _mean(promised),
        "quality_gained": _mean(gaps),
        "standard_error": _mean([np.std(gaps) / math.sqrt(len(gaps))]),
        "chosen": {name: chosen.count(name) for name in sorted(set(chosen))},
    }


def _guarantee(table: AnswerTable, embed: Any, draws: int) -> list[dict[str, Any]]:
    embeddings = embed_prompts(table.prompts, embed)
    learnt, tested = next(_halves(len(table)))
    verifier, some = _trained(table, embeddings, learnt, embed), table.rows(tested)
    prompt = verifier.prompt_win_rates(some.prompts, embeddings=embeddings.values[tested])
    read = verifier.win_rates(some.prompts, some.answers[1], embeddings=embeddings.values[tested])
    strong, weak, usd = some.score[:, 0], some.score[:, 1], (some.usd[:, 0], some.usd[:, 1])
    rows = []
    for policy, w, zone in (("both looks", read, verifier.window()), ("prompt only", prompt, _ALWAYS)):
        scores = cascade_scores(prompt, w, zone)
        for n_labels in _LABELS:
            for bound in _BOUNDS:
                rng, broken, bills = np.random.default_rng(1), 0, []
                for _ in range(draws):
                    r = rng.integers(0, len(some), n_labels)
                    point = certify_cascade(
                        prompt[r], w[r], strong[r], weak[r], zone=zone, max_loss=bound, usd=(usd[0][r], usd[1][r])
                    )
                    broken += float(np.where(scores < point.threshold, strong - weak, 0.0).mean()) > bound
                    at = np.array([point.threshold])
                    bills.append(float(cascade_bills(prompt, w, at, zone=zone, weak=usd[1], strong=usd[0])[0]))
                rows.append(
                    {
                        "source": "guarantee",
                        "weak": table.models[1],
                        "strong": table.models[0],
                        "policy": policy,
                        "n_labels": n_labels,
                        "bound": bound,
                        "draws": draws,
                        "broken": broken / draws,
                        "dollars_of_always_strong": round(float(np.mean(bills) / usd[0].mean()), 4),
                    }
                )
    return rows


def _targets(
    rows: Sequence[dict[str, Any]], best: dict[str, Any], guarantee: Sequence[dict[str, Any]], draws: int
) -> dict[str, Any]:
    found = {}
    for (weak, strong), goal in _PAIRS.items():
        of = {row["policy"]: row for row in rows if (row["weak"], row["strong"]) == (weak, strong)}
        found[f"apgr {weak} before {strong}"] = _target(of["cascade"]["apgr"], goal)
        behind = of["confidence alone"]["apgr"] - of["cascade"]["apgr"]
        found[f"behind confidence alone, {weak} before {strong}"] = _target(
            round(behind, 4), of["cascade"]["half_interval"], at_least=False
        )
    gsm8k = next(row for row in rows if row["source"] == "gsm8k_answers_dev" and row["policy"] == "cascade")
    found["apgr GSM8K"] = _target(gsm8k["apgr"], 0.66)
    found["dollars of the best of nine"] = _target(best["dollars_of_best_single"], 0.48, at_least=False)
    found["score gained on the best of nine"] = _target(best["quality_gained"], round(-best["standard_error"], 4))
    allowed = _ERROR + 1.645 * math.sqrt(_ERROR * (1 - _ERROR) / draws)
    worst = max(row["broken"] for row in guarantee)
    found["share of draws broken"] = _target(worst, round(allowed, 4), at_least=False)
    return found


def _target(value: float, goal: float, *, at_least: bool = True) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": value >= goal if at_least else value <= goal}


def _print(rows: Sequence[dict[str, Any]], best: dict[str, Any], guarantee: Sequence[dict[str, Any]]) -> None:
    print(f"{'weak before strong':<40}{'policy':<18}{'APGR':>7}{'±':>7}{'CPT50':>8}{'CPT80':>8}{'CPT95':>8}", end="")
    print(f"{'$ at 95%':>10}{'$ at 100%':>11}   (dollars: part of always strong)")
    for row in rows:
        figures = f"{row['apgr']:>7.3f}{row['half_interval']:>7.3f}"
        figures += "".join(f"{row[f'cpt{part}']:>8.1%}" for part in (50, 80, 95))
        dollars = "".join(f"{row.get(f'dollars_at_{level}', math.nan):>10.1%}" for level in ("0.95", "1"))
        print(f"{row['weak'] + ' before ' + row['strong']:<40}{row['policy']:<18}{figures}{dollars}")
    print(f"\nthe best of nine models: {best['dollars_of_best_single']:.1%} of its dollars at ", end="")
    print(f"{best['quality_gained']:+.4f} ± {best['standard_error']:.4f} of its score: {best['chosen']}\n")
    print(f"{'guarantee':<40}{'policy':<14}{'labels':>8}{'bound':>7}{'broken':>9}{'dollars':>9}")
    for row in guarantee:
        place = (
            f"{row['weak'] + ' before ' + row['strong']:<40}{row['policy']:<14}{row['n_labels']:>8,}{row['bound']:>7}"
        )
        print(f"{place}{row['broken']:>9.1%}{row['dollars_of_always_strong']:>9.1%}")


if __name__ == "__main__":
    sys.exit(main())
