"""Landmarks: memberships of prompts, and matrix factorisation over them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pointsman.core.embedding import CANARIES
from pointsman.core.errors import CheckpointError
from pointsman.core.landmarks import Landmarks
from pointsman.core.mf import MFWeights, pair_win_rates
from pointsman.core.registry import build_router

from support.checkpoints import DIM, HashEmbedder, mf_checkpoint

seeds = st.integers(0, 2**32 - 1)


def _landmarks(seed: int, n: int = 5, temperature: float = 0.1) -> Landmarks:
    return Landmarks(np.random.default_rng(seed).standard_normal((n, DIM)), temperature)


def _checkpoint() -> Checkpoint:
    """Of kind mf, over the memberships of five landmarks."""
    plain, rng = mf_checkpoint(), np.random.default_rng(2)
    arrays = {
        "projection": rng.standard_normal((4, 5)).astype(np.float32) * 5,
        "landmarks": rng.standard_normal((5, DIM)).astype(np.float16),
    }
    return replace(plain, arrays={**plain.arrays, **arrays}, options={"temperature": 0.1})


@given(seeds, st.floats(0.01, 10.0))
def test_memberships_are_the_softmax_of_the_cosines(seed, temperature):
    """m_j = exp(cos_j / T) / sum of the same, written out term by term; they add up to 1."""
    landmarks, rng = _landmarks(seed, temperature=temperature), np.random.default_rng(seed)
    for e in rng.standard_normal((3, DIM)):
        cosines = [float(e @ z) / (np.linalg.norm(e) * np.linalg.norm(z)) for z in landmarks.vectors.astype(float)]
        weights = np.exp(np.array(cosines) / temperature - max(cosines) / temperature)
        found = landmarks.memberships(e[None, :])[0]
        assert found == pytest.approx(weights / weights.sum(), abs=1e-4)
        assert found.sum() == pytest.approx(1.0)


@given(seeds, st.floats(0.01, 100.0))
def test_only_the_direction_of_an_embedding_counts(seed, size):
    """A prompt's memberships do not depend on its embedding's norm; an embedding of norm 0 belongs to all alike."""
    landmarks, e = _landmarks(seed), np.random.default_rng(seed).standard_normal((1, DIM))
    assert landmarks.memberships(e * size) == pytest.approx(landmarks.memberships(e), abs=1e-9)
    assert landmarks.memberships(np.zeros((1, DIM))) == pytest.approx(np.full((1, 5), 0.2))


@given(seeds, st.floats(0.02, 10.0))
def test_the_quick_mean_equals_the_memberships(seed, temperature):
    """The mean of a value per landmark in float32 is what the memberships give in float64, to 1e-4."""
    landmarks, rng = _landmarks(seed, temperature=temperature), np.random.default_rng(seed)
    values = rng.standard_normal(5).astype(np.float32)
    for e in (*rng.standard_normal((3, DIM)), np.zeros(DIM)):
        quick = landmarks.mean(e.astype(np.float32), values)
        assert quick == pytest.approx(float(landmarks.memberships(e[None, :])[0] @ values), abs=1e-4)


@given(seeds, st.integers(0, 5), st.floats(0.02, 10.0))
def test_several_prompts_have_the_means_that_each_has_alone(seed, n_prompts, temperature):
    """To the last bit, an embedding of norm 0 among them: a decision does not depend on who is served beside it."""
    landmarks, rng = _landmarks(seed, temperature=temperature), np.random.default_rng(seed)
    values = rng.standard_normal(5).astype(np.float32)
    embeddings = rng.standard_normal((n_prompts, DIM)).astype(np.float32)
    embeddings[1:2] = 0.0
    assert landmarks.means(embeddings, values) == [landmarks.mean(e, values) for e in embeddings]


@pytest.mark.parametrize("shape", [(256, 257), (101, 300), (3, 10_000), (20_000, 1)])
def test_many_landmarks_are_as_few(shape):
    """However many they are and however long, the quick mean equals the memberships."""
    rng = np.random.default_rng(0)
    landmarks, values = Landmarks(rng.standard_normal(shape), 0.05), rng.standard_normal(shape[0]).astype(np.float32)
    e = rng.standard_normal((1, shape[1])).astype(np.float32)
    assert landmarks.mean(e[0], values) == pytest.approx(float(landmarks.memberships(e)[0] @ values), abs=1e-4)
    assert landmarks.means(np.concatenate([e, -e]), values) == [landmarks.mean(each, values) for each in (e[0], -e[0])]


@pytest.mark.parametrize(
    ("vectors", "temperature", "message"),
    [
        (np.ones((0, 3)), 0.1, "landmarks have shape"),
        (np.ones(3), 0.1, "landmarks have shape"),
        (np.array([[1.0, np.nan]]), 0.1, "landmarks have shape"),
        (np.ones((2, 3)), 0.0, "temperature is 0.0, wanted at least 0.001"),
        (np.ones((2, 3)), 1e-40, "temperature is 1e-40, wanted at least 0.001"),
        (np.ones((2, 3)), np.nan, "temperature is nan, wanted at least 0.001"),
    ],
)
def test_malformed_landmarks_are_refused(vectors, temperature, message):
    """None at all, a wrong shape, NaN and temperatures too low for float32 are errors that say so."""
    with pytest.raises(ValueError, match=message):
        Landmarks(vectors, temperature)


def test_an_mf_router_with_landmarks_serves_the_formula_on_memberships(tmp_path):
    """Read back from disk, one by one and in batches, it gives the factorisation's win rates on the memberships."""
    write_checkpoint(_checkpoint(), tmp_path / "c")
    checkpoint, embed, prompts = read_checkpoint(tmp_path / "c"), HashEmbedder(), [*CANARIES, "one", "two", ""]
    router = build_router(checkpoint, embed)
    names = ("model_embeddings", "projection", "classifier", "projection_bias")
    weights = MFWeights(*(checkpoint.arrays[name] for name in names))
    memberships = Landmarks(checkpoint.arrays["landmarks"], 0.1).memberships(embed(prompts))
    wanted = pair_win_rates(weights, memberships, np.zeros(6, dtype=int), np.ones(6, dtype=int))
    assert np.ptp(wanted) > 0.01
    assert router.win_rates(prompts) == pytest.approx(wanted, abs=1e-6)
    assert [router.calculate_strong_win_rate(p) for p in prompts] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {}}, "landmarks are malformed"),
        ({"options": {"temperature": -1.0}}, "landmarks are malformed"),
        ({"arrays": {"landmarks": np.ones((4, DIM), np.float32)}}, "projects from 5 memberships, but has 4 landmarks"),
        ({"arrays": {"landmarks": np.ones((5, 3), np.float32)}}, "projects from dimension 3"),
    ],
)
def test_landmarks_that_do_not_fit_their_checkpoint_are_refused(change, message):
    """A missing or negative temperature, another number of landmarks or another dimension are errors that say so."""
    checkpoint = _checkpoint()
    change = {**change, "arrays": {**checkpoint.arrays, **change.get("arrays", {})}}
    with pytest.raises(CheckpointError, match=message):
        build_router(replace(checkpoint, **change), HashEmbedder())


@given(seeds)
def test_a_linear_term_adds_to_the_logit(seed):
    """With array `linear` the win rate is sigmoid(what the landmarks give + (u_s - u_k) . e), alone and in a batch."""
    plain, rng = _checkpoint(), np.random.default_rng(seed)
    linear = rng.standard_normal((len(plain.models), DIM)).astype(np.float32)
    added = replace(plain, arrays={**plain.arrays, "linear": linear})
    prompts = [f"prompt {i} of {seed}" for i in range(3)]
    embeddings = HashEmbedder()(prompts)
    without = build_router(plain, HashEmbedder()).win_rates(prompts)
    rows = [plain.row(model) for model in (plain.pair.strong, plain.pair.weak)]
    logits = np.log(without / (1 - without)) + embeddings.astype(float) @ (linear[rows[0]] - linear[rows[1]])
    router = build_router(added, HashEmbedder())
    assert router.win_rates(prompts) == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    others = [model for model in added.models if model != added.pair.strong]
    several = build_router(added, HashEmbedder(), candidates=[added.pair.strong, *others]).win_rates(prompts)
    assert several[:, 1 + others.index(added.pair.weak)] == pytest.approx(router.win_rates(prompts), abs=1e-6)
    one = [router.calculate_strong_win_rate(prompt) for prompt in prompts]
    assert one == pytest.approx(router.win_rates(prompts).tolist(), abs=1e-4)


def test_a_linear_term_that_does_not_fit_is_an_error():
    """Of another shape, or without landmarks that it adds to."""
    plain = _checkpoint()
    misshapen = replace(plain, arrays={**plain.arrays, "linear": np.zeros((1, DIM), dtype=np.float32)})
    with pytest.raises(CheckpointError, match="array 'linear' has shape"):
        build_router(misshapen, HashEmbedder())
    alone = mf_checkpoint()
    alone = replace(alone, arrays={**alone.arrays, "linear": np.zeros((len(alone.models), DIM), dtype=np.float32)})
    with pytest.raises(CheckpointError, match="no landmarks"):
        build_router(alone, HashEmbedder())
