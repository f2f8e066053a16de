"""Upstreams that speak OpenAI's protocol: bytes in, bytes out, over one pool of connections."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator

import aiohttp
import orjson
from yarl import URL

from pointsman.serve.config import TimeoutConfig
from pointsman.serve.errors import UpstreamFailure, error_body
from pointsman.serve.providers import Target
from pointsman.serve.splice import replace_model
from pointsman.serve.upstreams.pool import ConnectionPool
from pointsman.serve.upstreams.upstream import Call, Headers, Reply, Upstream

__all__ = ["OpenAIUpstream"]

_LARGE_BYTES = 1 << 20  # above, aiohttp wants a file, which it sends in pieces
_KEPT = (b"content-type", b"retry-after", b"retry-after-ms", b"x-request-id", b"x-should-retry")
_KEPT_PREFIXES = (b"x-ratelimit-", b"openai-")


class OpenAIUpstream(Upstream):
    """One model at one URL."""

    def __init__(self, target: Target, pool: ConnectionPool, timeouts: TimeoutConfig) -> None:
        self._target = target
        self._pool = pool
        self._timeouts = timeouts
        self._too_late = f"sent no answer within {timeouts.first_byte_s:g} s"
        self._client_timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s)
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "pointsman"}
        if target.api_key is not None:
            self._headers["Authorization"] = f"Bearer {target.api_key.value}"

        self._urls: dict[str, URL] = {}

    @property
    def provider(self) -> str:
        return "openai"

    async def start(self) -> None:
        await self._pool.start()

    async def close(self) -> None:
        await self._pool.close()

    async def send(self, call: Call) -> Reply:
        started = asyncio.get_running_loop().time()
        response = await self._post(call)
        try:
            if call.stream and response.status < 300 and _may_stream(response):
                return Reply(response.status, _kept_headers(response), chunks=self._pieces(response, started))
            body = b"".join([piece async for piece in self._pieces(response, started)])
            return self._whole(response, body, stream=call.stream)
        except BaseException:
            response.close()
            raise

    async def _post(self, call: Call) -> aiohttp.ClientResponse:
        target = self._target
        body = replace_model(call.body, target.upstream_model)
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                return await self._pool.session.post(
                    self._url(call.path),
                    data=body if len(body) < _LARGE_BYTES else io.BytesIO(body),
                    headers={**call.headers, **self._headers},
                    timeout=self._client_timeout,
                    allow_redirects=False,
                )
        except TimeoutError as error:
            if isinstance(error, aiohttp.ClientError):
                raise self._failure("could not be reached in time", status=504, code="upstream_timeout") from error
            raise self._failure(self._too_late, status=504, code="upstream_timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._failure(f"could not be reached: {_brief(error)}", code="upstream_unreachable") from error

    def _url(self, path: str) -> URL:
        if path not in self._urls:  # one of the few paths that are served
            self._urls[path] = URL(f"{self._target.base_url}{path}")
        return self._urls[path]

    async def _pieces(self, response: aiohttp.ClientResponse, started: float) -> AsyncGenerator[bytes, None]:
        """The answer as it comes in; closing it early hangs up."""
        now = asyncio.get_running_loop().time
        wait_until, missed = started + self._timeouts.first_byte_s, self._too_late
        try:
            while True:
                async with asyncio.timeout_at(min(wait_until, started + self._timeouts.total_s)):
                    piece = await response.content.readany()
                if not piece:
                    return
                missed = "stopped in the middle of its answer"
                yield piece
                wait_until = now() + self._timeouts.between_chunks_s
        except TimeoutError as error:
            raise self._failure(missed, status=504, code="upstream_timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._failure(f"broke off its answer: {_brief(error)}", code="upstream_cut") from error
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    def _whole(self, response: aiohttp.ClientResponse, body: bytes, *, stream: bool) -> Reply:
        document = _read_object(body)
        if 300 <= response.status < 400:
            raise self._failure(f"answered {response.status}, a redirect; check its base_url")
        if response.status >= 400:
            if document is None:
                message = f"the upstream of model {self._target.name!r} answered {response.status} {response.reason}"
                body = error_body(message, "upstream_error", code="upstream_error")
            if self._target.api_key is not None:
                body = self._target.api_key.redact(body)
            return Reply(response.status, _as_json(_kept_headers(response)), body)
        if document is None or stream:
            wanted = "an event stream" if stream else "a JSON object"
            raise self._failure(f"answered {response.content_type}, wanted {wanted}", code="upstream_malformed")
        if document.get("error") and "choices" not in document:
            raise self._failure(f"answered {response.status} with an error in its body")
        return Reply(response.status, _as_json(_kept_headers(response)), body)

    def _failure(self, problem: str, *, status: int = 502, code: str = "upstream_error") -> UpstreamFailure:
        return UpstreamFailure(f"the upstream of model {self._target.name!r} {problem}", status=status, code=code)


def _may_stream(response: aiohttp.ClientResponse) -> bool:
    return response.content_type not in ("application/json", "text/html")


def _kept_headers(response: aiohttp.ClientResponse) -> Headers:
    kept = []
    for name, value in response.raw_headers:
        name = name.lower()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES):
            kept.append((name, value))
    return tuple(kept)


def _as_json(headers: Headers) -> Headers:
    return ((b"content-type", b"application/json"), *(pair for pair in headers if pair[0] != b"content-type"))


def _read_object(body: bytes) -> dict[str, object] | None:
    """The JSON object in a body; None where there is none. NaN and infinities, which some upstreams send, pass."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return None
    return document if isinstance(document, dict) else None


def _brief(error: BaseException) -> str:
    """What went wrong, without the address, which is none of the client's business."""
    cause = getattr(error, "os_error", error)
    return getattr(cause, "strerror", None) or type(cause).__name__
