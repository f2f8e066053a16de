"""What a conversation shows of its models: whose call is answered, whose response goes on, whose thoughts are in it."""

import copy

import pytest

from pointsman.serve.protocols.thoughts import thought_marks, without_thoughts
from pointsman.serve.protocols.turns import (
    answer_marks,
    event_marks,
    has_answer,
    held_marks,
    message_marks,
    pending_marks,
)

from support.agents import SHAPES

_LOOPS = [name for name, shape in SHAPES.items() if name.endswith("_tools") and not name.startswith("cline_tools")]
_THINKING = {"type": "thinking", "thinking": "hm", "signature": "SIG"}
_SEALED = {"type": "redacted_thinking", "data": "DATA"}
_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
_SAID = {"type": "text", "text": "Done."}


def _asked(*parts):
    return {"role": "user", "content": list(parts) or "Sort it"}


def _made(*parts):
    return {"role": "assistant", "content": list(parts)}


@pytest.mark.parametrize("name", _LOOPS)
def test_loops(name):
    """In the tool loop of every client the calls that are answered are found, and only while they are."""
    request = SHAPES[name].ask("Sort it")
    found = pending_marks(request)
    assert found
    assert has_answer(request)
    turns = request.get("messages") or request["input"]
    turns.append({"type": "message", "role": "assistant", "content": "Done."})
    assert pending_marks(request) == ()


def test_first_turns():
    """Nobody has answered in a first turn, whatever a client puts before it."""
    for name in (
        "claude_code_first",
        "codex_first",
        "opencode_first",
        "cline_first",
        "cursor_first",
        "plain_responses",
    ):
        assert not has_answer(SHAPES[name].ask("Sort it"))


def test_calls_alone_are_answers():
    """A conversation of the Responses API that holds a call and its output, and no message, is no first turn."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    assert has_answer({"input": [{"role": "user", "content": "hi"}, call]})


@pytest.mark.parametrize(
    ("document", "marks"),
    [
        ({"previous_response_id": "resp_1"}, ("response:resp_1",)),
        ({"conversation": "conv_1"}, ("conversation:conv_1",)),
        ({"conversation": {"id": "conv_1"}}, ("conversation:conv_1",)),
        ({"conversation": {"id": 3}, "previous_response_id": ""}, ()),
    ],
)
def test_held(document, marks):
    """What only one service holds is found however it is spelt."""
    assert held_marks(document) == marks


def test_answers_and_streams_leave_the_same_marks():
    """A stream leaves the marks of the whole answer, in all three APIs."""
    message = {"content": [_THINKING, _SEALED, _SAID, _USE]}
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {**_THINKING, "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "SIG"}},
        {"type": "content_block_start", "index": 1, "content_block": _SEALED},
        {"type": "content_block_start", "index": 2, "content_block": _SAID},
        {"type": "content_block_start", "index": 3, "content_block": {**_USE, "input": {}}},
        {"type": "message_stop"},
    ]
    assert [mark for event in events for mark in event_marks(event)] == answer_marks(message)
    assert len(answer_marks(message)) == 3
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    delta = {"tool_calls": [{"index": 0, **call}]}
    assert (
        [*message_marks(delta)] == answer_marks({"choices": [{"message": {"tool_calls": [call]}}]}) == ["call:call_1"]
    )
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1"}
    response = {"object": "response", "id": "resp_1", "conversation": {"id": "conv_1"}, "output": [item]}
    created = {"type": "response.created", "response": {**response, "output": []}}
    done = {"type": "response.output_item.done", "item": item}
    assert [*event_marks(created), *event_marks(done)] == answer_marks(response)
    assert answer_marks(response) == ["response:resp_1", "conversation:conv_1", "call:call_1"]


def test_foreign_thoughts_go():
    """Thoughts of another model go, its words and calls stay; a turn that held nothing else goes with them."""
    kept = _made(_SEALED, _SAID)
    document = {
        "thinking": {"type": "adaptive"},
        "messages": [
            _asked(),
            _made(_THINKING, _SAID),
            _asked(),
            _made(_THINKING),
            _asked(),
            _made(_SEALED, _SAID),
            _asked(),
        ],
    }
    foreign = thought_marks(document)[0]
    before = copy.deepcopy(document)
    changed = without_thoughts(document, lambda mark: mark == foreign)
    assert changed["messages"] == [_asked(), _made(_SAID), _asked(), _asked(), kept, _asked()]
    assert changed["thinking"] == {"type": "adaptive"}
    assert document == before


def test_own_thoughts_stay():
    """A request without foreign thoughts is not changed."""
    document = {"messages": [_asked(), _made(_THINKING, _SAID), _asked()]}
    assert without_thoughts(document, lambda mark: False) is None
    assert without_thoughts({"messages": [_asked()]}, lambda mark: True) is None


def test_open_turn():
    """While tools' results are awaited all thoughts of the turn go together, and thinking is off; earlier ones stay."""
    management = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    document = {
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "context_management": management,
        "messages": [_asked(), _made(_SEALED, _SAID), _asked(), _made(_THINKING, _USE), _asked(_RESULT)],
    }
    foreign = thought_marks(document)[1]
    changed = without_thoughts(document, lambda mark: mark == foreign)
    assert changed == {"messages": [*document["messages"][:3], _made(_USE), _asked(_RESULT)]}


def test_reasoning_items():
    """Foreign reasoning items go, and what was made with them loses the ids that call for them."""
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"}
    document = {"input": [_asked(), thought, call, output]}
    bare = {name: value for name, value in call.items() if name != "id"}
    assert without_thoughts(document, lambda mark: True) == {"input": [_asked(), bare, output]}
