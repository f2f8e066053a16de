"""A checkpoint of pairs that is to weigh several of its models."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pointsman.backends.export import served_win_rates
from pointsman.core.arrays import Float32Array
from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.choice_rows import turning_points
from pointsman.core.pair import ModelPair

__all__ = ["weigh_candidates"]


def weigh_candidates(
    checkpoint: Checkpoint, candidates: Sequence[str], sample: Float32Array | Sequence[str], *, source: str
) -> Checkpoint:
    """The checkpoint for these candidates, calibrated by their order alone; unchanged if they are fewer than three.

    Args:
        candidates: the reference first, the dearest of the others next.
        sample: prompts to calibrate on, see `export_checkpoint`.

    Raises:
        CheckpointError: the checkpoint does not know a candidate.
    """
    if len(candidates) < 3:
        return checkpoint
    pair = ModelPair(candidates[0], candidates[-1])
    found = replace(checkpoint, pair=pair, candidates=tuple(candidates), reference={}, thresholds={})
    win_rates = served_win_rates(found, sample)
    levels = 1.0 - np.random.default_rng(0).random(len(win_rates))
    points = turning_points(win_rates, None, levels=levels)
    return replace(found, calibration=Calibration.from_win_rates(points, source=source))
