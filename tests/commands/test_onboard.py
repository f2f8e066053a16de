"""`pointsman onboard`: landmarks asked and judged by a server that knows the answers."""

import asyncio
import csv
import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.training.embeddings import embed_prompts
from pointsman.backends.training.score_router import train_score_router
from pointsman.backends.training.scores import ScoreRecipe
from pointsman.core.checkpoint import read_checkpoint
from pointsman.serve.cli import main
from pointsman.serve.config import StoreConfig
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.rows import DecisionRow
from pointsman.serve.store.store import Store

from support.candidates import CANDIDATES, topic_table
from support.upstream import LocalServer

TABLE = topic_table()
RIGHT = {
    prompt: dict(zip(CANDIDATES, scores, strict=True))
    for prompt, scores in zip(TABLE.prompts, TABLE.scores, strict=True)
}
PRICES = ["--price", "middle=10,10", "--price", "big=50,50", "--price", "judge=0,1"]


class Answers:
    """Models answer right or wrong as the table says; the judge prefers what is right, and else says tie."""

    def __init__(self):
        self.asked = Counter()

    def app(self):
        return Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request):
        body = await request.json()
        model, prompt = body["model"], body["messages"][-1]["content"]
        self.asked[model] += 1
        if model == "judge":
            a, b = ("<answer_a>\nright" in prompt), ("<answer_b>\nright" in prompt)
            text = "[[C]]" if a == b else "[[A]]" if a else "[[B]]"
        else:
            text = ("right" if RIGHT[prompt][model] else "wrong") + f" says {model}"
        usage = {"prompt_tokens": 100, "completion_tokens": 100}
        message = {"role": "assistant", "content": text}
        return JSONResponse({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "two"
    embeddings = embed_prompts(TABLE.prompts, resolve_embedder("static"))
    recipe = ScoreRecipe("linear", n_landmarks=(16,))
    train_score_router(TABLE.of(["big", "small"]), embeddings, ["big", "small"], recipe, path)
    return path


@pytest.fixture
def two(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "two")


def onboard(two, *more):
    return main(["onboard", "middle", "--checkpoint", str(two), "-n", "40", *map(str, more)])


def test_a_model_is_asked_judged_added_and_removed(two, capsys):
    """Each landmark is asked once although the ceiling stops the first run; the column is right, and goes again."""
    answers, before = Answers(), read_checkpoint(two)
    with LocalServer(answers.app()) as server:
        ask = ["--judge", "judge", "--base-url", f"{server.url}/v1", "--max-tokens", 200, *PRICES]
        assert onboard(two, *ask, "--max-usd", 0.2) == 1
        assert "Stopped at the ceiling of --max-usd" in capsys.readouterr().err
        assert read_checkpoint(two).models == before.models
        assert onboard(two, *ask, "--max-usd", 5, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert answers.asked["middle"] == answers.asked["big"] == 40 and answers.asked["judge"] <= 80
    assert told["candidates"] == ["big", "small", "middle"] and told["n_landmarks"] == 40
    assert told["score"]["low"] <= told["score"]["value"] <= told["score"]["high"]
    made = read_checkpoint(two)
    assert json.loads((two / "prompts.jsonl").read_text().splitlines()[0]) == TABLE.prompts[0]
    column = made.arrays["scores"][:, made.row("middle")]
    agreed = sum(abs(column[i] - TABLE.scores[i, 1]) < 1e-6 for i in range(len(TABLE)))
    assert agreed >= 40
    assert main(["onboard", "middle", "--checkpoint", str(two), "--remove"]) == 0
    assert read_checkpoint(two).models == before.models


def test_landmarks_scored_elsewhere(two, tmp_path, capsys):
    """The landmarks are listed for a grader of one's own, whose scores are added without a call."""
    listed = tmp_path / "landmarks.csv"
    assert onboard(two, "--list-prompts", listed) == 0
    prompts = [row["prompt"] for row in csv.DictReader(listed.read_text().splitlines())]
    assert len(prompts) == 40 and set(prompts) <= set(TABLE.prompts)
    with (tmp_path / "scored.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt", "score", "cost_usd"])
        rows.writerows([prompt, RIGHT[prompt]["middle"], 0.002] for prompt in prompts)
    assert onboard(two, "--scores", tmp_path / "scored.csv", "-o", tmp_path / "three") == 0
    said = capsys.readouterr().err
    assert "from 40 landmarks" in said and "over mixtures of the other candidates at its cost" in said
    assert f"pointsman calibrate TABLE --candidates big,small,middle --checkpoint {tmp_path / 'three'}" in said
    assert read_checkpoint(tmp_path / "three").candidates == ("big", "small", "middle")
    assert read_checkpoint(two).candidates == ("big", "small")


def test_landmarks_are_like_the_traffic_of_a_store(two, tmp_path, capsys):
    """With a store the landmarks are of the kind that was answered there; one without prompts says what to set."""
    proofs = [prompt for prompt in TABLE.prompts if prompt.startswith("Prove")]
    made = {"path": "/v1/chat/completions", "model": "big", "decided": "big", "router": "two", "threshold": 0.5}
    rows = [
        DecisionRow(id=new_row_id(i), request_id=f"r{i}", at=float(i), outcome="answered", prompt=prompt, **made)
        for i, prompt in enumerate(proofs)
    ]
    listed = tmp_path / "landmarks.csv"
    for name, part in (("kept", rows), ("not-kept", [replace(row, prompt=None) for row in rows])):
        url = f"sqlite:///{tmp_path / name}.db"
        asyncio.run(_put(url, part))
        assert onboard(two, "--list-prompts", listed, "--store", url) == (name == "not-kept")
    assert "holds no prompts: set store.prompts to text" in capsys.readouterr().err
    prompts = [row["prompt"] for row in csv.DictReader(listed.read_text().splitlines())]
    assert len(prompts) == 40 and set(prompts) <= set(proofs)


async def _put(url, rows):
    async with Store(StoreConfig(url=url)) as store:
        await store.add(rows)


def test_what_is_missing_is_said(two, tmp_path, capsys):
    """A checkpoint without prompts, a known model, and a table without its scores end with the way out."""
    assert main(["onboard", "small", "--checkpoint", str(two)]) == 1
    assert "already contains 'small': --remove removes it" in capsys.readouterr().err
    (tmp_path / "scored.csv").write_text("prompt,model,score\nhello,middle,1\n")
    assert onboard(two, "--scores", tmp_path / "scored.csv") == 1
    assert "scores none of the checkpoint's prompts: --list-prompts" in capsys.readouterr().err
    meta = json.loads((two / "pointsman.json").read_text())
    del meta["files"]["prompts.jsonl"]
    (two / "pointsman.json").write_text(json.dumps(meta))
    (two / "prompts.jsonl").unlink()
    assert onboard(two, "--list-prompts", tmp_path / "x.csv") == 1
    assert "keeps no prompts (prompts.jsonl)" in capsys.readouterr().err
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in TABLE.prompts))
    assert onboard(two, "--prompts", table, "--list-prompts", tmp_path / "x.csv") == 0
