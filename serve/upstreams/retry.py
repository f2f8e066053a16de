"""When to retry, and after how long."""

import math
import random
import re
import time
from email.utils import parsedate_to_datetime

from pointsman.serve.config import RetryConfig
from pointsman.serve.upstreams.base import Reply

__all__ = ["is_held_elsewhere", "is_operators", "is_retried", "is_upstreams_fault", "retry_delay_s"]

_NOT_THERE = (400, 404)
_MISSING = re.compile(
    rb"previous_response_not_found|conversation_not_found"
    rb"|(?:response|conversation|compaction)[^.]{0,200}(?:not (?:be )?found|does not exist|could not be decrypted)"
    rb"|(?:no|unknown) (?:response|conversation)",
    re.IGNORECASE,
)
_RETRIED = frozenset({408, 429, 500, 502, 503, 504, 529})
_OPERATORS = frozenset({401, 402})  # our key, or the credit behind it: the client can do nothing about it


def is_held_elsewhere(reply: Reply) -> bool:
    """Whether a service says that it does not have the response or conversation that a request goes on with."""
    return reply.status in _NOT_THERE and _MISSING.search(reply.body) is not None


def is_retried(status: int) -> bool:
    """Whether an answer of this status may be better the next time."""
    return status in _RETRIED


def is_operators(status: int) -> bool:
    """Whether an answer of this status is for whoever runs the server, and not for the client."""
    return status in _OPERATORS


def is_upstreams_fault(status: int) -> bool:
    """Whether another model might answer where this one answered with this status."""
    return status in _RETRIED or status >= 500


def retry_delay_s(config: RetryConfig, attempt: int, reply: Reply | None, rng: random.Random) -> float | None:
    """Seconds to wait before the next attempt; None if there should be none.

    What the upstream asks for with Retry-After, and up to a tenth more; else base_s * 2^attempt, at most max_s, times a
    random factor from 0.5 to 1.

    Args:
        attempt: how often it was asked again already.
        reply: the answer that is not good enough; None where there was none.
    """
    if attempt >= config.attempts:
        return None
    asked = _retry_after_s(reply) if reply is not None else None
    if asked is not None:
        return asked * rng.uniform(1.0, 1.1) if asked <= config.max_s else None
    return min(config.base_s * 2.0**attempt, config.max_s) * rng.uniform(0.5, 1.0)


def _retry_after_s(reply: Reply) -> float | None:
    headers = dict(reply.headers)
    try:
        if b"retry-after-ms" in headers:
            seconds = float(headers[b"retry-after-ms"]) / 1e3
        elif b"retry-after" in headers:
            seconds = _seconds(headers[b"retry-after"].decode("latin-1"))
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return parsedate_to_datetime(value).timestamp() - time.time()
