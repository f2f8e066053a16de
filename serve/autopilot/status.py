"""What a person may want to see of the autopilot, as JSON types; `docs/autopilot.md` has the fields."""

from typing import Any

import numpy as np

from pointsman.core.autopilot import TRAINED_AT
from pointsman.core.judge_bias import judge_bias, labels_needed
from pointsman.serve.autopilot.generation import Generation, describe_generation
from pointsman.serve.autopilot.serving import Serving
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.config.autopilot import AutopilotConfig

__all__ = ["describe", "phase_of", "word_of"]


def describe(
    state: AutopilotState, config: AutopilotConfig, serving: Serving, *, away: str | None, waiting: int
) -> dict[str, Any]:
    """Everything: what is certified, saved, spent and next, how it came about, and why.

    Args:
        away: "store away" where the state is that of before the store went away, "superseded" where it is of other
            processes, whose configuration is newer; None where neither is so.
        waiting: comparisons of this process that are under way.
    """
    current, counts = state.current, state.counts
    facts = describe_generation(current, config.compare, serving=True) if current is not None else {}
    per_comparison = state.compared_usd / state.n_compared if state.n_compared else None
    if facts.get("next") and facts["next"]["comparisons"] is not None and per_comparison is not None:
        facts["next"]["usd"] = round(facts["next"]["comparisons"] * per_comparison, 6)
    phase, why = phase_of(state)
    comparing_usd = state.compared_usd + counts.without_row_usd
    return {
        "configured": True,
        "state": away or word_of(state),
        "phase": phase,
        "why": why,
        "paused": state.paused,
        "store_away": away == "store away",
        "router": serving.router,
        "strong": serving.pair.strong,
        "weak": serving.pair.weak,
        "candidates": [name for name, _ in serving.bills] or [serving.pair.strong, serving.pair.weak],
        "judge": config.judge,
        "source": config.source,
        "bound": {"max_loss": config.max_loss, "confidence": config.confidence},
        "compare": config.compare,
        "max_usd_per_day": config.max_usd_per_day,
        "decides_by": "answer" if serving.reads_answers else "prompt",
        "weak_cost": round(serving.weak_cost, 4),
        "certified_share": facts.get("certified_share", 0.0),
        "threshold": facts.get("threshold"),
        "loss": facts.get("loss"),
        "next": facts.get("next"),
        "generation": facts or None,
        "generations": [
            describe_generation(g, config.compare, serving=g.number == state.serving)
            for g in sorted(state.generations, key=lambda g: g.number)
        ],
        "training": _training(state, config),
        "requests": {"n": counts.n_requests, "weak": counts.n_weak, "unpriced": counts.n_unpriced},
        "saved_usd": round(counts.saved_usd, 6),
        "net_saved_usd": round(counts.saved_usd - comparing_usd, 6),
        "comparisons": {
            "n": state.n_compared, "failed": counts.n_failed, "over_budget": counts.n_over_budget,
            "busy": counts.n_busy, "waiting": waiting, "read": counts.n_read, "usd": round(comparing_usd, 6),
            "usd_each": per_comparison,
            "judge_disagrees_with_itself": 1.0 - state.n_agreed / state.n_compared if state.n_compared else None,
        },
        "labels": _labels(state, current, config),
        "fingerprints": state.fingerprints,
        "history": state.days,
        "events": state.events,
    }  # fmt: skip


def phase_of(state: AutopilotState) -> tuple[str, str | None]:
    """One of "certified", "learning" and "void", and why it is void."""
    current = state.current
    if current is not None and current.share > 0.0:
        return "certified", None
    closed = [event for event in state.events if event["what"] == "closed"]
    return ("void", str(closed[-1]["why"])) if closed else ("learning", None)


def word_of(state: AutopilotState) -> str:
    """What the autopilot does now."""
    current = state.current
    if state.paused:
        return "paused"
    if current is None or current.certificate is None:
        return "warming up"
    return "earning" if current.certificate.n_open == 0 else "certified"


def _training(state: AutopilotState, config: AutopilotConfig) -> dict[str, Any]:
    later = [n for n in (config.train_at or TRAINED_AT) if n > state.trained_at]
    return {
        "on": config.train,
        "running": state.training is not None,
        "comparisons": state.n_since,
        "next_at": min(later, default=None) if config.train else None,
    }


def _labels(state: AutopilotState, current: Generation | None, config: AutopilotConfig) -> dict[str, Any]:
    """The judge beside people: its bias, and about how many labels would tell it from the margin of the bound."""
    told = np.array(state.labels, dtype=np.float64).reshape(len(state.labels), 2)
    bias = judge_bias(told[:, 0], told[:, 1])
    margin = config.max_loss
    if current is not None and current.certificate is not None and current.share > 0.0:
        margin -= current.certificate.estimate(current.certificate.n_open - 1).value
    differ = bias.disagreement if bias.n_labels else 0.2
    return {
        "share": config.label_share,
        "n": bias.n_labels,
        "judge_bias": bias.mean if bias.n_labels else None,
        "judge_bias_error": bias.error if bias.n_labels > 1 else None,
        "judge_disagrees_with_people": bias.disagreement if bias.n_labels else None,
        "needed": labels_needed(margin, error=1.0 - config.confidence, disagreement=differ),
    }
