"""What the dashboard shows of one request, as JSON types under the names of the store's columns."""

import time
from typing import Any

from pointsman.serve.record import Record

__all__ = ["PROMPT_CHARACTERS", "Sighting", "sighting"]

PROMPT_CHARACTERS = 2000
Sighting = dict[str, Any]


def sighting(record: Record, *, number: int, prompts: bool) -> Sighting:
    """One row of the table of decisions. Nothing of the request's own objects is held on to.

    Args:
        number: of the request in this process.
        prompts: show the beginning of the prompt.
    """
    exchange, decision, usage = record.exchange, record.decision, record.usage
    key = exchange.key if exchange is not None else None
    upstream_s = record.upstream_s
    return {
        "id": f"live-{number}",
        "request_id": record.id,
        "at": round(time.time(), 3),
        "path": record.path,
        "requested": exchange.request.model if exchange is not None else None,
        "model": record.model,
        "decided": decision.model if decision is not None else None,
        "candidates": decision.candidates if decision is not None else (),
        "router": decision.router if decision is not None else None,
        "win_rate": decision.win_rate if decision is not None else None,
        "threshold": decision.threshold if decision is not None else None,
        "policy": decision.policy if decision is not None else None,
        "reason": decision.reason if decision is not None else None,
        "key_id": key.id if key is not None else None,
        "session": exchange.session if exchange is not None else None,
        "prompt": exchange.request.prompt[:PROMPT_CHARACTERS] if prompts and exchange is not None else None,
        "input_tokens": usage.input_tokens if usage is not None else None,
        "output_tokens": usage.output_tokens if usage is not None else None,
        "cost_usd": record.cost_usd,
        "strong_usd": record.strong_usd,
        "weak_usd": record.weak_usd,
        "outcome": record.outcome,
        "status": record.status,
        "stream": record.stream,
        "trail": record.trail,
        "routing_ms": None if record.routing_s is None else 1e3 * record.routing_s,
        "overhead_ms": _overhead_ms(record, upstream_s),
        "upstream_ms": None if upstream_s is None else 1e3 * upstream_s,
        "total_ms": 1e3 * record.total_s,
    }


def _overhead_ms(record: Record, upstream_s: float | None) -> float | None:
    """Time to the first byte that is neither the upstream's nor the decision's."""
    if upstream_s is None or record.answered_at is None:
        return None
    return 1e3 * (record.answered_at - record.started_at - upstream_s - (record.routing_s or 0.0))
