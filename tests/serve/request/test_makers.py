"""Who made what is remembered by key, and by conversation where ids are numbered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.request.makers import Makers

_DISTINCT = "call:toolu_01A09q90qw90lq917835lq9"


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["big", "small"])), max_size=30), st.integers(1, 5))
def test_last_noted(notes, size):
    """Of the last `size` marks the model that was noted last is known; of older ones none."""
    makers, expected = Makers(size=size), {}
    for number, model in notes:
        makers.note([f"response:{number}"], model, owner="", conversation=lambda: "")
        expected.pop(number, None)
        expected[number] = model
    kept = dict(list(expected.items())[-size:])
    for number in range(7):
        assert makers.maker([f"response:{number}"], owner="", conversation=lambda: "") == kept.get(number)


@pytest.mark.parametrize("mark", ["call:call_1", "call:functions.search:0", "call:call_00", "call:chatcmpl-tool-7"])
def test_numbered_calls(mark):
    """A numbered call belongs to its conversation."""
    makers = Makers()
    makers.note([mark], "big", owner="k", conversation=lambda: "a")
    assert makers.maker([mark], owner="k", conversation=lambda: "a") == "big"
    assert makers.maker([mark], owner="k", conversation=lambda: "b") is None


@pytest.mark.parametrize("mark", [_DISTINCT, "call:call_9aB3xK0pQ2mN", "response:r1", "thought:x"])
def test_distinct_marks(mark):
    """A mark of its own kind is known wherever the conversation seems to begin: histories are cut and summarised."""
    makers = Makers()
    makers.note([mark], "big", owner="k", conversation=lambda: "a")
    assert makers.maker([mark], owner="k", conversation=lambda: "b") == "big"


def test_keys():
    """Keys know nothing of each other's."""
    makers = Makers()
    makers.note([_DISTINCT], "big", owner="k1", conversation=lambda: "a")
    assert makers.maker([_DISTINCT], owner="k2", conversation=lambda: "a") is None


def test_first_known():
    """The first mark that is known decides."""
    makers = Makers()
    makers.note(["response:2"], "big", owner="", conversation=lambda: "")
    makers.note(["response:3"], "small", owner="", conversation=lambda: "")
    assert makers.maker(["response:1", "response:3", "response:2"], owner="", conversation=lambda: "") == "small"


def test_size():
    """A memory of nothing is an error."""
    with pytest.raises(ValueError, match="size is 0"):
        Makers(size=0)
