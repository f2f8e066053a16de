"""`--engine ray` of the commands, with this process in the place of the cluster."""

import json
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import pointsman.backends.ray.cluster as cluster
import pointsman.backends.ray.map_shards as map_shards
import pointsman.backends.ray.purse as purse
from pointsman.serve.cli import main

from support.upstream import LocalServer

N_PROMPTS = 200
PRICES = [f"--price={model}=100,100" for model in ("big", "small", "judge")]
CALL_USD = 20 * 100 / 1e6  # 10 tokens in, 10 out


@pytest.fixture
def here(monkeypatch):
    """Work for the cluster is done in this process, one item after the other."""

    @contextmanager
    def connected(address):
        yield None

    def map_items(items, prepare, *, address, n_actors, on_done):
        work = prepare()
        for i, item in enumerate(items):
            on_done(i, work(item))

    monkeypatch.setattr(cluster, "connected", connected)
    monkeypatch.setattr(map_shards, "map_items", map_items)
    monkeypatch.setattr(purse, "SharedPurse", lambda ray, left_usd: purse.Purse(left_usd))


@pytest.fixture
def prompts(tmp_path):
    """A folder of prompts in two files."""
    folder = tmp_path / "in"
    folder.mkdir()
    texts = [f"question {i}" for i in range(N_PROMPTS)]
    for i, part in enumerate((texts[:150], texts[150:])):
        pq.write_table(pa.table({"prompt": part}), folder / f"{i}.parquet", row_group_size=40)
    return folder


class Answering:
    """Serves every model; counts the calls."""

    def __init__(self):
        self.n_calls = 0

    def app(self):
        return Starlette(routes=[Route("/v1/chat/completions", self._chat, methods=["POST"])])

    async def _chat(self, request):
        body = await request.json()
        self.n_calls += 1
        text = "[[A]]" if body["model"] == "judge" else f"I am {body['model']}"
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 10, "completion_tokens": 10}
        return JSONResponse({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


def report(capsys, *arguments):
    status = main([*arguments, "--engine", "ray", "--json"])
    return status, json.loads(capsys.readouterr().out)


def table(folder):
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])


def test_score_is_as_without_ray(tmp_path, prompts, here, capsys):
    """The win rates of a folder are, bit by bit, those of its files; a second run has nothing to do."""
    arguments = ["score", str(prompts), "-o", str(tmp_path / "out")]
    assert report(capsys, *arguments)[1]["n_scored"] == N_PROMPTS
    plain = []
    for path in sorted(prompts.iterdir()):
        assert main(["score", str(path), "-o", str(tmp_path / f"plain-{path.name}")]) == 0
        plain.append(pq.read_table(tmp_path / f"plain-{path.name}"))
    assert table(tmp_path / "out").equals(pa.concat_tables(plain))
    capsys.readouterr()
    assert report(capsys, *arguments)[1]["n_scored"] == 0
    assert main([*arguments, "--engine", "ray", "--prompt-column", "text"]) == 1
    assert "another job (column differ)" in capsys.readouterr().err


def test_embed_is_as_without_ray(tmp_path, prompts, here, capsys):
    """The embeddings of a folder of one file are, byte by byte, those of the file."""
    (prompts / "1.parquet").unlink()
    assert report(capsys, "embed", str(prompts), "-o", str(tmp_path / "ray.npy"))[0] == 0
    assert main(["embed", str(prompts / "0.parquet"), "-o", str(tmp_path / "plain.npy")]) == 0
    assert (tmp_path / "ray.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()
    assert (tmp_path / "ray.json").read_bytes() == (tmp_path / "plain.json").read_bytes()


def test_evaluate_is_as_without_ray(tmp_path, here, capsys):
    """The figures of a table of outcomes do not depend on where the win rates were computed."""
    rows = pa.table({"prompt": [f"q {i}" for i in range(60)], "strong": [1.0] * 60, "weak": [0.0, 1.0] * 30})
    pq.write_table(rows, tmp_path / "outcomes.parquet")
    arguments = ["evaluate", str(tmp_path / "outcomes.parquet"), "--replicates", "20", "--json"]
    assert main(arguments) == 0
    plain = capsys.readouterr().out
    assert main([*arguments, "--engine", "ray"]) == 0
    assert capsys.readouterr().out == plain


def judged(tmp_path, prompts, url):
    models = ("--model-a=big", "--model-b=small", "--judge=judge", "--max-tokens=10", f"--base-url={url}/v1")
    return "judge", str(prompts), "-o", str(tmp_path / "out"), *models, *PRICES


def test_judging_keeps_to_its_ceiling_and_goes_on(tmp_path, prompts, here, capsys):
    """Calls never cost more than the ceiling; with a higher one the next run pays only for what is missing."""
    answering = Answering()
    with LocalServer(answering.app()) as server:
        arguments = judged(tmp_path, prompts, server.url)
        ceiling = 4 * 120 * CALL_USD
        status, first = report(capsys, *arguments, f"--max-cost-usd={ceiling}")
        assert (status, first["stopped"], first["n_shards_left"]) == (1, True, 2)
        assert first["spent_usd"] == pytest.approx(answering.n_calls * CALL_USD)
        assert 0 < first["spent_usd"] <= ceiling
        status, second = report(capsys, *arguments, "--max-cost-usd=100")
        assert (status, second["stopped"], second["n_shards_left"]) == (0, False, 0)
        assert second["n_prompts"] == N_PROMPTS
        assert answering.n_calls == 4 * N_PROMPTS
        assert second["spent_usd"] == pytest.approx(4 * N_PROMPTS * CALL_USD)
    battles = table(tmp_path / "out")
    assert battles.num_rows == 2 * N_PROMPTS
    assert battles["prompt"].to_pylist()[::2] == [f"question {i}" for i in range(N_PROMPTS)]


def test_judging_into_a_remote_folder_is_refused(tmp_path, prompts, here, capsys):
    """The journal of paid calls needs a folder that can be appended to."""
    arguments = list(judged(tmp_path, prompts, "http://127.0.0.1:1"))
    arguments[3] = "s3://bucket/out"
    assert main([*arguments, "--engine", "ray"]) == 1
    assert "s3://bucket/out is remote, wanted a folder that all nodes share" in capsys.readouterr().err
