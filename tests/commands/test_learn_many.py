"""`pointsman learn` with several candidates, and with answers."""

import json
import random
from pathlib import Path

import pytest

from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.errors import ConfigError
from pointsman.serve.checkpoints.promotion import promoted_name
from pointsman.serve.cli import main
from pointsman.serve.config.add_router import add_router
from pointsman.serve.config.load import make_config, read_values

MODELS = {"big": (0.95, 0.01), "middle": (0.75, 0.002), "small": (0.6, 0.0005)}  # chance of being right, dollars


def _rows(n):
    """Prompts that say nothing of how hard they are; good answers are sure of themselves."""
    rng = random.Random(1)
    for i in range(n):
        for model, (chance, usd) in MODELS.items():
            right = rng.random() < chance
            row = {"prompt": f"Question {i}", "model": model, "score": int(right), "cost_usd": usd}
            yield row, {"answer": "It is so.", "output_tokens": 4, "confidence": -0.01 if right else -rng.random()}


def _table(name, n, *, answers):
    with Path(name).open("w") as file:
        for row, more in _rows(n):
            file.write(json.dumps(row | (more if answers else {})) + "\n")
    return name


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _learn(capsys, *words):
    assert main(["learn", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_candidates_with_answers_give_a_router_a_cascade_and_a_configuration(capsys):
    """Shares, loss with its interval and dollars are told; a cascade is configured where a router can lead into it."""
    table = _table("answers.jsonl", 300, answers=True)
    found = _learn(capsys, table, "--candidates", "big,middle,small", "--kinds", "linear", "--max-loss", "20%")
    assert found["certified"] and sum(found["asked"].values()) == pytest.approx(1.0)
    low, high = found["loss_interval"]
    assert low <= found["loss"] <= high
    assert found["usd_per_1000"] + found["saved_usd_per_1000"] == pytest.approx(10.0)
    assert found["policies"]["always big"]["loss"] == 0.0
    cascade = found["cascade"]
    assert cascade["usd_per_1000"] < found["usd_per_1000"] and sum(cascade["answered"].values()) == pytest.approx(1.0)
    assert cascade["served"] <= (set(cascade["models"]) == {"big", "middle", "small"})
    assert "reads answers" in "\n".join(found["lines"])
    config = make_config(read_values("pointsman.yaml"))
    assert config.candidates == ("big", "middle", "small")
    assert config.routers["learned"].max_loss == 0.2
    assert (config.cascade is not None) == cascade["served"]
    alone = make_config(read_values(Path(cascade["verifier"]) / "cascade.yaml")).cascade
    assert alone is not None and alone.models == cascade["models"]
    for place, name in enumerate(cascade["models"][:-1], start=1):
        assert read_checkpoint(Path(cascade["verifier"]) / str(place)).pair.weak == name
    stored = read_checkpoint(Path("checkpoints") / promoted_name(Path("checkpoints")))
    assert stored.candidates == ("big", "middle", "small")
    assert next(iter(stored.thresholds.values()))["threshold"] == found["threshold"]


def test_a_pair_with_answers_gets_a_verifier_certified_with_the_same_held_out_prompts(capsys):
    """The verifier keeps its policy for the bound, and the configuration serves it where it is the cheaper one."""
    table = _table("answers.jsonl", 300, answers=True)
    found = _learn(capsys, table, "--candidates", "big,small", "--kinds", "knn", "--max-loss", "10%")
    cascade = found["cascade"]
    assert cascade["certified"] and cascade["n_labels"] == found["n_held_out"] == 120
    assert cascade["served"] and cascade["cost_usd"] < found["usd_per_1000"]
    facts = next(iter(read_checkpoint(cascade["verifier"]).thresholds.values()))
    assert (facts["wanted"], facts["confidence"]) == (0.1, 0.95)
    config = make_config(read_values("pointsman.yaml"))
    assert config.cascade is not None and config.cascade.max_loss == 0.1


def test_prices_may_come_from_the_command_line_and_a_wide_table_has_no_answers(capsys):
    """Dollars follow --price; without answers there is no cascade, and without prices no dollars."""
    columns: dict[str, dict[str, int]] = {}
    for row, _ in _rows(90):
        columns.setdefault(row["prompt"], {})[row["model"]] = row["score"]
    lines = [",".join([prompt, *map(str, scores.values())]) for prompt, scores in columns.items()]
    Path("wide.csv").write_text("\n".join(["prompt,big,middle,small", *lines]))
    words = ["wide.csv", "--candidates", "big,middle,small", "--kinds", "linear", "--output-tokens", "1000"]
    found = _learn(
        capsys, *words, "--price", "big", "0", "30", "--price", "middle", "0", "3", "--price", "small", "0", "1"
    )
    assert found["policies"]["always big"]["usd_per_1000"] == pytest.approx(30.0)
    assert "cascade" not in found
    assert _learn(capsys, *words)["usd_per_1000"] is None


def test_what_candidates_cannot_be_learned_from_is_said(capsys):
    """Candidates beside a pair, kinds of pairs alone, too few prompts, a price that is none."""
    table = _table("few.jsonl", 30, answers=False)
    three = [table, "--candidates", "big,middle,small"]
    for words, said in (
        ([*three, "--strong", "big"], "replaces --strong and --weak"),
        ([table, "--candidates", "big"], "needs at least two models"),
        ([*three, "--kinds", "mf"], "more than two candidates can be learned with knn, linear, blend"),
        (three, "of 30 prompts on which all of big, middle, small were scored"),
        ([*three, "--price", "big", "x", "1"], "--price: 'x' is given"),
        ([table, "--candidates", "big,huge,small"], "no scores of candidate 'huge'"),
    ):
        assert main(["learn", *words]) == 1
        assert said in capsys.readouterr().err


def test_a_configuration_with_other_models_keeps_them_and_is_told_the_new_ones(tmp_path):
    """Keys that are there stay; what they would be is said; missing ones are added."""
    path = tmp_path / "pointsman.yaml"
    path.write_text("strong: a\nweak: b\n")
    sections = {"candidates": "candidates: [a, b, c]\n", "cascade": "cascade: {}\n"}
    added = add_router(path, checkpoints=tmp_path / "checkpoints", max_loss=0.05, sections=sections)
    assert added.changed and "added cascade" in added.line and "candidates: [a, b, c]" in added.line
    assert set(read_values(path)) == {"strong", "weak", "routers", "cascade"}
    assert not add_router(path, checkpoints=tmp_path / "checkpoints", max_loss=0.05, sections=sections).changed
    path.write_text("routers: {mf: {}}\n")
    with pytest.raises(ConfigError, match="put this line first"):
        add_router(path, checkpoints=tmp_path / "checkpoints", max_loss=0.05, sections=sections)
