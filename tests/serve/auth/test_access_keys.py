"""Access keys: who is let in, for what, and how often."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.errors import ConfigError
from pointsman.serve import create_app
from pointsman.serve.auth.keys import AccessKey, KeyRing, new_key, read_keys, revoke_key, write_keys
from pointsman.serve.cli import main
from pointsman.serve.config.load import make_config

from support.processes import wait_until
from support.upstream import LocalServer

BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys.json"
    write_keys(path, {})
    return path


def add(path, **options):
    key, text = new_key("someone", **options)
    write_keys(path, {**read_keys(path), key.id: key})
    return key, text


@pytest.fixture
def front(keys_file):
    """A server that asks for keys; make them first."""
    made = []

    def start():
        config = make_config({"routers": {"random": {}}, "server": {"keys_file": str(keys_file)}})
        server = LocalServer(create_app(config)).__enter__()
        made.append(server)
        return server

    yield start
    for server in made:
        server.__exit__()


def test_without_a_valid_key_nobody_is_let_in(front, keys_file):
    """No key, a wrong one and one with a wrong secret are 401s in OpenAI's shape; health needs none."""
    key, text = add(keys_file)
    url = front().url
    assert httpx.post(f"{url}/v1/chat/completions", json=BODY, headers=bearer(text)).status_code == 200
    assert httpx.get(f"{url}/v1/models", headers={"x-api-key": text}).status_code == 200
    for wrong in ({}, bearer("x"), bearer(text + "x"), bearer(f"pm-{key.id}-"), bearer(key.sha256), bearer("pm--")):
        for method, path in (("POST", "/v1/chat/completions"), ("POST", "/v1/route"), ("GET", "/v1/models")):
            response = httpx.request(method, url + path, headers=wrong)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
            told = "the key that was given is not valid here" if wrong else "no key was given"
            assert response.json()["error"]["message"].startswith(told)
    assert httpx.get(f"{url}/health").status_code == 200


def test_one_good_key_is_enough(front, keys_file):
    """Clients that send a key in each of the two headers are let in whichever of them is ours."""
    _, text = add(keys_file)
    url = front().url
    for good, other in (("authorization", "x-api-key"), ("x-api-key", "authorization")):
        values = {good: f"Bearer {text}" if good == "authorization" else text, other: "Bearer sk-of-another-service"}
        for headers in (list(values.items()), list(values.items())[::-1]):
            assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 200


def test_a_key_is_shown_the_models_that_it_may_ask_for(front, keys_file):
    """What the list names is never refused for the key's sake, and what is not in it is not found."""
    _, text = add(keys_file, models=("router-random*", "stand-in-weak"))
    _, other = add(keys_file, models=("nothing",))
    url = front().url
    listed = httpx.get(f"{url}/v1/models", headers=bearer(text)).json()
    assert [card["id"] for card in listed["data"]] == ["router-random", "stand-in-weak"]
    assert (listed["first_id"], listed["last_id"]) == ("router-random", "stand-in-weak")
    for name, status in (("stand-in-weak", 200), ("stand-in-strong", 404), ("nope", 404)):
        assert httpx.get(f"{url}/v1/models/{name}", headers=bearer(text)).status_code == status
    assert httpx.get(f"{url}/v1/models", headers=bearer(other)).json()["data"] == []
    refused = httpx.get(f"{url}/v1/models/auto", headers=bearer(other)).json()["error"]["message"]
    assert refused == "model 'auto' does not exist; available: none for this key"


def test_a_key_may_be_bound_to_models(front, keys_file):
    """Patterns of model fields are allowed, all others a 403 that lists them."""
    _, text = add(keys_file, models=("router-random-*", "stand-in-weak"))
    url = front().url
    for model, status in (("router-random-0.5", 200), ("stand-in-weak", 200), ("auto", 403), ("stand-in-strong", 403)):
        response = httpx.post(f"{url}/v1/chat/completions", json={**BODY, "model": model}, headers=bearer(text))
        assert response.status_code == status
        decided = httpx.post(f"{url}/v1/route", json={"prompt": "x", "model": model}, headers=bearer(text))
        assert decided.status_code == status
    assert "router-random-*, stand-in-weak" in decided.json()["error"]["message"]


def test_a_key_may_be_bound_to_a_rate(front, keys_file):
    """Beyond it, on all paths together, the answer is a 429 that says when to come back; other keys are not held up."""
    _, slow = add(keys_file, requests_per_minute=2)
    _, other = add(keys_file)
    url = front().url
    codes = [httpx.get(url + path, headers=bearer(slow)).status_code for path in ("/v1/models", "/v1/models/auto") * 2]
    assert codes == [200, 200, 429, 429]
    refused = httpx.get(f"{url}/v1/models", headers=bearer(slow))
    assert 0 < int(refused.headers["retry-after"]) <= 30
    assert httpx.get(f"{url}/v1/models", headers=bearer(other)).status_code == 200


def test_a_revoked_key_is_refused_by_the_running_server(front, keys_file, capsys):
    """Keys are made, listed and revoked on the command line; the file holds no secret."""
    assert main(["keys", "create", "alice", "--file", str(keys_file), "--tier", "paid", "--models", "auto"]) == 0
    text = capsys.readouterr().out.strip()
    assert text not in keys_file.read_text()
    assert text.split("-", 2)[2] not in keys_file.read_text()
    assert keys_file.stat().st_mode & 0o077 == 0
    assert main(["keys", "list", "--file", str(keys_file), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["tier"], listed["models"]) == ("alice", "paid", "auto")
    url = front().url
    assert httpx.get(f"{url}/v1/models", headers=bearer(text)).status_code == 200
    assert main(["keys", "revoke", listed["id"], "--file", str(keys_file)]) == 0
    wait_until(lambda: httpx.get(f"{url}/v1/models", headers=bearer(text)).status_code == 401)
    assert main(["keys", "revoke", listed["id"], "--file", str(keys_file)]) == 1
    assert listed["id"] in capsys.readouterr().err


@pytest.mark.parametrize("place", ["--file", "--store"])
def test_a_name_is_that_of_one_key(tmp_path, capsys, place):
    """A second key of a name is refused and changes nothing; --replace makes it and revokes the first."""
    where = [place, str(tmp_path / "keys.json") if place == "--file" else f"sqlite:///{tmp_path}/store.db"]

    def listed():
        assert main(["keys", "list", "--json", *where]) == 0
        return [(key["name"], key["id"]) for key in json.loads(capsys.readouterr().out)]

    for name in ("alice", "bob"):
        assert main(["keys", "create", name, *where]) == 0
    capsys.readouterr()
    before = listed()
    assert main(["keys", "create", "alice", *where]) == 1
    said = capsys.readouterr()
    assert said.out == "" and dict(before)["alice"] in said.err and "--replace" in said.err
    assert listed() == before
    assert main(["keys", "create", "alice", "--replace", *where]) == 0
    made = capsys.readouterr().out.split("-")[1]
    assert sorted(listed()) == sorted([("bob", dict(before)["bob"]), ("alice", made)])


def test_a_new_key_is_shown_though_the_one_it_replaces_cannot_be_revoked(tmp_path, monkeypatch, capsys):
    """It is valid by then, and is shown this one time: the failure does not swallow it."""
    where = ["--file", str(tmp_path / "keys.json"), "--json"]
    assert main(["keys", "create", "alice", *where]) == 0
    capsys.readouterr()

    def fail(keys, key_id):
        raise ConfigError("somebody else was quicker")

    monkeypatch.setattr("pointsman.serve.commands.keys.revoke_key", fail)
    assert main(["keys", "create", "alice", "--replace", *where]) == 1
    assert json.loads(capsys.readouterr().out)["id"] in read_keys(tmp_path / "keys.json")


def test_a_key_file_that_breaks_while_serving_changes_nothing(front, keys_file, monkeypatch):
    """The keys that were read last stay valid; nobody is locked out or let in by accident."""
    monkeypatch.setattr("pointsman.serve.auth.keys._RECHECK_S", 0.0)
    _, text = add(keys_file)
    url = front().url
    for broken in (lambda: keys_file.write_text("{"), keys_file.unlink):
        broken()
        assert httpx.get(f"{url}/v1/models", headers=bearer(text)).status_code == 200
        assert httpx.get(f"{url}/v1/models").status_code == 401


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": [{}]}', '{"keys": 5}'])
def test_a_malformed_key_file_is_refused(tmp_path, content):
    """A file that is no key file never starts a server."""
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(ConfigError, match="pointsman keys create"):
        KeyRing(tmp_path / "keys.json")


def test_a_check_reads_the_keys(tmp_path, capsys):
    """A key file that is not there is found before anything is served."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"routers": {"random": {}}, "server": {"keys_file": str(tmp_path / "none.json")}}))
    assert main(["serve", "--check", "--config", str(config)]) == 1
    assert "none.json cannot be read" in capsys.readouterr().err
    write_keys(tmp_path / "none.json", {})
    assert main(["serve", "--check", "--config", str(config)]) == 0


def test_beyond_loopback_keys_are_needed(capsys):
    """Binding elsewhere without keys is a usage error that says what to do; saying so is enough."""
    assert main(["serve", "--routers", "random", "--host", "0.0.0.0", "--check"]) == 2
    assert "--no-keys" in capsys.readouterr().err
    assert main(["serve", "--routers", "random", "--host", "0.0.0.0", "--no-keys", "--check"]) == 0
    capsys.readouterr()


@given(st.text(max_size=60))
def test_no_text_but_the_key_is_the_key(text):
    """Whatever is presented, only the key itself is let in."""
    ring = KeyRing.__new__(KeyRing)
    key, right = new_key("someone")
    ring._keys, ring._checked_at = {key.id: key}, float("inf")
    assert ring.find(right) == key
    assert ring.find(text) is None
    assert ring.find(f"pm-{key.id}-{text}") is None


def test_a_key_shows_no_secret():
    """What is stored of a key does not tell the key."""
    key, text = new_key("someone")
    assert text not in repr(key)
    assert isinstance(key, AccessKey)


def test_keys_that_are_changed_at_once_are_all_kept(tmp_path, capsys):
    """Whoever makes and revokes keys at the same time loses none, and brings none back."""
    path = str(tmp_path / "keys.json")
    gone, _ = new_key("gone")
    write_keys(path, {gone.id: gone})
    words = [["keys", "create", f"k{i}", "--file", path] for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(main, [*words[:6], ["keys", "revoke", gone.id, "--file", path], *words[6:]]))
    assert set(codes) == {0}
    assert {key.name for key in read_keys(path).values()} == {f"k{i}" for i in range(12)}


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["create", "revoke"]), min_size=1, max_size=6))
def test_every_change_is_noticed_whatever_the_clock_says(tmp_path_factory, changes):
    """A key that is made and revoked within one tick of the file system's clock has no access afterwards."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, {})
    os.utime(path, ns=(1, 1))
    ring, known = KeyRing(path), {}
    for change in changes:
        keys = read_keys(path)
        if change == "create":
            key, text = new_key(f"k{len(known)}")
            keys, known[text] = {**keys, key.id: key}, key.id
        elif keys:
            keys = revoke_key(keys, next(iter(keys)))
        write_keys(path, keys)
        os.utime(path, ns=(1, 1))
        ring._checked_at = -1e9
        assert all((ring.find(text) is not None) is (key_id in keys) for text, key_id in known.items())


@pytest.mark.parametrize(
    "spoilt", [{"sha256": 5}, {"id": None}, {"models": "auto"}, {"models": [1]}, {"requests_per_minute": "9"},
               {"admin": "no"}, {"more": 1}],
)  # fmt: skip
def test_a_key_of_another_shape_is_refused_when_the_file_is_read(tmp_path, spoilt):
    """Not when somebody presents it: a running server goes on with the keys that it has."""
    path = tmp_path / "keys.json"
    key, text = new_key("alice")
    write_keys(path, {key.id: key})
    ring = KeyRing(path)
    path.write_text(json.dumps({"keys": [{**asdict(key), **spoilt}]}))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(path)
    ring._checked_at = -1e9
    assert ring.find(text) == key
