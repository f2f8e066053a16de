"""Figures in words, as the dashboard's sentences have them."""

from pointsman.core.dollars import dollars as in_dollars

__all__ = ["dollars", "percent", "points"]


def dollars(usd: float) -> str:
    """Dollars as `core.dollars` has them, with a minus sign."""
    return in_dollars(usd).replace("-", "−")


def percent(share: float) -> str:
    """A share in percent, with a decimal where it would be below ten."""
    value = 100.0 * share
    return f"{value:.0f} %" if abs(value) >= 9.95 or value == round(value) else f"{value:.1f} %"


def points(loss: float) -> str:
    """A loss as a change of quality in points, a hundredth of the scale of scores."""
    value = -100.0 * loss
    return "±0.0 points" if abs(value) < 0.05 else f"{value:+.1f} points".replace("-", "−")
