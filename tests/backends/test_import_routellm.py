"""RouteLLM's checkpoints, turned into ours."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from pointsman.backends.import_routellm import arena_models, import_routellm
from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.embedding import CANARIES, EmbedderIdentity
from pointsman.core.errors import CheckpointError
from pointsman.core.mf import pair_win_rates
from pointsman.core.pair import ModelPair
from pointsman.core.routers.mf import read_weights
from pointsman.serve import cli


class _Embedder:
    """Stands in for text-embedding-3-small, which needs a key."""

    blocking = False

    def __init__(self, dim=1536):
        self.identity = EmbedderIdentity("openai/text-embedding-3-small", "", dim, normalized=True)

    def __call__(self, texts):
        rng = np.random.default_rng(len(texts))
        return rng.standard_normal((len(texts), self.identity.dim)).astype(np.float32)


def _golden_arrays(case):
    r = np.random.default_rng(case["seed"])
    p = r.standard_normal((64, 128)).astype(np.float32)
    w = (r.standard_normal((128, 1536)) / 39.2).astype(np.float32)
    c = (r.standard_normal((1, 128)) * 25.0).astype(np.float32)
    e = r.standard_normal((case["n"], 1536))
    e = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)
    pairs = r.integers(0, 64, (case["n"], 2))
    pairs[:, 1] = np.where(pairs[:, 0] == pairs[:, 1], (pairs[:, 1] + 1) % 64, pairs[:, 1])
    return {"P.weight": p, "text_proj.0.weight": w, "classifier.0.weight": c}, e, pairs


def _store(folder, arrays):
    folder.mkdir(exist_ok=True)
    save_file(arrays, folder / "model.safetensors")
    return str(folder)


def test_an_imported_checkpoint_gives_the_reference_win_rates(tmp_path, golden):
    """After import the checkpoint's win rates are RouteLLM's, to 1e-5, for any two of the 64 models."""
    arrays, embeddings, pairs = _golden_arrays(golden["mf"])
    import_routellm(_store(tmp_path / "theirs", arrays), tmp_path / "ours", _Embedder())
    found = read_checkpoint(tmp_path / "ours")
    rates = pair_win_rates(read_weights(found), embeddings, pairs[:, 0], pairs[:, 1])
    assert rates == pytest.approx(golden["mf"]["win_rate"], abs=1e-5)
    assert found.pair == ModelPair("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
    assert found.embedder.name == "openai/text-embedding-3-small"
    assert found.canaries.shape == (len(CANARIES), 1536)


def test_the_arena_models_are_in_their_order():
    """64 names in ASCII order, the usual pair in rows 24 and 36."""
    names = arena_models()
    assert len(names) == len(set(names)) == 64
    assert list(names) == sorted(names)
    assert (names[24], names[36]) == ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")


@pytest.mark.parametrize(
    ("change", "embedder", "message"),
    [
        (lambda a: {n: v for n, v in a.items() if n != "P.weight"}, _Embedder(), "lacks P.weight"),
        (lambda a: {**a, "classifier.0.weight": a["classifier.0.weight"][:, :5]}, _Embedder(), "have shapes"),
        (lambda a: {**a, "P.weight": a["P.weight"][:10]}, _Embedder(), "has 10 models, 64 names are given"),
        (lambda a: a, _Embedder(dim=256), "dimension 1536, embedder .* has 256"),
        (lambda a: {**a, "P.weight": np.full((64, 128), np.nan, np.float32)}, _Embedder(), "NaN"),
    ],
)
def test_what_is_no_routellm_checkpoint_is_refused(tmp_path, golden, change, embedder, message):
    """Missing arrays, wrong shapes, another number of models or another embedder: one message each, nothing written."""
    source = _store(tmp_path / "theirs", change(_golden_arrays(golden["mf"])[0]))
    with pytest.raises(CheckpointError, match=message):
        import_routellm(source, tmp_path / "ours", embedder)
    assert not (tmp_path / "ours").exists()


def test_a_file_that_is_none_is_refused(tmp_path):
    """A truncated file, and a name that is neither a folder nor a Hub id, are errors."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "model.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        import_routellm(str(tmp_path / "theirs"), tmp_path / "ours", _Embedder())
    with pytest.raises(CheckpointError, match="neither a folder nor a Hub id"):
        import_routellm(str(tmp_path / "nothing"), tmp_path / "ours", _Embedder())


def test_the_command_takes_other_models_and_embedders(tmp_path, capsys):
    """With its own names and a matching embedder any checkpoint of that shape is imported."""
    rng = np.random.default_rng(0)
    shapes = {"P.weight": (3, 4), "text_proj.0.weight": (4, 256), "classifier.0.weight": (1, 4)}
    source = _store(tmp_path / "theirs", {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()})
    (tmp_path / "names.txt").write_text("big\nsmall\nother\n")
    words = ["import-routellm", source, "-o", str(tmp_path / "ours"), "--embedder", "static"]
    assert cli.main([*words, "--models", str(tmp_path / "names.txt"), "--strong", "big", "--weak", "small"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'ours'}\n"
    assert read_checkpoint(tmp_path / "ours").models == ("big", "small", "other")
    assert cli.main([*words, "--models", str(tmp_path / "names.txt")]) == 1
    assert "does not know model 'gpt-4-1106-preview'" in capsys.readouterr().err
