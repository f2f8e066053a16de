"""Counts in words."""

__all__ = ["counted"]


def counted(n: int, one: str, many: str | None = None) -> str:
    """A count and what is counted: "1 prompt", "1,234 prompts", "1 row repeats".

    Args:
        n: how many there are.
        one: the words for one.
        many: the words for any other number; `one` with an s if None.
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
