"""Which arguments of a request are passed to LiteLLM, and how its answers are written.

LiteLLM takes URLs, keys, headers and callbacks by keyword, beside the parameters of each API. A request must not set
those: only the parameters listed here reach it.
"""

from collections.abc import Callable, Collection
from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.openai_streams import DONE
from pointsman.serve.protocols.translation.chat_over_messages.parameters import PARAMETERS
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.upstreams.base import Call, refuse_surface

__all__ = [
    "CHAT_PATH",
    "MESSAGES_PATH",
    "event_bytes",
    "function_of",
    "last_event",
    "read_arguments",
    "takes",
    "whole_bytes",
    "without_unknown_hints",
]

CHAT_PATH, MESSAGES_PATH, _EMBEDDINGS_PATH = "/chat/completions", "/messages", "/embeddings"
_REQUIRED = {CHAT_PATH: (), MESSAGES_PATH: ("max_tokens",), _EMBEDDINGS_PATH: ("input",)}
_HINTS = ("user", "safety_identifier", "reasoning_effort", "parallel_tool_calls")
_SETTINGS = ("messages", "stream", "_skip_mcp_handler")
_PARAMETERS = {
    CHAT_PATH: frozenset({
        "messages", "functions", "function_call", "temperature", "top_p", "n", "stream", "stream_options", "stop",
        "max_tokens", "max_completion_tokens", "modalities", "prediction", "audio", "presence_penalty",
        "frequency_penalty", "logit_bias", "user", "response_format", "seed", "tools", "tool_choice",
        "parallel_tool_calls", "logprobs", "top_logprobs", "reasoning_effort", "verbosity", "safety_identifier",
        "service_tier", "store", "prompt_cache_key", "thinking", "web_search_options", "top_k",
    }),
    MESSAGES_PATH: frozenset({
        "max_tokens", "messages", "metadata", "stop_sequences", "stream", "system", "temperature", "thinking",
        "tool_choice", "tools", "top_k", "top_p", "output_config",
    }),
    _EMBEDDINGS_PATH: frozenset({"input", "dimensions", "encoding_format", "user"}),
}  # fmt: skip


def function_of(litellm: Any, path: str) -> Callable[..., Any]:
    """LiteLLM's function for calls that `read_arguments` accepts."""
    if path == MESSAGES_PATH:
        return litellm.anthropic_messages  # type: ignore[no-any-return]
    return litellm.acompletion if path == CHAT_PATH else litellm.aembedding  # type: ignore[no-any-return]


def takes(path: str) -> bool:
    """Whether a path is served through LiteLLM."""
    return path in _PARAMETERS


def read_arguments(call: Call, model: str) -> dict[str, Any]:
    """The keyword arguments that the request may set.

    Args:
        model: for the error message.

    Raises:
        RequestError: 404 if the path is not served through LiteLLM, 400 if a required parameter is missing.
    """
    if call.path not in _PARAMETERS:
        refuse_surface(call, model, _PARAMETERS)
    for name in _REQUIRED[call.path]:
        if call.document.get(name) is None:
            raise RequestError(f"{name} is missing, but model {model!r} requires it", param=name)
    allowed = _PARAMETERS[call.path]
    chosen = {name: value for name, value in call.document.items() if name in allowed}
    # Tools may name servers; LiteLLM would ask those itself.
    return chosen if call.path == _EMBEDDINGS_PATH else {**chosen, "_skip_mcp_handler": True}


def without_unknown_hints(arguments: dict[str, Any], supported: Collection[str]) -> dict[str, Any]:
    """Arguments of a chat request without values that have no effect, and without hints unknown to the provider.

    Args:
        supported: parameters that it knows.
    """
    kept = {}
    for name, value in arguments.items():
        parameter = PARAMETERS.get(name)
        is_hint = name in _HINTS or (parameter is not None and parameter.fate == "dropped")
        idle = value is None or (parameter is not None and parameter.is_idle(value))
        if name not in _SETTINGS and (idle or (is_hint and name not in supported)):
            continue
        kept[name] = value
    return kept


def whole_bytes(answer: Any) -> bytes:
    """JSON of a whole answer."""
    if isinstance(answer, dict):
        return write_json(answer)
    try:
        return bytes(answer.model_dump_json(exclude_none=True, warnings=False).encode())
    except ValueError:  # Pydantic writes no lone surrogates
        return write_json(answer.model_dump(mode="json", exclude_none=True, warnings=False))


def event_bytes(chunk: Any) -> bytes:
    """One piece of a streamed answer as server-sent events."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, dict):
        return b"event: %s\ndata: %s\n\n" % (str(chunk.get("type")).encode(), write_json(chunk))
    return b"data: " + whole_bytes(chunk) + b"\n\n"


def last_event(call: Call) -> bytes:
    """The end of a stream."""
    return DONE if call.path == CHAT_PATH else b""
