"""Reads a chat request: only `model`, `messages` and `stream` are parsed, everything else is passed through."""

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any, NoReturn

import orjson

from pointsman.core.quick_dataclass import quick_dataclass
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.large_json import LARGE_BYTES, TOO_DEEP, is_too_deep, read_large
from pointsman.serve.protocols.long_documents import explored, is_long
from pointsman.serve.protocols.model_field import AUTO
from pointsman.serve.protocols.task import TEXT_PARTS, Task, read_prompt, read_task

__all__ = [
    "ChatRequest",
    "make_question",
    "read_chat",
    "read_embeddings",
    "read_object",
    "read_question",
    "read_responses",
]

_MAX_MODEL = 300  # characters of a model field: it is remembered, and repeated in messages


@quick_dataclass(frozen=True, slots=True)
class ChatRequest:
    """One parsed request.

    Attributes:
        body: the JSON as received; passed on byte by byte except for the model's name.
        document: the same, parsed.
        model: the `model` field.
        stream: whether an event stream is wanted.
        prompt: what its user asked, by which it is routed; "" without text.
        task: the same, with its position and what was left out.
    """

    body: bytes
    document: Mapping[str, Any]
    model: str
    stream: bool
    prompt: str
    task: Task = field(default_factory=lambda: Task(""))


def read_chat(body: bytes) -> ChatRequest:
    """The request of chat completions, or of Anthropic's Messages API, in a JSON body.

    Raises:
        RequestError: 400, naming the parameter, its value and what was wanted.
    """
    document = read_object(body)
    model, stream = _model(document), _stream(document)
    return _request(body, document, model, stream, _messages_task(document))


def read_responses(body: bytes) -> ChatRequest:
    """The request of the Responses API in a JSON body.

    Raises:
        RequestError: 400, naming the parameter, its value and what was wanted.
    """
    document = read_object(body)
    model, stream = _model(document), _stream(document)
    if document.get("background"):
        raise RequestError(
            "background is true, but responses are not stored here to be fetched later: leave it out, and stream the "
            "answer if it takes long",
            param="background",
            code="unsupported_parameter",
        )
    return _request(body, document, model, stream, _input_task(document))


def read_embeddings(body: bytes) -> ChatRequest:
    """The embedding request in a JSON body; it has no prompt to route by.

    Raises:
        RequestError: 400, naming the parameter, its value and what was wanted.
    """
    document = read_object(body)
    return ChatRequest(body, _walked(body, document), _model(document), False, "")


def read_question(body: bytes) -> ChatRequest:
    """The request for a decision in a JSON body: of any of the three APIs, {"prompt": ...} or {"prompts": [...]}.

    `model` may be left out. Many prompts are left in the document; `make_question` makes a request of each.

    Raises:
        RequestError: 400, naming the parameter, its value and what was wanted.
    """
    document = read_object(body)
    model = _model(document) if "model" in document else AUTO
    if "prompts" in document:
        return ChatRequest(body, document, model, False, "")
    if "prompt" not in document:
        task = _input_task(document) if "input" in document else _messages_task(document)
        return _request(body, document, model, False, task)
    if not isinstance(document["prompt"], str) or "messages" in document:
        problem = "together with messages" if "messages" in document else _shown(document, "prompt")
        raise RequestError(f"prompt is {problem}, wanted either prompt, a string, or messages", param="prompt")
    return make_question(document["prompt"], model, body=body, document=document)


def make_question(prompt: str, model: str, *, body: bytes = b"", document: dict[str, Any] | None = None) -> ChatRequest:
    """The request for a decision on a prompt alone."""
    more = {name: value for name, value in (document or {}).items() if name != "prompt"}
    asked = {"model": model, **more, "messages": [{"role": "user", "content": prompt}]}
    return _request(body, asked, model, False, read_prompt(prompt))


def _request(body: bytes, document: dict[str, Any], model: str, stream: bool, task: Task) -> ChatRequest:
    return ChatRequest(body, _walked(body, document), model, stream, _clean(task.text), task)


def _walked(body: bytes, document: dict[str, Any]) -> dict[str, Any]:
    """The document; for a long body with the results that the pipeline will need."""
    return explored(document, "request") if len(body) > LARGE_BYTES and is_long(body) else document


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        RequestError: 400 where it is not JSON, not UTF-8, nested too deeply, or not an object; 413 if
            it holds too many values.
    """
    document = _loads(body) if len(body) <= LARGE_BYTES else read_large(body, _loads)
    if not isinstance(document, dict):
        raise RequestError(f"the body is a JSON {_json_type(document)}, wanted an object with model and messages")
    if len(body) <= LARGE_BYTES and is_too_deep(document, body):
        raise RequestError(TOO_DEEP)
    return document


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _read_leniently(body, error)


def _stream(document: Mapping[str, Any]) -> bool:
    stream = document.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise RequestError(f"stream is {_shown(document, 'stream')}, wanted true or false", param="stream")
    return bool(stream)


def _input_task(document: Mapping[str, Any]) -> Task:
    given = document.get("input")
    if given is None or isinstance(given, str):
        return read_task(document)
    if not isinstance(given, list):
        raise RequestError(f"input is {_brief(given)}, wanted a string or an array of items", param="input")
    for i, item in enumerate(given):
        if not isinstance(item, dict):
            raise RequestError(f"input[{i}] is {_brief(item)}, wanted an object", param=f"input[{i}]")
    last = next((i for i in reversed(range(len(given))) if given[i].get("role") == "user"), None)
    if last is not None:
        _check_content(given[last].get("content"), f"input[{last}].content")
    return read_task(document)


def _model(document: Mapping[str, Any]) -> str:
    model = document.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError(
            f"model is {_shown(document, 'model')}, wanted a string such as 'auto' or 'router-mf-0.5'; "
            "GET /v1/models lists all",
            param="model",
        )
    if len(model) > _MAX_MODEL:
        message = f"model has {len(model)} characters, wanted at most {_MAX_MODEL}"
        raise RequestError(message, status=404, param="model", code="model_not_found")
    return model


def _messages_task(document: Mapping[str, Any]) -> Task:
    """What the last user turn asks; the text of the last turn if no turn is the user's."""
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError(
            f"messages is {_shown(document, 'messages')}, wanted a non-empty array of messages such as "
            '{"role": "user", "content": "Hello"}',
            param="messages",
        )
    last = None
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(role := message.get("role"), str):
            raise RequestError(
                f"messages[{i}] is {_brief(message)}, wanted an object with a role and a content",
                param=f"messages[{i}]",
            )
        if role == "user":
            last = i
    read = len(messages) - 1 if last is None else last
    _check_content(messages[read].get("content"), f"messages[{read}].content")
    return read_task(document if last is not None else {"messages": [{**messages[read], "role": "user"}]})


def _check_content(content: object, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise RequestError(f"{where} is {_brief(content)}, wanted a string or an array of parts", param=where)
    for i, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise RequestError(
                f'{where}[{i}] is {_brief(part)}, wanted a part such as {{"type": "text", "text": "Hello"}}',
                param=f"{where}[{i}]",
            )
        if part["type"] in TEXT_PARTS and not isinstance(part.get("text"), str):
            raise RequestError(
                f"{where}[{i}].text is {_brief(part.get('text'))}, wanted a string", param=f"{where}[{i}].text"
            )


def _clean(text: str) -> str:
    """`text` without lone surrogates, which JSON may carry and no tokenizer can read."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _read_leniently(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """Parses what JSON's grammar allows but orjson does not: lone surrogates, numbers beyond double precision."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise RequestError("the body is not valid UTF-8") from None
    except RecursionError:
        raise RequestError(TOO_DEEP) from None
    except ValueError:
        raise RequestError(f"the body is not valid JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _shown(document: Mapping[str, Any], key: str) -> str:
    return _brief(document[key]) if key in document else "missing"


def _brief(value: object) -> str:
    if isinstance(value, (dict, list)):
        return f"an empty {_json_type(value)}" if not value else f"an {_json_type(value)} of {len(value)}"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _json_type(value: object) -> str:
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"
