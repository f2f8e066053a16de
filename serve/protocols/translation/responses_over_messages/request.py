"""A request of OpenAI's Responses API as one of Anthropic's Messages API."""

from typing import Any

from pointsman.serve.protocols.translation.messages_request import SERVICE, Question, capped, write_request
from pointsman.serve.protocols.translation.parameters import select
from pointsman.serve.protocols.translation.read import Document, Untranslatable, item
from pointsman.serve.protocols.translation.responses_over_messages.conversation import input_turns
from pointsman.serve.protocols.translation.responses_over_messages.parameters import PARAMETERS
from pointsman.serve.protocols.translation.responses_over_messages.tools import message_tool_choice, message_tools

__all__ = ["messages_request"]

_PASSED = ("stream", "top_p")


def messages_request(document: Document, service_model: str) -> dict[str, Any]:
    """The request for a message that asks for the same.

    Args:
        service_model: what the service calls its model.

    Raises:
        Untranslatable: something that was asked for cannot be expressed.
        RequestError: the request is malformed.
    """
    asked = select(document, PARAMETERS, service=SERVICE)
    system, messages = input_turns(asked.get("input"), asked.get("instructions"))
    others = {name: asked[name] for name in _PASSED if name in asked}
    if "temperature" in asked:
        others["temperature"] = capped(asked["temperature"])
    question = Question(
        asked.get("model"),
        system,
        messages,
        message_tools(asked),
        message_tool_choice(asked),
        max_tokens=asked.get("max_output_tokens"),
        form=_form(item(asked.get("text", {}), "text").get("format")),
        effort=item(asked.get("reasoning", {}), "reasoning").get("effort"),
        user=asked.get("safety_identifier") or asked.get("user"),
        others=others,
    )
    return write_request(question, service_model)


def _form(given: object) -> Document | None:
    if given is None:
        return None
    form = item(given, "text.format")
    if form.get("type") not in ("text", "json_object", "json_schema"):
        message = f"text.format.type is {form.get('type')!r}, wanted text, json_object or json_schema"
        raise Untranslatable(message, param="text.format")
    return None if form["type"] == "text" else form
