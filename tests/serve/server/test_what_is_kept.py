"""What a server leaves behind, and what it tells whom, as its pages promise."""

from contextlib import asynccontextmanager

import httpx
import pytest

from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.cli import main
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.feedback.export import latest_feedback
from pointsman.serve.store.store import Store

from support.autopilot_server import lifespan

PROMPT = "How deep is the Mariana Trench?"


@asynccontextmanager
async def serving(**values):
    """A client of a server in this loop, whose stand-ins answer."""
    app = create_app(make_config({"routers": {"random": {}}, **values}))
    async with lifespan(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client


async def ask(client, prompt=PROMPT, **more):
    headers = {"X-Request-Id": more.pop("request_id")} if "request_id" in more else {}
    body = {"model": "router-random-0.5", "messages": [{"role": "user", "content": prompt}], **more}
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    return answer


async def test_answers_are_never_stored(tmp_path):
    """Whole ones and streams: the file holds the prompt, where that is asked for, and no word of the answer."""
    async with serving(store={"url": f"sqlite:///{tmp_path}/s.db", "prompts": "text"}) as client:
        for stream in (False, True):
            assert "built-in" in (await ask(client, stream=stream)).text
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert PROMPT.encode() in kept
    assert b"built-in" not in kept


async def test_without_a_store_nothing_is_kept_on_disk(tmp_path, monkeypatch):
    """Not beside the configuration, not where the server was started."""
    monkeypatch.chdir(tmp_path)
    async with serving(sessions={}, drift={"reference": "traffic"}, policy={"strong_share": 0.3}) as client:
        for i in range(3):
            await ask(client, f"{PROMPT} {i}")
    assert list(tmp_path.iterdir()) == []


def test_a_check_makes_no_database(tmp_path):
    """`serve --check` reads, and changes nothing."""
    config = tmp_path / "c.yaml"
    config.write_text(f'store: {{url: "sqlite:///{tmp_path}/s.db"}}\nserver: {{keys: store}}\n')
    before = sorted(tmp_path.iterdir())
    assert main(["serve", "--check", "--config", str(config)]) == 0
    assert sorted(tmp_path.iterdir()) == before


async def test_the_last_request_of_an_id_is_rated_and_the_last_rating_counts(tmp_path):
    """Ids that clients use again, and people who change their minds."""
    url = f"sqlite:///{tmp_path}/s.db"
    async with serving(store={"url": url, "prompts": "text"}) as client:
        for prompt in ("first", "second"):
            await ask(client, prompt, request_id="same")
        for rating in (0.1, 0.9):
            said = await client.post("/v1/feedback", json={"request_id": "same", "rating": rating})
            assert said.status_code == 200
        assert (await client.post("/v1/feedback", json={"request_id": "other", "rating": 1})).status_code == 404
    async with Store(StoreConfig(url=url)) as store:
        decisions = {row.id: row.prompt for row in await store.decisions()}
        assert sorted(decisions.values()) == ["first", "second"]
        (rated,) = latest_feedback(await store.feedback())
    assert (decisions[rated.decision_id], rated.value) == ("second", 0.9)


async def test_streams_ask_proxies_not_to_gather_them():
    """Whole answers do not."""
    async with serving() as client:
        assert (await ask(client, stream=True)).headers["x-accel-buffering"] == "no"
        assert "x-accel-buffering" not in (await ask(client)).headers


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/openapi.json"])
async def test_probes_need_no_key(path, tmp_path):
    """They say nothing of anybody; everything else asks for one."""
    key, _ = new_key("someone")
    write_keys(tmp_path / "keys.json", {key.id: key})
    async with serving(server={"keys_file": str(tmp_path / "keys.json")}) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
