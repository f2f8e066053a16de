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
    assert "2 battles are too few to train on, wanted at least 20" in capsys.readouterr().err


def test_a_model_called_as_a_group_is_refused(tmp_path, capsys):
    """A model named "strong" and a group of strong models would be one: the message says which to rename."""
    source = _outcomes(tmp_path / "o.csv", weak="strong")
    for kind in ("knn", "sw-ranking"):
        words = ["train", kind, source, "-o", str(tmp_path / "x"), "--strong", "big", "other", "--weak", "strong"]
        assert main(words) == 1
    said = capsys.readouterr().err
    assert "a model of the data is called 'strong', which is what the group of strong models" in said


def test_a_checkpoint_that_the_configuration_cannot_serve_is_not_promoted(tmp_path, capsys):
    """A configuration that asks for a bound which the checkpoint does not store is named before anything changes."""
    source = _outcomes(tmp_path / "o.csv", 200)
    folder = tmp_path / "checkpoints"
    words = ["train", "knn", source, "--strong", "big", "--weak", "small", "-k", "10"]
    assert main([*words, "-o", str(folder / "first")]) == 0
    (tmp_path / "config.yaml").write_text("routers:\n  mine: {checkpoint: checkpoints, max_loss: 0.05}\n")
    capsys.readouterr()
    assert main(["promote", "first", "--config", str(tmp_path / "config.yaml")]) == 1
    assert "first is not promoted" in (said := capsys.readouterr().err) and "max_loss" in said
    assert main(["promote", "first", "--checkpoints", str(folder)]) == 0


def test_judging_costs_what_the_configuration_says(tmp_path, capsys):
    """The estimate takes the configuration's prices, and --price in place of them."""
    (tmp_path / "p.csv").write_text("prompt\nhello there\n")
    price = "{{input_usd_per_million: 0, output_usd_per_million: {}}}"
    models = "".join(
        f"  {name}: {{base_url: 'http://127.0.0.1:9/v1', price: {price.format(usd)}}}\n"
        for name, usd in (("a", 1), ("b", 2), ("j", 4))
    )
    (tmp_path / "c.yaml").write_text(f"models:\n{models}")
    words = ["judge", str(tmp_path / "p.csv"), "-o", str(tmp_path / "b.jsonl"), "--model-a", "a", "--model-b", "b",
             "--judge", "j", "--config", str(tmp_path / "c.yaml"), "--max-tokens", "1000000", "--estimate"]  # fmt: skip
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["estimate_usd"] == pytest.approx(1 + 2 + 2 * 4)
    assert main([*words, "--price", "j=0,0"]) == 0
    assert json.loads(capsys.readouterr().out)["estimate_usd"] == pytest.approx(3)


def test_checking_a_configuration_makes_no_database(tmp_path, capsys, monkeypatch):
    """--check leaves no file behind, and a store is beside its configuration wherever the command is run."""
    (tmp_path / "c.yaml").write_text("store: {url: 'sqlite:///kept/here.db'}\n")
    monkeypatch.chdir("/")
    assert main(["serve", "--check", "--config", str(tmp_path / "c.yaml")]) == 1
    assert str(tmp_path / "kept") in capsys.readouterr().err
    (tmp_path / "kept").mkdir()
    assert main(["serve", "--check", "--config", str(tmp_path / "c.yaml")]) == 0
    assert not list((tmp_path / "kept").iterdir())


def test_a_platform_that_is_not_there_is_named(monkeypatch):
    """JAX on a platform that the machine lacks is one error that says which variable to change."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    from pointsman.backends.jax.mf_router import check_platform
    from pointsman.core.errors import FitError

    def refuse():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(jax, "devices", refuse)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(FitError, match=r"JAX_PLATFORMS is 'cuda'.*unset it"):
        check_platform()


@pytest.mark.parametrize("kind", ["bert", "causal-lm"])
def test_labels_that_are_all_the_same_are_refused(kind, tmp_path, capsys):
    """A language model would learn to say one thing of every prompt; a single prompt is said to be one."""
    pytest.importorskip("torch", reason="torch is not installed")
    rows = "".join(json.dumps({"prompt": f"question {i}", "a": 1.0, "b": 0.0}) + "\n" for i in range(30))
    for content, said in (
        (rows, "all 30 prompts have the same outcome"),
        (rows.splitlines()[0], "met on 1 prompt: too"),
    ):
        (tmp_path / "labels.jsonl").write_text(content + "\n")
        words = ["--strong", "a", "--weak", "b", "--base", str(tmp_path), "-o", str(tmp_path / "out")]
        assert main(["train", kind, str(tmp_path / "labels.jsonl"), *words]) == 1
        assert said in capsys.readouterr().err
