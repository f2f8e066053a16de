"""Authentication and rate limits by access key."""

from collections.abc import Callable, Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.serve.auth.keys import AccessKey, Keys
from pointsman.serve.auth.rate_limits import RateLimits
from pointsman.serve.http.asgi import send_body
from pointsman.serve.http.errors import RequestError

__all__ = ["RequireKey", "check_model", "request_key", "require_admin"]

_JSON = (b"content-type", b"application/json")
_SCOPE_KEY = "pointsman.key"


class RequireKey:
    """Wraps an ASGI application: without a valid key 401, beyond its rate 429."""

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        *,
        rates: RateLimits,
        refused: Callable[[Scope, int], None] | None = None,
    ) -> None:
        """Requires one of `keys` before it calls `app`.

        Args:
            rates: shared by everything that requires these keys.
            refused: called with each rejected request and its status.
        """
        self._app = app
        self._keys = keys
        self._refused = refused
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = next((key for text in _presented(scope) if (key := self._keys.find(text)) is not None), None)
        if key is None:
            given = "the key that was given is not valid here" if any(_presented(scope)) else "no key was given"
            message = f"{given}, wanted one of `pointsman keys` as `Authorization: Bearer pm-...`"
            error = RequestError(message, status=401, type="authentication_error", code="invalid_api_key")
            await self._refuse(scope, send, error, (b"www-authenticate", b"Bearer"))
            return
        wait_s = self._rates.wait_s(key)
        if wait_s > 0:
            message = f"key {key.id} is limited to {key.requests_per_minute} requests a minute"
            error = RequestError(message, status=429, type="rate_limit_error", code="rate_limit_exceeded")
            await self._refuse(scope, send, error, (b"retry-after", b"%d" % (wait_s + 1)))
            return
        scope[_SCOPE_KEY] = key
        await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope, send: Send, error: RequestError, header: tuple[bytes, bytes]) -> None:
        if self._refused is not None:
            self._refused(scope, error.status)
        await send_body(send, error.status, error.body(), (_JSON, header))


def request_key(scope: Scope) -> AccessKey | None:
    """The key that admitted a request; None where no keys are required."""
    return scope.get(_SCOPE_KEY)


def check_model(scope: Scope, model: str, *, means: str | None = None) -> None:
    """Raises `RequestError` (403) where the key allows neither the request's model field nor its meaning."""
    key = request_key(scope)
    if key is not None and not key.allows(model) and (means is None or not key.allows(means)):
        allowed = ", ".join(key.models or ())
        message = f"key {key.id} does not allow model {model!r}; it allows {allowed}"
        raise RequestError(message, status=403, type="permission_error", param="model", code="model_not_allowed")


def require_admin(scope: Scope) -> None:
    """Raises `RequestError` (403) where keys are required and the request's is not an admin key."""
    key = request_key(scope)
    if key is not None and not key.admin:
        message = f"key {key.id} is not an admin key; create one with `pointsman keys create NAME --admin`"
        raise RequestError(message, status=403, type="permission_error", code="admin_required")


def _presented(scope: Scope) -> Iterator[str]:
    """Possible keys, from the headers of OpenAI, Anthropic and Azure; some clients send two of them."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip().decode("latin-1")
        elif name in (b"x-api-key", b"api-key"):
            yield value.strip().decode("latin-1")
