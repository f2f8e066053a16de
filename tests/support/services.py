"""Two services that refuse what the real ones refuse: whose histories must fit, and whose thoughts are signed.

Offered tools, a model calls two at once for each thing that its user asks, and answers when it has both results.
`GPTLike` speaks chat completions and Responses; `ClaudeLike` speaks Messages, and thinks where it is asked to.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["ClaudeLike", "GPTLike"]

_NUMBERS = itertools.count(1)


class Refusal(Exception):  # noqa: N818  (a 400)
    """What the service does not take."""


class _Service:
    """Remembers what it was asked.

    Attributes:
        documents: requests that it answered, oldest first.
        headers: theirs.
        refused: messages of those that it did not.
    """

    url = ""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.refused: list[str] = []
        self.stored: set[str] = set()

    async def _answer(self, request: Request, make: Any) -> Response:
        document = json.loads(await request.body())
        try:
            made, events = make(document)
        except Refusal as refusal:
            self.refused.append(str(refusal))
            error = {"type": "invalid_request_error", "message": str(refusal), "code": None, "param": None}
            return JSONResponse({"type": "error", "error": error}, 400)
        self.documents.append(document)
        self.headers.append(dict(request.headers))
        if not document.get("stream"):
            return JSONResponse(made)
        return Response(b"".join(events), media_type="text/event-stream")


class GPTLike(_Service):
    """Chat completions and Responses."""

    def app(self) -> Starlette:
        async def chat(request: Request) -> Response:
            return await self._answer(request, self._chat)

        async def responses(request: Request) -> Response:
            return await self._answer(request, self._respond)

        async def compact(request: Request) -> Response:
            return await self._answer(request, self._compact)

        paths = (("/v1/chat/completions", chat), ("/v1/responses", responses), ("/v1/responses/compact", compact))
        return Starlette(routes=[Route(path, endpoint, methods=["POST"]) for path, endpoint in paths])

    def _chat(self, document: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        messages = document["messages"]
        open_calls: set[str] = set()
        for message in messages:
            if message["role"] == "tool":
                _need(message["tool_call_id"] in open_calls, "messages with role 'tool' must follow their tool_calls")
                open_calls.discard(message["tool_call_id"])
                continue
            _need(not open_calls, "an assistant message with 'tool_calls' must be followed by tool messages")
            _check_parts(message.get("content"), ("text", "image_url", "input_audio", "file", "refusal"))
            open_calls = {call["id"] for call in message.get("tool_calls") or ()}
        _need(not open_calls, "an assistant message with 'tool_calls' must be followed by tool messages")
        calls = document.get("tools") and messages[-1]["role"] == "user"
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else f"Done by {document['model']}."}
        if calls:
            message["tool_calls"] = [
                {"id": f"call_{_id()}", "type": "function", "function": {"name": _tool_name(tool), "arguments": "{}"}}
                for tool in (document["tools"] * 2)[:2]
            ]
        finish = "tool_calls" if calls else "stop"
        usage = {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
        head = {"id": f"chatcmpl-{_id()}", "created": 1, "model": document["model"]}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        delta = {**message}
        if calls:
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(message["tool_calls"])]
        chunk = {**head, "object": "chat.completion.chunk"}
        events = [
            _data({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
            _data({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage}),
            b"data: [DONE]\n\n",
        ]
        return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}, events

    def _respond(self, document: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        before, given = document.get("previous_response_id"), document["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        _need(before is None or before in self.stored, f"Previous response with id '{before}' not found.")
        calls = {item["call_id"] for item in items if item.get("type") in ("function_call", "custom_tool_call")}
        for item in items:
            if item.get("type") == "function_call_output" and before is None:
                _need(item["call_id"] in calls, f"No tool call found for function call output {item['call_id']}.")
            if item.get("type") in ("reasoning", "compaction"):
                sealed = str(item.get("encrypted_content"))
                _need(sealed.startswith(f"enc-{self.url}-"), "The encrypted content could not be verified.")
        asks = items[-1].get("role") == "user" and document.get("tools")
        thought = {
            "type": "reasoning",
            "id": f"rs_{_id()}",
            "summary": [],
            "encrypted_content": f"enc-{self.url}-{_id()}",
        }
        output: list[dict[str, Any]] = [thought] if document.get("reasoning") else []
        if asks:
            output += [
                {
                    "type": "function_call",
                    "id": f"fc_{_id()}",
                    "call_id": f"call_{_id()}",
                    "name": name,
                    "arguments": "{}",
                }
                for name in ("exec_command", "exec_command")
            ]
        else:
            said = [{"type": "output_text", "text": f"Done by {document['model']}.", "annotations": []}]
            output.append({"type": "message", "id": f"msg_{_id()}", "role": "assistant", "content": said})
        made = {"id": f"resp_{_id()}", "object": "response", "created_at": 1, "status": "completed", "error": None}
        made |= {"model": document["model"], "output": output}
        made["usage"] = {"input_tokens": 50, "output_tokens": 5, "total_tokens": 55}
        self.stored.add(made["id"])
        events = [_event("response.created", response={**made, "status": "in_progress", "output": [], "usage": None})]
        for i, item in enumerate(output):
            events.append(_event("response.output_item.added", output_index=i, item=item))
            events.append(_event("response.output_item.done", output_index=i, item=item))
        return made, [*events, _event("response.completed", response=made)]

    def _compact(self, document: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        summary = {"type": "compaction", "id": f"cmp_{_id()}", "encrypted_content": f"enc-{self.url}-{_id()}"}
        usage = {"input_tokens": 50, "output_tokens": 5, "total_tokens": 55}
        return {"id": f"resp_{_id()}", "object": "response.compaction", "output": [summary], "usage": usage}, []


class ClaudeLike(_Service):
    """Messages, and the counting of their tokens."""

    def app(self) -> Starlette:
        async def messages(request: Request) -> Response:
            return await self._answer(request, self._message)

        async def count(request: Request) -> Response:
            return JSONResponse({"input_tokens": 7})

        return Starlette(
            routes=[
                Route("/v1/messages", messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", count, methods=["POST"]),
            ]
        )

    def _message(self, document: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        model, messages = document["model"], document["messages"]
        thinks = (document.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        _check_claudes_history(messages, model, thinks=thinks)
        edits = (document.get("context_management") or {}).get("edits") or ()
        _need(thinks or not edits, "`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive")
        last = messages[-1]["content"]
        results = isinstance(last, list) and any(part["type"] == "tool_result" for part in last)
        content: list[dict[str, Any]] = []
        if thinks:
            content.append({"type": "thinking", "thinking": "Hm.", "signature": f"sig-{model}-{_id()}"})
        if document.get("tools") and not results:
            names = [tool["name"] for tool in (document["tools"] * 2)[:2]]
            content += [{"type": "tool_use", "id": f"toolu_{_id()}", "name": name, "input": {}} for name in names]
        else:
            content.append({"type": "text", "text": f"Done by {model}."})
        stop = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
        made = {"id": f"msg_{_id()}", "type": "message", "role": "assistant", "model": model, "content": content}
        made |= {"stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 50, "output_tokens": 5}}
        events = [_event("message_start", message={**made, "content": [], "stop_reason": None})]
        for i, block in enumerate(content):
            events += _block_events(i, block)
        events.append(
            _event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 5})
        )
        return made, [*events, _event("message_stop")]


def _check_claudes_history(messages: Sequence[Mapping[str, Any]], model: str, *, thinks: bool) -> None:
    called: set[str] = set()
    for i, message in enumerate(messages):
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        _need(bool(parts), f"messages.{i}: content must not be empty")
        given = {part["tool_use_id"] for part in parts if part["type"] == "tool_result"}
        _need(given == called, f"messages.{i}: tool_use ids without tool_result blocks, or the reverse")
        called = {part["id"] for part in parts if part["type"] == "tool_use"}
        for part in parts:
            if part["type"] == "thinking" and thinks:
                signed = part.get("signature", "").startswith(f"sig-{model}-")
                _need(signed, f"messages.{i}.content.0: Invalid `signature` in `thinking` block")
        awaited = i == len(messages) - 2 and message["role"] == "assistant" and called
        if awaited and thinks:
            _need(parts[0]["type"] == "thinking", "Expected `thinking` or `redacted_thinking`, but found `tool_use`")
    _need(not called, "tool_use ids were found without tool_result blocks")


def _block_events(i: int, block: Mapping[str, Any]) -> list[bytes]:
    kind = block["type"]
    if kind == "thinking":
        empty: dict[str, Any] = {"type": kind, "thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    elif kind == "tool_use":
        empty, deltas = {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": "{}"}]
    else:
        empty, deltas = {"type": kind, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    events = [_event("content_block_start", index=i, content_block=empty)]
    events += [_event("content_block_delta", index=i, delta=delta) for delta in deltas]
    return [*events, _event("content_block_stop", index=i)]


def _check_parts(content: object, known: Sequence[str]) -> None:
    for part in content if isinstance(content, list) else ():
        _need(part["type"] in known, f"Invalid value: '{part['type']}'. Supported values are: {known}")


def _tool_name(tool: Mapping[str, Any]) -> str:
    return str(tool["function"]["name"])


def _need(is_so: bool, message: str) -> None:
    if not is_so:
        raise Refusal(message)


def _id() -> str:
    return f"{next(_NUMBERS):06d}aB3xK0pQ2mN5"


def _data(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\n" + _data({"type": kind, **fields})
