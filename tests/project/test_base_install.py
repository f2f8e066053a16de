"""The base install alone, without any extra, serves the default router."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest

from support.messages_upstream import MessagesUpstream
from support.processes import ServerProcess
from support.upstream import WORDS, LocalServer, Upstream

_BLOCK = """
import sys
class Absent:
    names = set({names!r})
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None
sys.meta_path.insert(0, Absent())
"""


def _base_closure() -> set[str]:
    """Distributions that `pip install pointsman` brings, by normalised name."""
    found: set[str] = set()
    waiting = ["pointsman", "uvicorn[standard]"]
    while waiting:
        requirement = waiting.pop()
        name, extra = re.match(r"([\w.-]+)(?:\[(\w+)\])?", requirement).groups()
        key = _normal(name)
        if (key, extra) in found:
            continue
        found.add((key, extra))
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:  # needed on another platform or Python only
            continue
        for need in needs:
            marker = need.partition(";")[2]
            wanted = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
            if wanted is None or wanted[1] == extra:
                waiting.append(need.partition(";")[0].strip())
    return {key for key, _ in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def base_environment(tmp_path_factory) -> dict[str, str]:
    """Environment variables of a Python in which every package outside the base install is absent."""
    base = _base_closure()
    assert {"numpy", "fastapi", "uvloop"} <= base
    extras = [top for top, dists in packages_distributions().items() if not {_normal(d) for d in dists} & base]
    assert {"torch", "jax", "pyarrow"} <= set(extras)
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(_BLOCK.format(names=[name for name in extras if name != "pointsman"]))
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def server(base_environment) -> Iterator[str]:
    """Address of `pointsman serve` on the base install."""
    with _serve(base_environment) as address:
        yield address


@contextmanager
def _serve(base_environment: dict[str, str], *options: str) -> Iterator[str]:
    with ServerProcess(*options, **base_environment) as process:
        yield process.url


def _post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_base_install_answers_with_the_default_router(server):
    """With no extra, no key and no network, a chat completion is decided by `mf` and answered."""
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = _post(f"{server}/v1/chat/completions", {"model": "router-mf-0.5", "messages": messages})
    assert "stand-in" in answer["choices"][0]["message"]["content"]
    decision = _post(f"{server}/v1/route", {"model": "router-mf-0.5", "messages": messages})
    assert 0 <= decision["win_rate"] <= 1
    assert decision["router"] == "mf"


def test_without_litellm_both_protocols_are_served(base_environment, tmp_path):
    """Models that speak OpenAI's protocol or Anthropic's answer in it and in the other one's."""
    with LocalServer(Upstream().app()) as gpt, LocalServer(MessagesUpstream().app()) as claude:
        models = {
            "gpt": {"base_url": f"{gpt.url}/v1", "model": "gpt-4o"},
            "claude": {"provider": "anthropic", "base_url": f"{claude.url}/v1", "model": "claude-sonnet-4"},
        }
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"strong": "claude", "weak": "gpt", "models": models}))
        with _serve(base_environment, "--config", str(config)) as address:
            asked = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
            for model in models:
                chat = _post(f"{address}/v1/chat/completions", {"model": model, **asked})
                assert chat["choices"][0]["message"]["content"] == "".join(WORDS)
                message = _post(f"{address}/v1/messages", {"model": model, **asked})
                assert message["content"][0]["text"] == "".join(WORDS)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["score", "x.parquet", "-o", "y.parquet"], "data"),
    ],
)
def test_a_missing_extra_is_named(words, extra, base_environment, tmp_path):
    """What needs an extra says which, with the line that installs it."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    command = [Path(sys.executable).with_name("pointsman"), *words]
    done = subprocess.run(
        command, env=base_environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f'pip install "pointsman[{extra}]"' in done.stderr
