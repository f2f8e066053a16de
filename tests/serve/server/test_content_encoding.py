"""Compressed bodies are read as they were before, within the limit on bodies, or refused for what they are."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.http.content_encoding import check_encoding, inflate
from pointsman.serve.http.errors import RequestError

_RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
_WAYS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}


@given(st.binary(max_size=3000), st.sampled_from(sorted(_WAYS)))
def test_round_trip(body, encoding):
    """What was compressed is read again, where it fits exactly, too."""
    assert inflate(_WAYS[encoding](body), encoding, max_bytes=len(body)) == body


def test_members():
    """Parts that were compressed one by one are one body; deflate without its header is read as well."""
    assert inflate(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", max_bytes=4) == b"abcd"
    assert inflate(_RAW.compress(b"abcd") + _RAW.flush(), "deflate", max_bytes=4) == b"abcd"


def test_bomb():
    """A small body that would become a large one is refused before it does."""
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(RequestError, match="more than 1000 bytes") as caught:
        inflate(bomb, "gzip", max_bytes=1000)
    assert caught.value.status == 413


@given(st.binary(min_size=1, max_size=200), st.integers(0, 200))
def test_damage(body, at):
    """What is cut short or is something else is refused, and never taken for a shorter body."""
    whole = gzip.compress(body, mtime=0)
    for damaged in (whole[: min(at, len(whole) - 1)], b"{" + body):
        if damaged:
            with pytest.raises(RequestError, match="is not gzip"):
                inflate(damaged, "gzip", max_bytes=10_000)


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        ((), None),
        ((b"identity",), None),
        ((b"GZip",), "gzip"),
        ((b"identity, gzip",), "gzip"),
        ((b"identity", b"deflate"), "deflate"),
        ((b"br",), 415),
        ((b"zstd",), 415),
        ((b"gzip, gzip",), 415),
        ((b"\xff",), 415),
    ],
)
def test_headers(values, encoding):
    """gzip and deflate are read; everything else is named, with what would be."""
    headers = [(b"content-encoding", value) for value in values]
    if encoding != 415:
        assert check_encoding(headers) == encoding
        return
    with pytest.raises(RequestError, match="wanted gzip, deflate or none") as caught:
        check_encoding(headers)
    assert caught.value.status == 415
