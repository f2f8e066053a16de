"""What every threshold would have given on prompts that were routed among many candidates, as the router expects it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["weighed_report"]


def weighed_report(
    decisions: Sequence[Sequence[Mapping[str, Any]]], candidates: Sequence[str], *, point_usd: float | None
) -> tuple[dict[str, Any], int] | None:
    """Expected quality against expected dollars in the shape of an evaluation, and the number of prompts.

    Quality is 1 for the reference and 1 - g for a candidate with the expected loss g, see `core.choice`: nothing of it
    is measured, so it has no error. None where no decision weighed all candidates with a win rate and a bill.

    Args:
        decisions: what each weighed, as `Decision.weighed_facts`.
        candidates: by name, the reference first.
        point_usd: see `core.choice`.
    """
    from pointsman.backends.evaluation.quality_by_dollars import threshold_curve

    named = [{each["model"]: each for each in weighed} for weighed in decisions]
    whole = [row for row in named if all(_is_known(row.get(name)) for name in candidates)]
    if not whole:
        return None
    win_rates, usd = (
        np.array([[row[name][what] for name in candidates] for row in whole], dtype=np.float64)
        for what in ("win_rate", "usd")
    )
    win_rates[:, 0] = 0.5
    found = threshold_curve(win_rates, usd, 2.0 - 2.0 * win_rates, usd, point_usd=point_usd).to_dict(candidates)
    for point in found["curve"]:
        del point["quality_error"]
    return {key: found[key] for key in ("curve", "singles", "hull")}, len(whole)


def _is_known(weighed: Mapping[str, Any] | None) -> bool:
    return weighed is not None and weighed["win_rate"] is not None and weighed["usd"] is not None
