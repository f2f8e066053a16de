"""Common sense: prompts that anybody can tell apart, and the embedder that learnt them."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from pointsman.backends.assets import asset_path
from pointsman.backends.common_sense.prompts import held_out, read_look, read_prompts
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.embedders.common_sense import (
    N_BUCKETS,
    SCALE,
    CommonSenseEmbedder,
    hashed_runs,
    in_common_sense,
)
from pointsman.core.errors import CheckpointError, ConfigError
from pointsman.serve.checkpoints.load import load_checkpoint, load_router

NAME = "static+length+common-sense"
EMBED, INNER = resolve_embedder(NAME), resolve_embedder("static+length")
FACTORS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)


def _slow_runs(text: str) -> list[int]:
    """The same buckets, a run and a character at a time."""
    if len(text) > 600:
        text = f"{text[:400]} {text[-200:]}"
    codes = [ord(c) for c in f" {' '.join(text.lower().split())} "]
    found = []
    for start in range(len(codes)):
        for length in range(1, 6):
            run = (codes[start : start + length] + [0] * 5)[:length]
            h = sum(code * factor for code, factor in zip(run, FACTORS, strict=False)) % 2**32
            h = (h ^ (h >> 15)) * 0x85EBCA6B % 2**32
            found.append(h >> 17)
    return found


@given(st.text(max_size=40))
@example("")
@example("\ud800 lone")
@example("İ ß \t x" * 150)
def test_runs_are_hashed_as_one_at_a_time(text):
    """Every run of 1 to 5 characters falls into the bucket that the formula gives, whatever the script."""
    runs, bounds = hashed_runs(["before", text])
    assert sorted(runs[:, bounds[2] : bounds[3]].ravel().tolist()) == sorted(_slow_runs(text))
    assert runs.max() < N_BUCKETS


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_common_sense_is_the_difference_of_two_of_three_classes(easy, hard):
    """(exp h - exp e) / (1 + exp e + exp h), inside [-1, 1], and odd in its two logits."""
    wanted = (math.exp(hard) - math.exp(easy)) / (1.0 + math.exp(easy) + math.exp(hard))
    assert in_common_sense(easy, hard) == pytest.approx(wanted, abs=1e-12)
    assert in_common_sense(hard, easy) == pytest.approx(-in_common_sense(easy, hard), abs=1e-12)


@settings(max_examples=10)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_it_adds_one_small_coordinate(texts):
    """The inner embedding stays as it is; the last coordinate is inside [-0.1, 0.1], the same alone and in a batch."""
    found = EMBED(texts)
    assert found.shape == (len(texts), INNER.identity.dim + 1)
    assert (found[:, :-1] == INNER(texts)).all()
    assert (abs(found[:, -1]) <= SCALE).all()
    assert all((EMBED([text])[0] == row).all() for text, row in zip(texts, found, strict=True))


def test_its_identity_is_that_of_its_weights(tmp_path):
    """Other weights give another revision; the name says what it is made of."""
    arrays = load_file(asset_path("common_sense") / "weights.safetensors")
    save_file({**arrays, "constants": arrays["constants"] + 1}, tmp_path / "weights.safetensors")
    other = CommonSenseEmbedder(INNER, tmp_path).identity
    assert (other.name, EMBED.identity.name) == (NAME, NAME)
    assert other.revision != EMBED.identity.revision
    with pytest.raises(ConfigError, match=f"'{NAME.replace('+', '.')}' has no option 'folder'"):
        resolve_embedder(NAME, folder="x")


@pytest.mark.parametrize(
    "change", [{"runs": np.zeros((7, 2))}, {"directions": np.full((2, 257), np.nan)}, {"constants": None}]
)
def test_damaged_weights_are_named(tmp_path, change):
    """Weights that are missing, of another shape or not finite are an error that names the file."""
    arrays = {**load_file(asset_path("common_sense") / "weights.safetensors"), **change}
    save_file({name: array for name, array in arrays.items() if array is not None}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        CommonSenseEmbedder(INNER, tmp_path)


def test_templates_are_filled_and_split_by_template():
    """No prompt keeps a bracket of its template; a template is held out as a whole; the seed decides the prompts."""
    prompts = read_prompts(per_template=3, rng=np.random.default_rng(0))
    assert not [p.text for p in prompts if "[[" in p.text or "⏎" in p.text or "$person" in p.text]
    kept, held = {p.template for p in prompts if not held_out(p)}, {p.template for p in prompts if held_out(p)}
    assert not kept & held
    assert 0.15 < len(held) / (len(kept) + len(held)) < 0.3
    assert prompts == read_prompts(per_template=3, rng=np.random.default_rng(0))


def test_no_look_is_learnt_from():
    """Prompts of the second and the third look are no prompts of the templates."""
    learnt = {p.text for p in read_prompts(per_template=12, rng=np.random.default_rng(0))}
    assert not learnt & {p.text for name in ("second", "third") for p in read_look(name)}


@pytest.mark.parametrize("part", ["templates", "second", "third"])
def test_the_bundled_router_has_common_sense(part):
    """AUC at least .97; at a 50 % share at most 5 % of the easy and at least 90 % of the hard prompts go to strong."""
    if part == "templates":
        prompts = [p for p in read_prompts(per_template=12, rng=np.random.default_rng(0)) if held_out(p)]
    else:
        prompts = read_look(part)
    checkpoint = load_checkpoint("mf")
    rates = load_router(checkpoint).win_rates([p.text for p in prompts])
    hard = np.array([p.hard for p in prompts]) == 1.0
    assert (rates[hard][:, None] > rates[~hard]).mean() >= 0.97
    strong = rates >= checkpoint.calibration.threshold(0.5)
    assert strong[~hard].mean() <= 0.05
    assert strong[hard].mean() >= 0.9


def test_the_weights_are_of_the_embedder_that_the_checkpoint_names():
    """The bundled checkpoint was trained with exactly these weights."""
    weights = (asset_path("common_sense") / "weights.safetensors").read_bytes()
    revision = hashlib.sha256(INNER.identity.revision.encode() + weights).hexdigest()[:16]
    assert load_checkpoint("mf").embedder.revision == revision
