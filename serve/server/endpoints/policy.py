"""GET and POST /v1/policy: shows the current state of the rules, and replaces the configured setting."""

import orjson
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from pointsman.core.errors import ConfigError, StoreError
from pointsman.serve.auth.require_key import require_admin
from pointsman.serve.config import ServerConfig, SettingConfig
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.asgi import ClientGone, read_body, send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.requests import read_object

__all__ = ["PolicyEndpoint"]

_JSON = (b"content-type", b"application/json")


class PolicyEndpoint:
    """GET describes the rules and their state; POST changes the setting until the configuration changes.

    POST takes one of {"threshold": 0.4}, {"strong_share": 0.3}, {"max_loss": 0.02} and {"max_cost_usd": 2}, checked as
    in the configuration, or {"reset": true}. It needs an admin key, and applies to all processes on the same store.
    """

    def __init__(self, engine: Engine, *, limits: ServerConfig) -> None:
        self._policies = engine.policies
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            require_admin(scope)
            if scope["method"] == "POST":
                await self._change(await read_body(scope, receive, self._limits))
        except RequestError as error:
            await send_body(send, error.status, error.body(), (_JSON,))
        except ClientGone:
            return
        else:
            await send_body(send, 200, orjson.dumps(self._policies.describe()), (_JSON,))

    async def _change(self, body: bytes) -> None:
        setting = self._read(body)
        try:
            await self._policies.state.set_override(self._policies.digest, setting)
        except StoreError as error:
            message = f"the policy changed in this process only, not in the others: the store is unavailable: {error}"
            raise RequestError(message, status=503, type="server_error", code="store_unavailable") from error

    def _read(self, body: bytes) -> SettingConfig | None:
        values = read_object(body)
        if values == {"reset": True}:
            return None
        try:
            setting = SettingConfig.model_validate(values)
            if not setting.is_set:
                raise ConfigError("the body sets nothing, wanted threshold, strong_share, max_loss or max_cost_usd")
            self._policies.check_setting(setting)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False, include_context=False)[0]
            name = ".".join(str(part) for part in details["loc"]) or None
            message = str(details["msg"]).removeprefix("Value error, ")
            raise RequestError(f"{name or 'the body'}: {message}", param=name) from error
        except ConfigError as error:
            raise RequestError(str(error)) from error
        return setting
