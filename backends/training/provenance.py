"""The provenance that a checkpoint records."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.backends.data.battle_sets import ALL_SOURCES, BattleReport
from pointsman.backends.export import package_versions
from pointsman.core.arrays import Float32Array
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["calibration_sample", "provenance"]

_N_CALIBRATION = 5000


def provenance(
    checkpoint: Checkpoint, reports: Sequence[BattleReport], recipe: "DataclassInstance", *packages: str
) -> Checkpoint:
    """The checkpoint with its sources, what was left out of them, its recipe and the versions that made it."""
    record: dict[str, Any] = {
        "sources": [str(report).splitlines() for report in reports],
        "recipe": asdict(recipe),
        "versions": package_versions(*packages),
    }
    return replace(checkpoint, provenance={**record, **checkpoint.provenance})


def calibration_sample(
    embeddings: Float32Array, reports: Sequence[BattleReport], seed: int
) -> tuple[Float32Array, str]:
    """Up to 5,000 of the training prompts' embeddings, chosen at random, and what to call them."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(embeddings))[:_N_CALIBRATION])
    sources = ", ".join(report.source for report in reports if report.source != ALL_SOURCES)
    return embeddings[rows], f"{counted(len(rows), 'training prompt')} of {sources}"
