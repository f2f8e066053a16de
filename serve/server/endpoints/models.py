"""GET /v1/models: what the model field may name."""

import time
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.serve.auth.require_key import request_key
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.asgi import send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.model_field import AUTO, ROUTER_PREFIX
from pointsman.serve.server.endpoints.headers import JSON, refuse

__all__ = ["Models"]


class Models:
    """GET /v1/models and /v1/models/<id>, in the words of OpenAI's API and of Anthropic's at once.

    A key is shown what it may ask for.
    """

    def __init__(self, engine: Engine) -> None:
        created = int(time.time())
        created_at = datetime.fromtimestamp(created, UTC).isoformat()
        owners = {AUTO: "pointsman", **{ROUTER_PREFIX + name: "pointsman" for name in engine.routers}}
        owners |= {field: "pointsman" for router in engine.routers.values() for field in router.stored_fields()}
        owners |= {name: upstream.provider for name, upstream in engine.upstreams.items()}
        self._cards: dict[str, dict[str, Any]] = {
            name: {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": owner,
                "type": "model",
                "display_name": name,
                "created_at": created_at,
            }
            for name, owner in owners.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, key = scope["path_params"].get("name"), request_key(scope)
        cards = {id: card for id, card in self._cards.items() if key is None or key.allows(id)}
        if name is None:
            first, last = next(iter(cards), None), next(reversed(cards), None)
            pages = {"has_more": False, "first_id": first, "last_id": last}
            answer = {"object": "list", "data": list(cards.values()), **pages}
            await send_body(send, 200, orjson.dumps(answer), (JSON,))
        elif name in cards:
            await send_body(send, 200, orjson.dumps(cards[name]), (JSON,))
        else:
            message = f"there is no model {name!r} here; there are {', '.join(cards) or 'none for this key'}"
            await refuse(send, RequestError(message, status=404, param="model", code="model_not_found"))
