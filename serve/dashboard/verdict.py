"""The verdict: am I saving, is quality holding, is the budget on track, each in a few words."""

from typing import Any

from pointsman.core.counted import counted
from pointsman.core.roles import Roles
from pointsman.serve.dashboard.figures import dollars, percent, points
from pointsman.serve.dashboard.quality import Bound, Loss
from pointsman.serve.dashboard.saving import Saving

__all__ = ["budget_verdict", "quality_verdict", "saving_verdict"]

_NOISE_USD = 1e-6  # of sums
_OVER = 0.02  # of a budget, ahead of its plan


def saving_verdict(
    saving: Saving | None, roles: Roles, *, stand_in: bool, priced: bool, learning: bool = False
) -> dict[str, Any]:
    """`state` (good, bad or unknown) and `text`.

    Args:
        learning: whether an autopilot is paid for what it opens later.
    """
    if stand_in:
        return _part("unknown", "Stand-ins answer: no model is asked, nothing is saved")
    if not priced:
        return _part("unknown", "Saving not known: prices are missing")
    if saving is None or saving.share is None:
        return _part("unknown", "Saving not known: no routed request yet")
    if saving.share >= 0.0:
        return _part("good" if saving.share > 0.0 else "unknown", f"Saving {percent(saving.share)}")
    if learning and saving.gross_usd > -_NOISE_USD:
        saved = dollars(saving.gross_usd) if saving.gross_usd >= _NOISE_USD else "nothing"
        return _part("unknown", f"Not saving yet: {saved} saved, {dollars(saving.compared_usd)} paid for comparing")
    return _part("bad", f"Costs {percent(-saving.share)} more than always asking {roles.reference}")


def quality_verdict(
    loss: Loss | None, bound: Bound | None, roles: Roles, *, nothing_away: bool = False
) -> dict[str, Any]:
    """Likewise. Held means: nothing that was measured speaks against it, and no promise is void.

    Args:
        nothing_away: whether an autopilot sends everything to the reference now.
    """
    if bound is not None and bound.state == "void":
        return _part("bad", f"quality bound void{_measured(loss)}")
    if bound is not None and not bound.kept_by(loss):
        return _part("bad", f"quality below the bound{_measured(loss)}")
    if loss is not None and loss.weak_share == 0.0:
        return _part("good", f"quality held ({roles.reference} answers all)")
    if loss is None or not loss.tells:
        few = "not measured" if loss is None else f"{counted(loss.n_comparisons, 'comparison')}, too few to tell"
        if nothing_away:
            return _part("good", f"quality held (now {roles.reference} answers all)")
        if bound is not None and bound.state == "held":
            return _part("good", f"quality bound of {points(bound.max_loss)} in force ({few})")
        return _part("unknown", f"quality {few}" if loss is None else f"quality not known ({few})")
    if bound is None and loss.low > 0.0:
        return _part("bad", f"quality down{_measured(loss)}")
    if bound is not None and bound.state == "overridden":
        return _part("unknown", f"quality bound overridden{_measured(loss)}")
    return _part("good", f"quality held{_measured(loss)}")


def budget_verdict(budgets: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Likewise of the most used budget; None where there is none."""
    if not budgets:
        return None
    budget = max(budgets, key=lambda each: each["spent_usd"] / each["usd"])
    ahead = (budget["spent_usd"] - budget["planned_usd"]) / budget["usd"]
    if budget["spent_usd"] >= budget["usd"]:
        return _part("bad", "budget exhausted")
    if ahead > _OVER:
        return _part("bad", f"budget {percent(ahead)} ahead of plan")
    return _part("good", "budget on track")


def _measured(loss: Loss | None) -> str:
    if loss is None or not loss.tells:
        return ""
    return f" ({points(loss.value)}, {counted(loss.n_comparisons, 'comparison')})"


def _part(state: str, text: str) -> dict[str, Any]:
    return {"state": state, "text": text}
