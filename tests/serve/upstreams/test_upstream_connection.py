"""Connections to upstreams: whatever pieces an answer comes in, and nothing asked twice that may have been heard."""

import asyncio
import gzip
import socket
import ssl
import subprocess
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.serve.upstreams.http_client.connection import BrokenAnswerError, Connection
from pointsman.serve.upstreams.http_client.destination import Destination, header_lines
from pointsman.serve.upstreams.http_client.pool import ConnectionPool, ConnectTimeoutError

BODY = b'{"a": 1}'
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: t\r\n\r\n"


class Transport:
    """Takes what a connection sends, and says what it did with the transport."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False
        self.reading = True

    def write(self, data):
        self.sent += data

    def writelines(self, pieces):
        self.sent += b"".join(pieces)

    def abort(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


async def context(*pieces, end=False, error=None, read=True):
    """What a connection makes of an answer that comes in these pieces: the connection, and the body."""
    loop = asyncio.get_running_loop()
    connection, transport = Connection(loop), Transport()
    connection.connection_made(transport)
    asking = asyncio.ensure_future(connection.ask(b"HEAD", BODY, loop.time() + 60.0))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
        await asyncio.sleep(0)
    if end:
        connection.connection_lost(error)
    await asking
    body = b""
    while read and (piece := await connection.read(loop.time() + 60.0)):
        body += piece
    return connection, body


@settings(deadline=None)
@given(st.sampled_from([PLAIN, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED]), st.data())
def test_an_answer_is_the_same_whatever_its_pieces(data, draw):
    """Boundaries may fall anywhere: the body is the same, and the connection may be used again."""
    cuts = sorted(draw.draw(st.lists(st.integers(1, len(data) - 1), max_size=8)))
    pieces = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True) if i < j]
    connection, body = asyncio.run(context(*pieces))
    assert (connection.status, body, connection.reusable) == (200, b"hello", True)
    assert all(name == name.lower() for name, _ in connection.headers)
    assert b"trailer" not in dict(connection.headers)


@pytest.mark.parametrize(
    ("answer", "status", "body", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nall until the end", 200, b"all until the end", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 200, b"hello", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
    ],
)
async def test_where_an_answer_ends(answer, status, body, reusable):
    """With the connection where it has no length, at once where it has no body."""
    connection, got = await context(answer, end=not reusable)
    assert (connection.status, got, connection.reusable) == (status, body, reusable)


async def test_a_whole_body_is_given_once():
    """A body that has come in one piece is had without waiting; of more pieces, or of half a body, none is."""
    connection, _ = await context(PLAIN, read=False)
    assert (connection.whole(), connection.whole()) == (b"hello", None)
    assert await connection.read(0.0) == b""
    connection, _ = await context(CHUNKED, read=False)
    assert connection.whole() is None
    connection, _ = await context(PLAIN[:-2], read=False)
    assert connection.whole() is None


async def test_each_wait_has_its_own_deadline():
    """One timer serves all waits of a connection: a long wait is not cut by a short one's, nor prolongs it."""
    loop = asyncio.get_running_loop()
    connection = Connection(loop)
    connection.connection_made(Transport())

    async def ask(wait_s, answer_after_s=None):
        asking = asyncio.ensure_future(connection.ask(b"HEAD", BODY, loop.time() + wait_s))
        if answer_after_s is not None:
            loop.call_later(answer_after_s, connection.data_received, PLAIN)
        await asking
        assert await connection.read(0.0) == b"hello"

    await ask(60.0, 0.0)
    await ask(0.03, 0.0)
    await ask(60.0, 0.06)
    with pytest.raises(TimeoutError):
        await ask(0.01)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_body_is_read(encoding):
    """Even where it comes a byte at a time."""
    data = (gzip.compress if encoding == "gzip" else zlib.compress)(b"hello " * 1000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    _, body = await context(head, *(data[i : i + 1] for i in range(len(data))))
    assert body == b"hello " * 1000


@pytest.mark.parametrize(
    "pieces",
    [
        (b"\x00\xff not HTTP\r\n\r\n",),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
        (PLAIN[:-1],),
        (CHUNKED[:-1],),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 99)[:-9],),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, b"x" * 40_000),
        (b"",),
    ],
    ids=["garbage", "101", "chunk", "short", "no last chunk", "no gzip", "half of gzip", "headers", "nothing"],
)
async def test_what_is_no_whole_answer_breaks(pieces):
    """It raises, and the connection is not used again."""
    with pytest.raises(BrokenAnswerError):
        await context(*pieces, end=True)


async def test_half_of_a_compressed_body_breaks_even_where_it_was_read_at_once():
    """Whether a body is complete is not forgotten with what was read of it."""
    data = gzip.compress(b"hello " * 1000)[:-9]
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    connection, _ = await context(head, data[:40], read=False)
    deadline = asyncio.get_running_loop().time() + 60.0
    assert await connection.read(deadline)
    connection.data_received(data[40:])
    with pytest.raises(BrokenAnswerError):
        while await connection.read(deadline):
            pass


async def test_a_reset_is_told_from_an_end():
    """A body without a length is complete when the connection is closed, not when it is reset."""
    with pytest.raises(ConnectionResetError):
        await context(b"HTTP/1.1 200 OK\r\n\r\nall until", end=True, error=ConnectionResetError(104, "reset"))


async def test_what_nobody_asked_for_closes_the_connection():
    """Bytes after an answer belong to nothing; the answer before them is good."""
    connection, body = await context(PLAIN)
    assert (body, connection.reusable) == (b"hello", True)
    connection.data_received(PLAIN)
    assert not connection.reusable


@settings(deadline=None, max_examples=20)
@given(st.integers(16 * 1024, 2_000_000), st.integers(1, 8), st.booleans())
def test_a_large_body_is_sent_as_fast_as_it_is_read(n_bytes, until_full, answers_early):
    """Piece by piece and whole, however often the upstream stops reading; nothing more is sent once it has answered."""

    class Full(Transport):
        def write(self, data):
            super().write(data)
            self.n_writes = getattr(self, "n_writes", 0) + 1
            if self.n_writes % until_full == 0:
                connection.pause_writing()

    async def send():
        loop = asyncio.get_running_loop()
        connection.__init__(loop)
        connection.connection_made(transport)
        asking = asyncio.ensure_future(connection.ask(b"HEAD", body, loop.time() + 60.0))
        for _ in range(200):
            await asyncio.sleep(0)
            if answers_early and connection._full:
                break
            connection.resume_writing()
        connection.data_received(PLAIN)
        await asking
        await connection.read(loop.time() + 60.0)

    connection, transport, body = Connection.__new__(Connection), Full(), bytes(n_bytes)
    asyncio.run(send())
    whole = b"HEAD" + body
    assert whole.startswith(transport.sent)
    assert connection.reusable == (transport.sent == whole)
    assert answers_early or connection.reusable


async def test_an_upstream_that_closes_within_a_large_body_breaks():
    """What is left of the body is not sent, and nobody waits."""
    loop = asyncio.get_running_loop()
    connection, transport = Connection(loop), Transport()
    connection.connection_made(transport)
    asking = asyncio.ensure_future(connection.ask(b"HEAD", bytes(2_000_000), loop.time() + 60.0))
    await asyncio.sleep(0)
    connection.connection_lost(None)
    with pytest.raises(BrokenAnswerError):
        await asking
    assert len(transport.sent) < 2_000_000 and transport.closed


async def test_a_reader_that_is_slow_holds_the_upstream_back():
    """Reading pauses with a quarter of a megabyte unread, and goes on when it is read."""
    connection, _ = await context(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n", b"x" * 300_000, read=False)
    assert not connection._transport.reading
    connection.data_received(b"x" * 300_000)
    assert not connection.reusable
    assert len(await connection.read(asyncio.get_running_loop().time() + 1)) == 600_000
    assert connection._transport.reading
    assert connection.reusable


class Upstream:
    """A TCP server; each connection answers its requests by `acts`, one after the other, and then closes."""

    def __init__(self, *acts, tls=None):
        self.acts, self.tls = list(acts), tls
        self.requests: list[bytes] = []
        self.n_connections = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(self, *_):
        self.server.close()

    def destination(self, scheme="http", host="127.0.0.1"):
        port = self.server.sockets[0].getsockname()[1]
        return Destination.of(f"{scheme}://{host}:{port}/v1/x?y=z", {"x-test": "1"})

    async def _serve(self, reader, writer):
        self.n_connections += 1
        for act in self.acts.pop(0) if self.acts else ():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            self.requests.append(head + await reader.readexactly(len(BODY)))
            writer.write(act)
        writer.close()


@pytest.fixture
async def pool():
    made = ConnectionPool()
    await made.start()
    yield made
    await made.close()


async def post(pool, to, *, deadline_s=60.0, **more):
    now = asyncio.get_running_loop().time()
    answer = await pool.post(to, more.pop("headers", {}), BODY, connect_s=60.0, deadline=now + deadline_s)
    body = b""
    while piece := await answer.read(now + deadline_s):
        body += piece
    pool.release(to, answer)
    return answer.status, body


async def test_a_connection_serves_many_requests(pool):
    """One after the other over one connection, with the head that the destination says."""
    async with Upstream([PLAIN, CHUNKED, PLAIN]) as upstream:
        to = upstream.destination()
        for _ in range(3):
            assert await post(pool, to, headers={"traceparent": "00-1"}) == (200, b"hello")
        assert upstream.n_connections == 1
        head = upstream.requests[0].decode()
        assert head.startswith(f"POST /v1/x?y=z HTTP/1.1\r\nhost: {to.url.host}:{to.url.port}\r\nx-test: 1\r\n")
        assert f"content-length: {len(BODY)}\r\ntraceparent: 00-1\r\n\r\n" in head


async def test_a_connection_that_went_stale_is_replaced(pool):
    """A request that an idle connection swallowed is sent once more, over a new one."""
    async with Upstream([PLAIN, b""], [PLAIN]) as upstream:
        to = upstream.destination()
        assert [await post(pool, to), await post(pool, to)] == [(200, b"hello")] * 2
        assert (len(upstream.requests), upstream.n_connections) == (3, 2)


@pytest.mark.parametrize("acts", [([b""], [PLAIN]), ([PLAIN, PLAIN[:20]], [PLAIN])], ids=["new", "answered"])
async def test_a_request_that_may_have_been_heard_is_not_repeated(pool, acts):
    """Neither over a connection that was new, nor where something of an answer had come."""
    async with Upstream(*acts) as upstream:
        to = upstream.destination()
        with pytest.raises(BrokenAnswerError):
            for _ in acts[0]:
                await post(pool, to)
        assert upstream.n_connections == 1


async def test_an_answer_that_is_not_read_to_its_end_takes_its_connection_along(pool):
    """What is left of it is no answer to the next request."""
    async with Upstream([PLAIN[:-1]], [PLAIN]) as upstream:
        to = upstream.destination()
        now = asyncio.get_running_loop().time()
        pool.release(to, await pool.post(to, {}, BODY, connect_s=60.0, deadline=now + 60))
        assert await post(pool, to) == (200, b"hello")
        assert upstream.n_connections == 2


async def test_nothing_is_waited_for_longer_than_asked(pool):
    """Neither for the answer's head nor for a connection; what was waited for is hung up on."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1)
    to = Destination.of(f"http://127.0.0.1:{listener.getsockname()[1]}/", {})
    with pytest.raises(TimeoutError):
        await post(pool, to, deadline_s=0.05)
    filling = [socket.socket() for _ in range(4)]
    for one in filling:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    with pytest.raises(ConnectTimeoutError):
        await pool.post(to, {}, BODY, connect_s=0.05, deadline=asyncio.get_running_loop().time() + 60)
    for one in (*filling, listener):
        one.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused(pool, tmp_path):
    """TLS is checked; with a context that trusts it the same upstream answers."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(make, check=True, capture_output=True)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    async with Upstream([PLAIN], [PLAIN], tls=serving) as upstream:
        to = upstream.destination("https", "localhost")
        with pytest.raises(ssl.SSLCertVerificationError):
            await post(pool, to)
        trusting = ConnectionPool(tls=ssl.create_default_context(cafile=certificate))
        await trusting.start()
        assert await post(trusting, to) == (200, b"hello")
        await trusting.close()


async def test_the_environments_proxy_is_asked(pool, monkeypatch):
    """A destination behind a proxy is asked through it, one that is excepted is not."""
    async with Upstream([PLAIN], [PLAIN]) as proxy:
        port = proxy.server.sockets[0].getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "localhost")
        assert await post(pool, Destination.of("http://upstream.invalid/v1", {})) == (200, b"hello")
        assert proxy.requests[0].startswith(b"POST http://upstream.invalid/v1 HTTP/1.1")
        assert Destination.of("http://localhost/v1", {}).proxy is None


@pytest.mark.parametrize(
    ("url", "first", "origin"),
    [
        ("https://api.example/v1", b"POST /v1 HTTP/1.1\r\nhost: api.example\r\n", ("https", "api.example", 443)),
        ("http://[::1]:8000/v1", b"POST /v1 HTTP/1.1\r\nhost: [::1]:8000\r\n", ("http", "::1", 8000)),
        ("http://bücher.example/ü", b"POST /%C3%BC HTTP/1.1\r\nhost: xn--bcher-kva.example\r\n", None),
    ],
)
def test_a_destination_says_where_a_request_goes(url, first, origin):
    """Ports, IPv6 and other alphabets are spelled as HTTP wants them."""
    to = Destination.of(url, {})
    assert to.head == first
    assert origin is None or to.origin == origin


def test_no_header_can_smuggle_another():
    """A value with a line break is left out."""
    assert header_lines({"a": "1", "b": "2\r\nc: 3", "d": "\0"}) == b"a: 1\r\n"
