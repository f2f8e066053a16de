"""The tables of parameters: what becomes of each one of the three APIs, and what the code does with it."""

from typing import Any

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaParams
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.translation.chat_over_messages import parameters as _chat
from pointsman.serve.protocols.translation.chat_over_messages.request import messages_request as from_chat
from pointsman.serve.protocols.translation.messages_over_chat import parameters as _messages
from pointsman.serve.protocols.translation.messages_over_chat.request import chat_request
from pointsman.serve.protocols.translation.messages_over_chat.service import ChatService
from pointsman.serve.protocols.translation.parameters import select
from pointsman.serve.protocols.translation.read import Untranslatable
from pointsman.serve.protocols.translation.responses_over_messages import parameters as _responses
from pointsman.serve.protocols.translation.responses_over_messages.request import messages_request as from_responses

HELLO = [{"role": "user", "content": "Hello"}]
TABLES = {"chat": _chat.PARAMETERS, "messages": _messages.PARAMETERS, "responses": _responses.PARAMETERS}
KNOWN = {
    "chat": set(CompletionCreateParamsBase.__annotations__),
    "messages": set(MessageCreateParamsBase.__annotations__) | set(BetaParams.__annotations__),
    "responses": set(ResponseCreateParamsBase.__annotations__),
}
ANYTHING = (3, 0.5, "x", [5], {"a": 1}, True)


def _translate(api: str, **fields: Any) -> dict[str, Any]:
    if api == "messages":
        return chat_request({"model": "m", "max_tokens": 9, "messages": HELLO, **fields}, ChatService())
    if api == "chat":
        return from_chat({"model": "m", "messages": HELLO, **fields}, "own-model")
    return from_responses({"model": "m", "input": "Hello", **fields}, "own-model")


@pytest.mark.parametrize("api", TABLES)
def test_every_parameter_of_the_sdks_is_in_the_table(api):
    """What OpenAI's and Anthropic's SDKs can send has its line: a new one is met with a decision, not by chance."""
    assert KNOWN[api] <= set(TABLES[api])


@pytest.mark.parametrize(("api", "name"), [(api, name) for api, table in TABLES.items() for name in table])
def test_the_code_does_what_the_table_says(api, name):
    """Refused ones are refused by name, dropped ones change nothing, nulls and idle values change nothing."""
    parameter, plain = TABLES[api][name], _translate(api)
    if name not in ("model", "messages", "input", "max_tokens"):
        assert all(_translate(api, **{name: idle}) == plain for idle in (None, *parameter.idle))
    for value in (value for value in ANYTHING if not parameter.is_idle(value)):
        if parameter.fate == "refused":
            with pytest.raises(Untranslatable) as caught:
                _translate(api, **{name: value})
            assert caught.value.param == name
        elif parameter.fate == "dropped":
            assert _translate(api, **{name: value}) == plain
        else:
            assert select({name: value}, TABLES[api], service="x") == {name: value}


@pytest.mark.parametrize("api", TABLES)
def test_what_is_not_in_the_table_is_refused(api):
    """A parameter of tomorrow may change the answer: it is not dropped in silence."""
    with pytest.raises(RequestError, match=r"something_new is 1.*is not known.*ask another model"):
        _translate(api, something_new=1)
