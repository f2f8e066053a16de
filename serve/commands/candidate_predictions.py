"""A candidate router's predictions on an outcome table: win rates, costs, and the price of quality."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.errors import DataError
from pointsman.core.hull import point_usd
from pointsman.core.router import Router
from pointsman.core.routers.scores import ScoreRouter
from pointsman.core.score_models import column_means

if TYPE_CHECKING:
    from pointsman.backends.data.score_tables import ScoreTable

__all__ = ["Predictions", "predictions", "require_bills"]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Of the candidates, the reference first, shape (n_prompts, n_candidates).

    Attributes:
        win_rates: of the reference over each.
        usd: expected bills; None where one is not known.
        point_usd: see `core.choice`; None where a bill or a mean score is not known.
    """

    win_rates: FloatArray
    usd: FloatArray | None
    point_usd: float | None


def predictions(router: Router, table: "ScoreTable") -> Predictions:
    """The router as served, on a table's prompts and candidates; with the table's mean bills if it has none."""
    bills, scores = column_means(table.usd), column_means(table.scores)
    if isinstance(router, ScoreRouter):
        means = router.means or ()
        rates, usd, _ = router.score_and_bill(router.embed(table.prompts))
        scores = np.array([mean.score for mean in means])
        if all(mean.usd is not None for mean in means):
            bills = np.array([mean.usd for mean in means])
        else:
            usd = np.tile(bills, (len(table), 1))
    else:
        rates = router.win_rates(table.prompts)
        rates = np.stack([np.full(len(rates), 0.5), rates], axis=1) if rates.ndim == 1 else rates
        usd = np.tile(bills, (len(table), 1))
    if not np.isfinite(usd).all():
        return Predictions(rates, None, None)
    return Predictions(rates, usd, point_usd(bills, scores))


def require_bills(table: "ScoreTable", purpose: str) -> None:
    """Checks that a bill of every candidate is known.

    Raises:
        DataError: one is unknown.
    """
    known = [bool(column.any()) for column in np.isfinite(table.usd).T]
    if lacking := [model for model, is_known in zip(table.models, known, strict=True) if not is_known]:
        raise DataError(
            f"{table.source} has no cost_usd of {', '.join(lacking)}: {purpose} needs bills: add that column, "
            "in wide tables MODEL_cost_usd"
        )
