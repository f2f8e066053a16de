"""A request of OpenAI's chat API as one of Anthropic's Messages API."""

from typing import Any

from pointsman.serve.protocols.translation.chat_over_messages.conversation import message_turns
from pointsman.serve.protocols.translation.chat_over_messages.parameters import PARAMETERS
from pointsman.serve.protocols.translation.chat_over_messages.tools import message_tool_choice, message_tools
from pointsman.serve.protocols.translation.messages_request import (
    SERVICE,
    Question,
    capped,
    stop_sequences,
    write_request,
)
from pointsman.serve.protocols.translation.parameters import select
from pointsman.serve.protocols.translation.read import Document, Untranslatable, item

__all__ = ["messages_request"]

_PASSED = ("stream", "top_p", "top_k", "thinking", "cache_control")


def messages_request(document: Document, service_model: str) -> dict[str, Any]:
    """The request for a message that asks for the same.

    Args:
        service_model: what the service calls its model.

    Raises:
        Untranslatable: something that was asked for cannot be expressed.
        RequestError: the request is malformed.
    """
    asked = select(document, PARAMETERS, service=SERVICE)
    system, messages = message_turns(asked.get("messages"))
    others = {name: asked[name] for name in _PASSED if name in asked}
    if "temperature" in asked:
        others["temperature"] = capped(asked["temperature"])
    question = Question(
        asked.get("model"),
        system,
        messages,
        message_tools(asked),
        message_tool_choice(asked),
        max_tokens=asked.get("max_completion_tokens", asked.get("max_tokens")),
        form=_form(asked.get("response_format")),
        effort=asked.get("reasoning_effort"),
        user=asked.get("safety_identifier") or asked.get("user"),
        others={**others, **stop_sequences(asked.get("stop"), "stop")},
    )
    return write_request(question, service_model)


def _form(given: object) -> Document | None:
    if given is None:
        return None
    form = item(given, "response_format")
    if form.get("type") == "json_schema":
        return {**item(form.get("json_schema"), "response_format.json_schema"), "type": "json_schema"}
    if form.get("type") != "json_object":
        message = f"response_format.type is {form.get('type')!r}, wanted text, json_object or json_schema"
        raise Untranslatable(message, param="response_format")
    return form
