"""Tokens of one request, as the upstream reports them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Charge", "Usage", "read_usage"]

_MOST_TOKENS = 10**9


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one answer took.

    Attributes:
        input_tokens: of the prompt, those read from the upstream's cache included.
        output_tokens: of the answer, reasoning included.
        cached_tokens: those of `input_tokens` that were read from the upstream's cache.
        cache_write_tokens: those of `input_tokens` that were written to it at a price of their own.
        estimated: counted here, because the upstream did not report them.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Charge:
    """What one try of a request was charged.

    Attributes:
        model: its name here.
        cost_usd: None where its price is not known.
    """

    model: str
    usage: Usage
    cost_usd: float | None


def read_usage(reported: object) -> Usage | None:
    """What an answer's `usage` says, in the words of OpenAI's APIs or of Anthropic's; None where it is of no use.

    Anthropic's `input_tokens` leave out those that were read from the cache or written to it; OpenAI's do not. Zeros
    are what services send that have not counted: there is no prompt without a token.
    """
    found = _read(reported) if isinstance(reported, dict) else None
    return found if found is not None and found.input_tokens + found.output_tokens > 0 else None


def _read(reported: Mapping[str, Any]) -> Usage | None:
    if (tokens := _count(reported, "prompt_tokens")) is not None:
        cached = _count(_inner(reported, "prompt_tokens_details"), "cached_tokens")
        if cached is None:
            cached = _count(reported, "prompt_cache_hit_tokens")  # DeepSeek's word
        written = _count(reported, "cache_creation_input_tokens")  # LiteLLM's, of models that have it
        return Usage(tokens, _count(reported, "completion_tokens") or 0, cached or 0, written or 0)
    if (tokens := _count(reported, "input_tokens")) is None:
        return None
    output = _count(reported, "output_tokens") or 0
    if "cache_read_input_tokens" in reported or "cache_creation_input_tokens" in reported:
        cached = _count(reported, "cache_read_input_tokens") or 0
        written = _count(reported, "cache_creation_input_tokens") or 0
        return Usage(tokens + cached + written, output, cached, written)
    return Usage(tokens, output, _count(_inner(reported, "input_tokens_details"), "cached_tokens") or 0)


def _inner(reported: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = reported.get(name)
    return value if isinstance(value, dict) else {}


def _count(reported: Mapping[str, Any], name: str) -> int | None:
    """A number of tokens; None where it is missing, negative, no whole number, or more than any answer takes."""
    value = reported.get(name)
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
