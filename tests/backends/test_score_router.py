"""Routers of any number of candidates from outcome tables: trained, served, and honest where prompts tell nothing."""

from dataclasses import replace

import numpy as np
import pytest

from pointsman.backends.data.score_tables import read_score_table
from pointsman.backends.data.table_writer import write_table
from pointsman.backends.data.tables import Table
from pointsman.backends.export import RecordedEmbedder
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.reach import LeftOut, choose_part, reach
from pointsman.backends.training.score_router import train_score_router
from pointsman.backends.training.scores import ScoreRecipe, fit_scores
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.choice_rows import weigh_rows
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError, DataError
from pointsman.core.pair import ModelPair
from pointsman.core.registry import build_router

DIM = 6
IDENTITY = EmbedderIdentity("static", "x", DIM, normalized=True)
KINDS = ("knn", "linear", "blend")
USD = {"big": 1.0, "middle": 0.4, "small": 0.1}


def _data(n=400, *, signal=True, seed=0):
    """Scores and embeddings: every model is right where its own coordinate is high, or at random."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n, DIM)).astype(np.float32)
    base = {"big": 0.8, "middle": 0.7, "small": 0.6}
    chance = [base[m] + signal * 0.35 * np.tanh(2 * embeddings[:, i]) for i, m in enumerate(base)]
    scores = (rng.random((n, 3)) < np.stack(chance, axis=1)).astype(float)
    rows = [(f"p{i}", m, scores[i, j], USD[m], 10.0 * (j + 1)) for i in range(n) for j, m in enumerate(base)]
    names = ("prompt", "model", "score", "cost_usd", "output_tokens")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    canaries = rng.standard_normal((3, DIM)).astype(np.float32)
    return columns, PromptEmbeddings(embeddings, IDENTITY, canaries), scores


def _table(tmp_path, columns, name="t.jsonl"):
    path = tmp_path / name
    write_table(Table(columns), path)
    return read_score_table([str(path)], ["big", "middle", "small"])


def _router(checkpoint, **which):
    return build_router(checkpoint, RecordedEmbedder(checkpoint.embedder, checkpoint.canaries), **which)


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_each_model_is_good_at(kind, tmp_path):
    """On fresh prompts the served router beats every single model, at no more than the best one's cost."""
    columns, embeddings, _ = _data(800)
    table = _table(tmp_path, columns)
    candidates = ("big", "middle", "small")
    checkpoint, note = train_score_router(table, embeddings, candidates, ScoreRecipe(kind), tmp_path / "c")
    assert checkpoint.options["trusted"] and "gains" in note
    served = read_checkpoint(tmp_path / "c")
    assert served.candidates == candidates and served.calibration is not None
    router = _router(served)
    _, fresh, scores = _data(800, seed=1)
    rates = router.score(fresh.values)
    assert rates.shape == (800, 3) and (rates[:, 0] == 0.5).all()
    chosen = weigh_rows(rates, np.tile(list(USD.values()), (800, 1))).chosen(0.52)
    assert scores[np.arange(800), chosen].mean() > scores.mean(axis=0).max() + 0.03
    assert np.array(list(USD.values()))[chosen].mean() < 1.0
    _, usd, tokens = router.score_and_bill(fresh.values[:5])
    assert usd == pytest.approx(np.tile([1.0, 0.4, 0.1], (5, 1)), abs=1e-3)
    assert tokens == pytest.approx(np.tile([10.0, 20.0, 30.0], (5, 1)), abs=1e-2)
    assert router.means[1].usd == pytest.approx(0.4)


@pytest.mark.parametrize("kind", KINDS)
def test_it_steps_aside_where_prompts_tell_nothing(kind, tmp_path):
    """Labels drawn at random give a router that says so and treats every prompt alike."""
    columns, embeddings, _ = _data(300, signal=False)
    trained = fit_scores(_table(tmp_path, columns), embeddings, ("big", "middle", "small"), ScoreRecipe(kind))
    assert not trained.checkpoint.options["trusted"]
    assert trained.note.startswith("no better than a fixed choice of models") and "use these two" in trained.note
    rates = _router(trained.checkpoint).score(embeddings.values)
    assert np.ptp(rates, axis=0) == pytest.approx(np.zeros(3))


def test_other_candidates_and_pairs_of_one_checkpoint(tmp_path):
    """A checkpoint serves any of its models in any order, and any pair as a vector."""
    columns, embeddings, _ = _data()
    trained = fit_scores(_table(tmp_path, columns), embeddings, ("big", "middle", "small"), ScoreRecipe("blend"))
    rates = _router(trained.checkpoint).score(embeddings.values[:9])
    turned = _router(trained.checkpoint, candidates=("big", "small")).score(embeddings.values[:9])
    assert turned == pytest.approx(rates[:, [0, 2]])
    pair = _router(trained.checkpoint, pair=ModelPair("big", "small")).score(embeddings.values[:9])
    assert pair.shape == (9,) and pair == pytest.approx(rates[:, 2])
    with pytest.raises(CheckpointError, match="does not know model 'gpt-9'"):
        _router(trained.checkpoint, candidates=("big", "gpt-9", "small"))
    with pytest.raises(ValueError, match="two different models"):
        _router(trained.checkpoint, candidates=("big", "big"))


def test_missing_scores_are_learnt_around(tmp_path):
    """A model that answered half of the prompts is learnt from these, and bills may be missing altogether."""
    columns, embeddings, _ = _data()
    kept = [i for i in range(len(columns["prompt"])) if i % 3 != 2 or i % 2]
    columns = {name: [values[i] for i in kept] for name, values in columns.items() if name != "cost_usd"}
    trained = fit_scores(_table(tmp_path, columns), embeddings, ("big", "middle", "small"), ScoreRecipe("blend"))
    router = _router(trained.checkpoint)
    assert trained.usd is None and router.means[0].usd is None
    assert np.isnan(router.score_and_bill(embeddings.values[:2])[1]).all()


def test_wide_tables_hold_a_column_per_model(tmp_path):
    """A column of scores per model, with bills beside it, is the same table as rows per model."""
    columns, _, scores = _data(30)
    long = _table(tmp_path, columns)
    wide = {"prompt": list(long.prompts), **{m: scores[:, j].tolist() for j, m in enumerate(USD)}}
    wide |= {f"{m}_usd": [usd] * 30 for m, usd in USD.items()}
    again = _table(tmp_path, wide, "wide.csv")
    assert again.models == long.models and again.prompts == long.prompts
    assert np.array_equal(again.scores, long.scores) and again.usd == pytest.approx(long.usd)


def test_bad_tables_and_candidates_are_named(tmp_path):
    """Unknown, doubled and unscored candidates, one alone, scores beyond [0, 1] and other columns are errors."""
    columns, embeddings, _ = _data(40)
    table = _table(tmp_path, columns)
    for candidates, message in (
        (("big", "gpt-9"), "no scores of candidate 'gpt-9'; it has big, middle, small"),
        (("big", "big"), "named twice"),
        (("big",), "at least two of"),
    ):
        with pytest.raises(DataError, match=message):
            fit_scores(table, embeddings, candidates, ScoreRecipe())
    empty = replace(table, scores=np.where(np.arange(3) == 1, np.nan, table.scores))
    with pytest.raises(DataError, match="all scores of candidate 'middle' are missing"):
        fit_scores(empty, embeddings, ("big", "middle"), ScoreRecipe())
    with pytest.raises(DataError, match=r"scores 7 .*wanted numbers in \[0, 1\]"):
        _table(tmp_path, {**columns, "score": [7.0] * 120}, "scale.jsonl")
    with pytest.raises(DataError, match="wanted prompt, model, score"):
        read_score_table(
            [str(tmp_path / "scale.jsonl")] if False else [_written(tmp_path, {"prompt": ["a"], "x": [1]})]
        )
    with pytest.raises(DataError, match="no column 'small'"):
        read_score_table([_written(tmp_path, {"prompt": ["a"], "big": [1]})], ["big", "small"])
    with pytest.raises(DataError, match="wanted at least 20"):
        fit_scores(
            table.take(np.arange(5)), replace(embeddings, values=embeddings.values[:5]), ("big", "small"), ScoreRecipe()
        )


def _written(tmp_path, columns):
    write_table(Table(columns), tmp_path / "other.csv")
    return str(tmp_path / "other.csv")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    """A table that lost a column, or an option that is missing, is an error that names it."""
    columns, embeddings, _ = _data(60)
    checkpoint = fit_scores(_table(tmp_path, columns), embeddings, ("big", "middle", "small"), ScoreRecipe()).checkpoint
    with pytest.raises(CheckpointError, match="scores has 2 columns for 3 models"):
        _router(replace(checkpoint, arrays={**checkpoint.arrays, "scores": checkpoint.arrays["scores"][:, :2]}))
    with pytest.raises(CheckpointError, match="trusted"):
        _router(replace(checkpoint, options={}))
    write_checkpoint(checkpoint, tmp_path / "c")
    assert np.array_equal(
        _router(read_checkpoint(tmp_path / "c")).score(embeddings.values), _router(checkpoint).score(embeddings.values)
    )


def test_of_an_unseen_source_nothing_is_predicted(tmp_path):
    """Far from all labelled prompts win rates are the means', whatever the direction would suggest."""
    columns, embeddings, _ = _data(600)
    near = embeddings.values * np.array([1, 1, 1, 0, 0, 0], dtype=np.float32)
    table = _table(tmp_path, columns)
    trained = fit_scores(table, replace(embeddings, values=near), ("big", "middle", "small"), ScoreRecipe("linear"))
    assert trained.checkpoint.options["trusted"]
    router = _router(trained.checkpoint)
    far = near[:50] + np.array([0, 0, 0, 9, 9, 9], dtype=np.float32)
    assert np.ptp(router.score(far), axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    assert np.ptp(router.score(near[:50]), axis=0)[1:].min() > 0.01


def _left_out(scores, usd, strength, rng):
    """Predictions of prompts that were left out: the truth of a strength, in noise."""
    predicted = (
        scores.mean(axis=0) + strength * (scores - scores.mean(axis=0)) + 0.1 * rng.standard_normal(scores.shape)
    )
    tiled = np.tile(scores.mean(axis=0), (len(scores), 1)), np.tile(usd, (len(scores), 1))
    return LeftOut(predicted, tiled[1], *tiled, np.full(len(scores), 0.1))


def test_less_counts_where_it_gains_as_much():
    """Three fifths count where more gains nothing over mixtures of models, and more where it gains much."""
    rng = np.random.default_rng(3)
    usd, ones = np.array([1.0, 0.4, 0.1]), np.ones(3)
    topic = rng.integers(3, size=600)
    certain = (topic[:, None] <= np.array([2, 1, 0])).astype(float)  # big can all, middle two topics, small one
    bills = np.tile(usd, (600, 1))
    part = choose_part(_left_out(certain, usd, 0.3, rng), ones, certain, bills)
    luck = (rng.random((600, 3)) < np.array([0.8, 0.7, 0.6])).astype(float)
    assert choose_part(_left_out(luck, usd, 0.0, rng), ones, luck, bills) == 0.6 < part
    assert choose_part(_left_out(luck[:, :2], usd[:2], 0.0, rng), ones[:2], luck[:, :2], bills[:, :2]) == 1.0


def test_of_settings_that_predict_alike_the_smoothest_is_taken(tmp_path):
    """Where prompts tell nothing the highest penalty and most neighbours are taken, else a lower penalty."""
    candidates, options = ("big", "middle", "small"), []
    for signal in (False, True):
        columns, embeddings, _ = _data(600, signal=signal)
        recipe = ScoreRecipe("blend", ks=(5, 10, 300))
        options.append(fit_scores(_table(tmp_path, columns), embeddings, candidates, recipe).checkpoint.options)
    assert options[0].get("penalty", 400.0) == 400.0 and options[0].get("k", 300) == 300
    assert options[1]["penalty"] < 400.0


def test_prompts_further_away_than_labelled_ones_are_not_covered():
    """Covered up to seven tenths of the distances of labelled prompts, not at all beyond nearly all of them."""
    near, far = reach(np.linspace(0.0, 1.0, 101))
    assert (near, far) == pytest.approx((0.7, 0.99))
    assert reach(np.zeros(5)) == (0.05, 0.15)
