"""The container image and its compose file, as far as they can be held to their word without a container engine."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config, read_values

from support.upstream import LocalServer

ROOT = Path(__file__).parents[2]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions(word):
    return [line.removeprefix(f"{word} ") for line in DOCKERFILE.splitlines() if line.startswith(f"{word} ")]


def test_the_image_is_made_of_files_that_are_there_and_let_through():
    """Every source of a COPY exists, and .dockerignore, which keeps everything else out, names it."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]}
    assert copied == allowed
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_the_image_installs_extras_that_exist_and_runs_as_nobody_special():
    """The last user is a number that is not root's."""
    (extras,) = (line.removeprefix("EXTRAS=") for line in instructions("ARG"))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*extras.split(",")} <= {*known}
    assert int(instructions("USER")[-1]) > 0


def test_the_image_notices_whether_its_server_answers():
    """The health check is a success before a server that answers, and a failure before none; no curl is needed."""
    (line,) = instructions("HEALTHCHECK")
    python, *arguments = json.loads(line.partition("CMD ")[2])
    assert python == "python"
    with LocalServer(create_app(make_config(routers=["random"]))) as front:
        command = [sys.executable, *(text.replace("127.0.0.1:6060", f"127.0.0.1:{front.port}") for text in arguments)]
        assert subprocess.run(command, timeout=60).returncode == 0
    assert subprocess.run(command, timeout=60, stderr=subprocess.DEVNULL).returncode != 0


def test_the_image_asks_for_keys(monkeypatch):
    """Its configuration is valid, listens on every address, and lets nobody in without a key."""
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("POINTSMAN_STORE_URL", "sqlite:///x.db")
    assert json.loads(instructions("CMD")[-1])[-1] == "/etc/pointsman/pointsman.yaml"
    config = make_config(read_values(ROOT / "deploy" / "pointsman.yaml"))
    assert config.server.host == "0.0.0.0"
    assert config.server.asks_for_keys


def test_compose_holds_no_secret_and_publishes_on_loopback():
    """Keys and passwords are variables that must be set; nothing is reachable from other machines."""
    services = COMPOSE["services"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for name, value in service["environment"].items():
            assert ":?" in value or not re.search("KEY|PASSWORD|URL", name), name
    variables = {*services["pointsman"]["environment"]}
    needed = {"OPENAI_API_KEY", *re.findall(r"env:(\w+)", (ROOT / "deploy" / "pointsman.yaml").read_text())}
    assert needed <= variables


def test_compose_gives_requests_the_time_to_finish():
    """It waits longer before it kills than the server lets requests finish."""
    config = make_config({"server": {"host": "127.0.0.1"}})
    assert int(COMPOSE["services"]["pointsman"]["stop_grace_period"].removesuffix("s")) > config.server.drain_timeout_s
