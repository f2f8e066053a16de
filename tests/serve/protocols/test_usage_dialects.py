"""Usage in every dialect: the same tokens, however a service reports them, and never too few."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.prices import Price
from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.token_count import count_input_tokens
from pointsman.serve.protocols.usage import Usage, read_usage

# prompt 1,500 with 100 from the cache and 50 written to it, 200 of output with 120 of reasoning
EXPECTED = Usage(1500, 200, 100, 50)
DETAILS = {"cached_tokens": 100, "cache_write_tokens": 50}
DIALECTS = {
    "OpenAI": {"prompt_tokens": 1500, "completion_tokens": 200, "total_tokens": 1700, "prompt_tokens_details": DETAILS},
    "OpenAI's Responses": {
        "input_tokens": 1500, "output_tokens": 200, "total_tokens": 1700, "input_tokens_details": DETAILS,
    },
    "floats": {"prompt_tokens": 1500.0, "completion_tokens": 200.0, "prompt_tokens_details": DETAILS},
    "DeepSeek": {
        "prompt_tokens": 1500, "completion_tokens": 200, "prompt_cache_hit_tokens": 100, "cache_write_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
    "Moonshot": {
        "prompt_tokens": 1500, "completion_tokens": 200, "total_tokens": 1700, "cached_tokens": 100,
        "cache_creation_input_tokens": 50,
    },
    "LiteLLM": {
        "prompt_tokens": 1500, "completion_tokens": 200, "total_tokens": 1700, "cache_read_input_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_creation_tokens": 50},
    },
    "Anthropic": {
        "input_tokens": 1350, "output_tokens": 200, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 50,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_says_the_same(name):
    """Cached and written tokens are found wherever a service puts them."""
    assert read_usage(DIALECTS[name]) == EXPECTED


def test_reasoning_outside_the_completion_is_charged():
    """xAI's and Gemini's completion leaves reasoning out; the total has it, and what is beyond the parts is output."""
    told = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    xai = {**told, "completion_tokens_details": {"reasoning_tokens": 100}}
    for found in (read_usage(told), read_usage(xai)):
        assert (found.input_tokens, found.output_tokens, found.disagrees) == (10, 105, True)
    assert read_usage({"input_tokens": 10, "output_tokens": 5, "total_tokens": 115}).output_tokens == 105


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(-(10**6), 10**6))
def test_a_total_never_makes_an_answer_cheaper(prompt, output, beyond):
    """Whatever the total says, at least what the parts say is charged."""
    total = max(0, prompt + output + beyond)
    found = read_usage({"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": total})
    assert (found.input_tokens, found.output_tokens) == (prompt, max(output, total - prompt))
    assert found.disagrees == (total not in (0, prompt + output))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_hour_in_the_cache_has_its_own_price(fresh, minutes, hour):
    """Anthropic's one-hour writes are told from those of minutes, and priced apart where a price says so."""
    found = read_usage({
        "input_tokens": fresh,
        "output_tokens": 1,
        "cache_creation_input_tokens": minutes + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour},
    })  # fmt: skip
    assert (found.input_tokens, found.cache_write_tokens, found.cache_write_hour_tokens) == (
        fresh + minutes + hour, minutes + hour, hour,
    )  # fmt: skip
    price = Price(1.0, 0.0, cache_write_usd=1.25, cache_write_hour_usd=2.0)
    usd = price.cost_usd(
        found.input_tokens, 1, cache_write_tokens=found.cache_write_tokens, cache_write_hour_tokens=hour
    )
    assert usd == pytest.approx((fresh + 1.25 * minutes + 2.0 * hour) / 1e6)


def test_sound_has_its_own_price():
    """Audio tokens of prompt and answer are read, and priced apart where a price says so."""
    found = read_usage({
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"audio_tokens": 80},
        "completion_tokens_details": {"audio_tokens": 40},
    })  # fmt: skip
    assert (found.audio_input_tokens, found.audio_output_tokens) == (80, 40)
    price = Price(1.0, 2.0, audio_input_usd=10.0, audio_output_usd=20.0)
    usd = price.cost_usd(100, 50, audio_input_tokens=80, audio_output_tokens=40)
    assert usd == pytest.approx((20 + 800 + 20 + 800) / 1e6)


@pytest.mark.parametrize("zeros", [{}, {"input_tokens": 0, "cache_read_input_tokens": 0}, {"input_tokens": None}])
def test_zeros_later_in_a_stream_do_not_erase_the_prompt(zeros):
    """What message_start said of the prompt holds when message_delta repeats it as zeros."""
    stream = MessagesStream()
    start = {"input_tokens": 1500, "output_tokens": 1, "cache_read_input_tokens": 100}
    for event in (
        {"type": "message_start", "message": {"usage": start}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {**zeros, "output_tokens": 15}},
    ):
        stream.see(orjson.dumps(event))
    assert stream.usage == Usage(1600, 15, 100)


@pytest.mark.parametrize("given_tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_are_counted_one_by_one(given_tokens):
    """A request for embeddings of token ids has as many tokens as ids."""
    assert count_input_tokens({"model": "m", "input": given_tokens}) == 3
