"""The contents of a report on routers, ready to be printed or drawn."""

from dataclasses import asdict, dataclass
from typing import Any

from pointsman.backends.evaluation.groups import Groups

__all__ = ["LENGTH", "ORACLE", "RANDOM", "Estimate", "Evaluation", "RouterFigures"]

LENGTH, RANDOM, ORACLE = "prompt length", "random order", "oracle"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; None if it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """One row of a report. Dollars are per thousand prompts.

    Attributes:
        curve: quality and its 95 % band (and dollars, where known) at strong shares 0, 0.01, ..., 1.
        points: what thresholds give, by figure (`OperatingPoints.columns`); None for rows without thresholds.
        reliability: bins of win rate against outcome; None for rows that are not probabilities.
        deciles: APGR and CPT from the 11 points at shares 0, 0.1, ..., 1.
        quality, pgr: by strong share.
        usd: by quality, or by part of the gap.
        versus_length: APGR minus that of prompt length, paired.
    """

    name: str
    baseline: bool
    apgr: Estimate
    auc: Estimate
    cpt: dict[str, Estimate]
    quality: dict[str, Estimate]
    pgr: dict[str, float | None]
    usd: dict[str, float | None]
    versus_length: Estimate | None
    ece: float | None
    deciles: dict[str, float | None]
    curve: dict[str, list[float]]
    points: dict[str, list[float]] | None
    reliability: dict[str, list[float]] | None
    groups: Groups | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All rows of a report on one table."""

    source: str
    strong_model: str
    weak_model: str
    n_prompts: int
    n_groups: int | None
    strong: Estimate
    weak: Estimate
    gap: float | None
    strong_usd: float | None
    weak_usd: float | None
    random: Estimate
    random_band: list[float]
    rows: tuple[RouterFigures, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON-ready types."""
        return asdict(self)
