"""What agents and their SDKs rely on besides the APIs themselves: names, paths, headers, counting, compaction."""

import gzip
import json
import re
from collections.abc import Iterator

import httpx
import pytest

from pointsman.core.errors import ConfigError
from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.server.fast_path import api_path

from support.agents import SHAPES
from support.services import ClaudeLike, GPTLike
from support.upstream import LocalServer

HELLO = [{"role": "user", "content": "Hello"}]
ALIASES = {"claude-sonnet-4-5": "auto", "claude-haiku-*": "small", "gpt-5": "router-random-30pct"}


def config(urls: dict[str, tuple[str, str]], **more):
    """Two models, big and small, by their protocols and URLs."""
    models = {name: {"provider": kind, "base_url": f"{url}/v1", "model": name} for name, (kind, url) in urls.items()}
    return {"strong": "big", "weak": "small", "models": models, "routers": {"random": {}}, **more}


@pytest.fixture
def services() -> Iterator[tuple[GPTLike, ClaudeLike]]:
    gpt, claude = GPTLike(), ClaudeLike()
    with LocalServer(gpt.app()) as one, LocalServer(claude.app()) as other:
        gpt.url, claude.url = one.url, other.url
        yield gpt, claude


@pytest.fixture
def front(services) -> Iterator[httpx.Client]:
    """A mixed pair: big is Claude's, small is GPT's."""
    gpt, claude = services
    values = config({"big": ("anthropic", claude.url), "small": ("openai", gpt.url)}, aliases=ALIASES)
    with LocalServer(create_app(make_config(values))) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


def test_aliases(front):
    """An alias is listed, found and answered as what it means; a pattern is found and answered."""
    listed = [card["id"] for card in front.get("/v1/models").json()["data"]]
    assert {"claude-sonnet-4-5", "gpt-5"} <= set(listed)
    assert "claude-haiku-*" not in listed
    for name in ("claude-sonnet-4-5", "claude-haiku-4-5-20251001", "gpt-5", "router-random-0.25", "auto", "small"):
        assert front.get(f"/v1/models/{name}").json()["id"] == name
        answered = front.post("/v1/chat/completions", json={"model": name, "messages": HELLO})
        assert answered.status_code == 200
    answered = front.post("/v1/chat/completions", json={"model": "claude-haiku-4-5", "messages": HELLO})
    assert (answered.headers["x-pointsman-model"], answered.headers["x-pointsman-reason"]) == ("small", "pass-through")
    for name in ("nobody", "router-random-7", "router-random-loss0.05", "claude-opus-4"):
        assert front.get(f"/v1/models/{name}").status_code == 404


@pytest.mark.parametrize(("alias", "means"), [("a", "nobody"), ("big", "auto"), ("auto", "big"), ("router-x", "big")])
def test_wrong_aliases(services, alias, means):
    """An alias that means nothing, or is a name already, is an error at the start that names it."""
    values = config({"big": ("openai", services[0].url), "small": ("openai", services[0].url)}, aliases={alias: means})
    with pytest.raises(ConfigError, match=f"aliases.{alias}"):
        Engine(make_config(values))


@pytest.mark.parametrize("prefix", ["/v1", "", "//v1", "/v1/v1", "/v1/"])
def test_paths(front, prefix):
    """A base URL with /v1, without it, with it twice or with a slash too many leads to the same place."""
    assert front.post(f"{prefix}/chat/completions", json={"model": "small", "messages": HELLO}).status_code == 200
    asked = {"model": "big", "max_tokens": 9, "messages": HELLO}
    assert front.post(f"{prefix}/messages", json=asked).status_code == 200
    assert front.post(f"{prefix}/messages/count_tokens", json={"model": "big", "messages": HELLO}).status_code == 200
    assert front.get(f"{prefix}/models").json()["object"] == "list"
    assert front.get(f"{prefix}/models/auto").json()["id"] == "auto"


@pytest.mark.parametrize("path", ["/", "/v1", "/health", "/chat", "/v2/messages", "/dashboard//models", "/xmodels"])
def test_other_paths(path):
    """What is no path of an API is left alone."""
    assert api_path(path) == path


def test_repeated_header_lines(front, services):
    """Lines of one name are one list; of a header that is no list, the last line counts."""
    lines = [("anthropic-beta", "one"), ("anthropic-beta", "two"), ("tracestate", "a=1"), ("tracestate", "b=2")]
    asked = {"model": "big", "max_tokens": 9, "messages": HELLO}
    assert front.post("/v1/messages", json=asked, headers=lines).status_code == 200
    sent = services[1].headers[-1]
    assert (sent["anthropic-beta"], sent["tracestate"]) == ("one, two", "a=1, b=2")


def test_compressed_bodies(front):
    """A gzip'ed body is read, one that is compressed otherwise is refused for that."""
    body = json.dumps({"model": "small", "messages": HELLO}).encode()
    assert front.post("/v1/chat/completions", content=gzip.compress(body), headers={"content-encoding": "gzip"}).json()[
        "choices"
    ]
    refused = front.post("/v1/chat/completions", content=body, headers={"content-encoding": "br"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (415, "unsupported_content_encoding")


def test_counting(front, services):
    """Tokens are counted for every model: by its service, or with an estimate where that cannot."""
    for name, estimated in (("big", None), ("small", "true")):
        counted = front.post("/v1/messages/count_tokens", json={"model": name, "messages": HELLO})
        assert counted.json()["input_tokens"] > 0
        assert counted.headers.get("x-pointsman-estimated") == estimated
    assert services[0].documents == []


def test_background_work(front):
    """A title is not worth the strong model, whatever the prompt is; the prompt itself is routed."""
    system = "You are a title generator. You output ONLY a thread title."
    asked = {"model": "router-random-0", "messages": [{"role": "system", "content": system}, *HELLO]}
    told = front.post("/v1/route", json=asked).json()
    assert (told["model"], told["reason"]) == ("small", "background work: title")
    assert front.post("/v1/route", json={"model": "router-random-0", "messages": HELLO}).json()["model"] == "big"


def test_background_responses(front):
    """What would have to be fetched later is refused, with the reason."""
    refused = front.post("/v1/responses", json={"model": "small", "input": "Hello", "background": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "background")


def test_compaction(front, services):
    """A conversation is summarised by a model of the Responses API, and goes on where the summary can be read."""
    compacted = front.post("/v1/responses/compact", json={"model": "auto", "input": HELLO})
    assert (compacted.status_code, compacted.headers["x-pointsman-model"]) == (200, "small")
    asked = {"model": "router-random-0", "input": [*compacted.json()["output"], *HELLO]}
    assert front.post("/v1/responses", json=asked).headers["x-pointsman-model"] == "small"


def test_explanation_shows_what_was_read(front):
    """Which turn is routed by, and what was left out of it, is part of the explanation."""
    content = [
        {"type": "text", "text": "<system-reminder>\nx\n</system-reminder>"},
        {"type": "text", "text": "Sort it"},
    ]
    asked = {"explain": True, "messages": [{"role": "user", "content": content}, {"role": "user", "content": "ok"}]}
    read = front.post("/v1/route", json=asked).json()["explanation"]["read"]
    assert read == {"text": "Sort it", "turn": 0, "turns_back": 1, "left_out": ["system-reminder"]}


def test_azure_style_keys(tmp_path):
    """A key is found in the api-key header, too; an alias needs no leave beyond that of what it means."""
    key, text = new_key("someone", models=("stand-in-weak",))
    write_keys(tmp_path / "keys.json", {key.id: key})
    aliases = {"haiku": "stand-in-weak", "opus": "auto"}
    values = {"routers": {"random": {}}, "aliases": aliases, "server": {"keys_file": str(tmp_path / "keys.json")}}
    with LocalServer(create_app(make_config(values))) as server, httpx.Client(base_url=server.url) as http:
        for model, status in (("haiku", 200), ("stand-in-weak", 200), ("opus", 403), ("auto", 403)):
            asked = {"model": model, "messages": HELLO}
            answered = http.post("/v1/chat/completions", json=asked, headers={"api-key": text})
            assert answered.status_code == status
        assert http.post("/v1/chat/completions", json=asked, headers={"api-key": "pm-x"}).status_code == 401


@pytest.mark.parametrize("name", ["claude_code_tools", "codex_tools", "opencode_tools"])
def test_decisions_on_the_requests_of_agents(front, name):
    """What an agent would send is decided on as it is, whichever API it is for, by what its user asked."""
    told = front.post("/v1/route", json={**SHAPES[name].ask("Sort it", model="auto"), "explain": True}).json()
    assert told["explanation"]["read"]["text"] == "Sort it"
    assert set(told["candidates"]) == {"big", "small"}


@pytest.mark.parametrize("stream", [False, True])
def test_conversations_that_a_service_holds(services, stream):
    """A response and a conversation go on where they are, without sessions and whatever the prompt is."""
    one, other = GPTLike(), GPTLike()
    with LocalServer(one.app()) as big, LocalServer(other.app()) as small:
        one.url, other.url = big.url, small.url
        app = create_app(make_config(config({"big": ("openai", big.url), "small": ("openai", small.url)})))
        with LocalServer(app) as front, httpx.Client(base_url=front.url, timeout=60) as http:

            def ask(router: str, **more) -> httpx.Response:
                return http.post("/v1/responses", json={"model": router, "input": "Hello", "stream": stream, **more})

            asked = {name: ask(router) for name, router in (("big", "router-random-0"), ("small", "router-random-1"))}
            for name, answered in asked.items():
                id = re.search(r'"(resp_\w+)"', answered.text)[1]
                for router in ("router-random-0", "router-random-1"):
                    on = ask(router, previous_response_id=id)
                    assert (on.status_code, on.headers["x-pointsman-model"]) == (200, name)
            assert ask("router-random-0", conversation="conv_1").headers["x-pointsman-model"] == "big"
            assert ask("router-random-1", conversation="conv_1").headers["x-pointsman-model"] == "big"


def test_a_response_of_another_process(services):
    """One that this process knows nothing of is asked for where it may be, and then where it is."""
    one, other = GPTLike(), GPTLike()
    other.stored.add("resp_of_old")
    with LocalServer(one.app()) as big, LocalServer(other.app()) as small:
        app = create_app(make_config(config({"big": ("openai", big.url), "small": ("openai", small.url)})))
        with LocalServer(app) as front, httpx.Client(base_url=front.url, timeout=60) as http:
            asked = {"model": "router-random-0", "input": "Hello", "previous_response_id": "resp_of_old"}
            answered = http.post("/v1/responses", json=asked)
            assert (answered.status_code, answered.headers["x-pointsman-model"]) == (200, "small")
            unknown = http.post("/v1/responses", json={**asked, "previous_response_id": "resp_of_nobody"})
            assert unknown.status_code == 400
