"""Conversations: when they stay with their model, and how they are told from each other."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.core.prices import Price
from pointsman.core.sessions import Sessions, Turn, upgrade_threshold
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.protocols.capabilities import find_needs
from pointsman.serve.protocols.requests import read_chat, read_object
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import is_first_turn, next_turn, session_of

TOKENS = st.floats(0, 1e6)
STRONG, WEAK = Price(10.0, 30.0, 1.0), Price(0.5, 1.5, 0.05)


def context(messages, *, header=None, key=None, **more):
    body = json.dumps({"model": "auto", "messages": messages, **more}).encode()
    return RequestContext(read_chat(body), key=key, client={"x-pointsman-session": header} if header else {})


def said(*turns):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]


def test_an_upgrade_costs_what_the_lost_cache_costs():
    """Worked by hand: 10,000 cached tokens read anew cost 0.09 dollars, a strong answer 0.0195 more than a weak one."""
    turn = Turn(prefix_tokens=10_000, new_tokens=100, output_tokens=300)
    extra = (10_000 * (1.0 - 0.05) + 100 * 9.5 + 300 * 28.5) / 1e6
    assert upgrade_threshold(0.3, turn, strong=STRONG, weak=WEAK) == pytest.approx(0.3 * (1 + 0.09 / extra))


@given(st.floats(0, 1), TOKENS, TOKENS, TOKENS, st.floats(1, 1e6))
@example(0.5, 0.0, 0.0, 1.0, 10.0)
def test_an_upgrade_never_asks_for_less_than_the_threshold_and_for_more_the_longer_the_prefix(
    t, prefix, new, more, out
):
    """The win rate that is asked for never falls below the threshold, and never falls with what was said before."""
    short, long = Turn(prefix, new, out), Turn(prefix + more, new, out)
    asked = [upgrade_threshold(t, turn, strong=STRONG, weak=WEAK) for turn in (short, long)]
    assert t <= asked[0] <= asked[1] * (1 + 1e-12)


def test_without_a_cache_price_or_any_price_only_the_margin_counts():
    """A cache that saves nothing is not lost; without prices a margin stands for them; a strong model that costs no
    more may be upgraded to at once."""
    turn = Turn(5000, 100, 300)
    assert upgrade_threshold(0.3, turn, strong=Price(10, 30), weak=WEAK) == pytest.approx(0.3)
    assert upgrade_threshold(0.3, turn, strong=None, weak=WEAK, margin=0.05) == pytest.approx(0.35)
    assert upgrade_threshold(0.3, turn, strong=WEAK, weak=STRONG, margin=0.05) == 0.3


def test_memory_is_bounded_in_number_and_time():
    """The conversation that was silent for longest goes first, and one that is too old is not known any more."""
    sessions = Sessions(size=3, ttl_s=100.0)
    for i in range(3):
        sessions.keep(str(i), "big", float(i))
    sessions.keep("0", "big", 4.0)
    sessions.keep("3", "small", 5.0)
    assert len(sessions) == 3
    assert [sessions.model(str(i), 6.0) for i in range(4)] == ["big", None, "big", "small"]
    assert sessions.model("3", 105.0) == "small"
    assert sessions.model("3", 106.0) is None
    assert sessions.model("3", -1e9) == "small"


@pytest.mark.parametrize(("size", "ttl_s"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_a_memory_of_nothing_is_refused(size, ttl_s):
    """At least one conversation, for some time."""
    with pytest.raises(ValueError, match="wanted positive numbers"):
        Sessions(size=size, ttl_s=ttl_s)


def test_a_conversation_is_the_same_from_turn_to_turn():
    """Its beginning does not change as it grows; another beginning, user or key is another conversation."""
    first, third = context(said("Hello")), context(said("Hello", "Hi", "And now?"))
    others = [
        context(said("Good evening")),
        context(said("Hello"), user="someone"),
        context(said("Hello"), prompt_cache_key="app"),
        context([{"role": "system", "content": "Be brief"}, *said("Hello")]),
        context(said("Hello"), key=AccessKey("k", "name", "", 0)),
        context(said("Hello"), header="42"),
    ]
    assert session_of(first) == session_of(third)
    assert len({session_of(each) for each in [first, *others]}) == 7


def test_a_conversation_that_is_named_is_known_by_its_name():
    """By the header before all, and by the Responses API's conversation, as a string or an object."""
    assert session_of(context(said("a"), header="42")) == session_of(context(said("b", "c", "d"), header="42"))
    named = [context(said("a"), conversation=name) for name in ("conv_1", {"id": "conv_1"})]
    assert session_of(named[0]) == session_of(named[1])
    assert session_of(named[0]) != session_of(context(said("a")))


def test_a_first_turn_has_no_answer_yet():
    """Unless the client names the conversation, which it may have begun elsewhere."""
    assert is_first_turn(context(said("Hello")))
    assert not is_first_turn(context(said("Hello", "Hi", "And now?")))
    assert not is_first_turn(context(said("Hello"), header="42"))
    assert not is_first_turn(context(said("Hello"), previous_response_id="resp_1"))


def test_the_prefix_is_what_was_said_up_to_the_last_answer():
    """Four characters are a token; text parts count, images do not."""
    parts = [{"type": "text", "text": "x" * 40}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    messages = [*said("a" * 80, "b" * 40), {"role": "user", "content": parts}]
    assert next_turn(context(messages), output_tokens=300) == Turn(30.0, 10.0, 300)


KEYS = st.sampled_from(["content", "type", "role", "text", "output", "messages", "input"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@given(ANYTHING)
@example([{"role": "user", "content": "\udc00"}])
def test_no_document_is_too_odd(messages):
    """Whatever JSON stands where messages should, needs, turn and session are found without an error."""
    document = read_object(json.dumps({"messages": messages, "input": messages, "tools": messages}).encode())
    made = context(said("Hello"))
    odd = RequestContext(made.request.__class__(b"", document, "auto", False, ""))
    assert set(find_needs(document)) <= {"tools", "images", "audio", "files"}
    assert len(session_of(odd)) == 32
    assert next_turn(odd, output_tokens=1.0).prefix_tokens >= 0
    assert is_first_turn(odd) in (True, False)


@pytest.mark.parametrize(
    ("document", "needs"),
    [
        ({"messages": said("Hello"), "tools": []}, ()),
        ({"messages": said("Hello"), "tools": [{"type": "function"}]}, ("tools",)),
        ({"messages": said("Hello"), "functions": [{"name": "f"}]}, ("tools",)),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}, {"type": "text"}]}]}, ("images",)),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}, {"type": "file"}]}]}, ("audio", "files")),
        ({"messages": said("Hello"), "modalities": ["text", "audio"]}, ("audio",)),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, ("files",)),
        ({"messages": [{"role": "user", "content": [
            {"type": "tool_result", "content": [{"type": "image"}]}, {"type": "document"}]}]}, ("files", "images")),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}, ("images",)),
    ],
)  # fmt: skip
def test_needs_are_found_on_every_surface(document, needs):
    """OpenAI's chat and responses, and Anthropic's messages with images inside tool results."""
    assert find_needs(document) == needs
