"""Commands read columns and labels under the names that a team gave them."""

import csv
import json

import pytest

from pointsman.serve.cli import main

N = 60


def _write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture
def outcomes(tmp_path):
    rows = [
        {"query": f"question {i} about {'proofs' if i % 2 else 'cheese'}", "llm": model, "performance": score}
        for i in range(N)
        for model, score in (("big", 1), ("small", 1 - i % 2))
    ]
    return _write(tmp_path / "outcomes.csv", rows)


@pytest.fixture
def battles(tmp_path):
    rows = [
        {"query": f"question {i} about {'proofs' if i % 2 else 'cheese'}", "left": "big", "right": "small",
         "verdict": "L" if i % 2 else "R"}
        for i in range(N)
    ]  # fmt: skip
    return _write(tmp_path / "battles.csv", rows)


LONG = ["--columns", "prompt=query,model=llm,score=performance", "--strong", "big", "--weak", "small"]
FOUGHT = ["--columns", "prompt=query,model_a=left,model_b=right,winner=verdict", "--winner", "L=model_a,R=model_b",
          "--strong", "big", "--weak", "small"]  # fmt: skip


def test_outcomes_under_other_names(outcomes, tmp_path, capsys):
    """Evaluate, calibrate and train knn take one mapping of columns, and see the same numbers."""
    assert main(["evaluate", outcomes, *LONG, "--routers", "random", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_prompts"] == N
    assert main(["calibrate", outcomes, *LONG, "--router", "random", "--max-loss", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["n_rows"] == N
    assert main(["train", "knn", outcomes, *LONG, "-o", str(tmp_path / "knn"), "-k", "5"]) == 0


def test_battles_under_other_names(battles, tmp_path, capsys):
    """Evaluate and train sw-ranking take the columns and labels of battles under any names."""
    assert main(["evaluate", battles, *FOUGHT, "--routers", "random", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_prompts"] == N
    assert main(["train", "sw-ranking", battles, *FOUGHT, "-o", str(tmp_path / "sw"), "--tiers", "2"]) == 0
    assert main(["evaluate", battles, *FOUGHT[:2], "--strong", "big", "--weak", "small"]) == 1
    assert "--winner LABEL=model_a" in capsys.readouterr().err


def test_prompts_under_another_name(outcomes, tmp_path, capsys):
    """Score and embed take the column of prompts by either option, and keep the table's own columns."""
    for words in (["--prompt-column", "query"], ["--columns", "prompt=query"]):
        assert main(["score", outcomes, *words, "-o", str(tmp_path / "s.csv"), "--router", "random"]) == 0
        with (tmp_path / "s.csv").open() as file:
            assert next(csv.reader(file)) == ["query", "llm", "performance", "win_rate"]
        assert main(["embed", outcomes, *words, "-o", str(tmp_path / "e.npy")]) == 0
    capsys.readouterr()
    assert main(["score", outcomes, "--prompt-column", "no", "-o", str(tmp_path / "s.csv"), "--router", "random"]) == 1
    assert "its columns are query, llm, performance" in capsys.readouterr().err
