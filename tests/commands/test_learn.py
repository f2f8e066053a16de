"""`pointsman learn`: from a table to a router that is served."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest

from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.errors import ConfigError
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.checkpoints.promotion import promoted_name
from pointsman.serve.cli import main
from pointsman.serve.config.add_router import add_router
from pointsman.serve.config.load import make_config, read_values

FOLDER = Path("checkpoints")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """600 tickets: the weak model cannot tell which team takes one, and knows whether it is open."""
    rng = random.Random(0)
    monkeypatch.chdir(tmp_path)
    with Path("labels.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["question", "big_ok", "small_ok"])
        for i in range(600):
            hard = rng.random() < 0.5
            prompt = f"Which team takes ticket {i} today?" if hard else f"Is ticket {i} still open, or closed?"
            out.writerow([prompt, int(rng.random() < 0.95), int(rng.random() < (0.3 if hard else 0.95))])
    return "labels.csv"


def _learn(table, *more):
    words = ["learn", table, "--columns", "prompt=question", "--strong", "big_ok", "--weak", "small_ok"]
    return main([*words, "--kinds", "knn", *more])


def test_one_command_gives_a_certified_router_that_is_served(table, capsys):
    """It trains, certifies, writes checkpoint and configuration, promotes the first, and says all that in words."""
    assert _learn(table, "--max-loss", "10%", "--strong-price", "10", "30", "--weak-price", "1", "2") == 0
    said = capsys.readouterr().out
    assert "knn (chosen)" in said
    assert "loses at most 10 points with 95% confidence" in said
    assert "saves $" in said
    config = make_config(read_values("pointsman.yaml"))
    assert config.store is not None and config.drift is not None
    router = config.routers["learned"]
    assert (router.checkpoint, router.max_loss) == (str(FOLDER.absolute()), 0.1)
    assert promoted_name(FOLDER) == "learned-1"
    facts = next(iter(read_checkpoint(FOLDER / "learned-1").thresholds.values()))
    assert facts["certified"]
    labelled = read_checkpoint(FOLDER / "learned-1").metrics["labelled"]
    k = int(np.argmin(np.abs(np.array(labelled["threshold"]) - facts["threshold"])))
    assert labelled["share"][k] == pytest.approx(facts["strong_share"], abs=0.02)
    served = load_router(load_checkpoint("learned", FOLDER))
    hard, easy = served.win_rates(["Which team takes ticket 7 today?", "Is ticket 7 still open, or closed?"])
    assert hard >= facts["threshold"] > easy
    Path("prompts.jsonl").write_text('{"prompt": "Is ticket 7 still open, or closed?"}\n')
    assert main(["score", "prompts.jsonl", "-o", "scored.jsonl", "--router", "learned-1"]) == 0
    assert json.loads(Path("scored.jsonl").read_text())["win_rate"] == pytest.approx(easy)


def test_the_held_out_prompts_train_nothing_and_carry_the_bound(table, capsys):
    """Training and held-out prompts are disjoint, and the threshold's share and loss are those of the held-out ones."""
    assert _learn(table, "--held-out", "50%", "--max-loss", "10%", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_held_out"] == 300
    assert found["routers"]["prompt length"]["strong_share"] is None
    checkpoint = read_checkpoint(found["checkpoint"])
    assert checkpoint.calibration.n_prompts == 300
    assert found["strong_share"] == pytest.approx(next(iter(checkpoint.thresholds.values()))["strong_share"])
    assert found["loss"] <= 0.1


def test_a_second_run_waits_to_be_promoted(table, capsys):
    """The first checkpoint stays in place until --apply or promote; the configuration is left as it is."""
    assert _learn(table) == 0
    before = Path("pointsman.yaml").read_text()
    assert _learn(table, "--seed", "1") == 0
    assert "pointsman promote learned-2" in capsys.readouterr().out
    assert promoted_name(FOLDER) == "learned-1"
    assert _learn(table, "--seed", "2", "--apply") == 0
    assert promoted_name(FOLDER) == "learned-3"
    assert Path("pointsman.yaml").read_text() == before


def _write_few() -> None:
    """80 labels that the prompts say nothing of, in few.csv."""
    rng = np.random.default_rng(0)
    lines = [f"question {i},{int(rng.random() < 0.9)},{int(rng.random() < 0.5)}" for i in range(80)]
    Path("few.csv").write_text("\n".join(["question,big_ok,small_ok", *lines]))


def test_without_a_certificate_everything_goes_to_strong(tmp_path, monkeypatch, capsys):
    """Where 32 labels certify nothing it says so, and how many would, and serves the strong model."""
    monkeypatch.chdir(tmp_path)
    _write_few()
    assert _learn("few.csv", "--max-loss", "1%") == 0
    assert "Nothing cheaper than always asking big_ok is certified to lose at most 1 points" in capsys.readouterr().out


def test_a_router_with_one_win_rate_for_all_says_why(tmp_path, monkeypatch, capsys):
    """Where the prompts say nothing of the outcomes, a linear router is no better than a fixed choice, and says so."""
    monkeypatch.chdir(tmp_path)
    _write_few()
    assert _learn("few.csv", "--kinds", "linear") == 0
    assert "no better than a fixed choice of models" in capsys.readouterr().err
    assert next(iter(read_checkpoint(FOLDER / "learned-1").thresholds.values()))["threshold"] == 0.0


def test_what_cannot_be_learnt_from_is_said(table, capsys):
    """Too few prompts, a name that is taken, a share that is none."""
    Path("tiny.csv").write_text("question,big_ok,small_ok\na,1,0\n")
    assert _learn("tiny.csv") == 1
    assert "1 prompt with outcomes of both models, wanted at least 50" in capsys.readouterr().err
    assert _learn(table, "--max-loss", "5") == 2
    assert "did you mean 5%?" in capsys.readouterr().err
    assert _learn(table, "--name", "mf") == 2
    (FOLDER / "mine").mkdir(parents=True)
    assert _learn(table, "--name", "mine") == 1
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "kept"),
    [("", ""), ("strong: a\nweak: b\n", "strong: a\nweak: b"), ("routers:  # mine\n  mf: {}\n", "  mf: {}")],
)
def test_a_configuration_is_completed_and_keeps_its_lines(tmp_path, before, kept):
    """The learned router comes first, so that it is the default; comments and other keys stay."""
    path = tmp_path / "pointsman.yaml"
    path.write_text(before)
    assert add_router(path, checkpoints=tmp_path / "checkpoints", max_loss=0.05).changed
    values = read_values(path)
    assert next(iter(values["routers"])) == "learned"
    assert kept in path.read_text()
    assert not add_router(path, checkpoints=tmp_path / "checkpoints", max_loss=0.05).changed


def test_a_configuration_that_cannot_be_completed_says_what_to_write(tmp_path):
    """Routers on one line are not edited: the line to add is given."""
    path = tmp_path / "pointsman.yaml"
    path.write_text("routers: {mf: {}}\n")
    with pytest.raises(ConfigError, match=r"learned: \{checkpoint: checkpoints, max_loss: 0\.05\}"):
        add_router(path, checkpoints=tmp_path / "checkpoints", max_loss=0.05)
    assert path.read_text() == "routers: {mf: {}}\n"
