"""The one door to disk: nothing is written that is not served as it was trained."""

import errno
from dataclasses import replace

import numpy as np
import pytest

from pointsman.backends.export import RecordedEmbedder, calibrated, export_checkpoint
from pointsman.core import checkpoint as checkpoint_module
from pointsman.core.checkpoint import Checkpoint, read_checkpoint
from pointsman.core.embedding import CANARIES, EmbedderIdentity
from pointsman.core.errors import CheckpointError, FitError
from pointsman.core.mf import MFWeights, pair_win_rates
from pointsman.core.pair import ModelPair

DIM = 6


def _checkpoint(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"model_embeddings": (3, 4), "projection": (4, DIM), "classifier": (4,), "projection_bias": (4,)}
    return Checkpoint(
        kind="mf",
        models=("a", "b", "c"),
        pair=ModelPair("a", "c"),
        embedder=EmbedderIdentity("static", "x", DIM, normalized=True),
        canaries=rng.standard_normal((len(CANARIES), DIM)).astype(np.float32),
        arrays={name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
    )


def _sample(n=50):
    return np.random.default_rng(1).standard_normal((n, DIM)).astype(np.float32)


def _expected(checkpoint, sample):
    weights = MFWeights(
        *(checkpoint.arrays[n] for n in ("model_embeddings", "projection", "classifier", "projection_bias"))
    )
    return pair_win_rates(weights, sample, np.zeros(len(sample), int), np.full(len(sample), 2))


def test_equal_forward_passes_are_written(tmp_path):
    """A checkpoint whose router reproduces the framework's win rates is written and read back whole."""
    checkpoint, sample = _checkpoint(), _sample()
    checkpoint = calibrated(checkpoint, sample, source="fifty prompts")
    export_checkpoint(checkpoint, tmp_path / "out", sample=sample, expected=_expected(checkpoint, sample))
    found = read_checkpoint(tmp_path / "out")
    assert found.calibration == checkpoint.calibration
    assert found.calibration.n_prompts == 50
    assert (found.canaries == checkpoint.canaries).all()
    assert found.embedder == checkpoint.embedder


@pytest.mark.parametrize("wrong", [2e-5, -2e-5, float("nan")])
def test_different_forward_passes_are_not_written(tmp_path, wrong):
    """One win rate that differs by more than 1e-5, or is no number, stops the export before anything is written."""
    checkpoint, sample = _checkpoint(), _sample()
    expected = _expected(checkpoint, sample)
    expected[17] += wrong
    with pytest.raises(FitError, match="nothing was written"):
        export_checkpoint(checkpoint, tmp_path / "out", sample=sample, expected=expected)
    assert not list(tmp_path.iterdir())


def test_weights_with_nan_are_not_written(tmp_path):
    """Weights that are not finite cannot be served, so they cannot be exported."""
    checkpoint, sample = _checkpoint(), _sample()
    arrays = {**checkpoint.arrays, "classifier": np.full(4, np.nan, np.float32)}
    with pytest.raises(CheckpointError, match="NaN"):
        export_checkpoint(replace(checkpoint, arrays=arrays), tmp_path / "out", sample=sample, expected=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_a_kill_leaves_the_old_checkpoint(tmp_path, monkeypatch, failure):
    """Whatever stops an export half-way, the old checkpoint is still there and still loads, and no debris is left."""
    old, new, sample = _checkpoint(0), _checkpoint(1), _sample()
    export_checkpoint(old, tmp_path / "out", sample=sample, expected=None)

    def fail(*_):
        raise failure

    monkeypatch.setattr(checkpoint_module, "_sync", fail)
    with pytest.raises((CheckpointError, KeyboardInterrupt)):
        export_checkpoint(new, tmp_path / "out", sample=sample, expected=None)
    monkeypatch.undo()
    assert (read_checkpoint(tmp_path / "out").arrays["classifier"] == old.arrays["classifier"]).all()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_recorded_embedder_knows_the_canaries_alone():
    """It stands in for the identity check and refuses to embed anything else."""
    embed = RecordedEmbedder(_checkpoint().embedder, _checkpoint().canaries)
    assert embed(CANARIES).shape == (len(CANARIES), DIM)
    with pytest.raises(ValueError, match="canary sentences alone"):
        embed(["hello"])
