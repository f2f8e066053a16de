"""Judgements corrected by labels of people."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.certificate import Certificate
from pointsman.core.judge_bias import corrected_loss, judge_bias, labels_needed, largest_corrected_loss
from pointsman.core.threshold_chain import Chain

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
        u, hidden, label = rng.random((3, 1000))
        true = np.where(u < 0.15, 1.0, 0.0)
        judged = np.where(hidden < 0.6, 0.0, true)
        labelled = [t if drawn else None for t, drawn in zip(true, label < share, strict=True)]
        corrected = [corrected_loss(j, t, share) for j, t in zip(judged, labelled, strict=True)]
        for certificate, losses in ((plain, judged), (mended, np.array(corrected))):
            one = np.ones(1000)
            certificate.add_many(one / 2, losses, probabilities=one, least=np.ones(1), n_undrawn=np.zeros(1000, int))
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
