"""`pointsman autopilot simulate`."""

import json

import numpy as np
import pytest

from pointsman.core.dollars import dollar_column
from pointsman.serve.cli import main


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A table with a column per model: long prompts are hard for the weak one."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("tables") / "wide.jsonl"
    with path.open("w") as file:
        for i in range(700):
            words = int(rng.integers(1, 60))
            weak = float(rng.random() > words / 300)
            prompt = f"question {i} " + "word " * words
            file.write(json.dumps({"prompt": prompt, "big": 1.0, "small": weak, "strong_usd": 0.01, "weak_usd": 0.001}))
            file.write("\n")
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A row per model, the weak one's with its confidence; the strong one's confidence is of no use."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("tables") / "long.jsonl"
    with path.open("w") as file:
        for i in range(700):
            sure = float(rng.random())
            weak = float(rng.random() < 0.5 + 0.5 * sure)
            for model, score, confidence in (("big", 1.0, 1.0 - sure), ("small", weak, sure)):
                row = {"prompt": f"question {i}", "model": model, "score": score, "confidence": confidence}
                file.write(json.dumps({**row, "cost_usd": 0.01 if model == "big" else 0.001}) + "\n")
    return path


def _simulate(capsys, path, *words: str) -> dict:
    line = ["autopilot", "simulate", str(path), "--strong", "big", "--weak", "small", "--json", *words]
    assert main(line) == 0
    return json.loads(capsys.readouterr().out)


def test_a_wide_table_is_replayed(wide, capsys):
    """The JSON says what is certified, what it loses and costs at each moment, the same for the same seed."""
    words = ("--max-loss", "0.08", "--compare", "0.5", "--seed", "3")
    facts = _simulate(capsys, wide, *words)
    assert facts["requests"] == [500, 700]
    assert facts["second_look"] is None
    assert facts["broken"] is False
    assert 0.0 < facts["weak_share"][0] <= facts["weak_share"][1] < 1.0
    assert 0.0 < facts["loss"][1] < 0.08
    assert facts["saved_usd"][1] > 0.0
    assert facts["compared_usd"][1] > 0.0
    assert _simulate(capsys, wide, *words) == facts
    assert _simulate(capsys, wide, *words[:-1], "4") != facts


def test_the_weak_models_own_confidence_is_the_second_look(long, capsys):
    """Its confidence, not the strong model's, decides; it certifies more than the prompts alone can."""
    words = ("--max-loss", "0.05", "--compare", "1", "--seed", "0", "--requests", "1400")
    looked = _simulate(capsys, long, *words)
    alone = _simulate(capsys, long, *words, "--prompts-only")
    assert looked["second_look"] == "confidence"
    assert looked["requests"] == [500, 1000, 1400]
    assert "prompts repeat" in " ".join(looked["notes"])
    assert looked["weak_share"][-1] > 1.5 * alone["weak_share"][-1]


def test_several_orders_come_with_their_spread(wide, capsys):
    """Without a seed figures are means over orders, with the tenth and ninetieth percentile, as text and as JSON."""
    words = ("--max-loss", "0.08", "--compare", "0.5", "--orders", "3")
    facts = _simulate(capsys, wide, *words)
    assert facts["orders"] == 3
    assert facts["weak_share_low"][0] <= facts["weak_share"][0] <= facts["weak_share_high"][0]
    assert main(["autopilot", "simulate", str(wide), "--strong", "big", "--weak", "small", *words]) == 0
    said = capsys.readouterr().out
    assert "the bound of 0.08 was broken in 0 of 3 orders" in said
    rows = [line.split() for line in said.splitlines()[2:4]]
    for place, name in ((-2, "saved_usd"), (-1, "compared_usd")):
        assert [row[place] for row in rows] == dollar_column(facts[name])


def test_a_bound_that_is_out_of_reach_says_what_it_would_take(wide, capsys):
    """Where nothing is certified the report says about how many more requests the first step would take."""
    line = ["autopilot", "simulate", str(wide), "--strong", "big", "--weak", "small", "--max-loss", "0.001"]
    assert main([*line, "--compare", "0.1", "--seed", "1"]) == 0
    assert "nothing is certified yet; the first step would take " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-loss", "0", "--compare", "0.1"), "--max-loss is 0.0, wanted a number between 0 and 1"),
        (("--max-loss", "0.05", "--compare", "0"), "--compare is 0.0, wanted a number in (0, 1]: nothing is certified"),
        (("--max-loss", "0.05", "--compare", "0.1", "--orders", "0"), "--orders is 0, wanted at least 1"),
        (("--max-loss", "0.05", "--compare", "0.1", "--second-look", "doubt"), "no column 'doubt'"),
    ],
)
def test_wrong_arguments_are_told(wide, capsys, words, message):
    """What is wrong is said with its value and what was wanted."""
    assert main(["autopilot", "simulate", str(wide), "--strong", "big", "--weak", "small", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_missing_confidence_is_told(long, tmp_path, capsys):
    """A weak answer without confidence stops the run, and the message names the way out."""
    broken = tmp_path / "broken.jsonl"
    rows = [json.loads(line) for line in long.read_text().splitlines()]
    rows[1]["confidence"] = None
    broken.write_text("\n".join(json.dumps(row) for row in rows))
    line = ["autopilot", "simulate", str(broken), "--strong", "big", "--weak", "small", "--max-loss", "0.05"]
    assert main([*line, "--compare", "0.1"]) == 1
    assert "confidence is missing in 1 row of model 'small'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A row per prompt and model, of three models, and a router that was trained on half of it."""
    rng = np.random.default_rng(2)
    folder = tmp_path_factory.mktemp("three")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for i in range(500):
        hard = rng.random() < 0.4
        prompt = f"prove theorem {i} about the sums of primes" if hard else f"name a cheese {i}"
        chances = {"big": 0.95, "middle": 0.85 if hard else 0.95, "small": 0.3 if hard else 0.95}
        for (model, chance), usd in zip(chances.items(), (0.01, 0.002, 0.001), strict=True):
            row = {"prompt": prompt, "model": model, "score": float(rng.random() < chance), "cost_usd": usd}
            lines["train" if i % 4 == 0 else "test"].append(json.dumps(row))
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    models = ["--candidates", "big,middle,small"]
    assert main(["train", "linear", str(folder / "train.jsonl"), *models, "--output", str(folder / "router")]) == 0
    return folder


def test_many_candidates_are_replayed(three, capsys):
    """With a router that knows the models prompts leave the reference within the bound, and dollars are told."""
    capsys.readouterr()
    line = ["autopilot", "simulate", str(three / "test.jsonl"), "--candidates", "big,middle,small", "--json"]
    words = ["--router", str(three / "router"), "--max-loss", "0.15", "--compare", "0.6", "--orders", "2"]
    assert main([*line, *words]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["models"] == ["big", "middle", "small"]
    assert facts["weak_share"][-1] > 0.2
    assert facts["broken"] is False
    assert facts["saved_usd"][-1] > 0.0
    assert facts["compared_usd"][-1] > 0.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--candidates", "big,small"], "--candidates names two models"),
        (["--candidates", "big,middle,small", "--weak", "small"], "--candidates is given with --strong, --weak"),
        (["--candidates", "small,middle,big"], "no candidate is cheaper than small"),
        (["--candidates", "big,middle,tiny"], "has no scores of candidate 'tiny'"),
    ],
)
def test_candidates_that_cannot_be_replayed(three, capsys, words, message):
    """Two models, a pair besides, a reference that is the cheapest, and an unknown one are errors."""
    line = ["autopilot", "simulate", str(three / "test.jsonl"), "--max-loss", "0.1", "--compare", "0.5"]
    assert main([*line, "--router", str(three / "router"), *words]) == 1
    assert message in capsys.readouterr().err
