"""Cascades beside routers: quality against strong calls, dollars and seconds, on stored answers of a pair.

A row is an order in which prompts go to the strong model, with its bill: a router asks one model, a cascade the cheap
one always and the strong one as well where it asks on. Dollars at a quality are those of the cheapest threshold whose
mean score reaches it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pointsman.backends.data.answers import AnswerTable
from pointsman.backends.evaluation.text import aligned
from pointsman.core.answer_signals import answer_signals
from pointsman.core.arrays import AnyFloatArray, FloatArray, IntArray
from pointsman.core.bootstrap import bootstrap_curves, interval
from pointsman.core.cascade import Window, cascade_bills, cascade_pays, cascade_scores
from pointsman.core.counted import counted
from pointsman.core.metrics import apgr, cpt, quality_curve
from pointsman.core.verifier import Verifier

__all__ = ["CascadeReport", "CascadeRow", "cascade_text", "evaluate_cascade"]

_LEVELS = (0.95, 1.0)
_PARTS = (0.5, 0.8, 0.95)
_EVERYTHING = Window(hard=np.inf, easy=np.inf)
_NOTHING = Window(hard=0.0, easy=0.0)


@dataclass(frozen=True, slots=True)
class CascadeRow:
    """One policy.

    Attributes:
        apgr, low, high: with the ends of its 95 % interval; None without a gap.
        cpt: least strong share that recovers 50, 80, 95 % of the gap.
        usd, seconds: mean bill of a prompt that reaches 95 % and 100 % of the strong model's quality; None where it
            is not reached, empty where bills are not known.
    """

    name: str
    apgr: float | None
    low: float | None
    high: float | None
    cpt: dict[str, float | None]
    usd: dict[str, float | None]
    seconds: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class CascadeReport:
    """All rows, and what the models do alone.

    Attributes:
        pays: by level of quality, whether the cascade's expected bill is below that of the prompt-only router.
    """

    n_prompts: int
    strong: float
    weak: float
    strong_usd: float | None
    weak_usd: float | None
    rows: tuple[CascadeRow, ...]
    pays: dict[str, bool]


def evaluate_cascade(
    table: AnswerTable,
    verifier: Verifier,
    routers: Mapping[str, FloatArray] | None = None,
    *,
    embeddings: AnyFloatArray | None = None,
    win_rates: FloatArray | None = None,
    n_replicates: int = 1000,
    seed: int = 0,
) -> CascadeReport:
    """Prompt-only routers, the cascade on every prompt, both looks together, and the baselines.

    Args:
        table: answers of the verifier's pair, strong first.
        routers: win rates of routers, by name, shape (n_prompts,).
        embeddings: of the prompts by the verifier's embedder; computed if None.
        win_rates: of the router that the verifier reads, where it reads one.
    """
    values = verifier.embed(table.prompts) if embeddings is None else embeddings
    answers = [answer for answer in table.answers[1] if answer is not None]
    prompt = verifier.prompt_win_rates(table.prompts, embeddings=values, win_rates=win_rates)
    read = verifier.win_rates(table.prompts, answers, embeddings=values, win_rates=win_rates)
    signals = answer_signals(table.prompts, answers)
    dollars, zone = _bills(table.usd), verifier.window()
    if dollars is not None:
        zone = verifier.window(weak_usd=float(dollars[0].mean()), strong_usd=float(dollars[1].mean()))
    looks: dict[str, tuple[FloatArray, FloatArray, Window]] = {
        name: (rates, rates, _NOTHING) for name, rates in {**(routers or {}), "prompt only": prompt}.items()
    }
    looks["cascade"] = (read, read, _EVERYTHING)
    looks["both looks"] = (prompt, read, zone)
    if not np.isnan(signals["doubt"]).any():
        looks["confidence alone"] = (*[_ranks(signals["doubt"])] * 2, _EVERYTHING)
    looks["length of the answer"] = (*[_ranks(signals["characters"])] * 2, _EVERYTHING)
    random = np.random.default_rng(seed).random(len(table))
    looks["random"] = (random, random, _EVERYTHING)
    rows = _rows(looks, table, dollars, n_replicates=n_replicates, seed=seed)
    return CascadeReport(
        len(table),
        float(table.score[:, 0].mean()),
        float(table.score[:, 1].mean()),
        None if dollars is None else float(dollars[1].mean()),
        None if dollars is None else float(dollars[0].mean()),
        rows,
        _pays(rows, table, dollars, looks),
    )


def cascade_text(report: CascadeReport) -> str:
    """The report for a terminal."""
    header = ["policy", "APGR", "95 %", *(f"CPT{100 * part:g}" for part in _PARTS)]
    header += [f"$/1000 at {level:.0%}" for level in _LEVELS] + [f"s at {level:.0%}" for level in _LEVELS]
    lines = [header]
    for row in report.rows:
        ends = "" if row.low is None or row.high is None else f"[{row.low:.3f}, {row.high:.3f}]"
        cells = [row.name, "-" if row.apgr is None else f"{row.apgr:.3f}", ends]
        cells += ["-" if share is None else f"{share:.1%}" for share in row.cpt.values()]
        cells += [_cell(row.usd.get(f"{level:g}"), 1000.0) for level in _LEVELS]
        cells += [_cell(row.seconds.get(f"{level:g}"), 1.0) for level in _LEVELS]
        lines.append(cells)
    notes = [
        f"at {float(level):.0%} of the strong model's quality a cascade {'costs less' if pays else 'does not pay'} "
        f"{'than' if pays else 'beside'} routing on the prompt alone"
        for level, pays in report.pays.items()
    ]
    return "\n".join([f"cascade on {counted(report.n_prompts, 'prompt')} with answers", "", aligned(lines), "", *notes])


def _cell(value: float | None, scale: float) -> str:
    return "-" if value is None else f"{scale * value:.4g}"


def _bills(table: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Of the weak and the strong model, where they are known on every prompt."""
    pair = table[:, [1, 0]]
    return None if np.isnan(pair).any() else (pair[:, 0], pair[:, 1])


def _ranks(values: FloatArray) -> FloatArray:
    distinct, inverse = np.unique(values, return_inverse=True)
    return np.asarray((inverse + 1.0) / distinct.size)


def _rows(
    looks: Mapping[str, tuple[FloatArray, FloatArray, Window]],
    table: AnswerTable,
    dollars: tuple[FloatArray, FloatArray] | None,
    *,
    n_replicates: int,
    seed: int,
) -> tuple[CascadeRow, ...]:
    strong, weak = table.score[:, 0], table.score[:, 1]
    orders = {name: _order(look) for name, look in looks.items()}
    replicates = bootstrap_curves(
        list(orders.values()),
        strong,
        weak,
        shares=np.linspace(0.0, 1.0, 11),
        n_replicates=n_replicates,
        rng=np.random.default_rng(seed),
    )
    seconds = _bills(table.seconds)
    rows = []
    for (name, order), found in zip(orders.items(), replicates, strict=True):
        curve = quality_curve(order, strong, weak)
        ends = interval(found.apgr)
        rows.append(
            CascadeRow(
                name,
                apgr(curve),
                None if ends is None else ends.low,
                None if ends is None else ends.high,
                {f"{100 * part:g}": cpt(curve, part) for part in _PARTS},
                _at_levels(looks[name], order, strong, weak, dollars),
                _at_levels(looks[name], order, strong, weak, seconds),
            )
        )
    return tuple(rows)


def _order(look: tuple[FloatArray, FloatArray, Window]) -> FloatArray:
    prompt, read, zone = look
    return read if np.isinf(zone.hard) else cascade_scores(prompt, read, zone)


def _at_levels(
    look: tuple[FloatArray, FloatArray, Window],
    order: FloatArray,
    strong: FloatArray,
    weak: FloatArray,
    bills: tuple[FloatArray, FloatArray] | None,
) -> dict[str, float | None]:
    """Least bill over thresholds that reach each level of the strong model's quality."""
    if bills is None:
        return {}
    thresholds, quality = _qualities(order, strong, weak)
    bill = _bill(look)(thresholds, bills)
    found: dict[str, float | None] = {}
    for level in _LEVELS:
        reached = quality >= level * strong.mean() - 1e-12
        found[f"{level:g}"] = float(bill[reached].min()) if reached.any() else None
    return found


def _qualities(order: FloatArray, strong: FloatArray, weak: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Thresholds at the values of an order and beyond them, and the mean score at each."""
    thresholds = np.concatenate(([0.0], np.unique(order), [np.inf]))
    by_value: IntArray = np.argsort(order, kind="stable")
    lost = np.concatenate(([0.0], np.cumsum((strong - weak)[by_value])))
    return thresholds, strong.mean() - lost[np.searchsorted(order[by_value], thresholds)] / order.size


def _bill(
    look: tuple[FloatArray, FloatArray, Window],
) -> Callable[[FloatArray, tuple[FloatArray, FloatArray]], FloatArray]:
    prompt, read, zone = look
    return lambda thresholds, bills: cascade_bills(prompt, read, thresholds, zone=zone, weak=bills[0], strong=bills[1])


def _pays(
    rows: tuple[CascadeRow, ...],
    table: AnswerTable,
    dollars: tuple[FloatArray, FloatArray] | None,
    looks: Mapping[str, tuple[FloatArray, FloatArray, Window]],
) -> dict[str, bool]:
    """d < s (1 - c_w / c_s) at each level: d and s the shares of strong calls that reach it."""
    if dollars is None:
        return {}
    strong, weak = table.score[:, 0], table.score[:, 1]
    shares: dict[str, dict[str, float]] = {}
    for name in ("cascade", "prompt only"):
        order = _order(looks[name])
        thresholds, quality = _qualities(order, strong, weak)
        share = np.array([(order >= threshold).mean() for threshold in thresholds])
        for level in _LEVELS:
            reached = quality >= level * strong.mean() - 1e-12
            shares.setdefault(f"{level:g}", {})[name] = float(share[reached].min())
    return {
        level: cascade_pays(
            found["cascade"],
            found["prompt only"],
            weak_usd=float(dollars[0].mean()),
            strong_usd=float(dollars[1].mean()),
        )
        for level, found in shares.items()
    }
