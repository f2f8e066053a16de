"""One figure of an evaluation: quality against strong share, quality against dollars, and reliability."""

import io
import os
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.backends.evaluation.report import LENGTH, ORACLE, RANDOM, Evaluation, RouterFigures
from pointsman.core.counted import counted
from pointsman.core.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "QUIET", "draw", "rendered"]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito: told apart by everyone
QUIET, _FAINT, _INK = "#767676", "#d9d9d9", "#222222"
_LEGEND_COLUMNS = (2, 3, 4)  # by number of panels
_N_OTHER_ENTRIES = 5
_MAX_BANDS = 3  # more would be mud: the best router's band alone
_MARKS = {"50": ("o", 0.5), "80": ("s", 0.8)}
_STYLE = {
    "font.size": 14,
    "axes.titlesize": 16,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "pointsman",
}


def draw(evaluation: Evaluation, path: str | os.PathLike[str] | None = None) -> str | None:
    """Draws the figure to a file, in the format of its suffix; without a path, returns SVG text.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    return rendered(lambda make: _figure(make, evaluation), path)


def rendered(draw_with: "Callable[[type[Figure]], Figure]", path: str | os.PathLike[str] | None) -> str | None:
    """A figure in our style, written to a file or, without a path, as SVG text; see `draw`.

    Args:
        draw_with: makes it, given matplotlib's class.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    with matplotlib.rc_context(_STYLE):
        figure = draw_with(Figure)
        if path is not None:
            figure.savefig(path, dpi=150, metadata={"Date": None} if str(path).endswith(".svg") else None)
            return None
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        return text.getvalue()


def _figure(make: "type[Figure]", evaluation: Evaluation) -> "Figure":
    routers = [row for row in evaluation.rows if not row.baseline]
    colors = dict(zip([row.name for row in routers], cycle(COLORS), strict=False))
    with_cost = evaluation.strong_usd is not None
    with_reliability = any(row.reliability for row in routers)
    widths = [1.35, *([1.1] if with_cost else []), *([1.0] if with_reliability else [])]
    n_legend_rows = -(-(len(routers) + _N_OTHER_ENTRIES) // _LEGEND_COLUMNS[len(widths) - 1])
    figure = make(figsize=(1.0 + 5.2 * sum(widths) / 1.1, 5.4 + 0.33 * n_legend_rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.12)
    axes = iter(np.atleast_1d(figure.subplots(1, len(widths), width_ratios=widths)))
    shares = next(axes)
    _share_panel(shares, evaluation, routers, colors)
    if with_cost:
        _cost_panel(next(axes), evaluation, routers, colors)
    if with_reliability:
        _reliability_panel(next(axes), routers, colors)
    _legend(figure, shares, routers, _LEGEND_COLUMNS[len(widths) - 1])
    title = f"{Path(evaluation.source).name}: {counted(evaluation.n_prompts, 'prompt')}"
    if (evaluation.strong_model, evaluation.weak_model) != ("strong", "weak"):
        title += f", {evaluation.strong_model} (strong) or {evaluation.weak_model} (weak)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, color=QUIET)
    return figure


def _legend(figure: "Figure", axes: "Axes", routers: list[RouterFigures], n_columns: int) -> None:
    """One legend below all panels, routers first."""
    first = {_label(row) for row in routers}
    entries = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda entry: entry[1] not in first)
    handles, labels = zip(*entries, strict=True)
    figure.legend(handles, labels, loc="outside lower center", ncols=n_columns, frameon=False)


def _share_panel(axes: "Axes", evaluation: Evaluation, routers: list[RouterFigures], colors: dict[str, str]) -> None:
    weak, strong = evaluation.weak.value or 0.0, evaluation.strong.value or 0.0
    grid = 100.0 * np.array(evaluation.rows[0].curve["share"])
    chance = weak + (strong - weak) * grid / 100.0
    band = np.array(evaluation.random_band)
    banded = sorted(routers, key=lambda row: row.apgr.value or 0.0)[-1:] if len(routers) > _MAX_BANDS else routers
    axes.fill_between(grid, chance - band, chance + band, color=_FAINT, lw=0, label=f"{RANDOM}, 95 %")
    for row in evaluation.rows:
        line: dict[str, Any] = {"color": QUIET, "lw": 2.0}
        if row.name == LENGTH:
            axes.plot(grid, row.curve["quality"], ls="--", label=LENGTH, **line)
        elif row.name == ORACLE:
            axes.plot(grid, row.curve["quality"], ls=":", label=ORACLE, **line)
    for row in routers:
        color = colors[row.name]
        if row in banded:
            axes.fill_between(grid, row.curve["low"], row.curve["high"], color=color, alpha=0.15, lw=0)
        axes.plot(grid, row.curve["quality"], color=color, lw=3.0, label=_label(row))
    if evaluation.gap is not None:
        _cpt_marks(axes, evaluation, routers, colors)
    for level, text in ((strong, f"strong {strong:.3g}"), (weak, f"weak {weak:.3g}")):
        axes.axhline(level, color=_INK, lw=1.0, zorder=0)
        _beside(axes, level, text, _INK)
    best = next(max(row.curve["quality"]) for row in evaluation.rows if row.name == ORACLE)
    room = max(abs(strong - weak), 1e-3)
    drawn = [value for row in routers for value in (min(row.curve["low"]), max(row.curve["high"]))]
    axes.set_ylim(min([weak, *drawn]) - 0.12 * room, min(best, max([strong, *drawn]) + 0.45 * room) + 0.05 * room)
    axes.set(title="Quality against strong calls", xlabel="prompts sent to the strong model (%)", ylabel="mean score")
    axes.set_xlim(0, 100)


def _cpt_marks(axes: "Axes", evaluation: Evaluation, routers: list[RouterFigures], colors: dict[str, str]) -> None:
    weak, gap = evaluation.weak.value or 0.0, evaluation.gap or 0.0
    for name, (marker, part) in _MARKS.items():
        level = weak + part * gap
        axes.axhline(level, color=_FAINT, lw=1.2, zorder=0)
        _beside(axes, level, f"{name} % of gap", QUIET)
        for row in routers:
            share = row.cpt[name].value
            if share is not None:
                axes.plot(100 * share, level, marker, ms=11, mec="white", mew=1.8, color=colors[row.name], zorder=5)
    axes.plot([], [], "o", color=QUIET, ms=10, label="CPT50")
    axes.plot([], [], "s", color=QUIET, ms=10, label="CPT80")


def _beside(axes: "Axes", level: float, text: str, color: str) -> None:
    """Writes a text to the right of the axes, at the height of a level."""
    axes.annotate(text, (100, level), xytext=(6, 0), textcoords="offset points", va="center", fontsize=13, color=color)


def _cost_panel(axes: "Axes", evaluation: Evaluation, routers: list[RouterFigures], colors: dict[str, str]) -> None:
    for row in evaluation.rows:
        quiet = {LENGTH: "--", ORACLE: ":"}.get(row.name)
        if quiet:
            axes.plot(row.curve["usd"], row.curve["quality"], ls=quiet, color=QUIET, lw=2.0)
    for row in routers:
        axes.plot(row.curve["usd"], row.curve["quality"], color=colors[row.name], lw=3.0)
    ends = (
        (evaluation.weak_usd, evaluation.weak, "weak", (14, -4)),
        (evaluation.strong_usd, evaluation.strong, "strong", (2, 12)),
    )
    for usd, quality, name, place in ends:
        axes.plot(usd, quality.value, "D", color=_INK, ms=10, zorder=5, clip_on=False)
        axes.annotate(name, (usd, quality.value), xytext=place, textcoords="offset points", fontsize=13)
    axes.set(title="Quality against cost", xlabel="US dollars per thousand prompts", ylabel="mean score")
    axes.margins(0.06)


def _reliability_panel(axes: "Axes", routers: list[RouterFigures], colors: dict[str, str]) -> None:
    for row in routers:
        if row.reliability:
            bins = row.reliability
            errors = 1.96 * np.array(bins["outcome_error"])
            line = {"color": colors[row.name], "marker": "o", "ms": 5, "lw": 1.8, "elinewidth": 1.2}
            axes.errorbar(bins["win_rate"], bins["outcome"], yerr=errors, **line)
    ends = np.array([*axes.get_xlim(), *axes.get_ylim()])
    low, high = max(0.0, np.floor(10 * ends.min()) / 10), min(1.0, np.ceil(10 * ends.max()) / 10)
    axes.plot([low, high], [low, high], color=QUIET, lw=1.5, ls=":", zorder=0)
    axes.annotate("calibrated", (low, low), rotation=45, rotation_mode="anchor", xytext=(14, 18),
                  textcoords="offset points", color=QUIET, fontsize=12, transform_rotates_text=True)  # fmt: skip
    axes.set(xlim=(low, high), ylim=(low, high), title="Reliability")
    axes.set(xlabel="win rate predicted", ylabel="outcome (a tie is ½)")
    axes.set_aspect("equal", adjustable="box", anchor="N")


def _label(row: RouterFigures) -> str:
    figures = [f"APGR {row.apgr.value:.3f}"] if row.apgr.value is not None else []
    figures += [f"ECE {row.ece:.3f}"] if row.ece is not None else []
    return f"{row.name}: {', '.join(figures)}" if figures else row.name
