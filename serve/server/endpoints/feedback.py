"""POST /v1/feedback: a client's feedback on an answer."""

import asyncio
import time
from typing import TYPE_CHECKING

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.core.errors import StoreError
from pointsman.serve.auth.require_key import request_key
from pointsman.serve.autopilot.labels import label_of_request
from pointsman.serve.config import ServerConfig
from pointsman.serve.engine.engine import Engine
from pointsman.serve.feedback.read import PREFERENCE, read_feedback
from pointsman.serve.http.asgi import ClientGone, read_body, send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.rows import FeedbackRow

if TYPE_CHECKING:
    from pointsman.serve.store.rows import DecisionRow
    from pointsman.serve.store.store import Store

__all__ = ["FeedbackEndpoint"]

_JSON = (b"content-type", b"application/json")
_WAITS_S = (0.0, 0.4, 0.8)  # a decision is queued a moment after its answer, another process's stored a moment later


class FeedbackEndpoint:
    """Takes {"request_id": ..., "rating": 0 to 1} or {"request_id": ..., "preference": "strong", "weak" or "tie"}.

    `request_id` is the answer's x-pointsman-request-id, `rating` 0 for useless to 1 for perfect. `preference` says
    which model's answer is better, for those who have seen both; a model's own name will do, too. A `comment` may be
    added. Later feedback of a key on the same answer replaces earlier feedback. A key can rate only its own requests,
    an admin key all; other requests are treated as if they did not exist.
    """

    def __init__(self, engine: Engine, *, limits: ServerConfig) -> None:
        self._store = engine.state.store
        self._writer = engine.state.writer
        self._pair = engine.pair
        self._labels = engine.config.autopilot is not None and engine.config.autopilot.label_share > 0.0
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            said = await self._take(scope, await read_body(scope, receive, self._limits))
        except RequestError as error:
            await send_body(send, error.status, error.body(), (_JSON,))
        except ClientGone:
            return
        else:
            answer = {"id": said.id, "request_id": said.request_id, said.kind: said.value}
            await send_body(send, 200, orjson.dumps(answer), (_JSON,))

    async def _take(self, scope: Scope, body: bytes) -> FeedbackRow:
        request_id, kind, value, comment = read_feedback(body, self._pair)
        if self._store is None:
            message = "feedback needs a store: add `store: {}` to the configuration"
            raise RequestError(message, status=404, code="no_store")
        key = request_key(scope)
        try:
            decision = await self._find(self._store, request_id, None if key is None or key.admin else key.id)
            if decision is None:
                message = f"request_id is {request_id!r}, but no request of yours has that id"
                raise RequestError(message, status=404, param="request_id", code="request_not_found")
            now = time.time()
            said = FeedbackRow(
                id=new_row_id(now),
                request_id=request_id,
                at=now,
                kind=kind,
                value=value,
                key_id=key.id if key is not None else None,
                comment=comment,
                decision_id=decision.id,
            )
            await self._store.add([said])
            if kind == PREFERENCE and self._labels:
                await label_of_request(self._store, request_id, value)
        except StoreError as error:
            message = "the store cannot be reached now; try again later"
            raise RequestError(message, status=503, type="server_error", code="store_unavailable") from error
        return said

    async def _find(self, store: "Store", request_id: str, key_id: str | None) -> "DecisionRow | None":
        """The last decision on a request, of a key's own requests if `key_id` is given."""
        for wait_s in _WAITS_S:
            await asyncio.sleep(wait_s)
            queued = self._writer and self._writer.decision(request_id, key_id=key_id)
            if decision := queued or await store.decision(request_id, key_id=key_id):
                return decision
        return None
