"""Examples of a pair of models and the labels made of them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.language.examples import PairExamples, read_pair_examples
from pointsman.backends.language.labels import class_labels, score_labels
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair

_PAIR = ModelPair("big", "small")
_differences = st.lists(st.floats(-1, 1), min_size=1, max_size=20).map(np.array)


def _write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@given(_differences, st.floats(0, 1))
def test_classes_mirror_when_the_models_swap(difference, margin):
    """Swapping the models swaps strong wins with weak wins and leaves ties; a wider margin only adds ties."""
    labels = class_labels(difference, margin=margin)
    assert (class_labels(-difference, margin=margin) == 2 - labels).all()
    assert ((labels == 1) == (np.abs(difference) <= margin)).all()


@given(_differences, st.floats(0.1, 2))
def test_scores_fall_as_strong_pulls_ahead(difference, scale):
    """Scores are 1 to 5, 5 where weak is no worse, 1 where it trails by the scale, and never rise with the gap."""
    scores = score_labels(difference, scale=scale)
    assert (scores[difference <= 0] == 5).all()
    assert (scores[difference >= scale] == 1).all()
    assert (np.diff(scores[np.argsort(difference)]) <= 0).all()


def test_scores_are_even_steps():
    """A gap of 0, 1/4, 1/2, 3/4 and 1 of the scale is 5, 4, 3, 2 and 1."""
    assert score_labels(np.array([0, 0.25, 0.5, 0.75, 1])).tolist() == [5, 4, 3, 2, 1]


def test_labels_check_what_they_get():
    """A negative margin, a scale of 0 and a missing difference are errors."""
    with pytest.raises(ValueError, match="margin is -1"):
        class_labels(np.zeros(1), margin=-1)
    with pytest.raises(ValueError, match="scale is 0"):
        score_labels(np.zeros(1), scale=0)
    with pytest.raises(ValueError, match="difference is nan in row 1"):
        class_labels(np.array([0, np.nan]))


def test_three_formats_give_the_same_examples(tmp_path):
    """Paired scores, an outcome table and battles of the same answers teach the same."""
    paired = _write(
        tmp_path / "paired.jsonl",
        [{"prompt": p, "strong": s, "weak": w} for p, s, w in [("a", 1, 0), ("b", 0, 0), ("c", 0, 1)]],
    )
    outcomes = _write(
        tmp_path / "outcomes.jsonl",
        [
            {"prompt": p, "model": model, "score": score}
            for p, big, small in [("a", 1, 0), ("b", 0, 0), ("c", 0, 1)]
            for model, score in (("small", small), ("other", 0.5), ("big", big))
        ],
    )
    battles = _write(
        tmp_path / "battles.jsonl",
        [
            {"prompt": "a", "model_a": "big", "model_b": "small", "winner": "model_a"},
            {"prompt": "b", "model_a": "small", "model_b": "big", "winner": "tie (bothbad)"},
            {"prompt": "c", "model_a": "small", "model_b": "big", "winner": "model_a"},
            {"prompt": "c", "model_a": "other", "model_b": "big", "winner": "model_a"},
        ],
    )
    for source in (paired, outcomes, battles):
        found = read_pair_examples(source, _PAIR)
        assert found.prompts == ("a", "b", "c")
        assert found.difference.tolist() == [1, 0, -1]


@pytest.mark.parametrize("names", [("strong", "weak"), (_PAIR.strong, _PAIR.weak)])
def test_a_column_per_model_may_hold_true_false_and_nothing(names, tmp_path):
    """Columns of scores are called strong and weak or as the models are; a row without both scores is left out."""
    table = tmp_path / "wide.csv"
    table.write_text(f"prompt,{names[0]},{names[1]}\np,True,False\nq,1,\nr,0.5,0.5\n")
    found = read_pair_examples(table, _PAIR)
    assert found.prompts == ("p", "r") and found.difference.tolist() == [1.0, 0.0]


def test_a_pair_without_data_is_named(tmp_path):
    """A model that the data does not know, and a pair that never met, are errors that say so."""
    outcomes = _write(tmp_path / "o.jsonl", [{"prompt": "a", "model": "big", "score": 1}])
    with pytest.raises(DataError, match=r"no outcomes of model 'small'; the table knows big"):
        read_pair_examples(outcomes, _PAIR)
    battles = _write(
        tmp_path / "b.jsonl",
        [
            {"prompt": "a", "model_a": "big", "model_b": "x", "winner": "tie"},
            {"prompt": "b", "model_a": "small", "model_b": "x", "winner": "tie"},
        ],
    )
    with pytest.raises(DataError, match="no prompt was answered by both"):
        read_pair_examples(battles, _PAIR)
    with pytest.raises(DataError, match="2 prompts for differences of shape"):
        PairExamples(("a", "b"), np.zeros(3))
