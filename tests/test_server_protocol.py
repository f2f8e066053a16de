"""What a client that misbehaves below HTTP is told, and what the others never notice of it."""

import json
import socket
import time

import pytest

from pointsman.serve import create_app
from pointsman.serve.config import ServerConfig
from pointsman.serve.config_file import make_config
from pointsman.serve.protocol import limit_heads

from upstream import LocalServer

BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(BODY)
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = {"header_timeout_s": 0.4, "max_header_bytes": 4096, "body_timeout_s": 0.4}


@pytest.fixture(scope="module")
def front():
    """Before the stand-ins, with limits on the heads of requests."""
    config = make_config({"routers": {"random": {}}, "server": LIMITS})
    with LocalServer(create_app(config), http=limit_heads(config.server), timeout_keep_alive=1) as server:
        yield server


@pytest.fixture
def connection(front):
    with socket.create_connection(("127.0.0.1", front.port), timeout=5) as made:
        yield made


def answer(connection: socket.socket) -> tuple[int, dict, bytes]:
    """Status, JSON body and what follows it, of the next answer."""
    data = b""
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
def test_headers_that_never_end_are_not_waited_for(connection, drop):
    """A client that sends nothing, or its head a byte at a time, reads 408 after the limit and is hung up on."""
    started = time.monotonic()
    connection.sendall(drop)
    for _ in range(8):
        time.sleep(0.04)
        if drop == HEAD:
            connection.sendall(b"x")
    status, body, _ = answer(connection)
    assert (status, body["error"]["code"]) == (408, "request_timeout")
    assert 0.3 < time.monotonic() - started < 1.5
    assert is_closed(connection)


def test_a_second_head_that_never_ends_is_not_waited_for_either(connection):
    """The limit holds for each request of a connection, not only for its first."""
    connection.sendall(HEALTH)
    assert answer(connection)[0] == 200
    connection.sendall(HEALTH[:10])
    assert answer(connection)[0] == 408
    assert is_closed(connection)


def test_an_idle_connection_is_kept_for_its_next_request(connection):
    """Between requests the limit on headers does not count."""
    for _ in range(2):
        connection.sendall(HEALTH)
        assert answer(connection)[0] == 200
        time.sleep(0.6)


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


def test_a_body_that_never_ends_is_not_waited_for(connection):
    """The client reads 408 after the limit on bodies."""
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
    connection.settimeout(0.3)
    assert is_closed(connection)
    with socket.create_connection(("127.0.0.1", front.port), timeout=5) as another:
        another.sendall(HEALTH)
        assert answer(another)[0] == 200


def test_pipelined_requests_are_answered_in_order(connection):
    """Several requests in one packet give as many answers."""
    connection.sendall(HEALTH + HEAD + b"\r\n" + BODY + HEALTH)
    time.sleep(0.3)
    data = connection.recv(1 << 20)
    assert data.count(b"HTTP/1.1 200") == 3
    assert data.index(b'"status":"ok"') < data.index(b"chat.completion") < data.rindex(b'"status":"ok"')


def test_garbage_after_a_request_ends_the_connection_and_nothing_else(front, connection):
    """What cannot be told apart from an answer is not said; others are served on."""
    connection.sendall(HEAD + b"\r\n" + BODY + b"\x00\xff\r\n\r\n")
    data = b""
    while piece := connection.recv(65536):
        data += piece
    assert b" 400 " not in data
    with socket.create_connection(("127.0.0.1", front.port), timeout=5) as another:
        another.sendall(HEALTH)
        assert answer(another)[0] == 200


def test_a_client_that_waits_for_100_continue_gets_it(connection):
    """The interim answer is sent before the body is."""
    connection.sendall(HEAD + b"Expect: 100-continue\r\n\r\n")
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue")
    connection.sendall(BODY)
    assert answer(connection)[0] == 200


def test_limits_have_defaults():
    """Nobody has to set them."""
    limits = limit_heads(ServerConfig()).keywords
    assert limits == {"header_timeout_s": 20.0, "max_header_bytes": 65536}
