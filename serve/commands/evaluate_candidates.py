"""`pointsman evaluate --candidates`: quality against cost for routers of many candidates."""

import argparse
import json
import operator
import re
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointsman.core.counted import counted
from pointsman.core.dollars import dollar_column, dollars
from pointsman.core.errors import DataError
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.arguments import mapped
from pointsman.serve.commands.candidate_predictions import predictions, require_bills

if TYPE_CHECKING:
    from pointsman.backends.data.score_tables import ScoreTable
    from pointsman.backends.evaluation.quality_by_dollars import DollarCurve

__all__ = ["check_condition", "evaluate_candidates"]

_CONDITION = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*(-?[0-9.]+)\s*")
_COMPARES = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
_FIGURES = ("gain_over_hull", "cost_at_best_quality", "gain_at_best_cost", "gain_over_length")
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; }}
svg {{ width: 100%; height: auto; }} pre {{ overflow-x: auto; }}</style>
<h1>{title}</h1>
{figure}
<pre>{text}</pre>
</html>
"""


def check_condition(text: str) -> tuple[str, str, float]:
    """A condition such as "gain_over_hull < 0.01".

    Raises:
        ArgumentTypeError: it is malformed, or names another figure.
    """
    found = _CONDITION.fullmatch(text)
    if found is None or found[1] not in _FIGURES:
        raise argparse.ArgumentTypeError(f"{text!r} is given, wanted FIGURE < NUMBER with one of {', '.join(_FIGURES)}")
    return found[1], found[2], float(found[3])


def evaluate_candidates(args: argparse.Namespace) -> int:
    """Scores the prompts with every router and compares it with single models; returns 1 where --fail-if holds."""
    from pointsman.backends.data.score_tables import check_candidates, read_score_table

    table = read_score_table([mapped(args.outcomes, args)], args.candidates, scale=args.scale)
    check_candidates(table, args.candidates)
    table = table.of(args.candidates)
    _note_missing(table)
    reports = {name: _report(name, table, args) for name in args.routers}
    _draw(reports, table, args)
    if args.json:
        print(json.dumps({"candidates": list(table.models), "n_prompts": len(table), "routers": reports}))
    else:
        print("\n\n".join(_text(name, report) for name, report in reports.items()))
    failed = [name for name, report in reports.items() if args.fail_if and _holds(args.fail_if, report)]
    for name in failed:
        print(f"{name}: {' '.join(map(str, args.fail_if))}", file=sys.stderr)
    return int(bool(failed))


def _note_missing(table: "ScoreTable") -> None:
    """Says where a mean stands in for a score."""
    import numpy as np

    n_missing = int((~np.isfinite(table.scores)).any(axis=1).sum())
    if n_missing:
        said = f"{counted(n_missing, 'prompt')} of {len(table):,} lack the score of a candidate: its mean counts there"
        print(said, file=sys.stderr)


def _draw(reports: dict[str, Any], table: "ScoreTable", args: argparse.Namespace) -> None:
    """Writes the figure and the page, if requested."""
    if not (args.figure or args.html):
        return
    from pointsman.backends.plotting.dollars import draw_dollars

    title = f"{Path(table.source).name}: {counted(len(table), 'prompt')}, {counted(len(table.models), 'model')}"
    try:
        if args.figure:
            draw_dollars(reports, title, args.figure)
        if args.html:
            figure = draw_dollars(reports, title) or ""
            text = "\n\n".join(_text(name, report) for name, report in reports.items())
            page = _PAGE.format(title=escape(title), figure=figure[figure.index("<svg") :], text=escape(text))
            Path(args.html).write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the report: {error}") from error


def _report(name: str, table: "ScoreTable", args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from pointsman.backends.evaluation.quality_by_dollars import (
        gain_interval,
        length_curve,
        paired_gain,
        threshold_curve,
    )

    require_bills(table, "quality against dollars")
    checkpoint = load_checkpoint(name)
    router = load_router(checkpoint, candidates=table.models if len(table.models) > 2 else ())
    found = predictions(router, table)
    curve = threshold_curve(found.win_rates, found.usd, table.scores, table.usd, point_usd=found.point_usd)
    drawn = gain_interval(
        curve, table.scores, table.usd, n_replicates=args.replicates, rng=np.random.default_rng(args.seed)
    )
    by_length = length_curve(table.prompts, table.scores, table.usd, seed=args.seed)
    over_length = paired_gain(
        curve,
        by_length,
        table.scores,
        table.usd,
        n_replicates=args.replicates,
        rng=np.random.default_rng(args.seed),
    )
    note = checkpoint.metrics.get("evidence", {}).get("note")
    drawn["gain_over_length"] = over_length[1:]
    return {
        **curve.to_dict(table.models),
        "gain_over_length": over_length[0],
        "prompt_length": by_length.to_dict(table.models)["curve"],
        "intervals": drawn,
        **_limits(table, curve),
        "training": note,
    }


def _limits(table: "ScoreTable", curve: "DollarCurve") -> dict[str, Any]:
    """What knowing the data set, or knowing the outcome, would achieve."""
    import numpy as np

    from pointsman.core.score_models import column_means

    scores, usd = (np.where(np.isfinite(values), values, column_means(values)) for values in (table.scores, table.usd))
    rows = np.arange(len(scores))
    best = scores.max(axis=1, keepdims=True)
    cheapest = np.where(scores >= best, usd, np.inf).argmin(axis=1)
    found: dict[str, Any] = {
        "cheapest_correct": {"quality": float(scores[rows, cheapest].mean()), "usd": float(usd[rows, cheapest].mean())}
    }
    if table.group is not None:
        by_group = {name: int(scores[table.group == name].mean(axis=0).argmax()) for name in np.unique(table.group)}
        chosen = np.array([by_group[name] for name in table.group])
        found["best_of_each_group"] = {
            "quality": float(scores[rows, chosen].mean()),
            "usd": float(usd[rows, chosen].mean()),
        }
    return found


def _holds(condition: tuple[str, str, float], report: dict[str, Any]) -> bool:
    name, sign, number = condition
    best = next(each for each in report["singles"] if each["model"] == report["best_single"])
    value = report["quality_at_best_cost"] - best["quality"] if name == "gain_at_best_cost" else report[name]
    return bool(_COMPARES[sign](1.0 if value is None else value, number))


def _text(name: str, report: dict[str, Any]) -> str:
    best = next(each for each in report["singles"] if each["model"] == report["best_single"])
    low, high = report["intervals"]["gain_over_hull"]
    cost, (least, most) = report["cost_at_best_quality"], report["intervals"]["cost_at_best_quality"]
    (worse, better), (under, above) = (report["intervals"][f] for f in ("gain_at_best_cost", "gain_over_length"))
    reached = "never reached" if cost is None else f"{100 * cost:.0f} % of its cost"
    lines = [
        name,
        f"  over random mixtures of single models: {100 * report['gain_over_hull']:+.2f} points "
        f"({100 * low:+.2f} to {100 * high:+.2f}) on average up to the best single model's cost",
        f"  quality of the best single model ({best['model']}): {reached} ({100 * least:.0f} to {100 * most:.0f} %)",
        f"  quality at its cost: {report['quality_at_best_cost']:.4f} against {best['quality']:.4f} "
        f"({worse:+.4f} to {better:+.4f})",
        f"  over choosing by the prompt's length: {100 * report['gain_over_length']:+.2f} points "
        f"({100 * under:+.2f} to {100 * above:+.2f})",
        "  single models:",
        *(
            f"    {each['model']:32s} {each['quality']:.4f}  ${usd}"
            for each, usd in zip(report["singles"], dollar_column([s["usd"] for s in report["singles"]]), strict=True)
        ),
        f"  models on the cost-quality hull: {', '.join(report['hull'])}",
        f"  cheapest correct model, known beforehand: {report['cheapest_correct']['quality']:.4f}  "
        f"{dollars(report['cheapest_correct']['usd'])}",
    ]
    if (group := report.get("best_of_each_group")) is not None:
        lines.append(f"  best model of each group: {group['quality']:.4f}  {dollars(group['usd'])}")
    return "\n".join([*lines, *([f"  training: {report['training']}"] if report["training"] else [])])
