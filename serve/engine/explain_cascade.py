"""Explains what a cascade would do with a request: whether it runs, why, and its expected savings."""

from collections.abc import Callable, Mapping
from typing import Any

from pointsman.core.dollars import dollars
from pointsman.serve.request.context import RequestContext

__all__ = ["cascade_lines", "explain_cascade"]

_WHY = {
    "strong": "the prompt is surely hard: {last} is asked at once",
    "weak": "the prompt is surely easy: the answer of {first} is returned after the free checks alone",
    "checks": "the answer of {first} is checked, without a verifier",
    "cascade": "the answer of {first} is read; {then} is asked if the win rate is then {threshold:.4f} or more",
}


def explain_cascade(context: RequestContext, usd: Callable[[str], float | None]) -> dict[str, Any] | None:
    """`CascadeRun.to_dict` with why, the expected dollars and the saving; None where no cascade is configured.

    Args:
        usd: dollars of a model's answer to this request; None where its price is not known.
    """
    run = context.cascade
    if run is None:
        return {"runs": False, "why": context.no_cascade} if context.no_cascade else None
    first, then, last = run.models[0], run.models[1] if len(run.models) > 1 else run.models[0], run.models[-1]
    told = {"first": first, "then": then, "last": last, "threshold": run.threshold or 0.0}
    found = {**run.to_dict(), "why": _WHY[run.look].format(**told)}
    cheap, following, always = usd(first), usd(then), usd(last)
    if run.look == "cascade" and cheap is not None and following is not None and always is not None:
        expected = cheap + (run.expected_escalation or 0.0) * following
        found |= {"expected_usd": expected, "saving_usd": always - expected}
    return found


def cascade_lines(found: Mapping[str, Any]) -> list[str]:
    """The explanation as lines for a terminal."""
    if not found["runs"] and "look" not in found:
        return [f"No cascade: {found['why']}."]
    lines = [f"Cascade: {found['why']}."]
    if found["look"] == "cascade" and found["expected_escalation"] is not None:
        lines.append(f"  expected for {found['expected_escalation']:.1%} of such prompts")
    if "saving_usd" in found:
        bill, saved = found["expected_usd"], found["saving_usd"]
        lines.append(
            f"  expected bill {dollars(bill)}, {dollars(saved, sign=True)} saved against {found['models'][-1]} at once"
        )
    return lines
