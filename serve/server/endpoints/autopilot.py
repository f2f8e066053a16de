"""GET /v1/autopilot: what is certified, saved and next. POST: pause, resume, roll back or reset it."""

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.core.errors import StoreError
from pointsman.serve.auth.require_key import require_admin
from pointsman.serve.autopilot.autopilot import Autopilot
from pointsman.serve.config import ServerConfig
from pointsman.serve.http.asgi import ClientGone, read_body, send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.requests import read_object

__all__ = ["AutopilotEndpoint"]

ACTIONS = ("pause", "resume", "rollback", "reset")
_JSON = (b"content-type", b"application/json")


class AutopilotEndpoint:
    """Reads the status; an admin may change it with {"action": "pause"}, "resume", "rollback" or "reset"."""

    def __init__(self, autopilot: Autopilot | None, *, limits: ServerConfig) -> None:
        self._autopilot = autopilot
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._autopilot is None or self._autopilot.config is None:
                message = (
                    "no autopilot is configured: add `autopilot: {max_loss: 0.03, judge: ...}` to the configuration"
                )
                raise RequestError(message, status=404, code="no_autopilot")
            if scope["method"] == "POST":
                require_admin(scope)
                answer = await self._act(self._autopilot, await read_body(scope, receive, self._limits))
            else:
                answer = self._autopilot.status()
            await send_body(send, 200, orjson.dumps(answer), (_JSON,))
        except RequestError as error:
            await send_body(send, error.status, error.body(), (_JSON,))
        except ClientGone:
            return

    async def _act(self, autopilot: Autopilot, body: bytes) -> dict[str, object]:
        action = read_object(body).get("action")
        if action not in ACTIONS:
            raise RequestError(f"action is {action!r:.80}, wanted one of {', '.join(ACTIONS)}", param="action")
        try:
            return await autopilot.act(action)
        except ValueError as error:
            raise RequestError(str(error), param="action", code="nothing_to_roll_back") from error
        except StoreError as error:
            raise RequestError(f"{action} failed, try again later: {error}", status=503, type="server_error") from error
