"""Dollars in words, the same in every command, message and view."""

import math
from collections.abc import Sequence

__all__ = ["dollar_column", "dollars"]

_LEAST = 5e-7


def dollars(usd: float, *, sign: bool = False) -> str:
    """An amount to the cent from one dollar on, with three digits below, down to a millionth: $1,204.50, $0.00123.

    What is not nothing never reads as nothing: up to half a millionth it is "< $0.000001".

    Args:
        sign: put a plus before what is positive.
    """
    size, before = abs(usd), "-" if usd < 0.0 else "+" if sign else ""
    if 0.0 < size <= _LEAST:
        return f"{'> -' if usd < 0.0 else '< '}$0.000001"
    if size == 0.0 or size >= 0.995:
        return f"{before if size else ''}${size:,.2f}"
    whole, _, part = f"{size:.{min(2 - math.floor(math.log10(size)), 6)}f}".partition(".")
    return f"{before}${whole}.{part.rstrip('0').ljust(2, '0')}"


def dollar_column(amounts: Sequence[float | None]) -> list[str]:
    """Amounts below each other, without a sign: all with the decimals that the least of them needs; "-" for None."""
    sizes = [abs(usd) for usd in amounts if usd is not None and abs(usd) > _LEAST]
    decimals = len(dollars(min(sizes)).partition(".")[2]) if sizes else 2
    return ["-" if usd is None else f"{usd:,.{decimals}f}" for usd in amounts]
