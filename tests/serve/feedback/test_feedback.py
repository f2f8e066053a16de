"""POST /v1/feedback: what users say of answers, kept with the requests they speak of."""

import asyncio
import json

import httpx
import pytest

from pointsman.core.errors import StoreError
from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.store.store import Store

from support.processes import wait_until
from support.upstream import LocalServer


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Texts of the keys of two users and of an admin, in a file."""
    made = {name: new_key(name) for name in ("ann", "bob")} | {"root": new_key("root", admin=True)}
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, {key.id: key for key, _ in made.values()})
    return path, {name: text for name, (_, text) in made.items()}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"


@pytest.fixture(scope="module")
def http(keys, url):
    """A client of a server with a store and keys, before the stand-ins."""
    values = {"routers": {"random": {}}, "store": {"url": url}, "server": {"keys_file": str(keys[0])}}
    with LocalServer(create_app(make_config(values))) as front, httpx.Client(base_url=front.url, timeout=60) as client:
        yield client


@pytest.fixture
def ask(http, keys):
    """Has a user ask something and tells the request's id."""

    def ask(who, **headers):
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
        answer = http.post("/v1/chat/completions", json=body, headers={**bearer(keys, who), **headers})
        return answer.headers["x-pointsman-request-id"]

    return ask


@pytest.fixture
def say(http, keys):
    def say(who, **body):
        return http.post("/v1/feedback", json=body, headers=bearer(keys, who))

    return say


def bearer(keys, who):
    return {"authorization": f"Bearer {keys[1][who]}"}


def rows(url, table, **chosen):
    async def read():
        async with Store(StoreConfig(url=url)) as store:
            return await getattr(store, table)(**chosen)

    return asyncio.run(read())


def of_id(url, request_id):
    return [row for row in rows(url, "decisions") if row.request_id == request_id]


def kept(url, request_id):
    return [(row.kind, row.value, row.comment) for row in rows(url, "feedback", request_id=request_id)]


def test_a_rating_is_kept_with_its_request(ask, say, url):
    """With its comment, as the store can hold it."""
    request_id = ask("ann")
    answer = say("ann", request_id=request_id, rating=0.75, comment="nice \x00")
    assert answer.status_code == 200
    assert (answer.json()["request_id"], answer.json()["rating"]) == (request_id, 0.75)
    assert kept(url, request_id) == [("rating", 0.75, "nice \ufffd")]


def test_a_decision_that_is_not_yet_written_is_found(keys, tmp_path):
    """However long the store takes: of two requests of one id the last is meant, and others' stay unknown."""
    store = {"url": f"sqlite:///{tmp_path / 'store.db'}", "batch_s": 3600, "drain_s": 60}
    values = {"routers": {"random": {}}, "store": store, "server": {"keys_file": str(keys[0])}}
    with LocalServer(create_app(make_config(values))) as front, httpx.Client(base_url=front.url, timeout=60) as client:
        for model in ("stand-in-strong", "stand-in-weak"):
            body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
            client.post("/v1/chat/completions", json=body, headers={**bearer(keys, "ann"), "x-request-id": "same"})
        said = {"request_id": "same", "rating": 1}
        assert client.post("/v1/feedback", json=said, headers=bearer(keys, "bob")).status_code == 404
        assert client.post("/v1/feedback", json=said, headers=bearer(keys, "ann")).status_code == 200
        assert rows(store["url"], "decisions") == []
    last, first = rows(store["url"], "decisions")
    assert (first.model, last.model) == ("stand-in-strong", "stand-in-weak")
    assert [row.decision_id for row in rows(store["url"], "feedback")] == [last.id]


@pytest.mark.parametrize(
    ("preference", "value"), [("strong", 1.0), ("tie", 0.5), ("weak", 0.0), ("stand-in-strong", 1.0)]
)
def test_a_preference_is_for_either_model(ask, say, url, preference, value):
    """By its part or by its name."""
    request_id = ask("ann")
    assert say("ann", request_id=request_id, preference=preference).status_code == 200
    assert kept(url, request_id) == [("preference", value, None)]


def test_others_requests_are_as_if_they_were_not(ask, say, url, keys):
    """Unknown and foreign ids are answered alike; an admin may speak of all; nobody can take an id over."""
    request_id = ask("ann")
    unknown = say("bob", request_id="nobody-asked-this", rating=1)
    foreign = say("bob", request_id=request_id, rating=1)
    assert unknown.status_code == foreign.status_code == 404
    assert unknown.json()["error"]["code"] == foreign.json()["error"]["code"] == "request_not_found"
    assert kept(url, request_id) == []
    ask("bob", **{"x-request-id": request_id})
    assert say("ann", request_id=request_id, rating=1).status_code == 200
    assert say("root", request_id=request_id, rating=0).status_code == 200
    written = wait_until(lambda: found if len(found := of_id(url, request_id)) == 2 else None)
    asked = {row.id: row.key_id for row in written}
    whose = {row.value: asked[row.decision_id] for row in rows(url, "feedback", request_id=request_id)}
    assert whose[1.0] == keys[1]["ann"].split("-")[1]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "request_id"),
        ({"request_id": 7, "rating": 1}, "request_id"),
        ({"request_id": "x"}, "rating"),
        ({"request_id": "x", "rating": 1, "preference": "weak"}, "rating"),
        ({"request_id": "x", "rating": 1.5}, "rating"),
        ({"request_id": "x", "rating": True}, "rating"),
        ({"request_id": "x", "rating": "good"}, "rating"),
        ({"request_id": "x", "rating": None}, "rating"),
        ({"request_id": "x", "preference": "gpt-4o"}, "preference"),
        ({"request_id": "x", "preference": ["weak"]}, "preference"),
        ({"request_id": "x", "rating": 1, "comment": "x" * 4001}, "comment"),
        ({"request_id": "x", "rating": 1, "comment": 5}, "comment"),
    ],
)
def test_bad_feedback_is_refused(say, body, param):
    """400, naming the parameter; nothing is looked up."""
    answer = say("ann", **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_numbers_beyond_json_are_refused(http, keys):
    """A rating that is no number at all is refused, too."""
    body = b'{"request_id": "x", "rating": 1e999}'
    assert http.post("/v1/feedback", content=body, headers=bearer(keys, "ann")).status_code == 400


def test_a_key_is_wanted(http):
    """As for every other request."""
    assert http.post("/v1/feedback", json={"request_id": "x", "rating": 1}).status_code == 401


def test_a_server_without_a_store_says_so():
    """There it would be forgotten: it is refused instead."""
    with LocalServer(create_app(make_config({"routers": {"random": {}}}))) as front:
        answer = httpx.post(f"{front.url}/v1/feedback", content=json.dumps({"request_id": "x", "rating": 1}))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "no_store"


def test_a_database_that_is_away_is_told(tmp_path, monkeypatch):
    """503 for feedback, while requests are served as ever."""

    async def away(*_, **__):
        raise StoreError("away")

    values = {"routers": {"random": {}}, "store": {"url": f"sqlite:///{tmp_path / 'store.db'}"}}
    with LocalServer(create_app(make_config(values))) as front:
        monkeypatch.setattr(Store, "decision", away)
        assert httpx.post(f"{front.url}/v1/feedback", json={"request_id": "x", "rating": 1}).status_code == 503
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
        assert httpx.post(f"{front.url}/v1/chat/completions", json=body).status_code == 200
