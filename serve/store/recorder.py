"""Turns the record of a request into a row of the store."""

import hmac
import os
import time
from collections.abc import Callable

from pointsman.core.errors import ConfigError
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.in_step import InStep
from pointsman.serve.request.record import Record
from pointsman.serve.request.together import Together
from pointsman.serve.store.rows import DecisionRow, Row, clean_text
from pointsman.serve.store.store import Store

__all__ = ["Recorder", "prompt_hash"]

_MAX_TEXT = 300
_SECRET = "prompt_hash_key"


class Recorder:
    """An observer of records; keeps prompts and embeddings only as configured."""

    def __init__(
        self, store: Store, put: Callable[[Row], None], *, in_step: InStep, clock: Callable[[], float] = time.time
    ) -> None:
        """Records nothing before `start`.

        Args:
            store: its configuration applies, and it may hold the key of the prompts' hashes.
            put: takes the rows.
            in_step: of the requests.
            clock: seconds since 1970.
        """
        self._store = store
        self._config = store.config
        self._clock = clock
        self._hash_key: bytes | None = None
        self._ended = Together(in_step, lambda record: put(self._row(record)))

    async def start(self) -> None:
        """Gets the key of the prompts' hashes.

        Raises:
            ConfigError: the environment variable that should hold it is not set.
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
        """Makes and queues the rows still to be made."""
        self._ended.flush()

    def __call__(self, record: Record) -> None:
        """A request has ended; its row follows soon."""
        record.recorded_at = self._clock()
        self._ended(record)

    def _row(self, record: Record) -> DecisionRow:
        at, row_id = record.recorded_at, record.row_id
        assert at is not None and row_id is not None, "an ended request has a time"
        row = DecisionRow(
            id=row_id,
            request_id=record.id,
            at=at,
            path=record.path,
            model=record.model,
            cost_usd=record.cost_usd,
            strong_usd=record.strong_usd,
            weak_usd=record.weak_usd,
            outcome=record.outcome,
            status=record.status,
            stream=record.stream,
            trail=record.trail,
            routing_ms=record.routing_ms,
            upstream_ms=record.upstream_ms,
            total_ms=record.total_ms,
        )
        if (decision := record.decision) is not None:
            row.decided = decision.model
            row.router = decision.router
            row.win_rate = decision.win_rate
            row.threshold = decision.threshold
            row.policy = decision.policy
            row.reason = _short(decision.reason)
            row.rule = decision.rule
            if decision.weighed:
                row.weighed = decision.weighed_facts()
                row.share = decision.share
                expected = {each["model"]: each["usd"] for each in row.weighed}
                row.expected_usd = expected.get(decision.model)
        if record.context is not None:
            self._add_request(row, record.context)
        if (usage := record.usage) is not None:
            row.input_tokens = usage.input_tokens
            row.output_tokens = usage.output_tokens
            row.cached_tokens = usage.cached_tokens
            row.usage_estimated = usage.estimated
        return row

    def _add_request(self, row: DecisionRow, context: RequestContext) -> None:
        row.requested = _short(context.request.model)
        if (key := context.key) is not None:
            row.key_id = key.id
            row.tier = key.tier
        row.checkpoint = context.checkpoint
        if context.pair is not None and row.router is not None:
            row.reference = context.pair.strong
        if context.session is not None:
            row.session = _short(context.session)
        if context.embedding is not None and self._config.embeddings:
            row.embedding = context.embedding.astype("<f4", copy=False).tobytes()
        if prompt := context.request.prompt:
            if self._hash_key is not None:
                row.prompt_hash = prompt_hash(prompt, self._hash_key)
            if self._config.prompts == "text":
                row.prompt = clean_text(prompt[: self._config.prompt_characters])


def prompt_hash(prompt: str, key: bytes) -> str:
    """HMAC-SHA256 of a prompt's UTF-8, in hexadecimal: equal prompts have equal hashes under one key."""
    return hmac.digest(key, prompt.encode("utf-8", "replace"), "sha256").hex()


def _short(text: str) -> str:
    return clean_text(text[:_MAX_TEXT])
