"""An upstream that misbehaves down to the TCP connection, by a script of acts, one per connection."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable

Act = Callable[[socket.socket], None]


class Misbehaving:
    """A TCP server: each connection's request is read, and then the next act of the script is played."""

    def __init__(self) -> None:
        self.script: list[Act] = []
        self.requests: list[dict] = []
        self.times: list[float] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            length = int(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))[15:])
            while len(body) < length:
                body += connection.recv(65536)
            self.times.append(time.monotonic())
            self.requests.append(json.loads(body))
            act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            try:
                act(connection)
            except OSError:
                return  # the client hung up, as it may


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> Act:
    """A whole answer."""

    def act(connection: socket.socket) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
        if not any(line.lower().startswith("content-type") for line in headers):
            lines.append("Content-Type: application/json")
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return act


def completion(text: str = "fine") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def error(status: int, message: str, *headers: str) -> Act:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "c"}}
    return answer(status, json.dumps(body).encode(), *headers)


def event(finish: str | None = None, **delta: str) -> bytes:
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
    )


def stream(*pieces: bytes | float | Act, end: bool = True, reset: bool = False) -> Act:
    """A chunked event stream; numbers are pauses. Without `end` it is cut, with `reset` by a TCP reset."""

    def act(connection: socket.socket) -> None:
        head = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", "Connection: close"]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        for piece in pieces:
            if isinstance(piece, bytes):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            elif callable(piece):
                piece(connection)
            else:
                time.sleep(piece)
        if end:
            connection.sendall(b"0\r\n\r\n")
        if reset:
            hang_up(connection)

    return act


def hang_up(connection: socket.socket) -> None:
    """Closes with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(connection: socket.socket) -> None:
    """Never answers, until the client hangs up."""
    connection.recv(1)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xff not HTTP at all\r\n\r\n")


def broken_chunks(connection: socket.socket) -> None:
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"
    )


def half_closed(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    time.sleep(0.2)
