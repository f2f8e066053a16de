"""Sessions of ten turns, with tools, parallel calls and thoughts, of four agents through three kinds of pairs."""

from collections.abc import Iterator

import httpx
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.agents import Conversation
from support.services import ClaudeLike, GPTLike
from support.upstream import LocalServer

PROMPTS = (
    "list the files",
    "Refactor the authentication module to use OAuth2 with PKCE and migrate the database without downtime.",
    "rename foo to bar in utils.py",
    "fix the typo in README",
    "Design a lock-free MPMC queue in C++ with correct memory ordering and prove linearizability.",
    "run the tests",
    "what does this repo do?",
    "Prove that the scheduler is live under weak memory, and find the race in it.",
    "commit",
    "go on",
)
AGENTS = ("claude_code", "codex", "opencode", "aider")
PAIRS = {"two GPTs": (GPTLike, GPTLike), "two Claudes": (ClaudeLike, ClaudeLike), "mixed": (ClaudeLike, GPTLike)}


@pytest.fixture(scope="module", params=PAIRS)
def pair(request) -> Iterator[tuple[httpx.Client, list[GPTLike | ClaudeLike]]]:
    """A server with the bundled router before two strict services."""
    services = [kind() for kind in PAIRS[request.param]]
    with LocalServer(services[0].app()) as one, LocalServer(services[1].app()) as other:
        services[0].url, services[1].url = one.url, other.url
        models = {
            name: {
                "provider": "anthropic" if isinstance(service, ClaudeLike) else "openai",
                "base_url": f"{service.url}/v1",
                "model": name,
            }
            for name, service in zip(("big", "small"), services, strict=True)
        }
        values = {"strong": "big", "weak": "small", "models": models, "routers": {"mf": {"strong_share": 0.3}}}
        with (
            LocalServer(create_app(make_config(values))) as front,
            httpx.Client(base_url=front.url, timeout=60) as http,
        ):
            yield http, services


@pytest.mark.parametrize("agent", AGENTS)
def test_ten_turns(pair, agent):
    """No service refuses anything; each prompt goes where it goes alone, and its tools' results to the same model."""
    http, services = pair
    session = Conversation(http, agent)
    alone = []
    for prompt in PROMPTS:
        session.say(prompt)
        alone.append(http.post("/v1/route", json={"prompt": prompt}).json()["model"])
    alone[-1] = alone[-2]  # what goes on, goes on with the task before
    assert set(session.statuses) == {200}
    assert [service.refused for service in services] == [[], []]
    assert [models[0] for models in session.models] == alone
    assert all(len(set(models)) == 1 for models in session.models)
    assert {"big", "small"} == set(alone)
