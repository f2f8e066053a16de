"""Progress on stderr."""

import io
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["progress_bar"]


def progress_bar(unit: str) -> Progress:
    """A progress bar on stderr, shown only on a terminal and removed when done.

    Args:
        unit: what is counted, e.g. "prompts".
    """
    shown = sys.stderr is not None and sys.stderr.isatty()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=Console(stderr=True) if shown else Console(file=io.StringIO()),  # Rich 13 ends a hidden bar with a line
        transient=True,
        disable=not shown,
    )
