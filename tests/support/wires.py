"""What the two protocols say on the wire: for an upstream to answer with, and for a client to ask and read."""

import json
from abc import ABC, abstractmethod
from typing import Any

import httpx

from support.faulty_upstream import Act, answer
from support.lazy import LazyModule
from support.messages_upstream import message, message_event

__all__ = ["CHAT", "MESSAGES", "USAGE", "Wire"]

anthropic, openai = LazyModule("anthropic"), LazyModule("openai")
HELLO = [{"role": "user", "content": "Hello"}]
USAGE = {"input_tokens": 2, "output_tokens": 3}


class Wire(ABC):
    """One protocol.

    Attributes:
        path: below /v1.
        provider: its name in the configuration.
        first, finish, done: the events before the first piece of text, after the last, and at the very end.
    """

    path: str
    provider: str
    first: bytes
    finish: bytes
    done: bytes

    @abstractmethod
    def completion(self, text: str = "fine") -> bytes:
        """A whole answer."""

    @abstractmethod
    def piece(self, text: str) -> bytes:
        """One event of a stream."""

    @abstractmethod
    def error(self, status: int, text: str, *headers: str) -> Act:
        """An answer that is an error."""

    @abstractmethod
    def text_of(self, response: httpx.Response) -> str:
        """What a whole answer says."""

    @abstractmethod
    def usage_of(self, response: httpx.Response) -> dict[str, int]:
        """Its tokens, as `USAGE` names them."""

    @abstractmethod
    def broke(self, response: httpx.Response, code: str) -> bool:
        """Whether a stream ended in an error of ours, and not as a good one does."""

    @abstractmethod
    def refused(self, response: httpx.Response, status: int, code: str) -> bool:
        """Whether an answer is an error of ours."""

    @abstractmethod
    def ask_with_sdk(self, url: str, model: str) -> None:
        """Reads a stream to its end with the protocol's own client."""

    @property
    def good(self) -> Act:
        return answer(200, self.completion())

    def ended(self, response: httpx.Response) -> bool:
        """Whether a stream ended as a good one does."""
        return response.text.endswith(self.done.decode())

    def streamed_text(self, response: httpx.Response) -> str:
        """What the pieces of a stream say."""
        return "".join(self._said(event) for event in events_of(response))

    @abstractmethod
    def _said(self, event: dict[str, Any]) -> str:
        """The text of one event."""


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The JSON events of a stream."""
    data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(item) for item in data if item != "[DONE]"]


def _chunk(finish: str | None = None, **delta: str) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()


class _Chat(Wire):
    path, provider = "/chat/completions", "openai"
    first = _chunk(role="assistant")
    finish, done = _chunk("stop"), b"data: [DONE]\n\n"

    def completion(self, text: str = "fine") -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
        return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()

    def piece(self, text: str) -> bytes:
        return _chunk(content=text)

    def error(self, status: int, text: str, *headers: str) -> Act:
        body = {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": "c"}}
        return answer(status, json.dumps(body).encode(), *headers)

    def text_of(self, response: httpx.Response) -> str:
        return response.json()["choices"][0]["message"]["content"]

    def usage_of(self, response: httpx.Response) -> dict[str, int]:
        usage = response.json()["usage"]
        return {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}

    def broke(self, response: httpx.Response, code: str) -> bool:
        last = events_of(response)[-1]
        return "[DONE]" not in response.text and last["error"]["code"] == code

    def refused(self, response: httpx.Response, status: int, code: str) -> bool:
        return (response.status_code, response.json()["error"]["code"]) == (status, code)

    def ask_with_sdk(self, url: str, model: str) -> None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
            for _ in client.chat.completions.create(model=model, messages=HELLO, stream=True):
                pass

    def _said(self, event: dict[str, Any]) -> str:
        return event["choices"][0]["delta"].get("content") or "" if event.get("choices") else ""


class _Messages(Wire):
    path, provider = "/messages", "anthropic"
    first = message_event("message_start", message={**message("m", []), "stop_reason": None, "usage": USAGE})
    first += message_event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    first += message_event("ping")
    finish = message_event("content_block_stop", index=0)
    finish += message_event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3})
    done = message_event("message_stop")

    def completion(self, text: str = "fine") -> bytes:
        return json.dumps({**message("m", [{"type": "text", "text": text}]), "usage": USAGE}).encode()

    def piece(self, text: str) -> bytes:
        return message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def error(self, status: int, text: str, *headers: str) -> Act:
        body = {"type": "error", "error": {"type": "invalid_request_error", "message": text}}
        return answer(status, json.dumps(body).encode(), *headers)

    def text_of(self, response: httpx.Response) -> str:
        return response.json()["content"][0]["text"]

    def usage_of(self, response: httpx.Response) -> dict[str, int]:
        return {name: response.json()["usage"][name] for name in USAGE}

    def ended(self, response: httpx.Response) -> bool:
        return events_of(response)[-1] == {"type": "message_stop"}

    def broke(self, response: httpx.Response, code: str) -> bool:
        last = events_of(response)[-1]
        kind = "timeout_error" if code == "upstream_timeout" else "api_error"
        return "message_stop" not in response.text and (last["type"], last["error"]["type"]) == ("error", kind)

    def refused(self, response: httpx.Response, status: int, code: str) -> bool:
        kind = "timeout_error" if status == 504 else "api_error"
        return (response.status_code, response.json()["error"]["type"]) == (status, kind)

    def ask_with_sdk(self, url: str, model: str) -> None:
        with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
            for _ in client.messages.create(model=model, max_tokens=9, messages=HELLO, stream=True):
                pass

    def _said(self, event: dict[str, Any]) -> str:
        return event.get("delta", {}).get("text", "")


CHAT: Wire = _Chat()
MESSAGES: Wire = _Messages()
