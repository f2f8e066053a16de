"""All request bodies together have a ceiling, those still arriving included."""

import asyncio
import json

import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

LIMIT = 300_000
PIECE = b"x" * 100_000


class Client:
    """Sends a body piece by piece, and remembers what it is answered."""

    def __init__(self, application):
        self.pieces, self.sent = asyncio.Queue(), []
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [], "client": None}
        self.task = asyncio.create_task(application(scope, self.pieces.get, self.take))

    async def take(self, message):
        self.sent.append(message)

    async def send(self, body, *, more=True):
        await self.pieces.put({"type": "http.request", "body": body, "more_body": more})
        for _ in range(5):
            await asyncio.sleep(0)

    async def answer(self):
        await self.task
        return self.sent[0]["status"], dict(self.sent[0]["headers"]), json.loads(self.sent[1]["body"])


@pytest.fixture
def application():
    return create_app(make_config({"server": {"max_total_body_bytes": LIMIT, "log_requests": False}}))


async def test_beyond_the_ceiling_is_503_with_retry_after(application):
    """Bodies that still arrive count; what is refused is read to its end, and holds nothing."""
    first, second = Client(application), Client(application)
    await first.send(PIECE)
    await first.send(PIECE)
    await second.send(PIECE)
    await second.send(PIECE)
    await second.send(PIECE, more=False)
    status, headers, body = await second.answer()
    assert (status, headers[b"retry-after"], headers[b"connection"]) == (503, b"2", b"close")
    assert body["error"]["code"] == "server_busy"
    assert "server.max_total_body_bytes" in body["error"]["message"]
    await first.send(b"", more=False)
    assert (await first.answer())[0] == 400  # it is no JSON, and has its room
    assert application._room.held_bytes == 0


async def test_room_is_given_back_by_clients_that_hang_up(application):
    """Whatever a request held is free when it has ended."""
    client = Client(application)
    await client.send(PIECE)
    assert application._room.held_bytes == len(PIECE)
    await client.pieces.put({"type": "http.disconnect"})
    await client.task
    assert application._room.held_bytes == 0


async def test_a_body_beyond_its_own_limit_holds_nothing_while_the_rest_arrives():
    """It is refused with 413 at its end, and dropped before."""
    application = create_app(make_config({"server": {"max_body_bytes": 150_000, "log_requests": False}}))
    client = Client(application)
    await client.send(PIECE)
    await client.send(PIECE)
    assert application._room.held_bytes == 0
    await client.send(b"", more=False)
    assert (await client.answer())[0] == 413
