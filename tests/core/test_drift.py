"""Drift: ranks are uniform without a shift, alarms are as rare as stated, and a shift is found."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.backends.training.drift_sample import recalibrated, referenced
from pointsman.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pointsman.core.drift import HORIZON, ShiftTest, alarm_level
from pointsman.core.embedding import CANARIES
from pointsman.core.errors import CheckpointError
from pointsman.core.novelty import Centroids, fit_centroids
from pointsman.core.pair import ModelPair
from pointsman.core.reference import Reference, read_reference, with_reference
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder

from oracles.reference import smoothed_ranks

UNIT = st.floats(0.0, 1.0)


@given(st.lists(UNIT, max_size=20), st.lists(UNIT, min_size=1, max_size=20), st.integers(0, 99))
@example([0.5, 0.5], [0.5, 1.0, 0.0], 0)
def test_ranks_are_those_of_the_definition(reference, live, seed):
    """Each value's rank is the one counted by hand among all before it, with the same random numbers for ties."""
    cells = np.minimum(np.floor(np.array([*reference, *live]) * 4096), 4095)
    test = ShiftTest(np.array(reference), upper=1.0, rng=np.random.default_rng(seed))
    wanted = smoothed_ranks(cells[: len(reference)], cells[len(reference) :], np.random.default_rng(seed))
    assert [test.rank(value) for value in live] == pytest.approx(wanted)


@given(st.lists(UNIT, min_size=1, max_size=30), st.floats(0.1, 10.0))
def test_the_scale_of_values_does_not_matter(values, scale):
    """A test on values c x and upper end c sees what one on x and 1 sees, but for rounding at the edge of a cell."""
    x = np.round(np.array(values) * 4096).clip(0, 4095) / 4096 + 0.5 / 4096
    one, other = (ShiftTest(c * x[:0], upper=c, rng=np.random.default_rng(0)) for c in (1.0, scale))
    assert [one.update(v) for v in x] == pytest.approx([other.update(scale * v) for v in x])


def test_evidence_grows_by_one_a_prompt_without_a_shift():
    """R_n - n is a martingale: over many runs the mean evidence after n prompts is n, even on a reference of 5."""
    rng = np.random.default_rng(1)
    ends = []
    for _ in range(4000):
        test = ShiftTest(rng.random(5), upper=1.0, rng=rng)
        for value in rng.random(6):
            test.update(value)
        ends.append(test.evidence)
    assert np.mean(ends) == pytest.approx(6.0, abs=4 * np.std(ends) / np.sqrt(len(ends)))


def test_alarms_are_as_rare_as_stated():
    """With the rate at its highest, 1 per 10,000 prompts, one run in ten at most has an alarm in the first 1,000."""
    rng, level = np.random.default_rng(2), alarm_level(1.0)
    alarms = 0
    for _ in range(100):
        test = ShiftTest(rng.beta(2, 5, 200), upper=1.0, rng=rng)
        alarms += any(test.update(value) >= level for value in rng.beta(2, 5, 1000))
    assert alarms <= 10


@pytest.mark.parametrize("shifted", [(3.0, 5.0), (2.0, 7.0), (5.0, 12.0), (0.8, 2.0)])
def test_a_shift_is_found_whichever_way_it_goes(shifted):
    """Higher, lower, narrower or wider values after 2,000 stationary prompts raise the alarm within 500."""
    rng, level = np.random.default_rng(3), alarm_level(0.01, n_tests=2)
    test = ShiftTest(rng.beta(2, 5, 1000), upper=1.0, rng=rng)
    assert all(test.update(value) < level for value in rng.beta(2, 5, 2000))
    assert any(test.update(value) >= level for value in rng.beta(*shifted, 500))


def test_the_level_says_what_it_means():
    """The level is tests x 10,000 / rate, and a rate outside (0, 1] is refused."""
    assert alarm_level(0.01, n_tests=2) == 2 * HORIZON / 0.01
    for rate, n_tests in ((0.0, 1), (1.5, 1), (0.1, 0)):
        with pytest.raises(ValueError, match="wanted a rate"):
            alarm_level(rate, n_tests=n_tests)


def test_values_outside_the_range_are_refused():
    """NaN, negative and too large values are refused, in the reference and live, and change nothing."""
    test = ShiftTest(np.array([0.5]), upper=1.0, rng=np.random.default_rng(0))
    for bad in (float("nan"), -0.1, 1.1):
        with pytest.raises(ValueError, match="wanted"):
            test.update(bad)
        with pytest.raises(ValueError, match="wanted"):
            ShiftTest(np.array([bad]), upper=1.0, rng=np.random.default_rng(0))
    assert test.n_live == 0


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 99))
def test_centroids_are_unit_means_of_what_is_nearest(n_prompts, n_centroids, seed):
    """Centroids have norm 1, are as many at most as asked for, and no prompt is further off than by 2."""
    embeddings = np.random.default_rng(seed).standard_normal((n_prompts, 5)).astype(np.float32)
    centroids = fit_centroids(embeddings, n_centroids, rng=np.random.default_rng(seed))
    assert 1 <= len(centroids.vectors) <= min(n_centroids, n_prompts)
    assert np.linalg.norm(centroids.vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    distances = centroids.distances(embeddings)
    slow = [min(1 - float(e @ c) / np.linalg.norm(e) for c in centroids.vectors) for e in embeddings]
    assert distances == pytest.approx(slow, abs=1e-5)


def test_separate_groups_each_get_a_centroid():
    """Two tight bundles of directions are found again: every prompt is near a centroid, a third direction is not."""
    rng = np.random.default_rng(0)
    bundles = np.repeat(np.eye(6, dtype=np.float32)[:2], 50, axis=0) + 0.01 * rng.standard_normal((100, 6))
    centroids = fit_centroids(bundles, 2, rng=rng)
    assert centroids.distances(bundles).max() < 0.01
    assert centroids.distances(np.eye(6)[2:3])[0] > 0.9


def test_no_centroids_of_nothing():
    """Embeddings that are all zero, and a number of centroids below 1, are refused; a zero prompt has distance 1."""
    with pytest.raises(ValueError, match="differs from zero"):
        fit_centroids(np.zeros((3, 4)), 2, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 1"):
        fit_centroids(np.eye(4), 0, rng=np.random.default_rng(0))
    assert Centroids(np.eye(4)).distances(np.zeros((1, 4))).tolist() == [1.0]


def made(**parts):
    values = {
        "source": "here",
        "win_rates": np.array([0.2, 0.4]),
        "distances": np.array([0.1, 0.3]),
        "centroids": Centroids(np.eye(3)),
    }
    return Reference(**{**values, **parts})


@pytest.mark.parametrize(
    "parts",
    [
        {"win_rates": np.array([0.2, 1.4])},
        {"distances": None},
        {"distances": np.array([0.1])},
        {"distances": np.array([0.1, np.nan])},
        {"examples": ("one",)},
    ],
)
def test_parts_that_do_not_fit_are_refused(parts):
    """Each part of a reference is checked against its range and the others."""
    with pytest.raises(ValueError):
        made(**parts)


def test_a_reference_travels_with_the_checkpoint(tmp_path):
    """What is written is read again; a checkpoint without one has none, as those of earlier versions."""
    bare = Checkpoint("random", ("a", "b"), ModelPair("a", "b"))
    assert read_reference(bare) is None
    write_checkpoint(with_reference(bare, made(examples=("x", "y", "z"))), tmp_path / "c")
    found = read_reference(read_checkpoint(tmp_path / "c"))
    assert found.win_rates == pytest.approx([0.2, 0.4]) and found.distances == pytest.approx([0.1, 0.3])
    assert (found.examples, found.source) == (("x", "y", "z"), "here")
    assert with_reference(read_checkpoint(tmp_path / "c"), None).arrays == {}


def test_a_damaged_reference_is_an_error_of_the_checkpoint():
    """A reference whose parts do not fit is refused with the checkpoint's name."""
    checkpoint = with_reference(Checkpoint("random", ("a", "b"), ModelPair("a", "b")), made())
    del checkpoint.arrays["reference_distances"]
    with pytest.raises(CheckpointError, match="centroids without distances"):
        read_reference(checkpoint)


def test_percentiles_count_ties_by_half():
    """Distances are placed among the reference's, from 0 to 1."""
    assert made().novelty(0.2) == 0.5
    assert made(distances=None, centroids=None).novelty(0.2) is None


def test_the_bundled_router_knows_where_its_prompts_lie():
    """It has some 64 centroids with an example each, and prompts like its own are nearer than noise."""
    checkpoint = load_checkpoint("mf")
    reference, embed = read_reference(checkpoint), load_embedder(checkpoint)
    assert 60 <= len(reference.examples) == len(reference.centroids.vectors) <= 64
    assert len(reference.win_rates) > 1000 and max(map(len, reference.examples)) <= 200
    near, far = reference.centroids.distances(embed([CANARIES[2], "zxqv wvut ponm lkjh"]))
    assert reference.novelty(float(near)) < reference.novelty(float(far))


def test_training_keeps_the_reference_apart_from_the_centroids():
    """Rows held out are the reference, and the centroids are those of the other rows."""
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((50, 8)).astype(np.float32)
    bare = Checkpoint("random", ("a", "b"), ModelPair("a", "b"))
    held = np.arange(5)
    found = read_reference(referenced(bare, embeddings, source="x", seed=0, held=held, win_rates=lambda r: r / 50))
    assert found.win_rates == pytest.approx(held / 50)
    assert (found.distances > 1e-4).all() and found.source == "5 prompts of x"
    again = read_reference(referenced(bare, embeddings, source="x", seed=0, win_rates=lambda r: r / 50))
    assert len(again.win_rates) == 25


def test_calibrating_keeps_centroids_and_renews_the_reference():
    """A checkpoint that has centroids keeps them; one without gets some from prompts that are not its reference."""
    checkpoint = load_checkpoint("mf")
    embed, prompts = load_embedder(checkpoint), [f"What is {n} times {n + 1}?" for n in range(60)]
    rates = np.linspace(0.0, 1.0, 60)
    kept = read_reference(recalibrated(checkpoint, prompts, rates, embed=embed, source="sums"))
    assert (kept.centroids.vectors == read_reference(checkpoint).centroids.vectors).all()
    assert kept.win_rates == pytest.approx(rates) and len(kept.examples) == len(kept.centroids.vectors)
    bare = with_reference(checkpoint, None)
    fresh = recalibrated(bare, prompts, rates, embed=embed, source="sums", keep_prompts=True)
    assert read_reference(fresh).win_rates == pytest.approx(rates[30:])
    assert set(read_reference(fresh).examples) <= set(prompts)
    silent = read_reference(recalibrated(bare, prompts, rates, embed=None, source="sums"))
    assert silent.distances is None and len(silent.win_rates) == 60
