"""What is lost by adding a model from some landmarks instead of training with all that it did?

    python -m benchmarks.bench_onboarding DATA --splits 3 --landmarks 300

For each model: a router is trained on the others, on half of the prompts; the model is added from its outcomes on the
landmarks alone. Measured on the other half: points over random mixtures of all models (the mean up to the best one's
cost) of the router without it, with it added, and trained with its whole column.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.bench_many_models import _BUDGETS, _Stored
from pointsman.backends.data.score_tables import ScoreTable, read_score_table
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.evaluation.quality_by_dollars import DollarCurve, threshold_curve
from pointsman.backends.training.embeddings import PromptEmbeddings, embed_prompts
from pointsman.backends.training.onboarding import Measured, add_model, choose_landmarks
from pointsman.backends.training.scores import ScoreRecipe, fit_scores
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.hull import point_usd
from pointsman.core.routers.scores import load_candidates
from pointsman.core.score_models import column_means


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a row per model and one JSON line."""
    parser = argparse.ArgumentParser(prog="benchmarks.bench_onboarding")
    parser.add_argument("data", type=Path, help="outcome table with bills")
    parser.add_argument("--kind", default="linear")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--landmarks", type=int, default=300)
    args = parser.parse_args(argv)
    table = read_score_table([str(args.data)])
    embeddings = embed_prompts(table.prompts, resolve_embedder("static"))
    found: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in table.models}
    for seed in range(args.splits):
        order = np.random.default_rng(seed).permutation(len(table))
        train, test = order[: len(table) // 2], order[len(table) // 2 :]
        part = table.take(train)
        known = PromptEmbeddings(embeddings.values[train], embeddings.identity, embeddings.canaries)
        ranked = [table.models[i] for i in np.argsort(-column_means(part.scores), kind="stable")]
        whole = fit_scores(part, known, ranked, ScoreRecipe(args.kind)).checkpoint
        reference = _curve(whole, ranked, table, embeddings, test)
        landmarks = choose_landmarks(known.values, np.ones(len(train), dtype=bool), args.landmarks)
        for name in table.models:
            others, column = [model for model in ranked if model != name], part.models.index(name)
            without = fit_scores(part.of(others), known, others, ScoreRecipe(args.kind)).checkpoint
            parts = (part.scores, part.usd, part.input_tokens, part.output_tokens)
            added = add_model(without, name, Measured(landmarks, *[each[landmarks, column] for each in parts]))
            estimate = column_means(added.arrays["scores"].astype(np.float64))[-1]
            curves = [_curve(*each, table, embeddings, test) for each in ((without, others), (added, ranked))]
            over = [_over_hull(curve, reference) for curve in (*curves, reference)]
            error = 100.0 * float(estimate - np.nanmean(part.scores[:, column]))
            found[name].append((over[0], over[1], over[2], error))
    rows = [_row(name, np.array(each)) for name, each in found.items()]
    print(f"{'model':32}{'without':>9}{'added':>9}{'whole':>9}{'mean off by':>13}   points over mixtures of all")
    for row in rows:
        told = "".join(f"{row[key]:>9.2f}" for key in ("without", "added", "whole"))
        print(f"{row['model']:32}{told}{row['mean_error']:>13.2f}")
    mean = {key: float(np.mean([row[key] for row in rows])) for key in ("without", "added", "whole")}
    print(f"{'mean':32}" + "".join(f"{value:>9.2f}" for value in mean.values()))
    lost = mean["whole"] - mean["added"]
    targets = {"points_lost": {"value": lost, "goal": 0.25, "met": lost <= 0.25}}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {"bench": "onboarding", "data": args.data.stem, "rows": [*rows, mean], "targets": targets}
    print(json.dumps({**facts, "machine": f"{os.cpu_count()} cores", "commit": commit.stdout.strip()}))
    return 0


def _row(name: str, values: np.ndarray) -> dict[str, float | str]:
    without, added, whole, _ = values.mean(axis=0).tolist()
    error = float(np.sqrt((values[:, 3] ** 2).mean()))
    return {"model": name, "without": without, "added": added, "whole": whole, "mean_error": error}


def _curve(
    checkpoint: Checkpoint, candidates: Sequence[str], table: ScoreTable, embeddings: PromptEmbeddings, test: np.ndarray
) -> DollarCurve:
    router = load_candidates(checkpoint, _Stored(embeddings), candidates)
    win_rates, usd, _ = router.score_and_bill(embeddings.values[test])
    means = router.means or ()
    worth = point_usd(np.array([mean.usd for mean in means]), np.array([mean.score for mean in means]))
    held = table.of(candidates)
    return threshold_curve(win_rates, usd, held.scores[test], held.usd[test], point_usd=worth)


def _over_hull(curve: DollarCurve, reference: DollarCurve) -> float:
    budgets = _BUDGETS * reference.best_usd
    return 100.0 * float(np.nanmean(curve.quality_at(budgets) - reference.hull.quality_at(budgets)))


if __name__ == "__main__":
    sys.exit(main())
