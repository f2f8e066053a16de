"""`pointsman judge` end to end: a real process against a real server with a known answer key."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pointsman.serve.cli import main

from support.processes import wait_until
from support.upstream import LocalServer

N_PROMPTS = 30


class AnswerKey:
    """Serves `big`, right on even questions; `small`, right on every third; and `judge`, who knows."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answered = 0
        self.most = sys.maxsize
        self.busy = 0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self._chat, methods=["POST"])])

    async def _chat(self, request: Request) -> JSONResponse:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        if self.busy:
            self.busy -= 1
            return JSONResponse({"error": {"message": "slow down"}}, status_code=429)
        self.asked[json.dumps([body["model"], prompt])] += 1
        self.answered += 1
        while self.answered > self.most:
            await asyncio.sleep(0.01)
        message = {"role": "assistant", "content": self._text(body["model"], prompt)}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return JSONResponse({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    def _text(self, model: str, prompt: str) -> str:
        if model != "judge":
            number = int(prompt.split()[1])
            return "right" if number % {"big": 2, "small": 3}[model] == 0 else "wrong"
        return "[[A]]" if "<answer_a>\nright" in prompt else "[[B]]"


@pytest.fixture
def key(tmp_path: Path):
    """The answer key behind a real server, and a table of questions."""
    world = AnswerKey()
    rows = "".join(json.dumps({"prompt": f"question {i}"}) + "\n" for i in range(N_PROMPTS))
    (tmp_path / "prompts.jsonl").write_text(rows)
    with LocalServer(world.app()) as server:
        world.url = f"{server.url}/v1"
        yield world


def _words(key: AnswerKey, folder: Path, *further: str) -> list[str]:
    prompts, out = folder / "prompts.jsonl", folder / "battles.jsonl"
    models = ["--model-a", "big", "--model-b", "small", "--judge", "judge"]
    prices = [f"--price={model}=10,30" for model in ("big", "small", "judge")]
    return ["judge", str(prompts), "-o", str(out), *models, "--base-url", key.url, *prices, *further]


def _check_battles(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "battles.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * N_PROMPTS
    for row in rows:
        number = int(row["prompt"].split()[1])
        right = {"big": number % 2 == 0, "small": number % 3 == 0}
        if right["big"] == right["small"]:
            assert row["winner"] == "tie"
        else:
            assert right[row[row["winner"]]]


def test_killed_and_resumed_nothing_is_paid_twice(key, tmp_path):
    """After SIGKILL in the middle, a second run ends with the keyed battles; no answered call is made again."""
    key.most = 25  # then nobody is answered any more
    command = [Path(sys.executable).with_name("pointsman"), *_words(key, tmp_path, "--concurrency", "4")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: key.answered > key.most)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert not (tmp_path / "battles.jsonl").exists()
    journal = (tmp_path / "battles.jsonl.journal").read_bytes()
    recorded = journal.count(b"\n")
    assert 25 - 4 <= recorded <= 25
    key.most = sys.maxsize
    assert main(_words(key, tmp_path, "--json")) == 0
    _check_battles(tmp_path)
    twice = sum(count - 1 for count in key.asked.values())
    assert twice <= 4  # at most the calls that were under way when it was killed
    assert (tmp_path / "battles.jsonl.journal").read_bytes().startswith(journal[: journal.rfind(b"\n") + 1])


def test_an_interrupted_job_says_how_to_go_on(key, tmp_path, monkeypatch, capsys):
    """Ctrl-C ends with exit code 130 and the name of the file that the same command goes on from."""

    async def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pointsman.serve.commands.judge._judge", interrupted)
    assert main(_words(key, tmp_path)) == 130
    error = capsys.readouterr().err
    assert f"kept in {tmp_path / 'battles.jsonl.journal'}; run the same command again" in error
    assert error.endswith("pointsman judge: interrupted\n")


def test_a_finished_job_costs_nothing_to_run_again(key, tmp_path, capsys):
    """The second run of the same job makes no call, and reports what the job cost in all."""
    assert main(_words(key, tmp_path, "--json")) == 0
    first = json.loads(capsys.readouterr().out)
    n_calls = key.asked.total()
    assert main(_words(key, tmp_path, "--json")) == 0
    second = json.loads(capsys.readouterr().out)
    assert key.asked.total() == n_calls == first["n_calls"] == second["n_from_journal"]
    assert second["n_calls"] == 0
    assert second["spent_usd"] == first["spent_usd"] == pytest.approx(n_calls * (100 * 10 + 10 * 30) / 1e6)


def test_busy_models_are_asked_again(key, tmp_path, capsys):
    """A 429 costs a wait, not the prompt."""
    key.busy = 2
    assert main(_words(key, tmp_path, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["n_failed"] == 0
    _check_battles(tmp_path)


def test_the_ceiling_stops_the_job_and_says_so(key, tmp_path, capsys):
    """With too few dollars the job ends early with exit code 1, within its ceiling, and can go on later."""
    assert main(_words(key, tmp_path, "--max-cost-usd", "0.1", "--max-tokens", "100")) == 1
    assert "Stopped at the ceiling" in capsys.readouterr().err
    assert key.asked.total() * 1300 / 1e6 <= 0.1
    assert main(_words(key, tmp_path, "--max-cost-usd", "10", "--max-tokens", "100")) == 0
    _check_battles(tmp_path)


def test_the_estimate_asks_nobody(key, tmp_path, capsys):
    """`--estimate` prints a number of dollars and makes no call."""
    assert main(_words(key, tmp_path, "--estimate")) == 0
    assert json.loads(capsys.readouterr().out)["estimate_usd"] > 0
    assert not key.asked


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--price", "big"], "wanted MODEL=IN,OUT"),
        (["--parameters", "[1]"], "wanted a JSON object"),
        (["--parameters", "{"], "--parameters is not JSON"),
        (["--model-b", "big"], "two different models"),
        (["--judge", "hal", "--max-cost-usd", "1"], "needs the price of hal: --price MODEL=IN,OUT"),
        (["-o", "battles.xlsx"], "has suffix '.xlsx', wanted one of .parquet"),
        (["--prompt-column", "text"], "no column 'text'"),
    ],
)
def test_wrong_wishes_ask_nobody(further, message, key, tmp_path, capsys):
    """A wish that cannot be met fails before the first call."""
    assert main(_words(key, tmp_path, *further)) == 1
    assert message in capsys.readouterr().err
    assert not key.asked
