"""Judgements corrected by labels of people."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.certificate import Certificate, Chain
from pointsman.core.judge_bias import corrected_loss, judge_bias, labels_needed, largest_corrected_loss

_losses = st.floats(-1, 1)


@given(_losses, _losses, st.floats(0.01, 1.0))
def test_the_correction_has_the_mean_of_what_people_say(judged, labelled, share):
    """Over the draw of the label the corrected loss has the labelled one's mean, whatever the judge says."""
    mean = share * corrected_loss(judged, labelled, share) + (1.0 - share) * corrected_loss(judged, None, share)
    assert mean == pytest.approx(labelled, abs=1e-9)
    assert abs(corrected_loss(judged, labelled, share)) <= largest_corrected_loss(share) + 1e-9


def test_a_biased_judge_breaks_a_certificate_and_labels_mend_it():
    """A judge that hides losses opens what is too costly; with a tenth of the comparisons labelled it seldom does."""
    rng, bound, share = np.random.default_rng(3), 0.1, 0.1
    chain = Chain(np.array([1.0]), np.array([1.0]))
    broken = {"judge": 0, "corrected": 0}
    for _ in range(60):
        plain = Certificate(chain, max_loss=bound, error=0.05)
        mended = Certificate(chain, max_loss=bound, error=0.05, largest_loss=largest_corrected_loss(share))
        for u, hidden, label in rng.random((1000, 3)):
            true = 1.0 if u < 0.15 else 0.0
            judged = 0.0 if hidden < 0.6 else true
            plain.add(0.5, judged, probability=1.0, least=np.ones(1))
            corrected = corrected_loss(judged, true if label < share else None, share)
            mended.add(0.5, corrected, probability=1.0, least=np.ones(1))
        broken["judge"] += plain.n_open
        broken["corrected"] += mended.n_open
    assert broken["judge"] > 50
    assert broken["corrected"] <= 6


def test_bias_is_measured():
    """Bias, its error and how often judge and people disagree are those of the labelled comparisons."""
    bias = judge_bias(np.array([0.0, 0.0, 1.0, -1.0]), np.array([1.0, 0.0, 1.0, -1.0]))
    assert (bias.mean, bias.disagreement, bias.n_labels) == (-0.25, 0.25, 4)
    assert bias.error == pytest.approx(0.25)
    assert judge_bias(np.zeros(0), np.zeros(0)).error == float("inf")


def test_labels_are_told():
    """A smaller margin needs more labels; no margin, no number."""
    few, many = (labels_needed(m, error=0.05, disagreement=0.1) for m in (0.05, 0.01))
    assert few is not None and many is not None and few < many
    assert labels_needed(0.0, error=0.05, disagreement=0.1) is None


def test_values_out_of_range_are_refused():
    """A loss or a share out of range is an error."""
    with pytest.raises(ValueError, match="label_share is 0"):
        corrected_loss(0.0, None, 0.0)
    with pytest.raises(ValueError, match="wanted numbers in"):
        corrected_loss(2.0, None, 0.5)
