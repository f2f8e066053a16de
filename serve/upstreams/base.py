"""The interface of every upstream."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, NoReturn

from pointsman.core.decision import Decision
from pointsman.core.quick_dataclass import quick_dataclass
from pointsman.serve.http.errors import RequestError
from pointsman.serve.http.streams import ByteStream, Headers
from pointsman.serve.protocols.large_json import LARGE_BYTES
from pointsman.serve.protocols.read_json import read_json

if TYPE_CHECKING:
    from pointsman.serve.protocols.openai_streams import EventStream

__all__ = ["Call", "Reply", "Upstream", "Wrapper", "refuse_surface"]


@quick_dataclass(frozen=True, slots=True)
class Call:
    """One request to one model.

    Attributes:
        path: below the service's URL, e.g. "/chat/completions".
        body: JSON as the client sent it, still with the client's `model`.
        document: the same, parsed.
        stream: whether an event stream is wanted.
        decision: the decision for this model.
        headers: the client's headers that are passed on, e.g. traceparent.
        caller: identifies the sender.
        thoughts: marks of the thinking in its history; None if there is none.
        makers: their makers, where known.
    """

    path: str
    body: bytes
    document: Mapping[str, Any]
    stream: bool
    decision: Decision
    headers: Mapping[str, str] = field(default_factory=dict)
    caller: str = ""
    thoughts: Collection[str] | None = None
    makers: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self) -> int:
        """Equal for equal bodies; of long ones their length and both ends count."""
        body = self.body
        return hash(body if len(body) <= LARGE_BYTES else (len(body), body[:LARGE_BYTES], body[-LARGE_BYTES:]))


@quick_dataclass(frozen=True, slots=True)
class Reply:
    """An upstream's answer: whole in `body`, or streamed in `chunks`.

    Closing `chunks` disconnects from the upstream. Iterating it raises `UpstreamFailure` if the stream breaks.

    Attributes:
        document: the body, if already parsed.
        hides_usage: whether the stream reports usage that the client did not request.
        source: for a translation, the state of the service's own stream, or its own document: its charges are
            read from there.
    """

    status: int
    headers: Headers
    body: bytes = b""
    chunks: ByteStream | None = None
    document: Mapping[str, Any] | None = None
    hides_usage: bool = False
    source: "EventStream | Mapping[str, Any] | None" = None

    def parsed(self) -> Mapping[str, Any]:
        """A whole answer's document; empty if there is none."""
        if self.document is not None or self.chunks is not None:
            return self.document or {}
        try:
            document = read_json(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def refuse_surface(call: Call, model: str, served: Iterable[str]) -> NoReturn:
    """The error for a model that is not served on the path of a call.

    Args:
        served: the paths on which it is served.

    Raises:
        RequestError: 404, naming those paths.
    """
    others = ", ".join(f"/v1{path}" for path in served)
    raise RequestError(
        f"model {model!r} is not served on /v1{call.path}, but on {others}",
        status=404,
        param="model",
        code="unsupported_surface",
    )


class Upstream(ABC):
    """One model at its service."""

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider, for the list of models."""

    async def start(self) -> None:  # noqa: B027  (most upstreams have nothing to prepare)
        """Prepares for the first call."""

    async def close(self) -> None:  # noqa: B027  (nor to give up)
        """Releases resources."""

    def serves(self, path: str) -> bool:
        """Whether it accepts calls of a path, as far as that is known in advance."""
        return True

    def check(self, path: str, document: Mapping[str, Any]) -> None:  # noqa: B027  (most pass every request on)
        """Checks that a request can be expressed in its service's API.

        Raises:
            RequestError: it cannot.
        """

    def redact(self, data: bytes) -> bytes:
        """`data` without this upstream's keys; `data` itself if it does not contain them."""
        return data

    @abstractmethod
    async def send(self, call: Call) -> Reply:
        """The answer; one with an error status is passed on as it is.

        Raises:
            UpstreamFailure: there was no usable answer.
        """


class Wrapper(Upstream):
    """An upstream that changes the calls of another; subclasses implement `send`."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.redact = upstream.redact  # type: ignore[method-assign]  # each header passes through it

    @property
    def provider(self) -> str:
        return self._upstream.provider

    def serves(self, path: str) -> bool:
        return self._upstream.serves(path)

    def check(self, path: str, document: Mapping[str, Any]) -> None:
        self._upstream.check(path, document)

    async def start(self) -> None:
        await self._upstream.start()

    async def close(self) -> None:
        await self._upstream.close()
