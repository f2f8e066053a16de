"""Which models form a cascade: chosen from a table, and served as it was chosen."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
import yaml

from pointsman.backends.data.answers import read_answers
from pointsman.core.cascade import Window
from pointsman.core.chain import play_chain
from pointsman.core.errors import DataError
from pointsman.serve.cli import main
from pointsman.serve.commands.verifiers import load_verifier

from support.answers import planted

MODELS = ("big", "small", "other")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """Folder of a chain that the command chose, and what it printed as JSON."""
    folder = tmp_path_factory.mktemp("chain")
    table = planted(folder / "a.jsonl", n=200)
    out = str(folder / "v")
    command = ["train", "verifier", table, "-o", out, "--candidates", ",".join(MODELS), "--max-loss", "3%"]
    with redirect_stdout(io.StringIO()) as printed:
        assert main([*command, "--json"]) == 0
    return folder / "v", json.loads(printed.getvalue())


def test_the_chain_keeps_the_goal_below_the_best_model_s_cost_on_unseen_prompts(chosen, tmp_path):
    """On other prompts of the same kind it costs less than the best single model, and loses about what was allowed."""
    folder, facts = chosen
    models = facts["models"]
    assert models[-1] == facts["best"]["model"] == "big" and len(models) >= 2
    assert facts["left_out"]["usd"] < facts["best"]["usd"]
    assert sum(facts["left_out"]["shares"]) == pytest.approx(1.0)
    other = read_answers(planted(tmp_path / "b.jsonl", n=500, seed=1), strong="big", weak="small")
    places = [other.models.index(name) for name in models]
    verifiers = [load_verifier(str(folder / str(k)))[1] for k in range(1, len(models))]
    played = play_chain(
        [v.prompt_win_rates(other.prompts) for v in verifiers],
        [v.win_rates(other.prompts, other.answers[k]) for v, k in zip(verifiers, places, strict=False)],
        facts["thresholds"],
        [Window(**zone) for zone in facts["zones"]],
        score=other.score[:, places],
        usd=other.usd[:, places],
    )
    assert played.usd.mean() < 0.9 * other.usd[:, places[-1]].mean()
    assert played.score.mean() > other.score[:, places[-1]].mean() - 0.08


def test_the_configuration_beside_it_serves_the_chain(chosen):
    """Its YAML names the models in their order, a verifier and a threshold for every one but the last."""
    folder, facts = chosen
    found = yaml.safe_load((folder / "cascade.yaml").read_text())
    assert found["candidates"] == facts["models"][::-1]
    assert found["cascade"]["models"] == facts["models"]
    assert list(found["cascade"]["verifier"]) == list(found["cascade"]["threshold"]) == facts["models"][:-1]
    assert list(found["cascade"]["threshold"].values()) == pytest.approx(facts["thresholds"], abs=1e-6)


def test_where_no_chain_pays_it_says_so(tmp_path, capsys):
    """Candidates whose cheap ones cost as much as the best are an error that names the way out."""
    path = tmp_path / "a.jsonl"
    planted(path, n=80)
    rows = [json.loads(line) | {"cost_usd": 0.001} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["train", "verifier", str(path), "-o", str(tmp_path / "v"), "--candidates", "big,small"]
    assert main(command) == 1
    assert "no cascade reaches the quality of 'big'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--candidates", "big"], "--candidates needs at least two models"),
        (["--candidates", "big,small", "--strong", "big"], "leave them out"),
        (["--candidates", "big,huge"], "no model 'huge'"),
    ],
)
def test_wrong_candidates_are_refused(tmp_path, capsys, arguments, problem):
    """With what was wanted."""
    table = planted(tmp_path / "a.jsonl", n=60)
    assert main(["train", "verifier", table, "-o", str(tmp_path / "v"), *arguments]) == 1
    assert problem in capsys.readouterr().err


def test_a_pair_of_a_table_is_the_table_read_for_it(tmp_path):
    """Moving two models to the front gives what reading the table for these two gives."""
    path = planted(tmp_path / "a.jsonl", n=60)
    moved = read_answers(path, strong="big", weak="small").pair("small", "other")
    read = read_answers(path, strong="small", weak="other")
    assert moved.models == read.models and moved.prompts == read.prompts and moved.answers == read.answers
    for name in ("score", "usd", "seconds"):
        assert np.array_equal(getattr(moved, name), getattr(read, name))


def test_a_table_without_dollars_is_refused(tmp_path):
    """A chain is chosen by its dollars."""
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.training.chain import fit_chain
    from pointsman.backends.training.embeddings import embed_prompts

    path = tmp_path / "a.jsonl"
    planted(path, n=60)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "cost_usd"}) + "\n" for row in rows))
    table = read_answers(str(path), strong="big", weak="small")
    with pytest.raises(DataError, match="lacks cost_usd"):
        fit_chain(table, embed_prompts(table.prompts, resolve_embedder("static")), MODELS)
