"""What a client that misbehaves below HTTP is told, and what the others never notice of it."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from pointsman.serve import create_app
from pointsman.serve.config import ServerConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.server.connection_limits import limit_heads

from support.processes import wait_until
from support.upstream import LocalServer, running_upstream

BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(BODY)
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENT = {"max_header_bytes": 4096}
LIMITS = {"header_timeout_s": 1.0, "body_timeout_s": 0.6, "stall_timeout_s": 0.4}
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@contextmanager
def serving(limits):
    """A server before the stand-ins, with limits on requests."""
    config = make_config({"routers": {"random": {}}, "server": limits})
    settings = {"http": limit_heads(config.server), "timeout_keep_alive": 60}
    with LocalServer(create_app(config), **settings) as server:
        yield server


@pytest.fixture(scope="module")
def front():
    with serving(PATIENT) as server:
        yield server


@pytest.fixture(scope="module")
def hasty():
    """One that waits for nobody."""
    with serving(LIMITS) as server:
        yield server


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


@pytest.fixture
def connection(front):
    with connect(front) as made:
        yield made


def answer(connection: socket.socket, data: bytes = b"") -> tuple[int, dict, bytes]:
    """Status, JSON body and what follows it, of the next answer, of which `data` was read before."""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))[15:])
    while len(rest) < length:
        rest += connection.recv(65536)
    return int(head.split()[1]), json.loads(rest[:length]), rest[length:]


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("drop", [b"", b"POST", HEAD, b"\r\n"], ids=["nothing", "a method", "half a head", "a newline"])
def test_headers_that_never_end_are_not_waited_for(hasty, drop):
    """A client that sends nothing, or its head a byte at a time, reads 408 after the limit and is hung up on."""
    with connect(hasty) as connection:
        started = time.monotonic()
        connection.sendall(drop)
        for _ in range(8 if drop == HEAD else 0):
            time.sleep(0.04)
            with suppress(OSError):  # on a busy machine that may be after the limit
                connection.sendall(b"x")
        status, body, _ = answer(connection)
        assert (status, body["error"]["code"]) == (408, "request_timeout")
        assert time.monotonic() - started > 0.9
        assert is_closed(connection)


def test_a_second_head_that_never_ends_is_not_waited_for_either(hasty):
    """The limit holds for each request of a connection, not only for its first."""
    with connect(hasty) as connection:
        connection.sendall(HEALTH)
        assert answer(connection)[0] == 200
        connection.sendall(HEALTH[:10])
        assert answer(connection)[0] == 408
        assert is_closed(connection)


def test_an_idle_connection_is_kept_for_its_next_request(hasty):
    """Between requests the limit on headers does not count."""
    with connect(hasty) as connection:
        connection.sendall(HEALTH)
        assert answer(connection)[0] == 200
        time.sleep(1.2 * LIMITS["header_timeout_s"])
        connection.sendall(HEALTH)
        assert answer(connection)[0] == 200


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_headers_that_are_too_large_are_refused(connection, at_once, end):
    """The client reads 431 with the limit, whether they come whole, in pieces, or without an end."""
    data = HEAD + b"X-Large: " + b"x" * 9000 + end
    for piece in [data] if at_once else [data[i : i + 1500] for i in range(0, len(data), 1500)]:
        connection.sendall(piece)
        time.sleep(0.01)
    status, body, _ = answer(connection)
    assert (status, body["error"]["code"]) == (431, "headers_too_large")
    assert "4096" in body["error"]["message"]
    assert is_closed(connection)


def test_a_large_body_that_comes_with_its_head_is_no_large_head(connection):
    """The limit on headers counts headers alone."""
    body = BODY.replace(b"Hello", b"Hello " * 10_000)
    connection.sendall(HEAD.replace(b"%d" % len(BODY), b"%d" % len(body)) + b"\r\n" + body)
    assert answer(connection)[0] == 200


def test_a_body_that_never_ends_is_not_waited_for(hasty):
    """The client reads 408 after the limit on bodies."""
    with connect(hasty) as connection:
        connection.sendall(HEAD + b"\r\n" + BODY[:-1])
        status, body, _ = answer(connection)
        assert (status, body["error"]["code"]) == (408, "request_timeout")
        assert is_closed(connection)


def test_what_is_not_http_is_refused(connection):
    """The client reads 400 in the shape of every other error."""
    connection.sendall(b"\x16\x03\x01 TLS to a plain port\r\n\r\n")
    status, body, _ = answer(connection)
    assert (status, body["error"]["code"]) == (400, "bad_request")
    assert is_closed(connection)


def test_a_half_closed_socket_is_a_client_that_hung_up(front, connection):
    """It is closed at once, without waiting for the rest of its request, and others are served on."""
    connection.sendall(HEAD + b"\r\n" + BODY[:-1])
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(ServerConfig().body_timeout_s / 2)
    assert is_closed(connection)
    with connect(front) as another:
        another.sendall(HEALTH)
        assert answer(another)[0] == 200


def test_pipelined_requests_are_answered_in_order(connection):
    """Several requests in one packet give as many answers."""
    connection.sendall(HEALTH + HEAD + b"\r\n" + BODY + HEALTH)
    bodies, rest = [], b""
    for _ in range(3):
        status, body, rest = answer(connection, rest)
        assert status == 200
        bodies.append(body.get("object") or body["status"])
    assert bodies == ["ok", "chat.completion", "ok"]


def test_garbage_after_a_request_ends_the_connection_and_nothing_else(front, connection):
    """The request before is answered, what could be taken for its answer is not said, and others are served on."""
    connection.sendall(HEAD + b"\r\n" + BODY + b"\x00\xff\r\n\r\n")
    data = b""
    while piece := connection.recv(65536):
        data += piece
    assert data.startswith(b"HTTP/1.1 200 ")
    assert b" 400 " not in data
    with connect(front) as another:
        another.sendall(HEALTH)
        assert answer(another)[0] == 200


def test_a_pipelining_client_that_hangs_up_is_gone():
    """Every request that it sent is ended as one whose client left; none goes on to an answer that nobody reads."""
    with running_upstream() as upstream:
        upstream.delay_s = 0.3
        models = {name: {"base_url": upstream.url, "model": name} for name in ("big", "small")}
        engine = Engine(make_config({"strong": "big", "weak": "small", "models": models, "routers": {"random": {}}}))
        records = []
        engine.state.observers = (*engine.state.observers, records.append)
        with LocalServer(create_app(engine=engine), http=limit_heads(ServerConfig())) as server:
            with connect(server) as connection:
                connection.sendall((HEAD + b"\r\n" + BODY) * 3)
                wait_until(lambda: upstream.received)
            wait_until(lambda: records)
        assert [record.outcome for record in records] == ["gone"]
        assert len(upstream.received) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0(connection, stream):
    """A client of HTTP/1.0 gets no chunks: its answer is as long as it says, or ends with the connection."""
    body = json.dumps({"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}).encode()
    connection.sendall(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    data = b""
    while piece := connection.recv(65536):
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert rest.startswith(b"data: {") and rest.endswith(b"data: [DONE]\n\n") if stream else json.loads(rest)


def test_a_client_that_waits_for_100_continue_gets_it(connection):
    """The interim answer is sent before the body is."""
    connection.sendall(HEAD + b"Expect: 100-continue\r\n\r\n")
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue")
    connection.sendall(BODY)
    assert answer(connection)[0] == 200


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_a_wish_for_another_protocol_is_passed_over(connection, size):
    """Java's client and curl's --http2 ask for HTTP/2 with each request: it is answered, and so is the next."""
    wishes = (HEAD + UPGRADE + b"\r\n" + BODY, HEALTH.replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n"), HEALTH)
    for wish in wishes:
        for i in range(0, len(wish), size):
            connection.sendall(wish[i : i + size])
        assert answer(connection)[0] == 200


@pytest.mark.parametrize("target", [b"x:1", b"/health"])
def test_a_wish_for_a_tunnel_is_refused(connection, target):
    """The client reads an error and is hung up on: nothing that follows could be read."""
    connection.sendall(b"CONNECT %s HTTP/1.1\r\nHost: localhost\r\n\r\nin the tunnel" % target)
    assert answer(connection)[0] in (400, 404, 405)
    assert is_closed(connection)


def test_many_wishes_in_one_packet_are_passed_over_one_by_one(connection):
    """However many of them a client sends ahead, each is answered."""
    wish = HEALTH.replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n")
    connection.sendall(1000 * wish)
    rest = b""
    for _ in range(1000):
        status, _, rest = answer(connection, rest)
        assert status == 200


def test_a_head_that_has_begun_waits_for_the_answers_before_it():
    """A client that sends the beginning of its next request ahead is not hung up on while it waits for an answer."""

    async def app(scope, receive, send):
        if scope["path"] == "/slow":
            await asyncio.sleep(3 * LIMITS["header_timeout_s"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    settings = {"http": limit_heads(ServerConfig(**LIMITS)), "lifespan": "off"}
    with LocalServer(app, **settings) as server, connect(server) as connection:
        connection.sendall(HEALTH + HEALTH.replace(b"/health", b"/slow") + HEALTH[:10])
        status, _, rest = answer(connection)
        assert status == 200
        assert answer(connection, rest)[0] == 200


def test_a_client_that_does_not_read_is_hung_up_on():
    """Whoever takes nothing of what waits for him for longer than the limit holds neither us nor an upstream."""
    ended = threading.Event()

    async def app(scope, receive, send):
        await receive()
        gone = asyncio.create_task(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            await asyncio.sleep(0)
        ended.set()

    settings = {"http": limit_heads(ServerConfig(**LIMITS)), "lifespan": "off"}
    with LocalServer(app, **settings) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(HEALTH)
        assert ended.wait(60)


def test_a_request_that_meets_the_servers_end_is_answered(monkeypatch):
    """A connection that is kept open takes one more request, and says that it is the last: none is lost under way."""
    monkeypatch.setattr("pointsman.serve.server.connection_limits._LAST_REQUEST_S", 60.0)
    with serving(PATIENT) as server, connect(server) as connection, connect(server) as unused:
        connection.sendall(HEALTH)
        assert answer(connection)[0] == 200
        port = server.port
        server.server.stop()
        wait_until(lambda: is_refused(port))
        for last in (connection, unused):
            last.sendall(HEALTH)
            data = last.recv(65536)
            assert data.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in data
            assert is_closed(last)


def is_refused(port) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionError as error:  # one that the end of the listener meets is reset: the next one is refused
        return isinstance(error, ConnectionRefusedError)
    return False


class _Transport:
    """One whose client takes as much as it is told; it is its own loop, whose time passes when it is told to."""

    def __init__(self):
        self.waiting, self.is_aborted, self.due = 100_000, False, []

    def get_write_buffer_size(self):
        return self.waiting

    def call_later(self, delay_s, callback, *arguments):
        self.due.append(lambda: callback(*arguments))

    def pass_the_limit(self):
        self.due.pop()()

    def abort(self):
        self.is_aborted = True


def test_a_client_that_reads_slowly_is_waited_for():
    """A large answer over a slow line takes as long as it takes, as long as some of it arrives."""
    transport = _Transport()
    settings = {"config": uvicorn.Config(None), "server_state": ServerState(), "app_state": {}, "_loop": transport}
    protocol = limit_heads(ServerConfig())(**settings)
    protocol.transport, protocol.flow = transport, FlowControl(transport)
    protocol.pause_writing()
    for _ in range(50):
        transport.waiting -= 1
        transport.pass_the_limit()
        assert not transport.is_aborted
    transport.pass_the_limit()
    assert transport.is_aborted


def test_limits_have_defaults():
    """Nobody has to set them."""
    limits = limit_heads(ServerConfig()).keywords
    assert limits == {"header_timeout_s": 20.0, "max_header_bytes": 65536, "stall_timeout_s": 60.0}
