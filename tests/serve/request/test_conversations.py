"""What identifies a conversation, in the words of the agents that name theirs."""

import json

import pytest

from pointsman.serve.protocols.requests import read_chat, read_responses
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import naming_headers, session_of

from support.agents import SHAPES

_ID = "54c1eb09-bc4c-4d2f-98eb-6d2ab2d5e2fe"
_TOOLS = [{"type": "function", "name": "f"}]


def session(document, **headers):
    """Stands for the conversation of a request."""
    read = read_responses if "input" in document else read_chat
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = read(json.dumps({"model": "auto", **document}).encode())
    return session_of(RequestContext(request, client=naming_headers(lines)))


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize(
    "header", ["x-claude-code-session-id", "session-id", "x-session-affinity", "x-pointsman-session"]
)
def test_headers(header):
    """A header names the conversation, whatever is said in it."""
    named = {header.replace("-", "_"): _ID}
    assert session(chat("a"), **named) == session(chat("b"), **named) != session(chat("a"))


@pytest.mark.parametrize(
    "named",
    [
        {"prompt_cache_key": _ID},
        {"metadata": {"user_id": f"user_{'a' * 64}_account__session_{_ID}"}},
        {"metadata": {"user_id": json.dumps({"device_id": "d", "session_id": _ID})}},
    ],
)
def test_fields(named):
    """So does a field that holds a session's id."""
    assert session(chat("a", **named)) == session(chat("b", **named)) != session(chat("a"))


@pytest.mark.parametrize(
    "shared", [{"prompt_cache_key": "my-app"}, {"metadata": {"user_id": "u1"}}, {"metadata": {"user_id": "{x"}}]
)
def test_shared_fields(shared):
    """What all of an application's or a user's conversations share names none of them."""
    assert session(chat("a", **shared)) != session(chat("b", **shared))


def test_threads_and_titles():
    """A thread within a session is a conversation of its own, and so is what an agent asks for without its tools."""
    one = session({**chat("a"), "tools": _TOOLS}, session_id=_ID, thread_id="t1")
    assert one == session({**chat("b"), "tools": _TOOLS}, session_id=_ID, thread_id="t1")
    assert one != session({**chat("a"), "tools": _TOOLS}, session_id=_ID, thread_id="t2")
    assert one != session(chat("a"), session_id=_ID, thread_id="t1")


def test_text_alone():
    """Cache marks, billing lines, reminders and the shape of the content change, and the conversation stays."""

    def asked(cch, reminder, **marks):
        system = [f"x-anthropic-billing-header: cch={cch};", "Be brief"]
        content = [f"<system-reminder>\n{reminder}\n</system-reminder>", "hi"]
        parts = [[{"type": "text", "text": text, **marks} for text in texts] for texts in (system, content)]
        return {"system": parts[0], "messages": [{"role": "user", "content": parts[1]}]}

    first = session(asked("a1", "Monday", cache_control={"type": "ephemeral"}))
    assert first == session(asked("b2", "Tuesday"))
    assert first == session({"system": "Be brief", **chat("hi")})
    parts = [{"type": "input_text", "text": "hi"}]
    assert session({"input": "hi"}) == session({"input": [{"role": "user", "content": parts}]})


@pytest.mark.parametrize("agent", ["opencode", "cursor", "cline"])
def test_agents_that_name_nothing(agent):
    """From the first turn into the tool loop the conversation stays the same one."""
    assert session(SHAPES[f"{agent}_first"].ask("Sort it")) == session(SHAPES[f"{agent}_tools"].ask("Sort it"))
