"""An evaluation as one self-contained HTML page: no script, no font, no file beside it."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from pointsman.backends.evaluation.report import Evaluation
from pointsman.backends.evaluation.text import cells, dollar_cells, group_cells, point_cells
from pointsman.core.counted import counted

__all__ = ["as_html"]

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
.facts, .how {{ color: #555; }} .scroll {{ overflow-x: auto; }}
svg {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e3e3; }}
th {{ border-bottom: 2px solid #222; }} th:first-child, td:first-child {{ text-align: left; }}
tr.baseline td {{ color: #767676; }}
</style>
<h1>{title}</h1>
<p class="facts">{facts}</p>
{figure}
<h2>How well they order prompts</h2>
<div class="scroll">{main}</div>
<p class="how">APGR: average performance gap recovered; random order has 0.5. CPT50: least share of strong calls that
recovers half of the gap between the models. Brackets are 95 % bootstrap intervals over prompts, paired between routers.
ECE: expected calibration error of the win rate, a tie counting half.</p>
<h2>Quality at a share of strong calls</h2>
<div class="scroll">{points}</div>
{groups}
{notes}
</html>
"""
_GROUPS = """<h2>Recognising the group, or judging difficulty</h2>
<div class="scroll">{table}</div>
<p class="how">Recognised: the APGR left after shuffling outcomes within groups. Judged: the rest, and the probability
that shuffling alone gives as much. Within: APGR where every group sends the same share of its prompts to the strong
model. Without: the lowest APGR when one group is left out.</p>"""


def as_html(evaluation: Evaluation, figure: str | None, *, deciles: bool = False) -> str:
    """The page; `figure` is SVG text."""
    e = evaluation
    baselines = {row.name for row in e.rows if row.baseline} | {"random order"}
    groups = group_cells(e)
    notes = [*e.notes, *(f"{row.name}: {note}" for row in e.rows for note in row.notes)]
    return _PAGE.format(
        title=escape(f"Routers on {Path(e.source).name}"),
        facts=escape(
            f"{counted(e.n_prompts, 'prompt')}. Always {e.strong_model} (strong): {e.strong.value:.4f}. "
            f"Always {e.weak_model} (weak): {e.weak.value:.4f}."
        ),
        figure="" if figure is None else figure[figure.index("<svg") :],
        main=_table(cells(e, deciles=deciles), baselines),
        points=_table(point_cells(e), baselines) + ("" if e.strong_usd is None else _table(dollar_cells(e), baselines)),
        groups=_GROUPS.format(table=_table(groups, baselines)) if len(groups) > 1 else "",
        notes="".join(f'<p class="how">Note: {escape(note)}</p>' for note in notes),
    )


def _table(rows: Sequence[Sequence[str]], baselines: set[str]) -> str:
    def line(row: Sequence[str], tag: str) -> str:
        style = ' class="baseline"' if row[0] in baselines else ""
        return f"<tr{style}>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"

    return "<table>" + line(rows[0], "th") + "".join(line(row, "td") for row in rows[1:]) + "</table>"
