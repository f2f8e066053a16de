"""Wrong turns that people take: each is said in words, before anything is paid for or written."""

import csv
import json

import pytest

from pointsman.serve.cli import main


def _write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def _outcomes(path, n=60, *, strong="big", weak="small", good="big"):
    rows = [
        {"prompt": f"question {i} about {'proofs' if i % 2 else 'cheese'}", "model": m,
         "score": 1 if m == good else int(i % 2 == 0)}
        for i in range(n) for m in (strong, weak, "other")
    ]  # fmt: skip
    return _write(path, rows)


def _battles(path, n=60, *, names=("big", "small")):
    rows = [{"prompt": f"question {i} about cheese", "model_a": names[0], "model_b": names[1],
             "winner": "model_a" if i % 3 else "model_b"} for i in range(n)]  # fmt: skip
    return _write(path, rows)


@pytest.mark.parametrize("kind", ["knn", "sw-ranking"])
def test_a_swapped_pair_is_pointed_out(kind, tmp_path, capsys):
    """A pair the wrong way round is trained, and said to be."""
    source = _outcomes(tmp_path / "o.csv") if kind == "knn" else _battles(tmp_path / "b.csv")
    extra = ["-k", "10"] if kind == "knn" else ["--tiers", "2"]
    words = ["train", kind, source, "-o", str(tmp_path / "out"), "--strong", "small", "--weak", "big", *extra]
    main(words)
    assert "small does no better than big: is the pair the right way round?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["evaluate", "--routers", "random"], ["calibrate", "--router", "random", "--max-loss", "0.1"]]
)
def test_swapped_labels_and_few_labels_are_pointed_out(words, tmp_path, capsys):
    """Evaluation and calibration say that labels are few, or the wrong way round."""
    source = _outcomes(tmp_path / "o.csv", 2)
    assert main([words[0], source, *words[1:], "--strong", "small", "--weak", "big"]) == 0
    said = capsys.readouterr()
    said = said.out + said.err
    assert "small does no better than big here" in said and "2 prompts" in said and "wanted at least" in said


def test_a_bound_on_two_labels_names_how_many_it_takes(tmp_path, capsys):
    """Two labels certify nothing, and nobody is told that more would not help."""
    source = _outcomes(tmp_path / "o.csv", 2)
    words = ["calibrate", source, "--router", "random", "--strong", "big", "--weak", "small", "--max-loss", "0.1"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels_needed"] >= 30


@pytest.mark.parametrize("kind", ["sw-ranking", "mf"])
def test_two_battles_are_too_few(kind, tmp_path, capsys):
    """Nothing is learned from two battles, and the message says how many it takes."""
    pytest.importorskip("jax", reason="jax is not installed")
    source = _battles(tmp_path / "b.csv", 2)
    assert main(["train", kind, source, "-o", str(tmp_path / "x"), "--strong", "big", "--weak", "small"]) == 1
    assert "2 battles are too few to learn from, wanted at least 20" in capsys.readouterr().err


def test_a_model_called_as_a_group_is_refused(tmp_path, capsys):
    """A model named "strong" and a group of strong models would be one: the message says which to rename."""
    source = _outcomes(tmp_path / "o.csv", weak="strong")
    for kind in ("knn", "sw-ranking"):
        words = ["train", kind, source, "-o", str(tmp_path / "x"), "--strong", "big", "other", "--weak", "strong"]
        assert main(words) == 1
    said = capsys.readouterr().err
    assert "a model of the data is called 'strong', which is what the group of strong models" in said
