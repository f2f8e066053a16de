"""The similarity-weighted ranking: reference values, the obvious version, training, reduction and damage."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.data.battle_sets import BattleSet
from pointsman.backends.export import RecordedEmbedder, export_checkpoint
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.examples import Examples
from pointsman.backends.training.sw_ranking import SWRecipe, fit_sw_ranking
from pointsman.core.activations import sigmoid
from pointsman.core.battles import Battles, win_table
from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError, DataError, FitError
from pointsman.core.pair import ModelPair
from pointsman.core.ratings import fit_ratings
from pointsman.core.registry import build_router
from pointsman.core.routers.sw_ranking import fold_battles, score_queries
from pointsman.core.similarity import unit_rows
from pointsman.core.tiers import assign_tiers

from oracles.reference import sw_win_rate

DIM = 16
IDENTITY = EmbedderIdentity("static", "x", DIM, normalized=True)


def _battles(n=600, n_models=8, seed=0):
    rng = np.random.default_rng(seed)
    skill = np.linspace(2, -2, n_models)
    a = rng.integers(0, n_models, n)
    b = (a + 1 + rng.integers(0, n_models - 1, n)) % n_models
    p = sigmoid(skill[a] - skill[b])
    outcome = np.where(rng.random(n) < 0.1, 0.5, (rng.random(n) < p).astype(float))
    battles = Battles(tuple(f"m{i}" for i in range(n_models)), a, b, outcome, np.ones(n))
    return battles, rng.standard_normal((n, DIM)).astype(np.float32)


def _examples(**options):
    battles, embeddings = _battles(**options)
    n = len(battles)
    examples = Examples(BattleSet(battles, tuple(f"p{i}" for i in range(n)), np.arange(n)), embeddings)
    return examples, PromptEmbeddings(embeddings, IDENTITY, embeddings[:3])


def _router(checkpoint, pair=None):
    return build_router(checkpoint, RecordedEmbedder(checkpoint.embedder, checkpoint.canaries), pair=pair)


def test_reference_win_rates(golden):
    """The reference's win rates on its own battles, to 1e-4."""
    case = golden["sw_ranking"]
    r = np.random.default_rng(case["seed"])
    models, n = case["models"], case["n"]
    skill = np.sort(r.standard_normal(models))[::-1] * 0.8
    a = r.integers(0, models, n)
    b = (a + 1 + r.integers(0, models - 1, n)) % models
    embeddings, u = r.standard_normal((n, case["dim"])), r.random(n)
    p = sigmoid(skill[a] - skill[b])
    outcome = np.where(u < p * 0.85, 1.0, np.where(u < p * 0.85 + 0.15, 0.5, 0.0))
    queries = r.standard_normal((8, case["dim"]))
    battles = Battles(tuple(f"m{i}" for i in range(models)), a, b, outcome, np.ones(n))
    folded = fold_battles(battles, embeddings, assign_tiers(fit_ratings(win_table(battles)).ratings, 5))
    rates = score_queries(folded, unit_rows(queries.astype(np.float32)), case["strong_tier"], case["weak_tier"])
    assert rates == pytest.approx(case["win_rate"], abs=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_it_is_the_weighted_rating_of_the_tiers(seed, n_tiers):
    """Win rates equal those of a table filled battle by battle, for one query and for a batch."""
    battles, embeddings = _battles(n=120, seed=seed)
    tiers = assign_tiers(np.linspace(1, 0, 8), n_tiers)
    folded = fold_battles(battles, embeddings, tiers)
    queries = np.random.default_rng(seed + 1).standard_normal((3, DIM)).astype(np.float32)
    got = score_queries(folded, unit_rows(queries), 0, n_tiers - 1)
    first, second = tiers[battles.model_a], tiers[battles.model_b]
    between = first != second  # the best match is sought among the battles that count
    for query, rate in zip(queries, got, strict=True):
        columns = (column[between] for column in (embeddings, first, second, battles.outcome))
        table = sw_win_rate(*columns, query)
        ratings = fit_ratings(table).ratings
        assert rate == pytest.approx(float(sigmoid(ratings[0] - ratings[n_tiers - 1])), abs=1e-4)
    alone = [score_queries(folded, unit_rows(queries[[i]]), 0, n_tiers - 1)[0] for i in range(3)]
    assert got == pytest.approx(alone, abs=1e-6)


def test_battles_inside_a_tier_tell_nothing():
    """Adding battles between models of one tier changes no win rate."""
    battles, embeddings = _battles()
    tiers = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    inside = Battles(battles.models, [0, 2, 4], [1, 3, 5], [1.0, 0.0, 0.5], np.ones(3))
    more = Battles(
        battles.models,
        *(
            np.concatenate([getattr(battles, n), getattr(inside, n)])
            for n in ("model_a", "model_b", "outcome", "weight")
        ),
    )
    queries = unit_rows(embeddings[:5])
    without = score_queries(fold_battles(battles, embeddings, tiers), queries, 0, 3)
    with_them = score_queries(fold_battles(more, np.concatenate([embeddings, embeddings[:3]]), tiers), queries, 0, 3)
    assert (without == with_them).all()


def test_a_trained_checkpoint_serves_every_pair(tmp_path):
    """Training rates the models, and the checkpoint serves any two of them that are in different tiers."""
    examples, embeddings = _examples()
    checkpoint = fit_sw_ranking(examples, embeddings, ModelPair("m0", "m7"), SWRecipe(n_tiers=4))
    export_checkpoint(checkpoint, tmp_path / "out", sample=embeddings.values[:9], expected=None)
    found = read_checkpoint(tmp_path / "out")
    rates = _router(found).score(embeddings.values[:9])
    assert (rates > 0.8).all()
    mirrored = _router(found, ModelPair("m7", "m0")).score(embeddings.values[:9])
    assert rates + mirrored == pytest.approx(1.0)
    inside, between = found.metrics["n_battles_inside_a_tier"], found.metrics["n_battles_between_tiers"]
    assert inside + between == len(examples)
    assert inside > 0
    with pytest.raises(FitError, match="both in tier"):
        fit_sw_ranking(examples, embeddings, ModelPair("m0", "m1"), SWRecipe(n_tiers=2))


def test_a_reduction_states_its_error():
    """Fewer dimensions make a smaller checkpoint whose stated error is what it is; all dimensions cost nothing."""
    examples, embeddings = _examples()
    full, half, whole = (
        fit_sw_ranking(examples, embeddings, ModelPair("m0", "m7"), SWRecipe(n_tiers=4, dim=dim))
        for dim in (None, 8, DIM)
    )
    assert half.arrays["embeddings"].shape[1] == 8
    assert whole.metrics["reduction_error"]["max"] < 1e-5
    gap = np.abs(_router(full).score(embeddings.values) - _router(half).score(embeddings.values))
    assert 0 < half.metrics["reduction_error"]["mean"] <= half.metrics["reduction_error"]["max"]
    assert gap.mean() == pytest.approx(half.metrics["reduction_error"]["mean"], rel=0.5)
    with pytest.raises(DataError, match="dim is 17, wanted at most 16"):
        fit_sw_ranking(examples, embeddings, ModelPair("m0", "m7"), SWRecipe(dim=17))


@pytest.mark.parametrize(
    "damage",
    [
        {"segment_starts": np.array([0, 0])},
        {"tiers": np.zeros(3, np.int32)},
        {"segment_outcome": np.array([2.0])},
        {"reduction": np.ones((DIM, 3), np.float32)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(damage):
    """A checkpoint whose arrays contradict each other is refused when the router is built."""
    examples, embeddings = _examples()
    checkpoint = fit_sw_ranking(examples, embeddings, ModelPair("m0", "m7"), SWRecipe(n_tiers=4))
    with pytest.raises(CheckpointError, match="do not fit together"):
        _router(replace(checkpoint, arrays={**checkpoint.arrays, **damage}))


def test_a_pair_that_never_met_is_refused():
    """Models that never met, directly or through others, cannot be compared; all ties tell nothing."""
    examples, embeddings = _examples()
    battles = examples.battle_set.battles
    apart = examples.take((battles.model_a < 4) == (battles.model_b < 4))
    with pytest.raises(DataError, match="'m0' and 'm7' never met, directly or through others"):
        fit_sw_ranking(apart, embeddings, ModelPair("m0", "m7"), SWRecipe())
    tied = replace(examples.battle_set, battles=replace(battles, outcome=np.full(len(battles), 0.5)))
    with pytest.raises(DataError, match="battles are ties"):
        fit_sw_ranking(Examples(tied, embeddings.values), embeddings, ModelPair("m0", "m7"), SWRecipe())
