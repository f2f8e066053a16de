"""A whole answer goes out in one write, and says what uvicorn would have said in its own way."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from pointsman.serve.http.asgi import ClientGone, WhileConnected
from pointsman.serve.server.cycle import Cycle, JoinedWrites

NAMES = st.sampled_from([b"x-a", b"X-B", b"a b", b"connection", b"transfer-encoding", b"content-length"])
ODD_VALUES = (b"", b"close", b"chunked", b"2", b"x\r\ny: z", b"x\n", b"x\0", b"\xe9 \t~")
VALUES = st.one_of(st.sampled_from(ODD_VALUES), st.binary(max_size=9))
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
DATE = (b"date", b"now")


class _Transport:
    def __init__(self):
        self.writes = []

    def is_closing(self):
        return False

    def write(self, data):
        self.writes.append(data)

    def close(self):
        self.writes.append("close")

    def resume_reading(self):
        raise AssertionError("nothing was paused")


class _Flow:
    write_paused = False
    n_resumed = 0

    def resume_reading(self):
        self.n_resumed += 1


async def _cycle(kind, *, method="POST", keep_alive=True):
    transport = _Transport()
    ended = []
    cycle = kind(
        scope={"method": method},
        transport=JoinedWrites(transport, asyncio.get_running_loop()),
        flow=_Flow(),
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[DATE],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: ended.append(True),
    )
    return cycle, transport, ended


async def _answer(kind, messages, **options):
    """What reaches the wire, as the sorted lines of the head and the rest; and how it ended."""
    cycle, transport, ended = await _cycle(kind, **options)
    try:
        for message in messages:
            await cycle.send(message)
        failed = ""
    except (RuntimeError, ValueError) as error:
        failed = str(error)
    await asyncio.sleep(0)  # a head that waits alone is written
    closed = "close" in transport.writes
    head, _, body = b"".join(data for data in transport.writes if data != "close").partition(b"\r\n\r\n")
    told = (sorted(head.split(b"\r\n")), body) if not failed else None
    return told, failed, closed, ended, cycle.response_complete, len(transport.writes)


@given(
    headers=HEADERS,
    bodies=st.lists(st.binary(max_size=5), min_size=1, max_size=2),
    length=st.sampled_from([None, 0, 1]),
    status=st.sampled_from([200, 204, 304, 404, 503]),
    method=st.sampled_from(["POST", "HEAD"]),
    keep_alive=st.booleans(),
)
def test_an_answer_is_uvicorns(headers, bodies, length, status, method, keep_alive):
    """Whatever its headers, length, status and parts, it has uvicorn's lines, body, end and errors."""
    told = [] if length is None else [(b"content-length", b"%d" % (sum(map(len, bodies)) + length))]
    messages = [{"type": "http.response.start", "status": status, "headers": [*told, *headers]}]
    messages += [{"type": "http.response.body", "body": body, "more_body": True} for body in bodies[:-1]]
    messages += [{"type": "http.response.body", "body": bodies[-1]}]
    options = {"method": method, "keep_alive": keep_alive}
    ours = asyncio.run(_answer(Cycle, messages, **options))
    theirs = asyncio.run(_answer(RequestResponseCycle, messages, **options))
    assert ours[:5] == theirs[:5]


async def test_a_plain_answer_is_one_write():
    """Head and body leave together, without a turn of the event loop in between."""
    cycle, transport, ended = await _cycle(Cycle)
    headers = [(b"content-length", b"2"), (b"content-type", b"text/plain")]
    await cycle.send({"type": "http.response.start", "status": 200, "headers": headers})
    await cycle.send({"type": "http.response.body", "body": b"ok"})
    wanted = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: now\r\ncontent-type: text/plain\r\n\r\nok"
    assert (transport.writes, ended) == ([wanted], [True])


async def test_who_waits_is_told_that_the_client_has_gone():
    """The block is cancelled at once, without a task that watches; an end before it, or after the answer, too."""
    cycle, _, _ = await _cycle(Cycle)
    asyncio.get_running_loop().call_soon(cycle.hang_up)
    with pytest.raises(ClientGone):
        async with WhileConnected(cycle.receive):
            assert len(asyncio.all_tasks()) == 1
            await asyncio.Event().wait()
    with pytest.raises(ClientGone):  # it had gone before
        async with WhileConnected(cycle.receive):
            await asyncio.Event().wait()
    assert cycle.flow.n_resumed == 1  # a long body stops it, and nobody sees the end of what is not read
    answered, _, _ = await _cycle(Cycle)
    async with WhileConnected(answered.receive):
        answered.response_complete = True
        answered.hang_up()
        await asyncio.sleep(0)
