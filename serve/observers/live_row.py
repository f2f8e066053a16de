"""The dashboard's row for one request: JSON types under the names of the store's columns."""

from typing import Any

from pointsman.core.decision import Decision
from pointsman.serve.request.record import Record

__all__ = ["PROMPT_CHARACTERS", "LiveRow", "live_row"]

PROMPT_CHARACTERS = 2000
LiveRow = dict[str, Any]
_UNDECIDED = Decision("", None, None, None, "", ())


def live_row(record: Record, *, number: int, prompts: bool) -> LiveRow:
    """One row of the table of decisions. Keeps no reference to the request's objects.

    Args:
        number: of the request in this process.
        prompts: whether to show the beginning of the prompt.
    """
    context, usage = record.context, record.usage
    decision = record.decision or _UNDECIDED
    seen: LiveRow = {
        "id": f"live-{number}",
        "request_id": record.id,
        "at": record.ended_clock_s,
        "path": record.path,
        "model": record.model,
        "decided": decision.model or None,
        "candidates": decision.candidates,
        "reference": context.pair.strong if context is not None and context.pair is not None else None,
        "weighed": decision.weighed_facts() or None,
        "share": decision.share,
        "strong": context is not None and context.is_strong(decision.model),
        "router": decision.router,
        "win_rate": decision.win_rate,
        "threshold": decision.threshold,
        "policy": decision.policy,
        "reason": decision.reason or None,
        "rule": decision.rule,
        "cost_usd": record.cost_usd,
        "strong_usd": record.strong_usd,
        "weak_usd": record.weak_usd,
        "outcome": record.outcome,
        "status": record.status,
        "stream": record.stream,
        "trail": record.trail,
        "cascade": context.cascade.header() or None if context is not None and context.cascade is not None else None,
        "routing_ms": record.routing_ms,
        "upstream_ms": record.upstream_ms,
        "overhead_ms": record.overhead_ms,
        "total_ms": record.total_ms,
        "requested": None,
        "key_id": None,
        "session": None,
        "prompt": None,
        "input_tokens": None,
        "output_tokens": None,
    }
    if context is not None:
        seen["requested"], seen["session"] = context.request.model, context.session
        seen["key_id"] = context.key.id if context.key is not None else None
        if prompts:
            seen["prompt"] = context.request.prompt[:PROMPT_CHARACTERS]
    if usage is not None:
        seen["input_tokens"], seen["output_tokens"] = usage.input_tokens, usage.output_tokens
    return seen
