"""Turns what happened to a request into a row of the store.

Rows are made several at a time, in between requests: the second takes a fraction of the first, which finds nothing of
what it needs in the processor's caches.
"""

import asyncio
import hmac
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pointsman.core.errors import ConfigError
from pointsman.serve.exchange import Exchange
from pointsman.serve.record import Record
from pointsman.serve.store.rows import DecisionRow, Row, clean_text, new_row_id
from pointsman.serve.store.store import Store

__all__ = ["Recorder", "prompt_hash"]

_MAX_TEXT = 300
_SECRET = "prompt_hash_key"
_AT_ONCE = 16  # rows: a fraction of a millisecond
_LATER_S = 0.05


class Recorder:
    """An observer of records that keeps of prompts and embeddings what the configuration lets it."""

    def __init__(self, store: Store, put: Callable[[Row], None], *, clock: Callable[[], float] = time.time) -> None:
        """Observes nothing before `start`.

        Args:
            store: whose configuration it follows, and which may hold the key of the prompts' hashes.
            put: takes the rows.
            clock: seconds since 1970.
        """
        self._store = store
        self._config = store.config
        self._put = put
        self._clock = clock
        self._hash_key: bytes | None = None
        self._ended: deque[tuple[float, Record]] = deque()
        self._later: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Gets the key of the prompts' hashes.

        Raises:
            ConfigError: it is to be in an environment variable, and is not.
            StoreError: it cannot be read.
        """
        if self._config.prompts == "none":
            return
        if (reference := self._config.hash_key) is None:
            self._hash_key = await self._store.secret(_SECRET)
        elif value := os.environ.get(reference[4:], "").strip():
            self._hash_key = value.encode()
        else:
            raise ConfigError(f"environment variable {reference[4:]} is not set, wanted store.hash_key in it")

    async def close(self) -> None:
        """Puts the rows that are not made yet."""
        self._put_all()

    def __call__(self, record: Record) -> None:
        """A request has ended; its row follows within 50 ms."""
        self._ended.append((self._clock(), record))
        if len(self._ended) >= _AT_ONCE:
            self._put_all()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(_LATER_S, self._put_all)

    def _put_all(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        while self._ended:
            self._put(self._row(*self._ended.popleft()))

    def _row(self, at: float, record: Record) -> DecisionRow:
        decision, upstream_s, routing_s = record.decision, record.upstream_s, record.routing_s
        values: dict[str, Any] = {
            "id": new_row_id(at),
            "request_id": record.id,
            "at": at,
            "path": record.path,
            "model": record.model,
            "cost_usd": record.cost_usd,
            "strong_usd": record.strong_usd,
            "weak_usd": record.weak_usd,
            "outcome": record.outcome,
            "status": record.status,
            "stream": record.stream,
            "trail": record.trail,
            "routing_ms": None if routing_s is None else 1e3 * routing_s,
            "upstream_ms": None if upstream_s is None else 1e3 * upstream_s,
            "total_ms": 1e3 * record.total_s,
        }
        if decision is not None:
            values["decided"] = decision.model
            values["router"] = decision.router
            values["win_rate"] = decision.win_rate
            values["threshold"] = decision.threshold
            values["policy"] = decision.policy
            values["reason"] = _short(decision.reason)
        if record.exchange is not None:
            self._add_request(values, record.exchange)
        if (usage := record.usage) is not None:
            values["input_tokens"] = usage.input_tokens
            values["output_tokens"] = usage.output_tokens
            values["cached_tokens"] = usage.cached_tokens
            values["usage_estimated"] = usage.estimated
        return DecisionRow(**values)

    def _add_request(self, values: dict[str, Any], exchange: Exchange) -> None:
        values["requested"] = _short(exchange.request.model)
        if (key := exchange.key) is not None:
            values["key_id"] = key.id
            values["tier"] = key.tier
        values["checkpoint"] = exchange.checkpoint
        if exchange.session is not None:
            values["session"] = _short(exchange.session)
        if exchange.embedding is not None and self._config.embeddings:
            values["embedding"] = exchange.embedding.astype("<f4", copy=False).tobytes()
        if prompt := exchange.request.prompt:
            if self._hash_key is not None:
                values["prompt_hash"] = prompt_hash(prompt, self._hash_key)
            if self._config.prompts == "text":
                values["prompt"] = clean_text(prompt[: self._config.prompt_characters])


def prompt_hash(prompt: str, key: bytes) -> str:
    """HMAC-SHA256 of a prompt's UTF-8, in hexadecimal: equal prompts have equal hashes under one key."""
    return hmac.digest(key, prompt.encode("utf-8", "replace"), "sha256").hex()


def _short(text: str) -> str:
    return clean_text(text[:_MAX_TEXT])
