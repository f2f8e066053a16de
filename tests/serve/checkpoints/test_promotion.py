"""Promotion: which of several named checkpoints is served, changed while the server runs, and taken back."""

import json
from dataclasses import replace

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.backends.assets import asset_path
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.errors import CheckpointError, ConfigError
from pointsman.serve.checkpoints.load import checkpoint_folder, load_checkpoint
from pointsman.serve.checkpoints.promotion import POINTER, checkpoint_names, promote, promoted_name, rollback
from pointsman.serve.cli import main

from support.processes import ForkedServer, wait_until


def make(folder, *names):
    """Checkpoints of the bundled router whose win rates differ, by name."""
    bundled = read_checkpoint(asset_path("mf"))
    for k, name in enumerate(names):
        arrays = {**bundled.arrays, "classifier": (bundled.arrays["classifier"] * (1 + k)).astype(np.float32)}
        write_checkpoint(replace(bundled, arrays=arrays), folder / name)
    return folder


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "checkpoints", "first", "second", "third")


def test_promoting_and_going_back(folder):
    """Each promotion is served from then on; a rollback serves the one before, as often as there is one."""
    assert checkpoint_names(folder) == ["first", "second", "third"]
    assert promote(folder, "first") is None
    assert promote(folder, "third") == "first"
    assert promote(folder, "second") == "third"
    assert checkpoint_folder("mine", str(folder)) == folder / "second"
    assert [rollback(folder), rollback(folder)] == ["third", "first"]
    assert promoted_name(folder) == "first"
    with pytest.raises(CheckpointError, match="nothing to roll back to"):
        rollback(folder)
    actions = [entry["action"] for entry in json.loads((folder / POINTER).read_text())["log"]]
    assert actions == ["promote"] * 3 + ["rollback"] * 2


@settings(max_examples=50)
@given(steps=st.lists(st.sampled_from(["first", "second", "third", "back"]), max_size=12))
def test_it_is_a_stack(tmp_path_factory, steps):
    """Any sequence of promotions and rollbacks leaves the top of the stack that they would leave by hand."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("first", "second", "third"):
        (folder / name).mkdir()
        (folder / name / "pointsman.json").touch()
    stack = []
    for step in steps:
        try:
            if step == "back":
                rollback(folder)
                stack.pop()
            else:
                promote(folder, step)
                stack.append(step)
        except CheckpointError:
            assert (len(stack) < 2) if step == "back" else stack[-1] == step
    assert promoted_name(folder) == (stack[-1] if stack else None)
    assert [path.name for path in folder.glob(f".{POINTER}*")] == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"stack": [{"name": "../first"}], "log": []}',
        '{"stack": [1], "log": []}',
        '{"stack": {}, "log": {}}',
    ],
)
def test_a_malformed_record_is_named(folder, text):
    """A damaged record is an error that names the file, and never leads out of the folder."""
    (folder / POINTER).write_text(text)
    with pytest.raises(CheckpointError, match=POINTER):
        load_checkpoint("mine", folder)
    with pytest.raises(CheckpointError, match=POINTER):
        promote(folder, "first")
    assert checkpoint_folder("mine", str(folder)) == folder


def test_what_cannot_be_promoted(folder, capsys):
    """Unknown names, damaged checkpoints, the same again, and a checkpoint in place of a folder are refused."""
    words = ["--checkpoints", str(folder)]
    assert main(["promote", "fourth", *words]) == 1 and "first, second, third" in capsys.readouterr().err
    (folder / "second" / "weights.safetensors").write_bytes(b"x")
    assert main(["promote", "second", *words]) == 1 and "hash" in capsys.readouterr().err
    assert promoted_name(folder) is None
    assert main(["promote", "first", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["before"] is None
    assert main(["promote", "first", *words]) == 1 and "already" in capsys.readouterr().err
    assert main(["rollback", *words]) == 1
    assert main(["promote", "first", "--checkpoints", str(folder / "first")]) == 1
    assert "a checkpoint itself" in capsys.readouterr().err


def test_a_folder_without_a_promotion_says_what_to_do(folder):
    """A router whose folder has no promoted checkpoint cannot be loaded, and the message has the command."""
    with pytest.raises(ConfigError, match="pointsman promote first"):
        load_checkpoint("mine", folder)
    promote(folder, "first")
    assert load_checkpoint("mine", folder).path == folder / "first"


def test_a_running_server_serves_what_is_promoted(folder, tmp_path, capsys):
    """A promotion changes the win rates that a running server gives within seconds; a rollback changes them back."""
    config = tmp_path / "pointsman.yaml"
    config.write_text(json.dumps({"routers": {"mine": {"checkpoint": str(folder)}}}))
    assert main(["promote", "first", "--config", str(config)]) == 0
    with ForkedServer("--config", str(config)) as server:

        def win_rate():
            return httpx.post(f"{server.url}/v1/route", json={"prompt": "Name a river."}, timeout=60).json()["win_rate"]

        before = win_rate()
        assert main(["promote", "second", "--config", str(config)]) == 0
        wait_until(lambda: win_rate() != before)
        assert main(["rollback", "--config", str(config)]) == 0
        wait_until(lambda: win_rate() == before)
    assert "first is promoted again, replacing second" in capsys.readouterr().out
