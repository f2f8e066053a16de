"""Nearest neighbours: exact against the obvious version, calibrated, and refused where there is nothing to learn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.data.outcomes import merge_outcomes, outcomes_from_table, read_outcomes
from pointsman.backends.data.tables import Table
from pointsman.backends.export import RecordedEmbedder
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.knn import KNNRecipe, fit_knn
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError, DataError, FitError
from pointsman.core.knn import Neighbours, left_out_shares, neighbour_shares, win_shares
from pointsman.core.pair import ModelPair
from pointsman.core.probability import expected_calibration_error
from pointsman.core.registry import build_router

DIM = 8
IDENTITY = EmbedderIdentity("static", "x", DIM, normalized=True)


def _shares_one_by_one(embeddings, share, query, k, temperature):
    """Weighted mean share of the k nearest prompts, written out."""
    cosines = [float(e @ query / (np.linalg.norm(e) * np.linalg.norm(query))) for e in embeddings]
    nearest = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]
    weights = [np.exp((cosines[i] - cosines[nearest[0]]) / temperature) for i in nearest]
    return sum(w * share[i] for w, i in zip(weights, nearest, strict=True)) / sum(weights)


@given(st.integers(1, 60), st.integers(1, 70), st.sampled_from([0.02, 0.3, np.inf]), st.integers(0, 2**32 - 1))
def test_it_is_the_weighted_mean_of_the_nearest(n, k, temperature, seed):
    """Shares equal the obvious computation to 1e-5, for one query and for many."""
    rng = np.random.default_rng(seed)
    embeddings, share = rng.standard_normal((n, DIM)).astype(np.float32), rng.random(n)
    queries = rng.standard_normal((3, DIM))
    got = neighbour_shares(Neighbours(embeddings, share, k, temperature), queries)
    wanted = [_shares_one_by_one(embeddings, share, query, k, temperature) for query in queries]
    assert got == pytest.approx(wanted, abs=1e-5)
    assert ((got >= share.min() - 1e-9) & (got <= share.max() + 1e-9)).all()


@given(st.integers(3, 40), st.integers(0, 2**32 - 1))
def test_left_out_is_left_out(n, seed):
    """A left-out prompt is scored as if it, and its group, had never been in the data."""
    rng = np.random.default_rng(seed)
    embeddings, share = rng.standard_normal((n, DIM)).astype(np.float32), rng.random(n)
    group = rng.integers(0, max(2, n // 2), n)
    group[0], group[1] = n, n + 1
    got = left_out_shares(Neighbours(embeddings, share, 4, 0.2), np.array([0, 2]), group)
    for row, value in zip((0, 2), got, strict=True):
        others = group != group[row]
        alone = neighbour_shares(Neighbours(embeddings[others], share[others], 4, 0.2), embeddings[[row]])
        assert value == pytest.approx(alone[0], abs=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_shares_of_groups_are_means_over_pairs(seed):
    """A group's share is the mean over all pairs that both answered; swapping the sides mirrors it."""
    rng = np.random.default_rng(seed)
    scores = rng.choice([0.0, 0.5, 1.0, np.nan], (6, 5))
    strong, weak = np.array([0, 1]), np.array([2, 3, 4])
    share = win_shares(scores, strong, weak)
    for row, value in zip(scores, share, strict=True):
        pairs = [(row[s], row[w]) for s in strong for w in weak if np.isfinite(row[s]) and np.isfinite(row[w])]
        wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs]
        assert value == pytest.approx(np.mean(wins)) if wins else np.isnan(value)
    mirrored = win_shares(scores, weak, strong)
    met = np.isfinite(share)
    assert share[met] + mirrored[met] == pytest.approx(1.0)
    assert (np.isnan(mirrored) == ~met).all()


def _data(n=400, seed=0):
    """A strong model that is right where the first coordinate is high, a weak one that is right half the time."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n, DIM)).astype(np.float32)
    scores = {"strong": embeddings[:, 0] > -0.5, "weak": rng.random(n) < 0.5, "third": rng.random(n) < 0.3}
    columns = {"prompt": [], "model": [], "score": []}
    for model, values in scores.items():
        columns["prompt"] += [f"p{i}" for i in range(n)]
        columns["model"] += [model] * n
        columns["score"] += values.astype(float).tolist()
    outcomes = outcomes_from_table(Table(columns))
    canaries = rng.standard_normal((3, DIM)).astype(np.float32)
    return outcomes, PromptEmbeddings(embeddings, IDENTITY, canaries), embeddings


def _router(checkpoint, pair=None):
    return build_router(checkpoint, RecordedEmbedder(checkpoint.embedder, checkpoint.canaries), pair=pair)


def test_a_trained_router_ranks_and_is_calibrated():
    """On prompts it has not seen it sends the right ones to strong, and a win rate means what it says."""
    outcomes, embeddings, _ = _data(1500)
    checkpoint = fit_knn(outcomes, embeddings, ["strong"], ["weak"], KNNRecipe(k=40))
    fresh, _, values = _data(1500, seed=1)
    scores = np.full((1500, 3), np.nan)
    scores[fresh.prompt, fresh.model] = fresh.score
    truth = win_shares(scores, np.array([fresh.models.index("strong")]), np.array([fresh.models.index("weak")]))
    rates = _router(checkpoint).score(values)
    assert rates[values[:, 0] > 0.5].mean() > rates[values[:, 0] < -1.0].mean() + 0.2
    assert expected_calibration_error(rates, truth) < 0.06
    assert checkpoint.metrics["left_out"]["loss"] < checkpoint.metrics["left_out"]["loss_of_constant"]


def test_any_pair_and_any_group_can_be_served():
    """A checkpoint serves the pair it was trained for, groups by their names, and every other pair of its models."""
    outcomes, embeddings, values = _data()
    checkpoint = fit_knn(outcomes, embeddings, ["strong"], ["weak", "third"], KNNRecipe(k=40))
    assert checkpoint.pair == ModelPair("strong", "weak")
    assert checkpoint.options["groups"] == {"weak": ["weak", "third"]}
    rates = _router(checkpoint).score(values[:20])
    other = _router(checkpoint, ModelPair("third", "strong")).score(values[:20])
    assert ((rates >= 0) & (rates <= 1)).all()
    assert other.mean() < rates.mean()
    with pytest.raises(CheckpointError, match="does not know model 'gpt-9'"):
        _router(checkpoint, ModelPair("gpt-9", "strong"))


def test_half_precision_changes_next_to_nothing():
    """float16 embeddings move win rates by less than 0.01."""
    outcomes, embeddings, values = _data()
    recipe = KNNRecipe(k=40)
    half, full = (
        fit_knn(outcomes, embeddings, ["strong"], ["weak"], replace(recipe, dtype=dtype))
        for dtype in ("float16", "float32")
    )
    assert half.arrays["embeddings"].nbytes * 2 == full.arrays["embeddings"].nbytes
    assert np.abs(_router(half).score(values) - _router(full).score(values)).max() < 0.01


@pytest.mark.parametrize(
    ("change", "strong", "message"),
    [
        (lambda v: v[:-1], ["strong"], r"shape \(399, 8\), wanted \(400, dim\)"),
        (lambda v: np.where(np.arange(400)[:, None] == 3, np.inf, v), ["strong"], "row 3 contains NaN or infinity"),
        (lambda v: v, ["nobody"], "no outcomes of model 'nobody'"),
        (lambda v: v, [], "name at least one model each of strong, weak"),
        (lambda v: v, ["weak"], "none on both sides"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, strong, message):
    """Embeddings or sides that do not fit are errors that say what was wanted."""
    outcomes, embeddings, values = _data()
    wrong = replace(embeddings, values=change(values))
    with pytest.raises(DataError, match=message):
        fit_knn(outcomes, wrong, strong, ["weak"], KNNRecipe())


def test_nothing_to_learn_is_an_error():
    """Too few common prompts, or outcomes that have nothing to do with the prompt, are refused."""
    outcomes, embeddings, values = _data(n=10)
    with pytest.raises(DataError, match="met on 10 prompts, wanted at least 20"):
        fit_knn(outcomes, embeddings, ["strong"], ["weak"], KNNRecipe())
    outcomes, embeddings, values = _data(n=300)
    ties = replace(outcomes, score=np.ones_like(outcomes.score))
    with pytest.raises(FitError, match="do not predict where 'strong' beats 'weak'"):
        fit_knn(ties, replace(embeddings, values=values), ["strong"], ["weak"], KNNRecipe())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"options": {"k": 5}}, "slope None"),
        ({"options": {"k": "x", "temperature": 0.1, "slope": 1.0, "intercept": 0.0}}, "k or temperature is malformed"),
        ({"arrays": {"outcome_model": np.full(1200, 7, np.int32)}}, "outcomes do not fit"),
        ({"arrays": {"outcome_score": np.full(1200, np.nan, np.float32)}}, "NaN"),
        ({"arrays": {"embeddings": np.ones(3, np.float32)}}, "wanted 2 axes"),
    ],
)
def test_a_damaged_checkpoint_is_refused(damage, message):
    """Whatever is missing or does not fit is named when the router is built."""
    checkpoint = fit_knn(*_data()[:2], ["strong"], ["weak"], KNNRecipe(k=40))
    broken = replace(
        checkpoint,
        arrays={**checkpoint.arrays, **damage.get("arrays", {})},
        options=damage.get("options", checkpoint.options),
    )
    with pytest.raises(CheckpointError, match=message):
        _router(broken)


def test_real_outcomes_are_predicted(shared_data):
    """On left-out MMLU-Pro prompts neighbours predict where a strong model wins, better than their mean does."""
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.training.embeddings import embed_prompts

    outcomes = merge_outcomes([read_outcomes(shared_data / "outcomes_mmlu_pro.parquet")])
    embeddings = embed_prompts(outcomes.prompts, resolve_embedder("static"))
    sides = ["gemini-1.5-pro-002"], ["Mixtral-8x7B-Instruct-v0.1"]
    figures = fit_knn(outcomes, embeddings, *sides, KNNRecipe()).metrics["left_out"]
    assert figures["loss"] < figures["loss_of_constant"]
    assert figures["apgr"] > 0.55
