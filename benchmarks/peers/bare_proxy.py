"""The least that a proxy in Python does: uvicorn, uvloop, httptools, and a connection to the upstream that is kept.

    python bare_proxy.py PORT UPSTREAM

It reads nothing of a request or an answer and writes nothing down. What a gateway takes more is its own.
"""

import asyncio
import sys

import uvicorn
from starlette.types import Receive, Scope, Send

from pointsman.serve.upstreams.http_client.connection import Connection

_LONGEST_S = 60.0
_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


class BareProxy:
    """Passes every request on to one port of this machine."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._idle: list[Connection] = []

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        loop = asyncio.get_running_loop()
        connection = self._idle.pop() if self._idle else await self._connect(loop)
        await connection.ask(_HEAD % len(body), body, loop.time() + _LONGEST_S)
        whole = connection.whole()
        length = [] if whole is None else [(b"content-length", b"%d" % len(whole))]
        kept = [pair for pair in connection.headers if pair[0] == b"content-type"]
        await send({"type": "http.response.start", "status": connection.status, "headers": [*kept, *length]})
        while whole is None and (piece := await connection.read(loop.time() + _LONGEST_S)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        self._idle.append(connection)
        await send({"type": "http.response.body", "body": whole or b""})

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        return (await loop.create_connection(lambda: Connection(loop), "127.0.0.1", self._upstream))[1]


if __name__ == "__main__":
    uvicorn.run(
        BareProxy(int(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
    )
