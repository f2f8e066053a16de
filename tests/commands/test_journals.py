"""What a killed run has paid for, the same command does not pay for again: score, evaluate and calibrate.

What a process had written when it was killed is what its files held at that moment. So the service looks at the journal
each time it is asked, and each look is one kill: `benchmarks/bench_resume.py` does the same with SIGKILL.
"""

import json
import os
import resource
from collections import Counter
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pointsman.backends.endpoint.scorer import EndpointSettings
from pointsman.core.checkpoint import Checkpoint, write_checkpoint
from pointsman.core.pair import ModelPair
from pointsman.serve.cli import main

from support.upstream import LocalServer

_N_PROMPTS, _CONCURRENCY = 24, 4
_COMMANDS = {
    "score": ["-o", "scores.jsonl", "--router", "scorer"],
    "evaluate": ["--routers", "./scorer", "--strong", "a", "--weak", "b", "--replicates", "2"],
    "calibrate": ["--router", "scorer", "--strong-share", "0.3"],
}


class _Scorer:
    """Answers a score with its probabilities, counts its requests, and keeps what the journal held at each."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.asked: Counter[str] = Counter()
        self.held: list[bytes] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> JSONResponse:
        body = await request.json()
        self.held.append(self.journal.read_bytes() if self.journal.exists() else b"")
        self.asked[body["messages"][-1]["content"]] += 1
        top = [{"token": str(k), "logprob": -0.2 if k == 3 else -4.0} for k in range(1, 6)]
        return JSONResponse({"choices": [{"logprobs": {"content": [{"token": "3", "top_logprobs": top}]}}]})


@pytest.fixture
def scorer(tmp_path, monkeypatch):
    """A paid service, a checkpoint of its router, and a table of labelled prompts, in the working directory."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"question {i}", "a": float(i % 2), "b": float(i % 3 == 0)} for i in range(_N_PROMPTS)]
    Path("table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    service = _Scorer(tmp_path / "kept")
    with LocalServer(service.app()) as server:
        settings = EndpointSettings(base_url=f"{server.url}/v1", model="small", concurrency=_CONCURRENCY)
        pair = ModelPair("a", "b")
        write_checkpoint(Checkpoint("endpoint", ("a", "b"), pair, options=settings.to_options()), "scorer")
        yield service


@pytest.mark.parametrize("command", list(_COMMANDS))
def test_a_killed_run_pays_no_answer_twice(command, scorer):
    """After a kill at any request the command asks again at most for those that were under way, and for all others."""
    words = [command, "table.jsonl", *_COMMANDS[command], "--journal", "kept"]
    assert main(words) == 0
    assert len(scorer.asked) == scorer.asked.total() == _N_PROMPTS
    first, held = scorer.journal.read_bytes(), list(scorer.held)
    for n_asked, content in enumerate(held, start=1):
        assert n_asked - _CONCURRENCY <= content.count(b"\n") < n_asked
        assert first.startswith(content)
    for content in (held[10], held[-1][:-7]):  # the second was cut off while a line was written
        scorer.journal.write_bytes(content)
        scorer.asked.clear()
        assert main(words) == 0
        assert len(scorer.asked) == scorer.asked.total() == _N_PROMPTS - content.count(b"\n")
        assert sorted(scorer.journal.read_bytes().splitlines()) == sorted(first.splitlines())
    scorer.asked.clear()
    assert main(words) == 0
    assert not scorer.asked


@pytest.mark.parametrize("command", list(_COMMANDS))
def test_a_full_disk_ends_the_run_and_loses_nothing_that_was_kept(command, scorer, capsys):
    """It is said which file could not be written; with room again the command asks for the rest alone."""
    words = [command, "table.jsonl", *_COMMANDS[command], "--journal", "kept"]
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, most))
    try:
        assert main(words) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert "kept cannot be written to: " in capsys.readouterr().err
    kept = scorer.journal.read_bytes()
    n_kept = kept.count(b"\n")
    assert kept.endswith(b"\n")
    assert 0 < n_kept < _N_PROMPTS
    scorer.asked.clear()
    assert main(words) == 0
    assert len(scorer.asked) == scorer.asked.total() == _N_PROMPTS - n_kept


@pytest.mark.parametrize("command", list(_COMMANDS))
@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_what_keeps_nothing_is_no_journal(command, kind, scorer, capsys):
    """A device that can be read for ever, a pipe that nobody writes to and a folder are refused before any request."""
    path = {"device": "/dev/full", "pipe": "pipe", "folder": "."}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    assert main([command, "table.jsonl", *_COMMANDS[command], "--journal", path]) == 1
    assert f"{path} is not a regular file" in capsys.readouterr().err
    assert not scorer.asked
