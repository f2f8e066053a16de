"""From a table of scores to the checkpoint of a router of any number of candidates."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace

import numpy as np

from pointsman.backends.data.score_tables import ScoreTable
from pointsman.backends.export import export_checkpoint, package_versions
from pointsman.backends.training.drift_sample import referenced
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.kept_prompts import prompts_file
from pointsman.backends.training.scores import ScoreRecipe, fit_scores
from pointsman.core.arrays import FloatArray
from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.choice_rows import turning_points
from pointsman.core.counted import counted
from pointsman.core.hull import point_usd
from pointsman.core.score_models import column_means

__all__ = ["train_score_router"]

_MAX_CALIBRATION = 5000


def train_score_router(
    table: ScoreTable,
    embeddings: PromptEmbeddings,
    candidates: Sequence[str],
    recipe: ScoreRecipe,
    path: str | os.PathLike[str],
    *,
    keep_prompts: bool = True,
) -> tuple[Checkpoint, str]:
    """Trains, calibrates on predictions for left-out prompts, and writes the checkpoint to `path`.

    Args:
        keep_prompts: keep their texts beside the checkpoint, so that a further model can be asked some of them later.

    Returns:
        The checkpoint, and what its predictions are worth, for the user.

    Raises:
        DataError, CheckpointError: see `fit_scores` and `export_checkpoint`.
    """
    trained = fit_scores(table, embeddings, candidates, recipe)
    of = table.of(candidates)
    usd, scores = column_means(of.usd), column_means(of.scores)
    worth = None if trained.usd is None else point_usd(usd, scores)
    rng = np.random.default_rng(recipe.seed)
    rows = np.sort(rng.permutation(len(table))[:_MAX_CALIBRATION])
    levels = 1.0 - rng.random(len(rows))
    points = turning_points(
        trained.win_rates[rows], None if trained.usd is None else trained.usd[rows], levels=levels, point_usd=worth
    )
    source = f"{counted(len(rows), 'training prompt')} of {table.source}, each left out"
    checkpoint = replace(
        trained.checkpoint,
        calibration=Calibration.from_win_rates(points, source=source),
        provenance={
            "sources": [table.source, *table.notes],
            "recipe": asdict(recipe),
            "versions": package_versions(),
        },
    )

    def seen_means(rows: np.ndarray) -> FloatArray:
        return np.asarray(trained.win_rates[rows, 1:].mean(axis=1))

    checkpoint = referenced(checkpoint, embeddings.values, source=table.source, seed=recipe.seed, win_rates=seen_means)
    with prompts_file(table.prompts) if keep_prompts else nullcontext({}) as files:
        export_checkpoint(checkpoint, path, sample=embeddings.values[rows[:200]], expected=None, files=files)
    return checkpoint, trained.note
