"""`pointsman autopilot simulate`."""

import json

import numpy as np
import pytest

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
    assert "come again" in " ".join(looked["notes"])
    assert looked["weak_share"][-1] > 1.5 * alone["weak_share"][-1]


def test_several_orders_come_with_their_spread(wide, capsys):
    """Without a seed figures are means over orders, with the tenth and ninetieth percentile, as text and as JSON."""
    words = ("--max-loss", "0.08", "--compare", "0.5", "--orders", "3")
    facts = _simulate(capsys, wide, *words)
    assert facts["orders"] == 3
    assert facts["weak_share_low"][0] <= facts["weak_share"][0] <= facts["weak_share_high"][0]
    assert main(["autopilot", "simulate", str(wide), "--strong", "big", "--weak", "small", *words]) == 0
    assert "the bound of 0.08 was broken in 0 of 3 orders" in capsys.readouterr().out


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
    assert "confidence is missing in 1 rows of model 'small'" in capsys.readouterr().err
