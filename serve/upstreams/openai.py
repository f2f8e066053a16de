"""Upstreams that speak OpenAI's protocol: bytes in, bytes out, over one pool of connections."""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from dataclasses import replace
from http.client import responses
from typing import Any

from pointsman.serve.config import TimeoutConfig
from pointsman.serve.http.errors import RequestError, UpstreamFailure, error_body
from pointsman.serve.http.streams import Headers
from pointsman.serve.protocols.edit_json import replace_model
from pointsman.serve.protocols.large_json import LARGE_BYTES, read_large
from pointsman.serve.protocols.long_documents import explored, is_long
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.read_json import UTF8_MARK, read_json, read_piece
from pointsman.serve.protocols.upstream_errors import describe_refusal, find_error
from pointsman.serve.protocols.whole_answers import chat_as_stream, holds_answer
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
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")  # that a line of an event stream begins with
_CHAT = "/chat/completions"


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

    def redact(self, data: bytes) -> bytes:
        return self._target.redact(data)

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
            if not (call.stream and answer.status < 300) and (body := answer.whole()) is not None:
                return await off_loop(len(body), self._whole, answer, body, call)
            first = await self._piece(answer, started, first=True)
            if streams := call.stream and answer.status < 300 and _begins_stream(answer, first):
                headers = _as_type(_kept_headers(answer), b"text/event-stream")
                return Reply(answer.status, headers, chunks=self._pieces(first, answer, to, started))
            body = await self._read(first, answer, started)
            return await off_loop(len(body), self._whole, answer, body, call)
        finally:
            if not streams:  # only now: the next request on the connection replaces the status and headers
                self._pool.release(to, answer)

    async def _post(self, call: Call, to: Destination, started: float) -> Answer:
        body, model = call.body, self._target.upstream_model
        body = await off_loop(len(body), replace_model, body, model)
        try:
            return await self._pool.post(
                to,
                call.headers,
                body,
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

    async def _read(self, first: bytes, answer: Answer, started: float) -> bytes:
        """The whole body, which mostly came with its head."""
        pieces, piece, left = [], first, _MAX_ANSWER_BYTES
        while piece:
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise self._failure(f"sent more than {_MAX_ANSWER_BYTES} bytes", code="upstream_too_large")
            piece = await self._piece(answer, started, first=False)
        return pieces[0] if len(pieces) == 1 else await off_loop(_MAX_ANSWER_BYTES - left, b"".join, pieces)

    async def _pieces(
        self, piece: bytes, answer: Answer, to: Destination, started: float
    ) -> AsyncGenerator[bytes, None]:
        """The answer as it comes in, from its first piece on; closing it early hangs up."""
        try:
            while piece:
                yield piece
                piece = await self._piece(answer, started, first=False)
        finally:
            self._pool.release(to, answer)

    async def _piece(self, answer: Answer, started: float, *, first: bool) -> bytes:
        patience, now = self._timeouts, _now()
        wait_until = started + patience.first_byte_s if first else now + patience.between_chunks_s
        last = started + patience.total_s
        try:
            if now > last:  # an upstream that never pauses is never waited for
                raise TimeoutError
            return await answer.read(min(wait_until, last))
        except TimeoutError as error:
            problem = self._too_late if first else "stopped in the middle of its answer"
            raise self._failure(problem, status=504, code="upstream_timeout") from error
        except OSError as error:
            raise self._failure(f"broke off its answer: {_brief(error)}", code="upstream_cut") from error

    def _whole(self, answer: Answer, body: bytes, call: Call) -> Reply:
        headers = _as_type(_kept_headers(answer), b"application/json")
        if 300 <= answer.status < 400:
            raise self._failure(f"answered {answer.status}, a redirect; check its base_url")
        if answer.status not in _STATUSES:
            raise self._failure(f"answered {answer.status}, which is not a valid status", code="upstream_malformed")
        document = _read_object(body)
        if answer.status >= 400:
            if document is None or not isinstance(document.get("error"), dict) or len(body) > LARGE_BYTES:
                return Reply(answer.status, headers, self._refusal(answer.status, body))
            return Reply(answer.status, headers, body, document=document)
        if document is None:
            kind = _content_type(answer).decode("latin-1")
            wanted = "an event stream" if call.stream else "a JSON object"
            raise self._failure(f"answered {kind}, wanted {wanted}", code="upstream_malformed")
        if is_long(body):
            document = explored(document, "answer")
        reply = Reply(answer.status, headers, body, document=document)
        if not holds_answer(call.path, document):
            return self._not_an_answer(reply, document)
        if call.stream:
            return self._replayed(reply, document, call)
        return reply

    def _refusal(self, status: int, body: bytes) -> bytes:
        """An error of any form in OpenAI's."""
        if reported := describe_refusal(body):
            return reported.body()
        message = f"the upstream of model {self._target.name!r} answered {status} {responses.get(status, '')}"
        return error_body(message, "upstream_error", code="upstream_error")

    def _not_an_answer(self, reply: Reply, document: dict[str, Any]) -> Reply:
        """A success that reports an error, with the status that the error's own code means; else a failure."""
        reported = find_error(document)
        if reported is None:
            raise self._failure("sent a response that does not match its API", code="upstream_malformed")
        if reported.status is not None:
            return Reply(reported.status, reply.headers, reported.body(), document=document)
        failure = self._failure(f"answered {reply.status} with an error in its body")
        failure.said, failure.answer = reported.message, replace(reply, status=502)
        raise failure

    def _replayed(self, reply: Reply, document: dict[str, Any], call: Call) -> Reply:
        """A whole answer where a stream was asked for: told as a stream, so that it is paid for once."""
        if call.path != _CHAT:
            problem = "answered with JSON, wanted an event stream"
            raise self._failure(problem, code="upstream_no_stream", answer=reply)
        usage = bool((call.document.get("stream_options") or {}).get("include_usage"))
        headers = _as_type(reply.headers, b"text/event-stream")
        return Reply(reply.status, headers, chunks=_once(chat_as_stream(document, usage=usage)))

    def _failure(
        self, problem: str, *, status: int = 502, code: str = "upstream_error", answer: Reply | None = None
    ) -> UpstreamFailure:
        message = f"the upstream of model {self._target.name!r} {problem}"
        return UpstreamFailure(message, status=status, code=code, answer=answer)


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


def _now() -> float:
    return asyncio.get_running_loop().time()


def _content_type(answer: Answer) -> bytes:
    for name, value in answer.headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b"application/octet-stream"


def _begins_stream(answer: Answer, first: bytes) -> bool:
    """Whether an answer is an event stream: by how it begins, whatever its content type says, else by that."""
    beginning = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    if beginning.startswith(_FIELDS):
        return True
    return _content_type(answer) not in _NO_STREAMS and not beginning.startswith(b"{")


def _kept_headers(answer: Answer) -> Headers:
    return tuple([pair for pair in answer.headers if pair[0] in _KEPT or pair[0].startswith(_KEPT_PREFIXES)])


def _as_type(headers: Headers, content_type: bytes) -> Headers:
    return ((b"content-type", content_type), *(pair for pair in headers if pair[0] != b"content-type"))


def _read_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body, or None. NaN and infinities, which some upstreams send, are accepted."""
    try:
        if len(body) <= LARGE_BYTES:
            document = read_json(body)
        else:
            document = read_large(body.removeprefix(UTF8_MARK), _loads, bounded=False)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _loads(text: bytes) -> Any:
    try:
        return read_piece(text)
    except ValueError as error:
        raise RequestError("the answer is not JSON") from error


def _brief(error: OSError) -> str:
    """What went wrong, without the address, which clients need not know."""
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or (str(error) if isinstance(error, BrokenAnswerError) else type(error).__name__)
