"""An evaluation as plain text."""

from collections.abc import Sequence

from pointsman.backends.evaluation.report import LENGTH, ORACLE, RANDOM, Estimate, Evaluation, RouterFigures
from pointsman.core.dollars import dollars

__all__ = ["aligned", "as_text", "cells", "dollar_cells", "group_cells", "point_cells"]


def as_text(evaluation: Evaluation, *, deciles: bool = False) -> str:
    """The report for a terminal: the data, a row per router, and figures by group."""
    e = evaluation
    groups = f", {e.n_groups} groups" if e.n_groups else ""
    lines = [
        f"{e.source}: {e.n_prompts:,} prompts{groups}",
        f"always strong  {_number(e.strong.value)} {_ends(e.strong)}  {e.strong_model}{_dollars(e.strong_usd)}",
        f"always weak    {_number(e.weak.value)} {_ends(e.weak)}  {e.weak_model}{_dollars(e.weak_usd)}",
        "",
        aligned(cells(e, deciles=deciles)),
        "",
        aligned(point_cells(e)),
        *(["", aligned(dollar_cells(e))] if e.strong_usd is not None else []),
    ]
    if any(row.groups for row in e.rows):
        lines += ["", aligned(group_cells(e)), ""]
        lines += ["recognised: APGR left after shuffling outcomes within groups; judged: the rest, with its p-value;"]
        lines += ["within: every group sends the same share; without: lowest APGR when one group is left out"]
    notes = [*e.notes, *(f"{row.name}: {note}" for row in e.rows for note in row.notes)]
    return "\n".join([*lines, *(["", *(f"note: {note}" for note in notes)] if notes else [])])


def cells(evaluation: Evaluation, *, deciles: bool = False) -> list[list[str]]:
    """Header and rows of the main table: how well the routers order prompts."""
    rows = evaluation.rows
    header = ["router", "APGR", "95 %", "vs length", "95 %", *(f"CPT{x}" for x in rows[0].cpt), "ECE"]
    table = [[*header, *(["APGR, 11 points"] if deciles else [])], *(_cells(row, deciles) for row in rows)]
    chance = evaluation.random
    random = [RANDOM, _number(chance.value, 3), _ends(chance, 3), "", ""]
    random += [_percent(float(x) / 100 if evaluation.gap else None) for x in rows[0].cpt]
    table.insert(len(table) - 1, [*random, "", *([_number(chance.value, 3)] if deciles else [])])
    return table


def point_cells(evaluation: Evaluation) -> list[list[str]]:
    """Header and rows of the second table: quality at strong shares."""
    table = [["router", *(f"at {float(share):.0%} strong" for share in evaluation.rows[0].quality)]]
    for row in evaluation.rows:
        table.append([row.name, *(f"{_number(q.value)} {_ends(q)}".rstrip() for q in row.quality.values())])
    return table


def dollar_cells(evaluation: Evaluation) -> list[list[str]]:
    """Header and rows of the third table: dollars per thousand prompts, and what is saved, at shares and qualities."""
    rows, always = evaluation.rows, evaluation.strong_usd
    levels = [f"at {share:.0%} strong" for share in map(float, rows[0].quality)]
    table = [["$ per 1,000 (saved)", *levels, *(f"for {level}" for level in rows[0].usd)]]
    for row in rows:
        spent: list[float | None] = [row.curve["usd"][round(100 * float(share))] for share in row.quality]
        table.append([row.name, *(_bill(usd, always) for usd in (*spent, *row.usd.values()))])
    return table


def _bill(usd: float | None, always: float | None) -> str:
    if usd is None:
        return "-"
    return f"{dollars(usd)} ({1.0 - usd / always:.0%})" if always else dollars(usd)


def group_cells(evaluation: Evaluation) -> list[list[str]]:
    """Header and rows of the table on groups."""
    table = [["router", "recognised", "judged", "p", "within", "without", "lowest without"]]
    for row in evaluation.rows:
        if row.groups:
            g = row.groups
            known = {name: value for name, value in g.without_group.items() if value is not None}
            worst = min(known, key=lambda name: known[name]) if known else None
            table.append(
                [
                    row.name,
                    _number(g.recognised, 3),
                    f"{g.judged:+.3f}",
                    f"{g.p_value:.2g}",
                    _number(g.within, 3),
                    _number(known[worst], 3) if worst is not None else "-",
                    worst or "-",
                ]
            )
    return table


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Columns of a table padded to one width each, the first to the left, the others to the right."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    rows = [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:]])


def _cells(row: RouterFigures, deciles: bool) -> list[str]:
    versus = row.versus_length
    cells = [row.name, _number(row.apgr.value, 3), _ends(row.apgr, 3)]
    cells += ["", ""] if versus is None else [_signed(versus.value), _ends(versus, 3)]
    cells += [_percent(estimate.value) for estimate in row.cpt.values()]
    cells += ["" if row.name in (LENGTH, ORACLE) else _number(row.ece, 3)]
    return [*cells, _number(row.deciles["apgr"], 3)] if deciles else cells


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _ends(estimate: Estimate, digits: int = 4) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def _dollars(usd: float | None) -> str:
    return "" if usd is None else f", {dollars(usd)} per thousand prompts"
