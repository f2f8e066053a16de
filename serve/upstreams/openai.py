"""Upstreams that speak OpenAI's protocol: bytes in, bytes out, over one pool of connections."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncGenerator
from http.client import responses

import orjson

from pointsman.serve.config import TimeoutConfig
from pointsman.serve.http.errors import UpstreamFailure, error_body
from pointsman.serve.http.streams import Headers
from pointsman.serve.protocols.edit_json import replace_model
from pointsman.serve.upstreams.base import Call, Reply, Upstream
from pointsman.serve.upstreams.http_client.connection import BrokenAnswerError
from pointsman.serve.upstreams.http_client.destination import Destination
from pointsman.serve.upstreams.http_client.pool import Answer, ConnectionPool, ConnectTimeoutError
from pointsman.serve.upstreams.http_client.proxies import environment_proxy
from pointsman.serve.upstreams.providers import Target

__all__ = ["OpenAIUpstream"]

_KEPT = (b"content-type", b"retry-after", b"retry-after-ms", b"request-id", b"x-request-id", b"x-should-retry")
_KEPT_PREFIXES = (b"x-ratelimit-", b"openai-", b"anthropic-")
_STATUSES = range(200, 600)
_MAX_ANSWER_BYTES = 256 * 1024 * 1024  # of one that is not streamed: 2,048 embeddings of 3,072 numbers have half of it
_NO_STREAMS = (b"application/json", b"text/html")


class OpenAIUpstream(Upstream):
    """One model at one URL."""

    def __init__(self, target: Target, pool: ConnectionPool, timeouts: TimeoutConfig) -> None:
        """Sends nothing yet.

        Raises:
            ConfigError: the environment names a proxy that cannot be used.
        """
        environment_proxy(target.url(""))
        self._target = target
        self._pool = pool
        self._timeouts = timeouts
        self._too_late = f"sent no answer within {timeouts.first_byte_s:g} s"
        self._headers = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "pointsman"}
        self._headers |= target.request_headers
        self._destinations: dict[str, Destination] = {}

    @property
    def provider(self) -> str:
        return "openai"

    async def start(self) -> None:
        await self._pool.start()

    async def close(self) -> None:
        await self._pool.close()

    async def send(self, call: Call) -> Reply:
        started = asyncio.get_running_loop().time()
        to = self._destination(call.path)
        answer = await self._post(call, to, started)
        streams = False
        try:
            content_type = _content_type(answer)
            if streams := call.stream and answer.status < 300 and content_type not in _NO_STREAMS:
                return Reply(answer.status, _kept_headers(answer), chunks=self._pieces(answer, to, started))
            body = await self._read(answer, started)
        finally:
            if not streams:
                self._pool.release(to, answer)
        return self._whole(answer, body, stream=call.stream)

    async def _post(self, call: Call, to: Destination, started: float) -> Answer:
        try:
            return await self._pool.post(
                to,
                call.headers,
                replace_model(call.body, self._target.upstream_model),
                connect_s=self._timeouts.connect_s,
                deadline=started + self._timeouts.first_byte_s,
            )
        except ConnectTimeoutError as error:
            raise self._failure("could not be reached in time", status=504, code="upstream_timeout") from error
        except TimeoutError as error:
            raise self._failure(self._too_late, status=504, code="upstream_timeout") from error
        except OSError as error:
            raise self._failure(f"could not be reached: {_brief(error)}", code="upstream_unreachable") from error

    def _destination(self, path: str) -> Destination:
        if path not in self._destinations:  # one of the few paths that are served
            self._destinations[path] = Destination.of(self._target.url(path), self._headers)
        return self._destinations[path]

    async def _read(self, answer: Answer, started: float) -> bytes:
        """The whole body, which mostly came with its head."""
        pieces: list[bytes] = []
        left = _MAX_ANSWER_BYTES
        while piece := await self._piece(answer, started, first=not pieces):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise self._failure(f"sent more than {_MAX_ANSWER_BYTES} bytes", code="upstream_too_large")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _pieces(self, answer: Answer, to: Destination, started: float) -> AsyncGenerator[bytes, None]:
        """The answer as it comes in; closing it early hangs up."""
        first = True
        try:
            while piece := await self._piece(answer, started, first=first):
                yield piece
                first = False
        finally:
            self._pool.release(to, answer)

    async def _piece(self, answer: Answer, started: float, *, first: bool) -> bytes:
        patience = self._timeouts
        wait_until = started + patience.first_byte_s if first else _now() + patience.between_chunks_s
        try:
            return await answer.read(min(wait_until, started + patience.total_s))
        except TimeoutError as error:
            problem = self._too_late if first else "stopped in the middle of its answer"
            raise self._failure(problem, status=504, code="upstream_timeout") from error
        except OSError as error:
            raise self._failure(f"broke off its answer: {_brief(error)}", code="upstream_cut") from error

    def _whole(self, answer: Answer, body: bytes, *, stream: bool) -> Reply:
        document = _read_object(body)
        if 300 <= answer.status < 400:
            raise self._failure(f"answered {answer.status}, a redirect; check its base_url")
        if answer.status not in _STATUSES:
            raise self._failure(f"answered {answer.status}, which is no status", code="upstream_malformed")
        if answer.status >= 400:
            if document is None:
                phrase = responses.get(answer.status, "")
                message = f"the upstream of model {self._target.name!r} answered {answer.status} {phrase}"
                body = error_body(message, "upstream_error", code="upstream_error")
            return Reply(answer.status, _as_json(_kept_headers(answer)), self._target.redact(body))
        if document is None or stream:
            wanted = "an event stream" if stream else "a JSON object"
            kind = _content_type(answer).decode("latin-1")
            raise self._failure(f"answered {kind}, wanted {wanted}", code="upstream_malformed")
        if document.get("error") and "choices" not in document:
            raise self._failure(f"answered {answer.status} with an error in its body")
        return Reply(answer.status, _as_json(_kept_headers(answer)), body, document=document)

    def _failure(self, problem: str, *, status: int = 502, code: str = "upstream_error") -> UpstreamFailure:
        return UpstreamFailure(f"the upstream of model {self._target.name!r} {problem}", status=status, code=code)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _content_type(answer: Answer) -> bytes:
    for name, value in answer.headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b"application/octet-stream"


def _kept_headers(answer: Answer) -> Headers:
    return tuple([pair for pair in answer.headers if pair[0] in _KEPT or pair[0].startswith(_KEPT_PREFIXES)])


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


def _brief(error: OSError) -> str:
    """What went wrong, without the address, which is none of the client's business."""
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or (str(error) if isinstance(error, BrokenAnswerError) else type(error).__name__)
