"""The recorded requests of agents and chat front ends, put in the words of the other APIs."""

import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from pointsman.serve.protocols.translation.chat_over_messages.request import messages_request as from_chat
from pointsman.serve.protocols.translation.messages_over_chat.request import chat_request
from pointsman.serve.protocols.translation.messages_over_chat.service import ChatService
from pointsman.serve.protocols.translation.responses_over_messages.request import messages_request as from_responses

from support.agents import SHAPES
from support.conversations import check, texts_in

OPENAI = ChatService("max_completion_tokens", most_stops=4, takes_top_k=False)
PROMPT = "Refactor the parser, please."


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_agent_can_be_answered_by_any_model(shape):
    """What Claude Code, Codex, opencode, aider, Cline and Cursor send is never refused, and sent whole."""
    asked = shape.ask(PROMPT, model="m")
    if shape.api == "messages":
        sent, kind = chat_request(asked, OPENAI), CompletionCreateParamsBase
    else:
        translate = from_chat if shape.api == "chat" else from_responses
        sent, kind = translate(asked, "claude-opus-4-8"), MessageCreateParamsBase
    sent.pop("stream", None)
    check(kind, sent)
    if any(PROMPT in text for text in texts_in(asked)):
        assert any(PROMPT in text for text in texts_in(sent))
