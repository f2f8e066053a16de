"""A score that is learned from comparisons."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.learned_score import LearnedScore, Seen, fit_learned_score


def _seen(n: int, dim: int, seed: int) -> tuple[Seen, np.ndarray]:
    rng = np.random.default_rng(seed)
    seen = Seen(rng.random(n), rng.integers(0, 4000, n).astype(float), rng.normal(size=(n, dim)).astype(np.float32))
    return seen, rng.choice([-1.0, 0.0, 1.0], n)


def _rows(seen: Seen, rows: np.ndarray) -> Seen:
    return Seen(seen.win_rates[rows], seen.n_characters[rows], seen.embeddings[rows])


@settings(max_examples=15)
@given(st.integers(50, 70), st.integers(0, 6), st.integers(0, 1000))
def test_one_prompt_scores_as_among_many(n, dim, seed):
    """The score of a prompt alone is that of the prompt among others, also after a restart, and lies in [0, 1]."""
    seen, losses = _seen(n, dim, seed)
    score = LearnedScore.from_dict(json.loads(json.dumps(fit_learned_score(seen, losses)[0].to_dict())))
    many = score.many(seen)
    one = [score.one(seen.win_rates[i], int(seen.n_characters[i]), seen.embeddings[i]) for i in range(n)]
    np.testing.assert_allclose(one, many, atol=1e-6)
    assert ((many >= 0.0) & (many <= 1.0)).all()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 4), st.integers(0, 1000))
def test_what_is_left_out_is_a_fit_without_it(dim, seed):
    """The closed form of leaving one out agrees with fitting without it, features scaled as before."""
    seen, losses = _seen(51, dim, seed)
    # an embedding alone: the other features' scale would depend on the prompt that is left out
    seen = Seen(np.full(51, 0.5), np.zeros(51), seen.embeddings)
    _, left_out = fit_learned_score(seen, losses)
    for i in (0, 17, 50):
        rest = np.arange(51) != i
        score, _ = fit_learned_score(_rows(seen, rest), losses[rest])
        assert score.many(_rows(seen, np.array([i])))[0] == pytest.approx(left_out[i], abs=1e-6)


def test_losses_that_grow_with_a_feature_are_learned():
    """The score orders prompts by the length, the win rate, or the direction that their losses grow with."""
    rng = np.random.default_rng(0)
    seen, _ = _seen(400, 4, 0)
    for truth in (np.log1p(seen.n_characters), seen.win_rates, seen.embeddings[:, 2]):
        rank = truth.argsort().argsort() / 400
        score, left_out = fit_learned_score(seen, (rng.random(400) < rank).astype(float))
        for found in (score.many(seen), left_out):
            assert np.corrcoef(found.argsort().argsort(), rank)[0, 1] > 0.6


def test_a_missing_embedding_gives_no_score():
    """A prompt that the router did not embed, or embeds otherwise, has no score: it goes to the strong model."""
    seen, losses = _seen(60, 3, 1)
    score, _ = fit_learned_score(seen, losses)
    assert score.one(0.5, 10, None) is None
    assert score.one(0.5, 10, np.zeros(4, dtype=np.float32)) is None
    assert score.one(0.5, 10, np.zeros(3, dtype=np.float32)) is not None


@pytest.mark.parametrize(
    "damaged", [{}, {"weights": "?"}, {"weights": "", "rate": float("nan"), "length": 0, "constant": 0}]
)
def test_a_damaged_score_is_an_error(damaged):
    """What is no learned score says so."""
    with pytest.raises(ValueError, match="a learned score is damaged"):
        LearnedScore.from_dict(damaged)


def test_too_few_comparisons_are_an_error():
    """Fewer than fifty comparisons, or one that is not finite, train nothing."""
    with pytest.raises(ValueError, match="3 comparisons, wanted at least 50"):
        fit_learned_score(*_seen(3, 2, 0))
    seen, losses = _seen(60, 2, 0)
    losses[4] = np.nan
    with pytest.raises(ValueError, match="all of them finite"):
        fit_learned_score(seen, losses)
