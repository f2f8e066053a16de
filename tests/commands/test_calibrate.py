"""`pointsman calibrate`, as a user runs it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pointsman.backends.evaluation.score_files import read_scored_prompts
from pointsman.core.calibration import calibrate_threshold
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.errors import DataError
from pointsman.core.guarantee import certify_threshold
from pointsman.serve.checkpoints.load import load_checkpoint
from pointsman.serve.cli import main


def write(path, **columns):
    names = list(columns)
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def labelled():
    """Columns of 2,000 scored and labelled prompts."""
    rng = np.random.default_rng(0)
    rates = rng.random(2000)
    weak = (rng.random(2000) < 0.7).astype(float)
    strong = np.maximum(weak, rng.random(2000) < rates**2)
    prompts = [f"prompt {k}" for k in range(2000)]
    return {"prompt": prompts, "win_rate": rates.tolist(), "strong": strong.tolist(), "weak": weak.tolist()}


@pytest.fixture
def scored(labelled, tmp_path):
    return write(tmp_path / "scored.jsonl", **labelled)


def calibrate(capsys, *words):
    assert main(["calibrate", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_share_gives_the_quantile_and_the_share_reached(scored, labelled, capsys):
    """`--strong-share` prints the threshold, what it reaches here, and the ties at it."""
    found = calibrate(capsys, scored, "--strong-share", "0.3")
    assert found["threshold"] == calibrate_threshold(np.array(labelled["win_rate"]), strong_share=0.3)
    assert found["strong_share"] == pytest.approx(0.3, abs=1e-3)
    assert found["tie_mass"] <= 1 / 2000 and found["n_prompts"] == 2000


@pytest.mark.parametrize("rule", [["--strong-share", "0.3"], ["--max-loss", "0.1"]])
def test_every_rule_says_dollars_where_they_can_be_told(scored, capsys, rule):
    """With prices and tokens it says dollars and the saving, as the share gives them; without, nothing of dollars."""
    priced = ["--strong-price", "10", "30", "--weak-price", "1", "3", "--tokens", "100", "100"]
    found = calibrate(capsys, scored, *rule, *priced)
    assert found["always_strong_usd"] == pytest.approx(4.0)
    assert found["cost_usd"] == pytest.approx(4.0 * found["strong_share"] + 0.4 * (1.0 - found["strong_share"]))
    assert main(["calibrate", scored, *rule, *priced]) == 0
    assert f"saves {1.0 - found['cost_usd'] / 4.0:.1%}" in capsys.readouterr().out
    assert "cost_usd" not in calibrate(capsys, scored, *rule)


def test_ties_are_reported(tmp_path, capsys):
    """Where a tie makes the share miss its goal, the mass of the tie says so."""
    path = write(tmp_path / "s.jsonl", win_rate=[0.2] * 5 + [0.6] * 5)
    found = calibrate(capsys, path, "--strong-share", "0.3")
    assert found["strong_share"] == 0.5 and found["tie_mass"] == 0.5


def test_a_budget_is_kept(scored, capsys):
    """`--max-cost-usd` stays within dollars per thousand prompts, from prices and token counts."""
    prices = ["--strong-price", "10", "30", "--weak-price", "0.5", "1.5", "--tokens", "200", "100"]
    found = calibrate(capsys, scored, "--max-cost-usd", "3", *prices)
    assert found["always_strong_usd"] == pytest.approx(5.0) and found["always_weak_usd"] == pytest.approx(0.25)
    assert 2.99 < found["cost_usd"] <= 3.0


def test_token_counts_and_dollars_may_come_from_the_table(tmp_path, capsys):
    """Columns of tokens with prices, or columns of dollars, give the cost of every prompt."""
    rates = [0.1, 0.5, 0.9]
    path = write(tmp_path / "t.jsonl", win_rate=rates, input_tokens=[1000] * 3, output_tokens=[0, 0, 1000])
    prices = ["--strong-price", "1", "1", "--weak-price", "0", "0"]
    found = calibrate(capsys, path, "--max-cost-usd", "1", *prices)
    assert found["threshold"] == 0.5 and found["cost_usd"] == pytest.approx(1.0)
    path = write(tmp_path / "u.jsonl", win_rate=rates, strong_usd=[0.001] * 3, weak_usd=[0.0] * 3)
    assert calibrate(capsys, path, "--max-cost-usd", "0.4")["threshold"] == 0.9


def test_a_guarantee_is_the_certified_threshold(scored, labelled, capsys):
    """`--max-loss` prints what the core certifies, the measured loss, and the assumption."""
    found = calibrate(capsys, scored, "--max-loss", "0.05")
    columns = [np.array(labelled[name]) for name in ("win_rate", "strong", "weak")]
    wanted = certify_threshold(*columns, max_loss=0.05)
    assert found["certified"] and found["threshold"] == wanted.threshold and found["loss"] == wanted.loss < 0.05
    assert "exchangeable" in found["assumption"]


def test_too_few_labels_are_said_plainly(labelled, tmp_path, capsys):
    """With 50 labels nothing but always strong is certified, and the number that is needed is told."""
    path = write(tmp_path / "few.jsonl", **{name: values[:50] for name, values in labelled.items()})
    assert main(["calibrate", path, "--max-loss", "0.01"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("threshold 0\n") and "nothing but always strong" in text and "labels would be needed" in text


def test_a_scale_maps_loss_and_scores(labelled, tmp_path, capsys):
    """Scores from 1 to 10 with a bound nine times as large give the same threshold and nine times the loss."""
    plain = calibrate(capsys, write(tmp_path / "a.jsonl", **labelled), "--max-loss", "0.05")
    wide = {**labelled, **{name: [1 + 9 * score for score in labelled[name]] for name in ("strong", "weak")}}
    found = calibrate(capsys, write(tmp_path / "b.jsonl", **wide), "--max-loss", "0.45", "--scale", "1", "10")
    assert found["threshold"] == plain["threshold"] and found["loss"] == pytest.approx(9 * plain["loss"])


def test_repeated_prompts_are_no_second_observation(labelled, tmp_path, capsys):
    """Every label ten times over is worth no more than once."""
    once = calibrate(capsys, write(tmp_path / "a.jsonl", **labelled), "--max-loss", "0.02")
    path = write(tmp_path / "b.jsonl", **{name: values * 10 for name, values in labelled.items()})
    assert main(["calibrate", path, "--max-loss", "0.02", "--json"]) == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)["threshold"] == once["threshold"]
    assert "18,000 rows repeat a prompt: the first of each counts" in streams.err


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_a_probability_map_comes_with_its_error(scored, method, capsys):
    """ECE before and after, the latter on prompts that the map was not fitted on."""
    found = calibrate(capsys, scored, "--strong-share", "0.5", "--probability", method)["probability"]
    assert found["method"] == method and found["ece_after"] < found["ece_before"]


def test_the_result_goes_into_a_checkpoint(tmp_path, capsys):
    """Threshold, data fingerprint, assumption and quantiles are stored, `inspect` shows them, other files stay."""
    checkpoint, extra = tmp_path / "router", tmp_path / "extra.txt"
    extra.write_text("kept")
    write_checkpoint(
        replace(load_checkpoint("random"), options={"seed": 1}), checkpoint, files={"sub/extra.txt": extra}
    )
    table = write(tmp_path / "p.jsonl", prompt=[f"p{k}" for k in range(50)], strong=[1] * 50, weak=[0, 1] * 25)
    words = [table, "--router", str(checkpoint), "--checkpoint", str(checkpoint)]
    by_share = calibrate(capsys, *words, "--strong-share", "0.4", "--probability", "platt")
    calibrate(capsys, *words, "--max-loss", "0.9")
    stored = read_checkpoint(checkpoint)
    assert set(stored.thresholds) == {"strong_share=0.4", "max_loss=0.9,confidence=0.95"}
    entry = stored.thresholds["strong_share=0.4"]
    assert entry["threshold"] == by_share["threshold"] and entry["data"]["sha256"] == by_share["data"]["sha256"]
    assert "exchangeable" in entry["assumption"]
    assert stored.calibration.n_prompts == 50 and stored.probability_map["map"]["method"] == "platt"
    assert stored.metrics["labelled"]["quality"][0] == 1.0
    assert (checkpoint / "sub/extra.txt").read_text() == "kept"
    assert main(["inspect", str(checkpoint)]) == 0
    assert "strong_share=0.4" in capsys.readouterr().out


def test_a_new_checkpoint_is_made_from_the_router(tmp_path, capsys):
    """`--router NAME --checkpoint NEW` copies the router and leaves its own checkpoint alone."""
    table = write(tmp_path / "p.jsonl", prompt=["a", "b", "c"])
    new = tmp_path / "new"
    calibrate(capsys, table, "--router", "random", "--checkpoint", str(new), "--strong-share", "0.5")
    assert read_checkpoint(new).kind == "random" and read_checkpoint(new).thresholds


def test_a_table_with_a_row_per_model_gives_the_same_threshold(labelled, scored, tmp_path, capsys):
    """`prompt, model, score` is calibrated on as the same scores in two columns are, rows without a score left out."""
    columns = {"prompt": [], "model": [], "score": [], "win_rate": []}
    for model in ("strong", "weak", "other"):
        columns["prompt"] += [*labelled["prompt"], f"only {model}"]
        columns["model"] += [{"strong": "big", "weak": "small"}.get(model, model)] * 2001
        columns["score"] += [*labelled.get(model, [0.0] * 2000), {"strong": 1.0}.get(model)]
        columns["win_rate"] += [*labelled["win_rate"], 0.5]
    long = write(tmp_path / "long.jsonl", **columns)
    assert main(["calibrate", long, "--max-loss", "0.05", "--strong", "big", "--weak", "small", "--json"]) == 0
    streams = capsys.readouterr()
    found, expected = json.loads(streams.out), calibrate(capsys, scored, "--max-loss", "0.05")
    assert {**found, "data": None} == {**expected, "data": None}
    assert "1 prompt left out: not scored for both models" in streams.err


@pytest.mark.parametrize("name", ["mf", "random"])
@pytest.mark.parametrize(
    "words",
    [
        ["calibrate", "t.csv", "--router", "mf", "--strong-share", "0.5", "--checkpoint"],
        ["train", "knn", "t.csv", "--strong", "a", "--weak", "b", "-o"],
        ["train", "bert", "t.csv", "--strong", "a", "--weak", "b", "-o"],
        ["import-routellm", "folder", "-o"],
    ],
)
def test_no_checkpoint_is_written_under_a_bundled_name(words, name, tmp_path, monkeypatch, capsys):
    """`--router mf` always means the bundled router, so a directory of that name would never be read."""
    monkeypatch.chdir(tmp_path)
    assert main([*words, name]) == 2
    assert f"'{name}' always means the bundled router" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_path_may_end_in_a_bundled_name(tmp_path, monkeypatch, capsys):
    """`./mf` is a directory: it is written, and read again where it is named so; `mf` stays the bundled router."""
    monkeypatch.chdir(tmp_path)
    table = write(tmp_path / "p.jsonl", prompt=["a", "bb", "ccc"])
    calibrate(capsys, table, "--router", "mf", "--strong-share", "0.5", "--checkpoint", "./mf")
    assert load_checkpoint("./mf").thresholds and not load_checkpoint("mf").thresholds


@pytest.mark.parametrize("words", [["--strong-price", "-1", "2"], ["--weak-price", "1", "nan"], ["--tokens", "x", "2"]])
def test_prices_and_tokens_are_no_negative_numbers(words, scored, capsys):
    """A price below zero is wrong usage, not a bargain."""
    prices = ["--strong-price", "1", "2", "--weak-price", "1", "2", "--tokens", "1", "2"]
    assert main(["calibrate", scored, "--max-cost-usd", "1", *prices, *words]) == 2
    assert "wanted a number that is not negative" in capsys.readouterr().err


def test_a_run_that_was_cut_short_uses_what_it_had(tmp_path, capsys):
    """Win rates in the journal are not computed again: a random router gives the same threshold twice."""
    words = [write(tmp_path / "p.jsonl", prompt=list("abcdefg")), "--router", "random", "--strong-share", "0.5"]
    words += ["--journal", str(tmp_path / "journal.jsonl")]
    first = calibrate(capsys, *words)
    assert calibrate(capsys, *words) == first


def test_win_rates_of_another_router_are_refused(tmp_path, capsys):
    """A threshold on one router's scale is not written into another's checkpoint."""
    table = write(tmp_path / "s.jsonl", prompt=["a", "b"], win_rate=[0.123, 0.9])
    new = tmp_path / "new"
    words = ["calibrate", table, "--strong-share", "0.5", "--checkpoint", str(new)]
    assert main(words) == 1
    assert "name a router to make it from with --router" in capsys.readouterr().err
    write_checkpoint(load_checkpoint("mf"), new)
    assert main(words) == 1
    assert "are not those of checkpoint" in capsys.readouterr().err
    assert not read_checkpoint(new).thresholds


@pytest.mark.parametrize(
    ("columns", "words", "message"),
    [
        ({"prompt": ["a"]}, ["--strong-share", "0.3"], "no column 'win_rate'; its columns are prompt"),
        ({"win_rate": [0.5]}, ["--max-loss", "0.1"], "no column 'strong'"),
        ({"win_rate": [0.1, 1.5]}, ["--strong-share", "0.3"], "row 2: win_rate is 1.5, wanted a number in [0, 1]"),
        ({"win_rate": [0.1, "x"]}, ["--strong-share", "0.3"], "row 2: win_rate is 'x', wanted a finite number"),
        ({"win_rate": [0.1], "strong": [7], "weak": [1]}, ["--max-loss", "0.1"], "strong holds 7, wanted [0, 1]"),
        ({"win_rate": [0.1], "strong": [1], "weak": [0]}, ["--max-loss", "0"], "max_loss is 0.0"),
        ({"win_rate": [0.1]}, ["--max-cost-usd", "1"], "needs --strong-price IN OUT"),
        (
            {"win_rate": [0.1]},
            ["--max-cost-usd", "1", "--strong-price", "1", "1", "--weak-price", "1", "1"],
            "needs --tokens IN OUT",
        ),
        ({}, ["--strong-share", "0.3"], "holds no rows"),
    ],
)
def test_bad_input_exits_1_and_says_why(columns, words, message, tmp_path, capsys):
    """What went wrong is on stderr, stdout is empty."""
    path = write(tmp_path / "s.jsonl", **columns) if columns else str(tmp_path / "s.jsonl")
    (tmp_path / "s.jsonl").touch()
    assert main(["calibrate", path, *words]) == 1
    streams = capsys.readouterr()
    assert message in streams.err and streams.out == ""


def test_one_rule_is_needed_and_one_only(scored, capsys):
    """No rule, or two, is wrong usage."""
    assert main(["calibrate", scored]) == 2
    assert main(["calibrate", scored, "--strong-share", "0.3", "--max-loss", "0.1"]) == 2
    assert capsys.readouterr().out == ""


def test_scores_are_read_batch_by_batch(tmp_path):
    """Many batches give what one gives, and the rows are counted as they come."""
    path = write(
        tmp_path / "s.jsonl", prompt=[f"p{k}" for k in range(20_000)], win_rate=[k / 20_000 for k in range(20_000)]
    )
    seen = []
    found = read_scored_prompts(path, on_rows=seen.append)
    assert len(seen) == 3 and sum(seen) == 20_000
    assert found.win_rates.tolist() == [k / 20_000 for k in range(20_000)] and found.n_repeated == 0
    assert len(found.sample) == 64
    changed = write(tmp_path / "t.jsonl", prompt=[f"p{k}" for k in range(20_000)], win_rate=[0.5] * 20_000)
    assert read_scored_prompts(changed).fingerprint != found.fingerprint
    with pytest.raises(DataError, match="no column 'strong'"):
        read_scored_prompts(path, labels=("strong", "weak"))


@pytest.mark.parametrize(
    ("share", "hint"), [("1.3", "did you mean 1.3%?"), ("half", "wanted a share such as 30% or 0.3")]
)
def test_a_share_that_is_none_is_wrong_usage(share, hint, capsys):
    """Exit 2, with what was wanted."""
    assert main(["calibrate", "scores.jsonl", "--strong-share", share]) == 2
    assert hint in capsys.readouterr().err
