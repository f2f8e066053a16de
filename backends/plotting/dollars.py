"""Quality against dollars: what routers of many candidates reach, beside single models and mixtures of them."""

import os
from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.backends.plotting.figure import COLORS, QUIET, rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_dollars"]


def draw_dollars(
    reports: Mapping[str, Mapping[str, Any]], title: str, path: str | os.PathLike[str] | None = None
) -> str | None:
    """Draws the curves to a file, in the format of its suffix; without a path, returns SVG text.

    Args:
        reports: the output of `pointsman evaluate --candidates --json` for each router.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    return rendered(lambda make: _figure(make, reports, title), path)


def _figure(make: "type[Figure]", reports: Mapping[str, Mapping[str, Any]], title: str) -> "Figure":
    figure = make(figsize=(10.0, 6.6), layout="constrained")
    axes = figure.subplots()
    first = next(iter(reports.values()))
    for (name, report), color in zip(reports.items(), cycle(COLORS), strict=False):
        usd, quality, error = _columns(report["curve"], "usd", "quality", "quality_error")
        order = np.lexsort((quality, usd))
        axes.plot(usd[order], quality[order], color=color, lw=2.2, label=name)
        if len(reports) == 1:
            low, high = quality - 1.96 * error, quality + 1.96 * error
            axes.fill_between(usd[order], low[order], high[order], color=color, alpha=0.15, lw=0)
    usd, quality = _columns(first["prompt_length"], "usd", "quality")
    order = np.lexsort((quality, usd))
    axes.plot(usd[order], quality[order], color=QUIET, lw=1.5, ls=":", label="prompt length")
    vertices = sorted((each["usd"], each["quality"]) for each in first["singles"] if each["model"] in first["hull"])
    ends = np.array(vertices).T * [[1000.0], [1.0]]
    free = ends[0, 0] <= 0.0  # a model that costs nothing has no place on a logarithmic scale
    grid = (np.linspace if free else np.geomspace)(ends[0, 0], ends[0, -1], 200)
    axes.plot(grid, np.interp(grid, *ends), color=QUIET, lw=1.5, ls="--", label="mixtures of models")
    for each in first["singles"]:
        point = 1000.0 * each["usd"], each["quality"]
        axes.plot(*point, "o", color=QUIET, ms=7)
        axes.annotate(each["model"], point, xytext=(6, -14), textcoords="offset points", fontsize=11, color=QUIET)
    axes.set(xscale="linear" if free else "log", xlabel="dollars per thousand prompts", ylabel="mean score")
    axes.legend(loc="lower right", frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, color=QUIET)
    return figure


def _columns(points: list[dict[str, float]], *names: str) -> list[np.ndarray]:
    """Columns of a curve, dollars per thousand."""
    return [np.array([point[name] for point in points]) * (1000.0 if name == "usd" else 1.0) for name in names]
