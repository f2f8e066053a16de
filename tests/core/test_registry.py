"""From checkpoints to routers: kinds, embedder identity and canaries."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest

from pointsman.core import registry
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError, EmbedderMismatchError, UnknownRouterError, UpstreamError
from pointsman.core.mf import MFWeights, pair_win_rates
from pointsman.core.pair import ModelPair
from pointsman.core.registry import build_router, known_kinds
from pointsman.core.routers.random import RandomRouter

from support.checkpoints import DIM, HashEmbedder, mf_checkpoint


def test_an_mf_router_serves_the_win_rates_of_its_pair():
    """One by one and in batches, for the default and another pair, the router gives the formula's win rates."""
    checkpoint, embed, prompts = mf_checkpoint(), HashEmbedder(), ["one", "two", "three", ""]
    weights = MFWeights(**{name: checkpoint.arrays[name] for name in checkpoint.arrays})
    for pair, rows in [(None, (0, 1)), (ModelPair("c", "a"), (2, 0))]:
        router = build_router(checkpoint, embed, pair=pair)
        wanted = pair_win_rates(weights, embed(prompts), *(np.full(4, row) for row in rows))
        assert router.win_rates(prompts) == pytest.approx(wanted, abs=1e-7)
        assert [router.calculate_strong_win_rate(p) for p in prompts] == pytest.approx(wanted, abs=1e-6)


def test_route_sends_a_prompt_to_strong_iff_it_reaches_the_threshold():
    """At the win rate itself: strong. Just above: weak. The decision names what was weighed."""
    router, pair = build_router(mf_checkpoint(), HashEmbedder()), ModelPair("gpt", "llama")
    rate = router.calculate_strong_win_rate("hello")
    at, above = router.route("hello", rate, pair), router.route("hello", np.nextafter(rate, 2), pair)
    assert (at.model, above.model) == ("gpt", "llama")
    assert at.candidates == ("gpt", "llama")
    assert at.to_dict()["win_rate"] == rate
    with pytest.raises(ValueError, match=r"threshold is 1.5, wanted a number in \[0, 1\]"):
        router.route("hello", 1.5, pair)


def test_a_router_that_fails_sends_to_strong_and_says_why():
    """Where no win rate is to be had, the strong model answers and the decision carries the reason."""
    router = build_router(mf_checkpoint(), HashEmbedder())

    def fail(texts: Sequence[str]) -> np.ndarray:
        raise UpstreamError("the embedding service is down")

    router.embed = fail
    decision = router.route("hello", 1.0, ModelPair("gpt", "llama"))
    assert (decision.model, decision.win_rate) == ("gpt", None)
    assert decision.reason == "router failed: the embedding service is down"


def test_random_is_uniform_and_repeatable_with_a_seed():
    """A seed gives the same draws; draws fill [0, 1)."""
    checkpoint = Checkpoint("random", ("s", "w"), ModelPair("s", "w"), options={"seed": 7})
    first, second = build_router(checkpoint), build_router(checkpoint)
    draws = first.win_rates(["x"] * 2000)
    assert isinstance(first, RandomRouter)
    assert (draws == second.win_rates(["x"] * 2000)).all()
    assert np.quantile(draws, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.05)


@pytest.mark.parametrize(
    "identity",
    [
        EmbedderIdentity("other", "1", DIM, True),
        EmbedderIdentity("hash", "2", DIM, True),
        EmbedderIdentity("hash", "1", DIM + 1, True),
        EmbedderIdentity("hash", "1", DIM, False),
    ],
)
def test_another_embedder_is_refused(identity):
    """Training with one embedder and serving with another is an error that names both."""
    with pytest.raises(EmbedderMismatchError, match=r"trained with embedder 'hash'.*train it again"):
        build_router(mf_checkpoint(), HashEmbedder(identity))


def test_an_unknown_revision_is_no_mismatch():
    """A service that does not tell its revision is accepted: its canaries are what counts."""
    build_router(mf_checkpoint(), HashEmbedder(EmbedderIdentity("hash", "", DIM, True)))


def test_a_drifted_embedder_is_refused():
    """The same name with other vectors is caught by the canaries, with the cosine that was found."""
    with pytest.raises(EmbedderMismatchError, match=r"has drifted: canary .* has cosine 0\.\d+"):
        build_router(mf_checkpoint(), HashEmbedder(drift=0.3))


def test_missing_parts_are_named():
    """No embedder, no canaries, unfitting weights and unknown models are told apart."""
    good = mf_checkpoint()
    with pytest.raises(EmbedderMismatchError, match="none was given"):
        build_router(good)
    with pytest.raises(CheckpointError, match="holds no canary"):
        build_router(replace(good, canaries=None), HashEmbedder())
    with pytest.raises(EmbedderMismatchError, match="shape"):
        build_router(replace(good, canaries=np.zeros((2, DIM))), HashEmbedder())
    with pytest.raises(CheckpointError, match="names 2 models but holds 3 rows"):
        build_router(replace(good, models=("a", "b")), HashEmbedder())
    with pytest.raises(CheckpointError, match="does not know model 'z'"):
        build_router(good, HashEmbedder(), pair=ModelPair("z", "a"))
    narrow = {**good.arrays, "projection": np.ones((4, DIM - 1))}
    with pytest.raises(CheckpointError, match="projects from dimension 7"):
        build_router(replace(good, arrays=narrow), HashEmbedder())


def test_an_unknown_kind_lists_the_known_ones():
    """The error of an unknown kind shows what could have been meant."""
    with pytest.raises(UnknownRouterError, match=r"'nope' is unknown; known kinds are .*mf.*random"):
        build_router(replace(mf_checkpoint(), kind="nope", embedder=None))


def test_third_parties_add_kinds_by_entry_point(monkeypatch):
    """A kind from an installed package is listed and built."""
    point = EntryPoint("coin", "pointsman.core.routers.random:load", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **wanted: EntryPoints([point]).select(**wanted))
    assert "coin" in known_kinds()
    coin = Checkpoint("coin", ("s", "w"), ModelPair("s", "w"))
    assert isinstance(build_router(coin), RandomRouter)
