"""Tokens of one request, as the upstream reports them."""

from collections.abc import Mapping
from typing import Any

from pointsman.core.quick_dataclass import quick_dataclass

__all__ = ["Charge", "Usage", "read_usage"]

_MOST_TOKENS = 10**9


@quick_dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one answer took.

    Attributes:
        input_tokens: of the prompt, those read from the upstream's cache included.
        output_tokens: of the answer, reasoning included.
        cached_tokens: those of `input_tokens` that were read from the upstream's cache.
        cache_write_tokens: those of `input_tokens` that were written to it at a price of their own.
        cache_write_hour_tokens: those of `cache_write_tokens` that it keeps for an hour instead of minutes.
        audio_input_tokens, audio_output_tokens: those of `input_tokens` and `output_tokens` that are sound.
        disagrees: the reported total is not the sum of the reported parts.
        estimated: counted here, because the upstream did not report them.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    estimated: bool = False
    cache_write_hour_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    disagrees: bool = False


@quick_dataclass(frozen=True, slots=True)
class Charge:
    """The charge of one attempt of a request.

    Attributes:
        model: its name here.
        cost_usd: None where its price is not known.
    """

    model: str
    usage: Usage
    cost_usd: float | None


def read_usage(reported: object) -> Usage | None:
    """What an answer's `usage` says, in any of the dialects below; None where it is of no use.

    Anthropic's `input_tokens` leave out those that were read from the cache or written to it; OpenAI's do not. Zeros
    are what services send that have not counted: there is no prompt without a token. Where the total is more than
    prompt and completion, the rest was output: xAI and Gemini leave reasoning out of the completion.
    """
    found = _read(reported) if isinstance(reported, dict) else None
    return found if found is not None and found.input_tokens + found.output_tokens > 0 else None


# Where services report tokens of a kind. Dots lead into objects.
_PLACES = {
    "prompt": ("prompt_tokens", "input_tokens"),
    "output": ("completion_tokens", "output_tokens"),
    "total": ("total_tokens",),
    "cached": (
        "prompt_tokens_details.cached_tokens",  # OpenAI, xAI, Gemini, Qwen, vLLM, OpenRouter
        "input_tokens_details.cached_tokens",  # OpenAI's Responses API
        "prompt_cache_hit_tokens",  # DeepSeek
        "cached_tokens",  # Moonshot
        "num_cached_tokens",  # Mistral
        "cache_read_input_tokens",  # LiteLLM
    ),
    "written": (
        "prompt_tokens_details.cache_write_tokens",  # OpenRouter
        "prompt_tokens_details.cache_creation_tokens",  # LiteLLM
        "input_tokens_details.cache_write_tokens",
        "input_tokens_details.cache_creation_tokens",
        "cache_creation_input_tokens",  # Anthropic, LiteLLM
        "cache_write_tokens",
    ),
    "hour": (
        "cache_creation.ephemeral_1h_input_tokens",  # Anthropic
        "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",  # LiteLLM
    ),
    "audio_in": ("prompt_tokens_details.audio_tokens", "input_tokens_details.audio_tokens"),
    "audio_out": ("completion_tokens_details.audio_tokens", "output_tokens_details.audio_tokens"),
}
_ANTHROPIC = {"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"}


def _by_name() -> dict[str, Any]:
    """The kind of each name, or what is within: the places, turned round."""
    table: dict[str, Any] = {}
    for kind, places in _PLACES.items():
        for place in places:
            *outer, last = place.split(".")
            within = table
            for name in outer:
                within = within.setdefault(name, {})
            within[last] = kind
    return table


_KINDS = _by_name()


def _read(reported: Mapping[str, Any]) -> Usage | None:
    most: dict[str, int] = {}
    _gather(reported, _KINDS, most)
    prompt = most.get("prompt")
    if prompt is None:
        return None
    output, total = most.get("output", 0), most.get("total")
    hour, cached = most.get("hour", 0), most.get("cached", 0)
    written = max(hour, most.get("written", 0))
    if "prompt_tokens" not in reported and _ANTHROPIC & reported.keys():
        prompt += cached + written
    known = prompt + output
    return Usage(
        prompt,
        output if total is None else max(output, total - prompt),
        min(cached, prompt),
        min(written, prompt),
        cache_write_hour_tokens=min(hour, prompt),
        audio_input_tokens=min(most.get("audio_in", 0), prompt),
        audio_output_tokens=min(most.get("audio_out", 0), output),
        disagrees=total not in (None, 0, known),
    )


def _gather(reported: Mapping[str, Any], kinds: Mapping[str, Any], most: dict[str, int]) -> None:
    """The highest number of tokens of each kind: some services fill the places of others with zeros."""
    for name, value in reported.items():
        kind = kinds.get(name)
        if kind is None:
            continue
        if type(kind) is dict:
            if isinstance(value, dict):
                _gather(value, kind, most)
        else:  # a number that is missing, negative, not whole, or more than any answer takes says nothing
            if type(value) is float and value.is_integer():
                value = int(value)
            if type(value) is int and most.get(kind, 0) <= value <= _MOST_TOKENS:
                most[kind] = value
