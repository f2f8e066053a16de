"""The results of `pointsman learn`, in words and figures."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.bootstrap import bootstrap_curves
from pointsman.core.dollars import dollars
from pointsman.core.metrics import apgr, quality_curve
from pointsman.serve.commands.learn_kinds import BUNDLED, LENGTH, Tried

if TYPE_CHECKING:
    from pointsman.backends.evaluation.outcome_pairs import PairOutcomes

__all__ = ["compared", "loss_interval", "next_steps", "report"]

_N_REPLICATES = 1000


def compared(tried: Sequence[Tried], held: "PairOutcomes", *, seed: int) -> Mapping[str, FloatArray]:
    """APGR of every router on the held-out prompts, then of bootstrap replicates, paired across the routers."""
    found = bootstrap_curves(
        [one.rates for one in tried], held.strong, held.weak,
        shares=np.array([0.0, 1.0]), n_replicates=_N_REPLICATES, rng=np.random.default_rng(seed),
    )  # fmt: skip
    values = [apgr(quality_curve(one.rates, held.strong, held.weak)) for one in tried]
    return {
        one.name: np.concatenate([[np.nan if value is None else value], replicates.apgr])
        for one, value, replicates in zip(tried, values, found, strict=True)
    }


def report(
    best: Tried,
    tried: Sequence[Tried],
    figures: Mapping[str, FloatArray],
    held: "PairOutcomes",
    money: tuple[FloatArray, FloatArray] | None,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """All results, and `lines` of text that present them."""
    bound = best.bound
    assert bound is not None
    losses = _losses(best, held) / (args.scale[1] - args.scale[0])
    found: dict[str, Any] = {
        "kind": best.name,
        "n_held_out": len(held),
        "threshold": bound.threshold,
        "strong_share": bound.strong_share,
        "certified": bound.certified,
        "max_loss": args.max_loss,
        "confidence": args.confidence,
        "loss": bound.loss,
        "loss_interval": loss_interval(losses),
        "labels_needed": bound.labels_needed,
        "routers": {one.name: _row(one, figures[one.name], figures[best.name]) for one in tried},
    }
    if money is not None:
        strong, weak = money
        spent = np.where(best.rates >= bound.threshold, strong, weak)
        found["usd_per_1000"] = 1000.0 * float(spent.mean())
        found["saved_usd_per_1000"] = 1000.0 * float((strong - spent).mean())
        found["saved_share"] = float(1.0 - spent.sum() / strong.sum()) if strong.sum() else 0.0
    found["lines"] = [*_table(best, found["routers"]), "", *_said(best, found, held)]
    return found


def _losses(best: Tried, held: "PairOutcomes") -> FloatArray:
    """Mean loss on the held-out prompts at the certified threshold, in the unit of the scores."""
    assert best.bound is not None
    return np.where(best.rates < best.bound.threshold, held.strong - held.weak, 0.0)


def _row(one: Tried, figures: FloatArray, of_best: FloatArray) -> dict[str, Any]:
    return {
        "apgr": _interval(figures),
        "behind_best": _interval(figures - of_best),
        "strong_share": None if one.bound is None else one.bound.strong_share,
        "decision_ms": None if one.path is None else one.decision_ms,
    }


def _interval(figures: FloatArray) -> list[float] | None:
    """A figure and the ends of its 95 % interval; None where the two models do not differ."""
    if np.isnan(figures[0]):
        return None
    low, high = np.nanquantile(figures[1:], [0.025, 0.975])
    return [float(figures[0]), float(low), float(high)]


def _table(best: Tried, routers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [("router", "APGR [95 %]", "against the chosen [95 %]", "to strong", "a decision")]
    for name, row in sorted(routers.items(), key=lambda item: -(item[1]["apgr"] or [0.0])[0]):
        rows.append((
            f"{name} (chosen)" if name == best.name else name,
            _shown(row["apgr"], ".3f"),
            "" if name == best.name else _shown(row["behind_best"], "+.3f"),
            "" if row["strong_share"] is None else f"{row['strong_share']:.0%}",
            "" if row["decision_ms"] is None else f"{row['decision_ms']:.2g} ms",
        ))  # fmt: skip
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _shown(figure: Sequence[float] | None, style: str) -> str:
    return "unknown" if figure is None else f"{figure[0]:{style}} [{figure[1]:{style}}, {figure[2]:{style}}]"


def _said(best: Tried, found: Mapping[str, Any], held: "PairOutcomes") -> list[str]:
    points, measured = 100.0 * found["max_loss"], 100.0 * found["loss"]
    if not found["certified"]:
        needed = found["labels_needed"]
        more = f"; about {needed:,} held-out labels would be needed to certify a saving" if needed else ""
        return [
            f"Nothing cheaper than always asking {held.pair.strong} is certified to lose at most {points:g} points "
            f"with {found['confidence']:.0%} confidence on {found['n_held_out']:,} labels{more}.",
            "So everything goes to it. Allow more loss (--max-loss 10%), or bring more outcomes.",
        ]
    saved = (
        f"saves {1.0 - found['strong_share']:.0%} of the calls to it (give --strong-price and --weak-price for dollars)"
    )
    if "saved_share" in found:
        saved = f"saves {dollars(found['saved_usd_per_1000'])} per 1,000 requests ({found['saved_share']:.0%})"
    low, high = (100.0 * end for end in found["loss_interval"])
    return [
        f"{found['strong_share']:.0%} to the strong model; loses at most {points:g} points with "
        f"{found['confidence']:.0%} confidence (measured {measured:.1f} [{low:.1f}, {high:.1f}]); {saved}.",
        f"That holds for prompts drawn like these. Chosen: {best.name}, the cheapest within the bound.",
        *_warnings(best, found),
    ]


def _warnings(best: Tried, found: Mapping[str, Any]) -> list[str]:
    if best.name == BUNDLED:
        return ["None of the trained routers is cheaper than the bundled one here: more outcomes may change that."]
    behind = found["routers"][LENGTH]["behind_best"]
    if behind is not None and behind[2] > 0.0:
        return ["It may be no better than sending long prompts to the strong model: more outcomes would tell."]
    return []


def loss_interval(losses: FloatArray) -> tuple[float, float]:
    """The ends of the 95 % interval of a mean."""
    error = 1.96 * float(losses.std()) / max(len(losses), 1) ** 0.5
    return float(losses.mean()) - error, float(losses.mean()) + error


def next_steps(found: Mapping[str, Any]) -> list[str]:
    """What was written, and the next steps."""
    name = Path(found["checkpoint"]).name
    wrote = f"Wrote {found['checkpoint']}; {found['config']}."
    if found["promoted"]:
        return ["", f"{wrote} It is promoted: `pointsman serve` serves it, a running server within seconds."]
    return ["", f"{wrote} What it would do with your traffic: pointsman replay --candidate {name}",
            f"Serve it: pointsman promote {name}; back again: pointsman rollback"]  # fmt: skip
