"""What is read of a request is what its user asked, whatever their client puts around it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.serve.protocols.envelope_names import ASKED, ATTACHED, OWN
from pointsman.serve.protocols.envelopes import read_text
from pointsman.serve.protocols.task import read_prompt, read_task

from support.agents import SHAPES

PROMPTS = (
    "What is 2+2?",
    "commit",
    "thanks",
    "rename foo to bar in utils.py",
    "Refactor the authentication module to use OAuth2 with PKCE and migrate the database without downtime.",
    "Why does Claude Code send a <system-reminder> part, and who reads </system-reminder>?",
    "What does <user_query>x</user_query> mean in a transcript?",
    "Explain:\n```python\ndef f(x: list[int]) -> None: ...\n```\nand say what `<env>` is.",
    "<b>bold</b> is not rendered; <div class='user-info'>neither</div>",
    "# Bug\n\nIt crashes.\n\n## Expected\n\nIt does not.",
    "if a < b and c > d: print('<ok>')",
    "写一个快速排序。",
    "1. first\n2. second\n- [ ] third",
)


def _words() -> st.SearchStrategy[str]:
    """Text that asks for something: it has a word that no client and no continuation is made of."""
    around = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    return st.tuples(around, around).map(lambda both: f"{both[0]} zebra {both[1]}")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_shapes(shape, prompt):
    """In the shape of every client the prompt reads as it does alone."""
    assert read_task(shape.ask(prompt)).text == read_prompt(prompt).text == prompt


@given(_words(), st.sampled_from(sorted(SHAPES)))
@settings(max_examples=400)
@example(" zebra </task>", "plain_chat")
def test_wrapping(prompt, name):
    """Wrapping any prompt in any client's shape leaves what is read unchanged."""
    assert read_task(SHAPES[name].ask(prompt)).text == read_prompt(prompt).text


@given(
    _words(),
    st.sampled_from(sorted(OWN | ATTACHED)),
    st.sampled_from(["_", "-", ""]),
    st.booleans(),
    st.sampled_from(["prefix", "suffix", "before", "after"]),
    _words(),
)
def test_blocks(prompt, name, joint, shouted, place, inside):
    """A client's block counts for nothing, however its name is spelt, before or after, in one text or two."""
    words = name.split("_")
    tag = joint.join(words) if joint else "".join([words[0], *(word.title() for word in words[1:])])
    tag = tag.upper() if shouted and joint else tag
    block = f'<{tag} from="the client">\n{inside.replace("<", "(")}\n</{tag}>'
    texts = {
        "prefix": [f"{block}\n\n{prompt}"],
        "suffix": [f"{prompt}\n\n{block}"],
        "before": [block, prompt],
        "after": [prompt, block],
    }[place]
    content = [{"type": "text", "text": text} for text in texts]
    assert read_task({"messages": [{"role": "user", "content": content}]}).text == read_prompt(prompt).text


@given(_words(), st.sampled_from(sorted(ASKED)), _words(), _words())
def test_marked_request(prompt, name, before, after):
    """Where a client marks what its user asked, that alone is read."""
    text = f"{before}\n<{name}>\n{prompt}\n</{name}>\n{after}"
    assert read_task({"input": text}).text == (read_prompt(prompt).text)


@pytest.mark.parametrize(
    "words",
    [
        *(
            "ok",
            "OK!",
            "go on",
            "continue",
            "Yes, please go ahead.",
            "next step",
            "do it",
            "keep going",
            "lgtm",
            "2",
            "b)",
        ),
        *(
            "option 3",
            "👍",
            "...",
            "继续",
            "ja",
            "try again",
            "yes to all",
            "sounds good, proceed",
            "great, now the rest",
        ),
    ],
)
def test_continuations(words):
    """Words that only go on read as the task that they go on with, and as themselves where there is none."""
    turns = [
        {"role": "user", "content": "Sort the list"},
        {"role": "assistant", "content": "Shall I?"},
        {"role": "user", "content": words},
    ]
    task = read_task({"messages": turns})
    assert (task.text, task.turn, task.turns_back) == ("Sort the list", 0, 1)
    assert read_task({"messages": turns[-1:]}).text == words


@pytest.mark.parametrize(
    "words",
    ["thanks", "commit", "run the tests", "no, use a heap", "go back to version 2", "what's next?", "undo", "hi"],
)
def test_short_tasks(words):
    """Short is not the same as nothing: these ask for something of their own."""
    turns = [{"role": "user", "content": "Sort the list"}, {"role": "user", "content": words}]
    assert read_task({"messages": turns}).text == words


def test_latest_task():
    """Of several tasks the latest counts."""
    said = ["Prove it", "ok", "Rename it", "yes", "<system-reminder>\nx\n</system-reminder>"]
    task = read_task({"messages": [{"role": "user", "content": text} for text in said]})
    assert (task.text, task.turn) == ("Rename it", 2)


def test_attachments_alone():
    """A turn that holds a file and nothing else reads as that file; a reminder alone reads as nothing."""
    document = "<document>\nProve the lemma.\n</document>"
    assert read_task({"input": document}).text == document
    assert read_task({"input": "<system-reminder>\nProve it.\n</system-reminder>"}).text == ""


def test_left_out():
    """What was left out is named, so that it can be shown."""
    task = read_task(SHAPES["cursor_string"].ask("Sort it"))
    assert task.left_out == ("additional_data",)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"messages": None},
        {"messages": 3},
        {"input": [3, {"role": "user"}]},
        {"messages": [{"role": "user", "content": 3}]},
    ],
)
def test_malformed(document):
    """What is malformed holds no task, and is no error of this reader."""
    assert read_task(document).text == ""


@pytest.mark.parametrize(
    "text",
    [
        "<env>\n" * 40000,
        "</env>" * 40000,
        "<env>" * 20000 + "</env>\n" * 20000,
        "```a/b\n" * 30000,
        "<" * 200_000,
        "<a " + "x" * 200_000,
        "The user provided " + "feedback " * 20000,
        "<user_query>\n" * 10000 + "</user_query>\n" * 10000,
        " " * 200_000 + "<env>",
        "[read_file for " + "x" * 200_000,
    ],
    ids=["open", "closed", "paired", "fences", "angles", "unfinished", "feedback", "nested", "blanks", "result"],
)
def test_linear(text):
    """Whatever a text holds, it is read to its end; in quadratic time these would take minutes."""
    read_text(text)
