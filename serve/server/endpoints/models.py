"""GET /v1/models: the valid model names."""

import time
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.auth.require_key import request_key
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.asgi import send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.model_field import AUTO, ROUTER_PREFIX
from pointsman.serve.server.endpoints.headers import JSON, refuse

__all__ = ["Models"]


class Models:
    """GET /v1/models and /v1/models/<id>, in a form that suits both OpenAI's and Anthropic's API.

    The list has what is configured; by id any name that requests may use can be looked up, such as router-mf-0.6. A
    key sees only what it may use.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._created = int(time.time())
        aliases = [alias for alias in engine.config.aliases if "*" not in alias]
        routers = [ROUTER_PREFIX + name for name in engine.routers]
        stored = [field for router in engine.routers.values() for field in router.stored_fields()]
        self._listed = tuple(dict.fromkeys((AUTO, *routers, *stored, *aliases, *engine.upstreams)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, key = scope["path_params"].get("name"), request_key(scope)
        listed = [id for id in self._listed if self._allows(key, id)]
        if name is None:
            pages = {"has_more": False, "first_id": next(iter(listed), None), "last_id": next(reversed(listed), None)}
            answer = {"object": "list", "data": [self._card(id) for id in listed], **pages}
            await send_body(send, 200, orjson.dumps(answer), (JSON,))
            return
        if self._allows(key, name) and self._means_something(name):
            await send_body(send, 200, orjson.dumps(self._card(name)), (JSON,))
        else:
            message = f"model {name!r} does not exist; available: {', '.join(listed) or 'none for this key'}"
            await refuse(send, RequestError(message, status=404, param="model", code="model_not_found"))

    def _means_something(self, name: str) -> bool:
        try:
            field = self._engine.resolve.parse(name)
            if field.router is not None and field.names_threshold:
                self._engine.routers[field.router].threshold(field)
        except RequestError:
            return False
        return True

    def _allows(self, key: AccessKey | None, name: str) -> bool:
        return key is None or key.allows(name) or key.allows(self._engine.resolve.means(name))

    def _card(self, name: str) -> dict[str, Any]:
        upstream = self._engine.upstreams.get(self._engine.resolve.means(name))
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "pointsman" if upstream is None else upstream.provider,
            "type": "model",
            "display_name": name,
            "created_at": datetime.fromtimestamp(self._created, UTC).isoformat(),
        }
