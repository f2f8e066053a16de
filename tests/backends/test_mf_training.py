"""Training of the matrix factorisation in JAX: right, repeatable, resumable, the same on any number of devices."""

from dataclasses import replace

import numpy as np
import pytest

from pointsman.backends.data.battle_sets import BattleSet
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.examples import Examples, rating_baseline, score_logits, split
from pointsman.backends.training.mf_recipe import FAST, REFERENCE, MFRecipe
from pointsman.core.battles import Battles
from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError, DataError, FitError
from pointsman.core.mf import model_logits, pair_win_rates
from pointsman.core.pair import ModelPair

from support.lazy import LazyModule

jax, jnp, nnx = (LazyModule(name) for name in ("jax", "jax.numpy", "flax.nnx"))
mf = LazyModule("pointsman.backends.jax.mf")
mf_router = LazyModule("pointsman.backends.jax.mf_router")
mf_training = LazyModule("pointsman.backends.jax.mf_training")

RECIPE = replace(REFERENCE, latent_dim=8, epochs=4, batch_size=48, lr=1e-2)


def _examples(n=500, dim=12, n_models=5, seed=0, ties=False):
    """Battles whose winner depends on the prompt: model i is good along direction i."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n, dim)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    skill = rng.standard_normal((n_models, dim))
    a = rng.integers(0, n_models, n)
    b = (a + 1 + rng.integers(0, n_models - 1, n)) % n_models
    logit = 4 * np.sum((skill[a] - skill[b]) * embeddings, axis=1)
    outcome = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    if ties:
        outcome[::7] = 0.5
    battles = Battles(tuple(f"m{i}" for i in range(n_models)), a, b, outcome, np.ones(n))
    return Examples(BattleSet(battles, tuple(f"p{i}" for i in range(n)), np.arange(n)), embeddings)


def _weights(result):
    w = result.weights
    return np.concatenate([x.ravel() for x in (w.model_embeddings, w.projection, w.classifier, w.projection_bias)])


def test_numpy_serves_what_flax_computes():
    """Core's win rates of a trained model equal Flax's to 1e-5, with and without bias."""
    examples = _examples()
    b = examples.battle_set.battles
    for bias in (False, True):
        result = mf_training.train_mf(*split(examples, validation_fraction=0.2), replace(RECIPE, bias=bias))
        served = pair_win_rates(result.weights, examples.embeddings, b.model_a, b.model_b)
        flax = jax.nn.sigmoid(result.model(examples.embeddings, b.model_a, b.model_b))
        assert np.abs(served - np.asarray(flax)).max() < 1e-5
        assert result.weights.projection_bias.any() == bias


@pytest.mark.parametrize("recipe", [RECIPE, replace(FAST, latent_dim=8, epochs=4, batch_size=64)])
def test_one_seed_gives_one_result_to_the_bit(recipe):
    """Training twice with one seed is bit-equal; another seed gives another result."""
    train, held = split(_examples(), validation_fraction=0.2)
    first, second = (mf_training.train_mf(train, held, recipe) for _ in range(2))
    assert (_weights(first) == _weights(second)).all()
    assert [replace(e, seconds=0) for e in first.history] == [replace(e, seconds=0) for e in second.history]
    assert (_weights(mf_training.train_mf(train, held, replace(recipe, seed=1))) != _weights(first)).any()


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    """Stopping after any epoch and starting again gives the very bits of never stopping."""
    train, held = split(_examples(), validation_fraction=0.2)
    whole = mf_training.train_mf(train, held, RECIPE)

    def kill(epoch):
        if epoch.number in (1, 3):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            mf_training.train_mf(train, held, RECIPE, state_path=tmp_path / "state", on_epoch=kill)
    resumed = mf_training.train_mf(train, held, RECIPE, state_path=tmp_path / "state")
    assert (_weights(resumed) == _weights(whole)).all()
    assert [e.validation_loss for e in resumed.history] == [e.validation_loss for e in whole.history]
    assert resumed.best.number == whole.best.number


def test_a_state_of_another_run_is_refused(tmp_path):
    """State of other data or another recipe, or a damaged one, is an error, never a silent mixture."""
    parts, others = (split(_examples(seed=seed), validation_fraction=0.2) for seed in (0, 1))
    path = tmp_path / "state"
    mf_training.train_mf(*parts, RECIPE, state_path=path)
    with pytest.raises(CheckpointError, match="other data or another recipe"):
        mf_training.train_mf(*parts, replace(RECIPE, lr=1e-3), state_path=path)
    with pytest.raises(CheckpointError, match="other data or another recipe"):
        mf_training.train_mf(*others, RECIPE, state_path=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is damaged"):
        mf_training.train_mf(*parts, RECIPE, state_path=path)


def test_eight_devices_give_what_one_gives():
    """Batches split over eight simulated devices lead to the weights of one device, to 1e-5."""
    train, held = split(_examples(), validation_fraction=0.2)
    assert len(jax.devices()) == 8  # tests/conftest.py asks for them
    one = mf_training.train_mf(train, held, RECIPE)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    eight = mf_training.train_mf(train, held, RECIPE, mesh=mesh)
    assert np.abs(_weights(one) - _weights(eight)).max() < 1e-5


def test_expected_noise_is_the_mean_of_sampled_noise():
    """The quadrature equals the average loss over many draws of the noise, and without noise the plain loss."""
    examples = _examples(n=6, dim=5)
    b = examples.battle_set.battles
    model = mf.MatrixFactorization(5, 4, 5, bias=True, rngs=nnx.Rngs(3))
    model.classifier[...] = 6 * model.classifier[...]
    sides = jnp.asarray(b.model_a), jnp.asarray(b.model_b)
    outcome = jnp.asarray(b.outcome, jnp.float32)
    noise = 0.7 * jax.random.normal(jax.random.key(0), (20_000, *examples.embeddings.shape))

    @jax.jit  # one program, not one for each operation
    def losses():
        sampled = jax.vmap(lambda e: mf.loss(model(e, *sides), outcome))(examples.embeddings + noise).mean(axis=0)
        exact, without = (mf.expected_loss(model, examples.embeddings, *sides, outcome, alpha=a) for a in (0.7, 0.0))
        return sampled, exact, without, mf.loss(model(examples.embeddings, *sides), outcome)

    sampled, exact, without, plain = map(np.asarray, losses())
    assert np.abs(exact - sampled).max() < 0.02
    assert np.abs(exact - plain).max() > 0.05
    assert np.abs(without - plain).max() < 1e-5


def test_it_learns_where_a_model_is_good():
    """On battles decided by the prompt, validation accuracy is far above always naming the better-rated model."""
    train, held = split(_examples(n=3000), validation_fraction=0.2)
    result = mf_training.train_mf(train, held, replace(FAST, latent_dim=16, batch_size=128, alpha=0.03, epochs=20))
    baseline = rating_baseline(train.battle_set, held.battle_set)
    assert result.best.validation_accuracy > baseline.accuracy + 0.15
    assert result.best.validation_loss < baseline.loss - 0.1


def test_the_recorded_validation_figures_are_those_of_core():
    """Loss and accuracy in the history equal the ones computed from the weights with NumPy."""
    train, held = split(_examples(ties=True), validation_fraction=0.2)
    result = mf_training.train_mf(train, held, replace(RECIPE, ties="half", epochs=1))
    logits = model_logits(result.weights, held.embeddings)[held.battle_set.prompt]
    b = held.battle_set.battles
    rows = np.arange(len(b))
    figures = score_logits(logits[rows, b.model_a] - logits[rows, b.model_b], held.battle_set)
    assert result.history[0].validation_loss == pytest.approx(figures.loss, abs=1e-5)
    assert result.history[0].validation_accuracy == pytest.approx(figures.accuracy, abs=1e-6)


def test_it_stops_early_and_keeps_the_best_epoch():
    """Without progress for `patience` epochs training ends, and the weights are those of the best epoch."""
    train, held = split(_examples(), validation_fraction=0.2)
    recipe = replace(RECIPE, epochs=200, patience=3)
    result = mf_training.train_mf(train, held, recipe)
    losses = [epoch.validation_loss for epoch in result.history]
    assert len(losses) == result.best.number + 3 < 200
    assert min(losses) == result.best.validation_loss
    b = held.battle_set.battles
    logits = result.model(held.embeddings[held.battle_set.prompt], b.model_a, b.model_b)
    assert float(mf.loss(logits, b.outcome).mean()) == pytest.approx(result.best.validation_loss, abs=1e-5)


def test_a_battle_of_weight_two_counts_twice():
    """Doubling all weights changes nothing; a battle of weight 0 is as if it were not there."""
    train, _ = split(_examples(), validation_fraction=0.2)
    b, silenced = train.battle_set.battles, np.arange(len(train)) < 40

    def trained(weight, outcome=b.outcome):
        battles = Battles(b.models, b.model_a, b.model_b, outcome, weight)
        examples = Examples(replace(train.battle_set, battles=battles), train.embeddings)
        return _weights(mf_training.train_mf(examples, None, RECIPE))

    assert (trained(np.full(len(train), 1.0)) == trained(np.full(len(train), 2.0))).all()
    weight, flipped = np.where(silenced, 0.0, 1.0), np.where(silenced, 1 - b.outcome, b.outcome)
    assert np.abs(trained(weight) - trained(weight, flipped)).max() < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: replace(e, embeddings=e.embeddings[:-1]), r"shape \(499, 12\), wanted \(500, dim\)"),
        (lambda e: replace(e, embeddings=np.where(np.arange(500)[:, None] == 7, np.nan, e.embeddings)), "row 7 .* NaN"),
        (lambda e: e.take(np.zeros(500, dtype=bool)), "no battles to learn from"),
        (
            lambda e: e.take((e.battle_set.battles.model_a == 0) & (e.battle_set.battles.model_b == 9)),
            "no battles to learn from",
        ),
    ],
)
def test_examples_that_do_not_fit_are_refused(change, message):
    """Embeddings of the wrong number or with NaN, and an empty set, are errors that name the row."""
    with pytest.raises(DataError, match=message):
        change(_examples())


def test_one_model_alone_teaches_nothing():
    """Battles of one model with itself are refused."""
    battles = Battles(("only",), [0, 0], [0, 0], [1.0, 0.0], [1.0, 1.0])
    with pytest.raises(DataError, match="all battles are of the one model 'only'"):
        Examples(BattleSet(battles, ("p",), [0, 0]), np.ones((1, 3)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"alpha": -1.0},
        {"batch_size": 0},
        {"noise": "loud"},
        {"patience": 0},
        {"ties": "keep"},
        {"lr": np.nan},
    ],
)
def test_a_recipe_out_of_range_is_refused(wrong):
    """Every setting is checked when the recipe is made."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MFRecipe(**wrong)


def test_a_loss_that_explodes_is_an_error():
    """A run that diverges stops with the epoch and the way out, and exports nothing."""
    train, _ = split(_examples(), validation_fraction=0.2)
    huge = replace(train, embeddings=train.embeddings * np.float32(3e38))
    with pytest.raises(FitError, match=r"loss is (inf|nan) after epoch 1: lower lr"):
        mf_training.train_mf(huge, None, RECIPE)


def test_a_mesh_that_does_not_divide_the_batch_is_refused(tmp_path):
    """More devices than there are is an error before anything is computed."""
    identity = EmbedderIdentity("static", "x", 12, normalized=True)
    embeddings = PromptEmbeddings(_examples().embeddings, identity, np.ones((3, 12), np.float32))
    with pytest.raises(ValueError, match="n_devices is 99"):
        mf_router.fit_mf(_examples(), embeddings, ModelPair("m0", "m1"), RECIPE, tmp_path / "out", n_devices=99)


def test_the_exported_checkpoint_serves_the_trained_win_rates(tmp_path):
    """What is read back from disk is what Flax computed, with calibration, baseline and provenance."""
    examples = _examples()
    identity = EmbedderIdentity("static", "x", 12, normalized=True)
    embeddings = PromptEmbeddings(examples.embeddings, identity, examples.embeddings[:3])
    mf_router.fit_mf(examples, embeddings, ModelPair("m0", "m3"), RECIPE, tmp_path / "out", validation_fraction=0.2)
    checkpoint = read_checkpoint(tmp_path / "out")
    assert checkpoint.models == examples.battle_set.battles.models
    assert checkpoint.calibration.n_prompts == 500
    assert checkpoint.provenance["recipe"]["latent_dim"] == 8
    assert set(checkpoint.metrics["always_better_rated"]) == {"loss", "accuracy"}
    from pointsman.core.routers.mf import read_weights

    result = mf_training.train_mf(*split(examples, validation_fraction=0.2), RECIPE)
    rates = mf_router.flax_win_rates(result, examples.embeddings, 0, 3)
    served = pair_win_rates(read_weights(checkpoint), examples.embeddings, np.full(500, 0), np.full(500, 3))
    assert np.abs(served - rates).max() < 1e-5
