"""The checkpoint format: what is written comes back, and what is damaged is refused with its defect."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core import checkpoint as module
from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError
from pointsman.core.pair import ModelPair


def _checkpoint() -> Checkpoint:
    return Checkpoint(
        kind="mf",
        models=("big", "small"),
        pair=ModelPair("big", "small"),
        embedder=EmbedderIdentity("static", "r1", 2, True),
        canaries=np.eye(3, 2, dtype=np.float32),
        calibration=Calibration("three prompts", 3, (0.1, 0.5, 0.9)),
        arrays={"classifier": np.array([0.5, -1.0], dtype=np.float32)},
        options={"seed": 1},
        provenance={"data": ["a"]},
        metrics={"accuracy": 0.7},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound checkpoint with one further file."""
    extra = tmp_path / "vocab"
    extra.write_text("one\ntwo\n")
    write_checkpoint(_checkpoint(), tmp_path / "c", files={"sub/vocab.txt": extra})
    return tmp_path / "c"


def test_everything_comes_back(folder):
    """Every field, array and file survives a write and a read."""
    wanted, got = _checkpoint(), read_checkpoint(folder)
    for name in ("kind", "models", "pair", "embedder", "calibration", "options", "provenance", "metrics"):
        assert getattr(got, name) == getattr(wanted, name), name
    assert (got.canaries == wanted.canaries).all()
    assert got.arrays.keys() == wanted.arrays.keys()
    assert (got.arrays["classifier"] == wanted.arrays["classifier"]).all()
    assert (got.path / "sub/vocab.txt").read_text() == "one\ntwo\n"


def test_the_bytes_of_the_format_are_fixed(folder):
    """Version 1 looks as it always did: other programs read it."""
    meta = json.loads((folder / "pointsman.json").read_text())
    assert meta == {
        "format": "pointsman-checkpoint",
        "version": 1,
        "kind": "mf",
        "models": ["big", "small"],
        "pair": {"strong": "big", "weak": "small"},
        "embedder": {"name": "static", "revision": "r1", "dim": 2, "normalized": True},
        "calibration": {"source": "three prompts", "n_prompts": 3, "quantiles": [0.1, 0.5, 0.9]},
        "options": {"seed": 1},
        "provenance": {"data": ["a"]},
        "metrics": {"accuracy": 0.7},
        "files": {
            "sub/vocab.txt": "c3f9c8c283a2b1f2f1896f27a01cbe3cddc0c9d93f752e4639035a0f5b36f6e8",
            "weights.safetensors": "ef89b0b1d25b7ac671ad9fe66ecaa3f2d6d27c64f23bad4a44e89bbddf6810f6",
        },
    }


def test_others_may_read_it(folder):
    """Every file is readable by other users: a server need not run as who trained."""
    assert {file.stat().st_mode & 0o777 for file in folder.rglob("*") if file.is_file()} == {0o644}


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "pointsman.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


DAMAGE = {
    "directory is gone": (shutil.rmtree, "no checkpoint at"),
    "metadata is gone": (lambda f: (f / "pointsman.json").unlink(), "has no pointsman.json"),
    "metadata is truncated": (lambda f: _truncate(f / "pointsman.json"), "not valid JSON"),
    "metadata is not text": (lambda f: (f / "pointsman.json").write_bytes(b"\xff\xfe{}"), "not valid JSON"),
    "metadata nests too deep": (lambda f: (f / "pointsman.json").write_text("[" * 10**6), "not valid JSON"),
    "metadata is a list": (lambda f: (f / "pointsman.json").write_text("[]"), "foreign"),
    "metadata is another program's": (lambda f: _edit(f, format="gguf"), "foreign"),
    "metadata is huge": (lambda f: (f / "pointsman.json").write_bytes(b" " * (2**24 + 1)), "bytes, wanted at most"),
    "version is newer": (lambda f: _edit(f, version=2), "upgrade with: pip install -U pointsman"),
    "weights are gone": (lambda f: (f / "weights.safetensors").unlink(), "'weights.safetensors' is missing"),
    "weights are truncated": (lambda f: _truncate(f / "weights.safetensors"), "truncated, damaged or replaced"),
    "a further file was swapped": (lambda f: (f / "sub/vocab.txt").write_text("x"), "truncated, damaged or replaced"),
    "a file name leaves the directory": (lambda f: _edit(f, files={"../x": ""}), "wanted relative file names"),
    "a field is missing": (lambda f: _edit(f, embedder={"name": "static"}), "a field is malformed: .*revision"),
    "a quantile is no probability": (
        lambda f: _edit(f, calibration={"source": "", "n_prompts": 1, "quantiles": [0, 2]}),
        "non-decreasing numbers in",
    ),
    "the pair is one model": (lambda f: _edit(f, pair={"strong": "x", "weak": "x"}), "two different models"),
}


@pytest.mark.parametrize("defect", DAMAGE)
def test_every_defect_has_its_own_error(folder, defect):
    """Each kind of damage is refused with a message that names it."""
    damage, words = DAMAGE[defect]
    damage(folder)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(folder)


def test_weights_of_another_format_are_refused(folder):
    """A weights file whose hash is right but whose content is none of ours says so."""
    (folder / "weights.safetensors").write_bytes(b"not tensors")
    _edit(folder, files={"weights.safetensors": module._sha256(folder / "weights.safetensors")})
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_checkpoint(folder)


@given(st.data())
@settings(max_examples=40)
def test_any_flipped_byte_is_found_or_harmless(tmp_path_factory, data):
    """Whatever byte is flipped, reading gives a CheckpointError or a checkpoint, never another failure."""
    folder = tmp_path_factory.mktemp("flip") / "c"
    write_checkpoint(_checkpoint(), folder)
    path = folder / data.draw(st.sampled_from(["pointsman.json", "weights.safetensors"]))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        read_checkpoint(folder)
    except CheckpointError:
        return
    assert path.name == "pointsman.json"  # weights are hashed: no flipped byte may pass


def test_a_failed_write_leaves_the_old_checkpoint(folder, monkeypatch):
    """A full disk in the middle of a write leaves the checkpoint that was there, and no debris."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left on device; what was there is unchanged"):
        write_checkpoint(_checkpoint(), folder)
    assert read_checkpoint(folder).kind == "mf"
    assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".")] == []


def test_a_crash_between_the_two_renames_loses_nothing(folder, monkeypatch):
    """If the process dies when the old checkpoint has been moved aside, reading finds it there."""
    real = Path.rename

    def die_on_staging(self: Path, target: Path) -> Path:
        if ".new-" in self.name:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", die_on_staging)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(_checkpoint(), folder)
    assert not folder.exists()
    assert read_checkpoint(folder).models == ("big", "small")


def test_a_folder_that_is_no_checkpoint_is_never_replaced(tmp_path):
    """Writing over somebody's files is refused and leaves them."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        write_checkpoint(_checkpoint(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_a_kind_needs_is_checked():
    """A missing array, a wrong number of axes, NaN and an unknown model are named."""
    checkpoint = Checkpoint("mf", ("a", "b"), ModelPair("a", "b"), arrays={"x": np.array([np.nan])})
    with pytest.raises(CheckpointError, match="lacks array 'y'"):
        checkpoint.array("y", ndim=1)
    with pytest.raises(CheckpointError, match="wanted 2 axes"):
        checkpoint.array("x", ndim=2)
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        checkpoint.array("x", ndim=1)
    with pytest.raises(CheckpointError, match="does not know model 'c'; it knows a, b"):
        checkpoint.row("c")
