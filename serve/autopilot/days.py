"""What came of each day (UTC), as the dashboard shows it."""

import time
from typing import Any

__all__ = ["add_to_day"]

_MAX_DAYS = 90
_ADDED = ("requests", "weak", "saved_usd", "comparisons", "compared_usd", "failed")


def add_to_day(days: list[dict[str, Any]], now: float, **figures: Any) -> list[dict[str, Any]]:
    """The days, the oldest first, with figures of now: counts and dollars are added, all else is as it is now.

    Args:
        days: `{"day": "2026-11-28", ...}`.
        figures: `requests`, `weak`, `saved_usd`, `comparisons`, `compared_usd` and `failed` are added.
    """
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    last: dict[str, Any] = {"day": day, **dict.fromkeys(_ADDED, 0)}
    if days and days[-1]["day"] == day:
        last = days[-1]
    added = {name: round(last.get(name, 0) + figures[name], 6) for name in _ADDED if name in figures}
    return [*(each for each in days if each["day"] != day), {**last, **figures, **added}][-_MAX_DAYS:]
