"""A further model for a checkpoint of scores, and its removal."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.training.embeddings import embed_prompts
from pointsman.backends.training.kept_prompts import kept_prompts, match_prompts
from pointsman.backends.training.model_worth import model_worth
from pointsman.backends.training.onboarding import (
    Measured,
    add_model,
    choose_landmarks,
    estimate_column,
    remove_model,
)
from pointsman.backends.training.score_router import train_score_router
from pointsman.backends.training.scores import ScoreRecipe
from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.errors import CheckpointError, DataError
from pointsman.core.registry import build_router

from support.candidates import CANDIDATES, topic_table

TABLE = topic_table()
EMBED = resolve_embedder("static")


@pytest.fixture(scope="module")
def embeddings():
    return embed_prompts(TABLE.prompts, EMBED)


@pytest.fixture(scope="module", params=["linear", "knn"])
def checkpoint(request, embeddings, tmp_path_factory):
    """Of big and small: middle is to come."""
    path = tmp_path_factory.mktemp(request.param) / "two"
    recipe = ScoreRecipe(request.param, ks=(20,), n_landmarks=(16,))
    train_score_router(TABLE.of(["big", "small"]), embeddings, ["big", "small"], recipe, path)
    return read_checkpoint(path)


def measured(rows):
    column = CANDIDATES.index("middle")
    tables = (TABLE.scores, TABLE.usd, TABLE.input_tokens, TABLE.output_tokens)
    return Measured(rows, *[table[rows, column] for table in tables])


def landmarks(checkpoint, n=60):
    return choose_landmarks(checkpoint.arrays["embeddings"].astype(np.float32), np.ones(len(TABLE), dtype=bool), n)


@pytest.fixture(scope="module")
def three(checkpoint):
    return add_model(checkpoint, "middle", measured(landmarks(checkpoint)))


def test_the_new_model_is_chosen_where_it_is_good(three):
    """From 60 of its answers the router sends poems to it, which it alone writes cheaply, and proofs to the big one."""
    router = build_router(three, EMBED)
    assert three.candidates == ("big", "small", "middle")
    rates = router.win_rates([TABLE.prompts[i] for i in range(3, 33)])
    by_topic = np.array([rates[i::3].mean(axis=0) for i in range(3)])  # sums, poems, proofs
    assert by_topic[1, 2] < by_topic[1, 1] - 0.15 and by_topic[2, 2] > by_topic[1, 2] + 0.15
    assert router.means[2].usd == pytest.approx(0.002) and three.calibration is not None


def test_the_other_models_columns_stay_as_they_were(checkpoint, three):
    """Tables, coefficients and shrinkage of the others are the same numbers."""
    for name in ("scores", "usd", "input_tokens", "output_tokens"):
        assert np.array_equal(three.arrays[name][:, :2], checkpoint.arrays[name])
    assert np.array_equal(three.arrays["shrinkage"][:2], checkpoint.arrays["shrinkage"])
    for name in ("coefficients", "constants"):
        if name in checkpoint.arrays:
            old, new = checkpoint.arrays[name], three.arrays[name]
            assert np.array_equal(new[np.array([0, 1, 3, 4, 6, 7])], old)
    rows = landmarks(checkpoint)
    assert np.array_equal(three.arrays["scores"][rows, 2], measured(rows).scores.astype(np.float32))


def test_removing_it_gives_the_old_router_back(checkpoint, three):
    """After removal win rates and bills are those of before, and it is unknown again."""
    back = remove_model(three, "middle")
    assert (back.models, back.candidates) == (checkpoint.models, checkpoint.candidates)
    sample = list(TABLE.prompts[:20])
    assert np.array_equal(
        build_router(back, EMBED).win_rates(sample), build_router(checkpoint, EMBED).win_rates(sample)
    )
    with pytest.raises(CheckpointError, match="does not know model 'middle'"):
        remove_model(back, "middle")
    with pytest.raises(CheckpointError, match="'big' is the reference"):
        remove_model(three, "big")
    with pytest.raises(CheckpointError, match="one of its last two candidates"):
        remove_model(checkpoint, "small")


def test_what_cannot_be_added_is_said(checkpoint, three):
    """A known model, too few landmarks, scores outside [0, 1] and a checkpoint of another kind are refused."""
    rows = landmarks(checkpoint)
    with pytest.raises(CheckpointError, match="knows model 'middle' already"):
        add_model(three, "middle", measured(rows))
    with pytest.raises(DataError, match="10 landmarks have a score of 'middle', wanted at least 30"):
        add_model(checkpoint, "middle", measured(rows[:10]))
    with pytest.raises(DataError, match=r"leaves \[0, 1\]"):
        add_model(checkpoint, "middle", replace(measured(rows), scores=np.full(len(rows), 7.0)))
    with pytest.raises(CheckpointError, match="holds no scores of models"):
        add_model(replace(checkpoint, arrays={}), "middle", measured(rows))


def test_worth_is_told_with_intervals(checkpoint):
    """The interval holds the mean of the whole column, and a model on no mixture of the others is worth its money."""
    rows = landmarks(checkpoint, 90)
    worth = model_worth(checkpoint, "middle", measured(rows), kept_prompts(checkpoint))
    truth = float(TABLE.scores[:, 1].mean())
    assert worth["score"]["low"] - 0.02 <= truth <= worth["score"]["high"] + 0.02
    assert worth["usd"]["value"] == pytest.approx(0.002) and worth["gain"]["low"] > 0.0
    assert "it is worth its cost" in worth["lines"][1] and max(group["gain"]["low"] for group in worth["groups"]) > 0.0
    dear = replace(measured(rows), usd=np.full(len(rows), 0.02), scores=np.zeros(len(rows)))
    assert "not worth its cost" in model_worth(checkpoint, "middle", dear, kept_prompts(checkpoint))["lines"][1]
    unpriced = replace(measured(rows), usd=np.full(len(rows), np.nan))
    assert "against big, the best" in model_worth(checkpoint, "middle", unpriced, kept_prompts(checkpoint))["lines"][1]


def test_prompts_are_kept_or_found_again(checkpoint, embeddings, tmp_path):
    """The texts lie beside the checkpoint; without them they are found in the table by their embeddings."""
    assert kept_prompts(checkpoint) == list(TABLE.prompts)
    recipe = ScoreRecipe("linear", n_landmarks=(16,))
    two = TABLE.of(["big", "small"])
    train_score_router(two, embeddings, ["big", "small"], recipe, tmp_path / "bare", keep_prompts=False)
    bare = read_checkpoint(tmp_path / "bare")
    assert set(kept_prompts(bare)) == {None}
    order = np.random.default_rng(0).permutation(len(TABLE))
    shuffled = [TABLE.prompts[i] for i in order]
    found = match_prompts(bare, shuffled, embeddings.values[order])
    same = embeddings.values @ embeddings.values.T > 0.999  # texts that embeddings do not part are as good
    assert all(same[i, TABLE.prompts.index(text)] for i, text in enumerate(found))
    with pytest.raises(DataError, match=r"none of its prompts is in this table \(1 prompt\)"):
        match_prompts(bare, ["something else"], EMBED(["something else entirely"]))


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=25)
def test_landmarks_are_able_distinct_and_few(seed, n):
    """At most so many rows, each once, each of a prompt that may be asked, with or without traffic."""
    rng = np.random.default_rng(seed)
    embeddings, able = rng.normal(size=(50, 4)), rng.random(50) < 0.6
    able[0] = True
    for traffic in (None, rng.normal(size=(20, 4))):
        rows = choose_landmarks(embeddings, able, n, traffic=traffic)
        assert 1 <= len(rows) <= max(n, 1) and len(set(rows.tolist())) == len(rows) and able[rows].all()


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_an_estimated_column_keeps_what_is_known(seed):
    """Known values stay, estimates stay in their range, and a column that follows the others is found."""
    rng = np.random.default_rng(seed)
    others, embeddings = rng.random((60, 3)), rng.normal(size=(60, 8))
    truth = others @ np.array([0.5, 0.3, 0.2])
    rows = rng.choice(60, size=30, replace=False)
    found, error = estimate_column(others, embeddings, rows, truth[rows])
    inside = np.clip(truth, 0.0, truth[rows].max())
    assert np.array_equal(found[rows], truth[rows]) and np.abs(found - inside).max() < 0.05
    assert 0.0 <= error < 0.01
    assert np.isnan(estimate_column(others, embeddings, rows, np.full(30, np.nan))[0]).all()
    unknown, _ = estimate_column(np.full((60, 3), np.nan), np.ones((60, 8)), rows, truth[rows])
    assert np.allclose(np.delete(unknown, rows), truth[rows].mean())
