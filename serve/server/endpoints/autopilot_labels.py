"""GET /v1/autopilot/labels: pairs of answers for people to compare. POST: which one is better."""

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.core.errors import StoreError
from pointsman.serve.auth.require_key import require_admin
from pointsman.serve.autopilot.labels import BETTER, loss_of, question_of
from pointsman.serve.config import ServerConfig
from pointsman.serve.http.asgi import ClientGone, read_body, send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.requests import read_object
from pointsman.serve.store.store import Store

__all__ = ["AutopilotLabels"]

_AT_ONCE = 20
_JSON = (b"content-type", b"application/json")


class AutopilotLabels:
    """For admins, since it shows prompts and answers: {"id": ..., "better": "a", "b" or "tie"} labels a comparison."""

    def __init__(self, store: Store | None, *, limits: ServerConfig) -> None:
        self._store, self._limits = store, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            require_admin(scope)
            if self._store is None:
                message = "labels need a store and an autopilot: add both to the configuration"
                raise RequestError(message, status=404, code="no_store")
            if scope["method"] == "POST":
                answer = await self._label(self._store, await read_body(scope, receive, self._limits))
            else:
                rows = await self._store.waiting_labels()
                answer = {"waiting": len(rows), "comparisons": [question_of(row) for row in rows[:_AT_ONCE]]}
            await send_body(send, 200, orjson.dumps(answer), (_JSON,))
        except StoreError as error:
            failed = RequestError(f"the store is down, try again later: {error}", status=503, type="server_error")
            await send_body(send, failed.status, failed.body(), (_JSON,))
        except RequestError as error:
            await send_body(send, error.status, error.body(), (_JSON,))
        except ClientGone:
            return

    async def _label(self, store: Store, body: bytes) -> dict[str, object]:
        document = read_object(body)
        comparison, better = document.get("id"), document.get("better")
        if better not in BETTER:
            raise RequestError(f"better is {better!r:.80}, wanted one of {', '.join(BETTER)}", param="better")
        if not isinstance(comparison, str) or not await store.label(comparison, loss_of(comparison, str(better))):
            message = f"id is {comparison!r:.80}, but no comparison with that id waits for a label"
            raise RequestError(message, status=404, param="id", code="comparison_not_found")
        return {"id": comparison, "better": better}
