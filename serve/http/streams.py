"""Headers and byte streams, as the server and the upstreams pass them on."""

from collections.abc import AsyncIterator, Awaitable
from typing import Protocol

__all__ = ["ByteStream", "Headers"]

Headers = tuple[tuple[bytes, bytes], ...]


class ByteStream(Protocol):
    """An asynchronous iterator of bytes that can be closed early."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def __anext__(self) -> Awaitable[bytes]: ...

    def aclose(self) -> Awaitable[None]: ...
