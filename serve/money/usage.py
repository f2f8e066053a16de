"""Tokens of one request, as the upstream reports them."""

from dataclasses import dataclass

__all__ = ["Usage"]


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
