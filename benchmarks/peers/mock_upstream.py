"""An upstream that costs next to nothing: one process, one port, fixed answers in OpenAI's protocol.

    python mock_upstream.py PORT [PAUSE]

A plain request is answered at once. A stream is 50 numbered chunks, the first at once, the others 20 ms apart, or as
many seconds as are named.
"""

import asyncio
import json
import sys
from typing import Any

N_CHUNKS = 50
PAUSE_S = 0.02


def _plain() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Paris. " * 40}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 80, "total_tokens": 100}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "bench", "choices": [choice]}
    body = json.dumps({**answer, "usage": usage}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
    return _chunk(json.dumps(chunk).encode())


PLAIN = _plain()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = [_event({"role": "assistant", "content": "0 "}), *(_event({"content": f"{i} "}) for i in range(1, N_CHUNKS))]
TAIL = _event({}, "stop") + _chunk(b"[DONE]") + b"0\r\n\r\n"


class MockUpstream(asyncio.Protocol):
    """Reads requests one after the other and answers each."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._data = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            _, found, rest = head.partition(b"content-length:")
            total = end + 4 + (int(rest.partition(b"\r\n")[0]) if found else 0)
            if len(self._data) < total:
                return
            body, self._data = self._data[end + 4 : total], self._data[total:]
            if b'"stream":true' in body.replace(b" ", b""):
                task = asyncio.get_running_loop().create_task(self._stream())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._transport.write(PLAIN)

    async def _stream(self) -> None:
        self._transport.write(HEAD + CHUNKS[0])
        for chunk in CHUNKS[1:]:
            await asyncio.sleep(self._pause_s)
            self._transport.write(chunk)
        self._transport.write(TAIL)


async def main() -> None:
    """Serves until it is killed."""
    loop = asyncio.get_running_loop()
    pause_s = float(sys.argv[2]) if len(sys.argv) > 2 else PAUSE_S
    server = await loop.create_server(lambda: MockUpstream(pause_s), "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
