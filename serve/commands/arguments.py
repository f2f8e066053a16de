"""Values of options, checked as they are parsed: what is wrong with them is wrong usage."""

import argparse
import math

__all__ = ["amount", "checkpoint_output", "fraction"]


def amount(text: str) -> float:
    """A finite number that is not negative."""
    return _number(text, "a number that is not negative", math.inf)


def checkpoint_output(text: str) -> str:
    """A directory to write a checkpoint to. The name of a bundled router is none: it never means a directory."""
    from pointsman.serve.checkpoints.load import is_bundled

    if is_bundled(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} always means the bundled router and would never be read from a directory of that name; "
            f"give a path, such as ./{text} or my-{text}"
        )
    return text


def fraction(text: str) -> float:
    """A number in [0, 1]."""
    return _number(text, "a number in [0, 1]", 1.0)


def _number(text: str, wanted: str, highest: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and 0.0 <= value <= highest):
        raise argparse.ArgumentTypeError(f"{text!r} is given, wanted {wanted}")
    return value
