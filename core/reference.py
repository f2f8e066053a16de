"""What live traffic is compared with: a sample of the calibration prompts, which travels with the checkpoint.

    reference_win_rates   (n_prompts,)        strong model's win rate of each
    reference_distances   (n_prompts,)        its distance to the nearest centroid of the training prompts
    novelty_centroids     (n_centroids, dim)  those centroids, see `core.novelty`

For a test of live traffic to keep its rate of false alarms, the sample must be treated as live prompts will be: held
out from training and from the fit of the centroids.
"""

from dataclasses import dataclass, replace

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import CheckpointError
from pointsman.core.novelty import Centroids

__all__ = ["Reference", "read_reference", "with_reference"]

_WIN_RATES, _DISTANCES, _CENTROIDS = "reference_win_rates", "reference_distances", "novelty_centroids"


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A sample of calibration prompts.

    Attributes:
        source: description of the prompts.
        win_rates: in [0, 1], shape (n_prompts,).
        distances: to the nearest centroid, in [0, 2], shape (n_prompts,); None where the router embeds nothing.
        centroids: of the training prompts; None where `distances` is.
        examples: a training prompt near each centroid, (n_centroids,); empty where no text was kept.

    Raises:
        ValueError: a value leaves its range, or the parts do not fit.
    """

    source: str
    win_rates: FloatArray
    distances: FloatArray | None = None
    centroids: Centroids | None = None
    examples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.win_rates.ndim != 1 or not ((self.win_rates >= 0) & (self.win_rates <= 1)).all():
            raise ValueError(f"win rates of a reference have shape {self.win_rates.shape}, wanted (n,) in [0, 1]")
        if (self.distances is None) != (self.centroids is None):
            raise ValueError("a reference has distances without centroids, or centroids without distances")
        if self.distances is not None and (
            self.distances.shape != self.win_rates.shape or not ((self.distances >= 0) & (self.distances <= 2)).all()
        ):
            raise ValueError(f"distances have shape {self.distances.shape}, wanted {self.win_rates.shape} in [0, 2]")
        if self.examples and (self.centroids is None or len(self.examples) != len(self.centroids.vectors)):
            raise ValueError(f"there are {len(self.examples)} examples, wanted one per centroid")

    def novelty(self, distance: float) -> float | None:
        """Share of the reference that lies nearer to the training prompts, ties by half; None without distances."""
        return None if self.distances is None else _percentile(self.distances, distance)


def read_reference(checkpoint: Checkpoint) -> Reference | None:
    """The reference of a checkpoint; None if it has none, as in earlier versions.

    Raises:
        CheckpointError: its parts are malformed or do not fit together.
    """
    if _WIN_RATES not in checkpoint.arrays:
        return None
    vectors = _optional(checkpoint, _CENTROIDS, 2)
    try:
        return Reference(
            source=str(checkpoint.reference.get("source", "")),
            win_rates=checkpoint.array(_WIN_RATES, ndim=1).astype(np.float64),
            distances=_optional(checkpoint, _DISTANCES, 1),
            centroids=None if vectors is None else Centroids(vectors.astype(np.float32)),
            examples=tuple(checkpoint.reference.get("examples", ())),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.path or checkpoint.kind!r}: {error}") from error


def with_reference(checkpoint: Checkpoint, reference: Reference | None) -> Checkpoint:
    """The checkpoint with this reference in place of its own; without any if None."""
    arrays = {name: a for name, a in checkpoint.arrays.items() if name not in (_WIN_RATES, _DISTANCES, _CENTROIDS)}
    if reference is None:
        return replace(checkpoint, arrays=arrays, reference={})
    arrays[_WIN_RATES] = reference.win_rates.astype(np.float32)
    if reference.distances is not None and reference.centroids is not None:
        arrays[_DISTANCES] = reference.distances.astype(np.float32)
        arrays[_CENTROIDS] = reference.centroids.vectors.astype(np.float16)
    record = {"source": reference.source, "n_prompts": int(reference.win_rates.size)}
    examples = {"examples": list(reference.examples)} if reference.examples else {}
    return replace(checkpoint, arrays=arrays, reference={**record, **examples})


def _optional(checkpoint: Checkpoint, name: str, ndim: int) -> FloatArray | None:
    return checkpoint.array(name, ndim=ndim).astype(np.float64) if name in checkpoint.arrays else None


def _percentile(values: FloatArray, value: float) -> float:
    return float(((values < value).sum() + (values <= value).sum()) / (2 * max(values.size, 1)))
