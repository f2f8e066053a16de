"""What clients have done behind their users' backs is told apart from what users ask."""

import pytest

from pointsman.serve.protocols.background import background_work

from support.agents import SHAPES

_TITLE = "Generate a concise, sentence-case title (3-7 words) that captures the main topic of this coding session."
_TOOLS = [{"type": "function", "function": {"name": "f"}}]


def _chat(system, user="Rename foo to bar"):
    return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]}


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (
            {"max_tokens": 512, "system": [{"type": "text", "text": _TITLE}], "messages": _chat("")["messages"][1:]},
            "title",
        ),
        (
            {"system": "Summarize this coding conversation in under 50 characters.", "messages": [{"role": "user"}]},
            "title",
        ),
        ({"max_tokens": 1, "messages": [{"role": "user", "content": "quota"}]}, "probe"),
        ({"system": "Analyze if this message indicates a new conversation topic.", "messages": []}, "topic"),
        (_chat("You are a title generator. You output ONLY a thread title. Nothing else."), "title"),
        (
            _chat("You are an expert software engineer that generates concise, one-line Git commit messages."),
            "commit message",
        ),
        ({"instructions": "Generate a title for the task.", "input": "Rename foo"}, "title"),
        (
            _chat("", "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history."),
            "title",
        ),
        (_chat("", "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history."), "topic"),
        (_chat("", "Provide a concise, 5-word-or-less title for the conversation, in its language."), "title"),
        (_chat("You are helpful.", "Generate a title for my essay on rivers"), None),
        ({**_chat("You are a title generator."), "tools": _TOOLS}, None),
        ({"input": "hi"}, None),
        ({"messages": 3, "system": 4}, None),
    ],
)
def test_kinds(document, kind):
    """Titles, topics, probes and commit messages are known by what their client says; a user's own request is none."""
    assert background_work(document) == kind


def test_turns_of_agents():
    """No turn of an agent that works for its user is taken for background work."""
    assert {name: background_work(shape.ask("Write a title page in LaTeX")) for name, shape in SHAPES.items()} == (
        dict.fromkeys(SHAPES)
    )
