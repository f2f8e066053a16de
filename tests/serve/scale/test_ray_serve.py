"""What runs in the replicas of Ray Serve, and the arguments of its builders; no cluster is needed for either."""

import json
import os
import pickle

import httpx
import pytest

from pointsman.core.errors import ConfigError, MissingExtraError
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.checkpoints.shared_arrays import SHARED_VARIABLE
from pointsman.serve.scale.ray_serve import ReplicaApp, ReplicaController, ScaleOptions, build_app

from support.upstream import LocalServer


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    """Shared weights go to a folder of the test's."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(SHARED_VARIABLE, "")
    monkeypatch.delenv(SHARED_VARIABLE)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"replicas": 3}, "unknown argument 'replicas', wanted one of config, min_replicas"),
        ({"max_replicas": "many"}, "max_replicas is 'many', wanted a int"),
        ({"min_replicas": "5", "max_replicas": "2"}, "min_replicas is 5 and max_replicas 2"),
        ({"min_replicas": 0}, "wanted at least 1"),
    ],
)
def test_wrong_arguments_are_named(args, told):
    """An unknown argument, one of another type and replicas out of order are errors before anything is deployed."""
    with pytest.raises(ConfigError, match=told):
        build_app(args)


def test_replicas_cannot_share_a_file(tmp_path, monkeypatch):
    """SQLite is for one replica; the URL may be in a variable."""
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps({"store": {"url": "env:STORE"}}))
    monkeypatch.setenv("STORE", "sqlite:///x.db")
    options = ScaleOptions.read({"config": str(path), "max_replicas": "2"})
    with pytest.raises(ConfigError, match="replicas on several machines cannot share a file"):
        options.values()
    assert ScaleOptions.read({"config": str(path), "max_replicas": "1"}).values()["store"]
    monkeypatch.setenv("STORE", "postgresql://u@h/d")
    assert options.values()["store"] == {"url": "env:STORE"}


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    """A missing Ray is named with its extra."""
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pointsman\[ray\]"):
        build_app({})


def test_a_replica_serves_what_the_server_serves(tmp_path):
    """The pickled application is made where it starts, and answers like `pointsman serve`."""
    sent = pickle.loads(pickle.dumps(ReplicaApp({"routers": {"mf": {}}})))
    with LocalServer(sent, lifespan="on") as server:
        ready = httpx.get(f"{server.url}/ready")
        assert ready.json()["status"] == "ready"
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
        assert answer.headers["x-pointsman-router"] == "mf"
        assert "stand-in" in answer.json()["model"]
    assert os.environ[SHARED_VARIABLE].startswith(str(tmp_path))


async def test_the_controller_s_handle_decides_and_answers():
    """Its methods give plain JSON types: decisions, win rates as the router's, whole answers; no streams."""
    replica = ReplicaController({"routers": {"mf": {}}})
    prompts = ["Hi", "Prove that 2 is prime."]
    assert await replica.win_rates(prompts) == load_router(load_checkpoint("mf")).win_rates(prompts).tolist()
    decision = await replica.route("Hi", threshold=0.0)
    assert (decision["model"], decision["router"]) == ("stand-in-strong", "mf")
    answer = await replica.completion(model="router-mf-1", messages=[{"role": "user", "content": "Hi"}])
    assert json.loads(json.dumps(answer))["model"].startswith("stand-in")
    with pytest.raises(ValueError, match="stream is set"):
        await replica.completion(model="auto", messages=[], stream=True)
    replica._controller.close()
