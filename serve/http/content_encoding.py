"""Compressed request bodies; the size limit applies to the decompressed body."""

import zlib
from collections.abc import Iterable

from pointsman.serve.http.errors import RequestError

__all__ = ["check_encoding", "inflate"]

_PLAIN = ("", "identity")
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_PIECE = 64 * 1024


def check_encoding(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """How a request's body is compressed; None where it is not.

    Raises:
        RequestError: 415, it is compressed in a way that is not read here, or more than once.
    """
    values = [value for name, value in headers if name == b"content-encoding"]
    if not values:
        return None
    encodings = [word.strip() for word in b",".join(values).decode("latin-1").lower().split(",")]
    encodings = [word for word in encodings if word not in _PLAIN]
    if not encodings:
        return None
    if len(encodings) > 1 or encodings[0] not in _WINDOWS:
        message = f"Content-Encoding is {', '.join(encodings)!r:.60}, wanted gzip, deflate or none"
        raise RequestError(message, status=415, code="unsupported_content_encoding")
    return encodings[0]


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """What a compressed body holds.

    Raises:
        RequestError: 400, it is damaged or cut short, or 413, it holds more than `max_bytes`.
    """
    try:
        return _inflate(body, _WINDOWS[encoding], max_bytes)
    except zlib.error:
        if encoding == "deflate":  # which some send without the header that it wants
            try:
                return _inflate(body, -zlib.MAX_WBITS, max_bytes)
            except zlib.error:
                pass
        raise RequestError(f"the body is not {encoding}, as its Content-Encoding says") from None


def _inflate(body: bytes, window: int, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    left = max_bytes
    while body:  # members follow each other
        stream = zlib.decompressobj(window)
        while not stream.eof:
            piece = stream.decompress(body, min(_PIECE, left + 1))
            if not piece and not stream.unconsumed_tail and not stream.eof:
                raise zlib.error("cut short")
            body = stream.unconsumed_tail
            left -= len(piece)
            if left < 0:
                raise RequestError(f"the body holds more than {max_bytes} bytes, which is the limit here", status=413)
            pieces.append(piece)
        body = stream.unused_data
    return b"".join(pieces)
