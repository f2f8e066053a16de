"""Every figure of every router on one table of outcomes, with intervals and baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pointsman.backends.evaluation.groups import group_figures
from pointsman.backends.evaluation.outcome_pairs import PairOutcomes
from pointsman.backends.evaluation.report import LENGTH, ORACLE, RANDOM, Estimate, Evaluation, RouterFigures
from pointsman.core.arrays import FloatArray
from pointsman.core.bootstrap import CPT_LEVELS, Replicates, bootstrap_curves, interval
from pointsman.core.controls import oracle_curve, random_apgr, random_band
from pointsman.core.counted import counted
from pointsman.core.metrics import (
    QualityCurve,
    apgr,
    auc,
    cpt,
    deciles,
    gap,
    pgr,
    quality_at,
    quality_curve,
    share_for_quality,
)
from pointsman.core.operating_points import operating_points
from pointsman.core.probability import pair_outcomes, reliability

__all__ = ["Options", "evaluate_routers", "length_ranks"]

GRID = np.linspace(0.0, 1.0, 101)
_RECOVERED = (0.5, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class Options:
    """What to report.

    Attributes:
        shares: strong shares to report the quality at.
        qualities: qualities to report the dollars at; 50, 80 and 95 % of the gap if empty.
        n_replicates: bootstrap replicates.
        seed: of the bootstrap.
    """

    shares: tuple[float, ...] = (0.2, 0.3, 0.5)
    qualities: tuple[float, ...] = ()
    n_replicates: int = 1000
    seed: int = 0


def evaluate_routers(
    outcomes: PairOutcomes, win_rates: Mapping[str, FloatArray], options: Options | None = None
) -> Evaluation:
    """Figures of some routers beside prompt length, random order and the oracle.

    Args:
        win_rates: by name of the router, each in [0, 1], shape (n_prompts,).

    Raises:
        ValueError: a router's win rates do not fit the prompts or leave [0, 1], or it has the name of a baseline.
    """
    options = options or Options()
    for name, rates in win_rates.items():
        _check_rates(name, rates, len(outcomes))
    orders = {**win_rates, LENGTH: length_ranks(outcomes.prompts)}
    shares = np.union1d(GRID, options.shares)
    replicates = bootstrap_curves(
        list(orders.values()),
        outcomes.strong,
        outcomes.weak,
        shares=shares,
        n_replicates=options.n_replicates,
        rng=np.random.default_rng(options.seed),
    )
    rows = [
        _row(name, rates, found, outcomes=outcomes, length=replicates[-1], shares=shares, options=options)
        for (name, rates), found in zip(orders.items(), replicates, strict=True)
    ]
    curve = quality_curve(orders[LENGTH], outcomes.strong, outcomes.weak)
    spread = random_apgr(outcomes.strong, outcomes.weak)
    found = replicates[-1]
    return Evaluation(
        source=outcomes.source,
        strong_model=outcomes.pair.strong,
        weak_model=outcomes.pair.weak,
        n_prompts=len(outcomes),
        n_groups=None if outcomes.group is None else int(np.unique(outcomes.group).size),
        strong=_estimate(curve.strong, found.quality[:, -1]),
        weak=_estimate(curve.weak, found.quality[:, 0]),
        gap=gap(curve),
        strong_usd=_thousand(outcomes.strong_usd),
        weak_usd=_thousand(outcomes.weak_usd),
        random=Estimate(None)
        if spread is None
        else Estimate(spread.mean, spread.mean - 1.96 * spread.deviation, spread.mean + 1.96 * spread.deviation),
        random_band=(1.96 * random_band(outcomes.strong, outcomes.weak, GRID)).tolist(),
        rows=(*rows, _oracle(outcomes, options)),
        notes=(*outcomes.notes, *_gap_notes(curve, found)),
    )


def length_ranks(prompts: Sequence[str]) -> FloatArray:
    """Rank of each prompt's length in characters, longest 1, in (0, 1]; equal lengths share a rank."""
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    distinct, inverse = np.unique(lengths, return_inverse=True)
    return np.asarray((inverse + 1.0) / distinct.size)


def _row(
    name: str,
    rates: FloatArray,
    found: Replicates,
    *,
    outcomes: PairOutcomes,
    length: Replicates,
    shares: FloatArray,
    options: Options,
) -> RouterFigures:
    curve = quality_curve(rates, outcomes.strong, outcomes.weak)
    row = _figures(name, curve, _costs(rates, outcomes), options)
    is_length = name == LENGTH
    on_grid = found.quality[:, np.isin(shares, GRID)]
    low, high = np.quantile(on_grid, [0.025, 0.975], axis=0)
    bins = None if is_length else reliability(rates, pair_outcomes(outcomes.strong, outcomes.weak))
    difference, points = None, None
    if not is_length:
        points = operating_points(rates, outcomes.strong, outcomes.weak, usd=_dollars(outcomes)).columns()
        of_length = apgr(quality_curve(length_ranks(outcomes.prompts), outcomes.strong, outcomes.weak))
        value = None if row.apgr.value is None or of_length is None else row.apgr.value - of_length
        difference = _estimate(value, found.apgr - length.apgr)
    distinct = int(np.unique(rates).size)
    constant = ("gives every prompt the same win rate: it cannot order them",) if distinct == 1 else ()
    return replace(
        row,
        baseline=is_length,
        apgr=_estimate(row.apgr.value, found.apgr),
        auc=_estimate(row.auc.value, found.auc),
        cpt={key: _estimate(row.cpt[key].value, found.cpt[:, k]) for k, key in enumerate(row.cpt)},
        quality={
            key: _estimate(row.quality[key].value, found.quality[:, int(np.searchsorted(shares, share))])
            for key, share in zip(row.quality, options.shares, strict=True)
        },
        versus_length=difference,
        ece=None if bins is None else bins.ece,
        curve={**row.curve, "low": low.tolist(), "high": high.tolist()},
        points=points,
        reliability=None
        if bins is None
        else {
            "win_rate": bins.win_rate.tolist(),
            "outcome": bins.outcome.tolist(),
            "outcome_error": bins.outcome_error.tolist(),
            "n_prompts": bins.n_prompts.tolist(),
        },
        groups=group_figures(rates, outcomes),
        notes=constant,
    )


def _figures(name: str, curve: QualityCurve, costs: QualityCurve | None, options: Options) -> RouterFigures:
    """The figures that need the curve alone, without intervals."""
    eleven = deciles(curve)
    difference = gap(curve)
    levels = {f"{q:g}": q for q in options.qualities}
    if not levels and difference is not None:
        levels = {f"{100 * x:g} % of the gap": curve.weak + x * difference for x in _RECOVERED}
    on_grid = {"share": GRID.tolist(), "quality": np.interp(GRID, curve.share, curve.quality).tolist()}
    if costs is not None:
        on_grid["usd"] = np.interp(GRID, costs.share, costs.quality).tolist()
    return RouterFigures(
        name=name,
        baseline=True,
        apgr=Estimate(apgr(curve)),
        auc=Estimate(auc(curve)),
        cpt={f"{100 * x:g}": Estimate(cpt(curve, x)) for x in CPT_LEVELS},
        quality={f"{share:g}": Estimate(quality_at(curve, share)) for share in options.shares},
        pgr={f"{share:g}": pgr(curve, share) for share in options.shares},
        usd={} if costs is None else {key: _usd_at(curve, costs, level) for key, level in levels.items()},
        versus_length=None,
        ece=None,
        deciles={"apgr": apgr(eleven), **{f"cpt{100 * x:g}": cpt(eleven, x) for x in CPT_LEVELS}},
        curve=on_grid,
        points=None,
        reliability=None,
        groups=None,
        notes=(),
    )


def _oracle(outcomes: PairOutcomes, options: Options) -> RouterFigures:
    order = outcomes.strong - outcomes.weak
    return _figures(ORACLE, oracle_curve(outcomes.strong, outcomes.weak), _costs(order, outcomes), options)


def _costs(order: FloatArray, outcomes: PairOutcomes) -> QualityCurve | None:
    """Mean dollars of a thousand prompts at every strong share."""
    usd = _dollars(outcomes)
    return None if usd is None else quality_curve(order, 1000.0 * usd[0], 1000.0 * usd[1])


def _dollars(outcomes: PairOutcomes) -> tuple[FloatArray, FloatArray] | None:
    if outcomes.strong_usd is None or outcomes.weak_usd is None:
        return None
    return outcomes.strong_usd, outcomes.weak_usd


def _usd_at(curve: QualityCurve, costs: QualityCurve, quality: float) -> float | None:
    """Dollars of a thousand prompts at the least strong share that reaches a quality; None if none does."""
    share = share_for_quality(curve, quality)
    return None if share is None else quality_at(costs, share)


def _thousand(usd: FloatArray | None) -> float | None:
    return None if usd is None else float(1000.0 * usd.mean())


def _estimate(value: float | None, replicates: FloatArray) -> Estimate:
    ends = interval(replicates) if value is not None else None
    return Estimate(value) if ends is None else Estimate(value, ends.low, ends.high)


def _gap_notes(curve: QualityCurve, found: Replicates) -> tuple[str, ...]:
    if gap(curve) is None:
        return (
            f"the strong model scores {curve.strong:.4f}, the weak one {curve.weak:.4f}: there is no gap to recover, "
            "so APGR and CPT are undefined; swap the models or choose others",
        )
    undefined = float(np.isnan(found.apgr).mean())
    if undefined > 0:
        return (f"in {undefined:.1%} of the bootstrap replicates strong is not better than weak: too few prompts",)
    return ()


def _check_rates(name: str, rates: FloatArray, n: int) -> None:
    if name in (LENGTH, RANDOM, ORACLE):
        raise ValueError(f"router {name!r} has the name of a baseline: rename it")
    if np.shape(rates) != (n,):
        raise ValueError(f"router {name!r} gave win rates of shape {np.shape(rates)} for {counted(n, 'prompt')}")
    bad = np.flatnonzero(~((rates >= 0) & (rates <= 1)))
    if bad.size:
        raise ValueError(
            f"router {name!r} gave win rate {rates[bad[0]]} for prompt {bad[0]}, wanted a number in [0, 1]"
        )
