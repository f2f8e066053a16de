"""What is found out of long documents: the same as of short ones, and all of it before the event loop asks."""

import asyncio
import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.asgi import send_body, send_stream
from pointsman.serve.http.errors import error_body
from pointsman.serve.protocols import long_documents
from pointsman.serve.protocols.long_documents import LongDocument, explored, is_long
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.openai_streams import ChatStream
from pointsman.serve.protocols.requests import read_chat
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.makers import Makers

TEXTS = st.text(max_size=12)
PARTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image_url", "thinking", "tool_result", "tool_use"])},
        optional={"text": TEXTS, "signature": TEXTS, "tool_use_id": TEXTS, "id": TEXTS, "thinking": TEXTS},
    ),
    max_size=4,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "system"]), "content": st.one_of(TEXTS, PARTS)},
        optional={"tool_call_id": TEXTS, "tool_calls": st.just([{"id": "call_1", "function": {"name": "f"}}])},
    ),
    max_size=6,
)
DOCUMENTS = st.fixed_dictionaries({"messages": TURNS}, optional={"tools": st.just([{"name": "f"}]), "system": TEXTS})


@settings(max_examples=50, deadline=None)
@given(DOCUMENTS)
def test_a_long_document_tells_what_a_short_one_does(document):
    """Every walk finds in a long document what it finds in the same document as a plain dict, and keeps it."""
    long = explored(document, "request")
    walks = long_documents._WALKS["request"]
    assert long == document
    assert len(long.found) == len(walks) >= 7
    assert [walk(long) for walk in walks] == [walk(document) for walk in walks]
    assert orjson.loads(orjson.dumps(long)) == document


@pytest.mark.parametrize("n_parts", [4001, 12_000])
async def test_the_steps_to_a_decision_only_look_up(n_parts):
    """Once a long request has been read, deciding on it walks through it no more: the event loop is not held."""
    parts = [{"type": "text", "text": "word"}] * n_parts
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": parts}]
    turns.append({"role": "user", "content": parts})
    body = json.dumps({"model": "auto", "messages": turns}).encode()
    rules = [{"name": "images", "images": True, "tokens": {"at_least": 10_000_000}, "then": {"model": "big"}}]
    models = {name: {"base_url": "http://127.0.0.1:9/v1", "context_tokens": 10_000_000} for name in ("big", "small")}
    models["big"]["capabilities"] = ["tools"]
    values = {"strong": "big", "weak": "small", "models": models, "sessions": {}, "rules": rules, "background": "weak"}
    engine = Engine(make_config(values))
    request = await off_loop(len(body), read_chat, body)
    assert isinstance(request.document, LongDocument)
    walked = []
    request.document.found = _Watched(request.document.found, walked)
    assert await engine.decide(RequestContext(request))
    assert walked == []
    await engine.close()


class _Watched(dict):
    def __init__(self, found, walked) -> None:
        super().__init__(found)
        self._walked = walked

    def __setitem__(self, walk, found) -> None:
        self._walked.append(walk)
        super().__setitem__(walk, found)


def test_few_parts_and_bytes_are_short():
    """A long body is one of more than a million bytes, or of more than four thousand arrays and objects."""
    assert not is_long(b"x" * 1_000_000)
    assert is_long(b"x" * 1_000_001)
    assert not is_long(b"{}" * 4000)
    assert is_long(b"{}" * 4001)


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
async def test_long_answers_are_sent_in_pieces(size):
    """An answer arrives as it is, whole or streamed, in pieces that take no millisecond each to write."""
    body = bytes(i % 251 for i in range(size))
    sent = []

    async def send(message) -> None:
        sent.append(message)

    await send_body(send, 200, body, ())
    assert b"".join(message.get("body", b"") for message in sent) == body
    assert [message.get("more_body", False) for message in sent[1:]] == [*[True] * (len(sent) - 2), False]
    assert max(len(message.get("body", b"")) for message in sent) <= 256 * 1024
    sent.clear()

    async def chunks():
        yield body

    await send_stream(send, 200, chunks(), ())
    assert b"".join(message.get("body", b"") for message in sent) == body
    assert max(len(message.get("body", b"")) for message in sent) <= 256 * 1024


def test_an_error_quotes_a_long_part_of_a_request_by_its_ends():
    """Thirty megabytes of a parameter's name do not come back in the answer that refuses it."""
    error = json.loads(error_body("a" * 1_000_000 + "z", "t", param="p" * 1_000_000))["error"]
    assert error["message"].startswith("aaa")
    assert error["message"].endswith("az")
    assert max(len(error["message"]), len(error["param"])) < 10_000
    assert json.loads(error_body("short", "t", param=None))["error"]["param"] is None


def test_of_countless_marks_and_places_a_thousand_are_looked_at():
    """A hundred thousand tool calls in an answer, or answers in a stream, cost no more than a thousand."""
    makers = Makers()
    makers.note((f"call:c{i}" for i in range(100_000)), "m", owner="", conversation=lambda: "s")
    assert len(makers) == 1000
    stream = ChatStream()
    for i in range(3000):
        stream.see(b'{"choices": [{"index": %d, "delta": {"content": "x"}}]}' % i)
    assert len(stream._begun) == 1000


async def test_long_work_leaves_the_loop():
    """Work on up to 64 kB is done at once; beyond that, others run meanwhile."""
    loop = asyncio.get_running_loop()

    def on_loop() -> bool:
        try:
            return asyncio.get_running_loop() is loop
        except RuntimeError:
            return False

    assert await off_loop(64 * 1024, on_loop)
    assert not await off_loop(64 * 1024 + 1, on_loop)
