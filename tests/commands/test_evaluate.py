"""`pointsman evaluate`, as a user runs it."""

import json

import numpy as np
import pytest

from pointsman.serve.cli import main


@pytest.fixture
def outcomes(tmp_path):
    """A table with win rates of its own."""
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"{k} " + "y" * int(rng.integers(300)), "strong": 1, "weak": int(rng.random() < 0.6),
         "mine": round(float(rng.random()), 3), "domain": "ab"[k % 2]}
        for k in range(120)
    ]  # fmt: skip
    path = tmp_path / "outcomes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_result_alone_is_on_stdout(outcomes, capsys):
    """The text names every router and baseline, and both models."""
    words = ["evaluate", str(outcomes), "--routers", "column:mine", "random", "--replicates", "40", "--deciles"]
    assert main(words) == 0
    streams = capsys.readouterr()
    for name in (
        "mine",
        "random",
        "prompt length",
        "random order",
        "oracle",
        "always strong",
        "always weak",
        "11 points",
    ):
        assert name in streams.out
    assert streams.err == ""


def test_dollars_and_what_they_save_come_from_prices(outcomes, tmp_path, monkeypatch, capsys):
    """Prices of the command line or of pointsman.yaml give dollars at shares, which are the mixture of both bills."""
    words = ["evaluate", str(outcomes), "--routers", "column:mine", "--replicates", "20"]
    prices = ["--strong-price", "0", "10", "--weak-price", "0", "1", "--output-tokens", "1000"]
    assert main([*words, *prices]) == 0
    said = capsys.readouterr().out
    assert "strong, $10.00 per thousand prompts" in said and "weak, $1.00 per thousand prompts" in said
    row = next(line for line in said.split("$ per 1,000 (saved)")[1].splitlines() if line.startswith("mine"))
    assert row.split()[1:7] == ["$2.80", "(72%)", "$3.70", "(63%)", "$5.50", "(45%)"]
    monkeypatch.chdir(tmp_path)
    models = "".join(
        f"  {name}: {{price: {{input_usd_per_million: 0, output_usd_per_million: {usd}}}}}\n"
        for name, usd in (("big", 10), ("small", 1))
    )
    (tmp_path / "pointsman.yaml").write_text(f"strong: big\nweak: small\nmodels:\n{models}")
    assert main([*words, "--output-tokens", "1000"]) == 0
    assert capsys.readouterr().out == said


def test_json_holds_every_figure(outcomes, tmp_path, capsys):
    """One JSON object with intervals, curves and groups; figure and page are written beside it."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    figure, page = tmp_path / "f.svg", tmp_path / "r.html"
    words = [
        "evaluate",
        str(outcomes),
        "--routers",
        "column:mine",
        "--replicates",
        "40",
        "--json",
        "--cost-usd",
        "5",
        "1",
    ]
    assert main([*words, "--figure", str(figure), "--html", str(page), "--holdout"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in found["rows"]]
    assert names == ["mine", "neighbours, other prompts", "neighbours, other groups", "prompt length", "oracle"]
    assert found["rows"][0]["apgr"]["low"] < found["rows"][0]["apgr"]["value"] < found["rows"][0]["apgr"]["high"]
    assert found["strong_usd"] == pytest.approx(5.0) and found["n_groups"] == 2
    assert "<svg" in figure.read_text() and "<svg" in page.read_text()


def test_routers_of_one_name_are_told_apart(outcomes, capsys):
    """The same router twice gives two rows."""
    assert main(["evaluate", str(outcomes), "--routers", "random", "random", "--replicates", "5", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["rows"]][:2] == ["random", "random 2"]


def test_a_journal_makes_a_second_run_the_same(outcomes, tmp_path, capsys):
    """A random router gives other win rates every time; from the journal it gives the same."""
    words = ["evaluate", str(outcomes), "--routers", "random", "--replicates", "5", "--json"]
    words += ["--journal", str(tmp_path / "j.jsonl")]
    assert main(words) == main(words) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_a_router_that_learnt_from_the_very_file_is_pointed_out(tmp_path, monkeypatch, capsys):
    """Figures on prompts that a router was trained on come with a note, in calibration too; others without."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{'prove' if k % 2 else 'name'} {k}", "strong": 1, "weak": k % 2} for k in range(60)]
    for name in ("mine.jsonl", "other.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["train", "knn", "mine.jsonl", "-o", "knn", "--strong", "strong", "--weak", "weak", "-k", "5"]) == 0
    found = {}
    for table in ("mine.jsonl", "other.jsonl"):
        capsys.readouterr()
        assert main(["evaluate", str(tmp_path / table), "--routers", "knn", "--replicates", "10"]) == 0
        found[table] = capsys.readouterr().out
        assert main(["calibrate", table, "--router", "knn", "--max-loss", "0.5"]) == 0
        found[table] += capsys.readouterr().err
    assert found["mine.jsonl"].count("knn was trained on a file of this name") == 2
    assert "was trained on" not in found["other.jsonl"]


@pytest.mark.parametrize("place", ["--figure", "--html"])
def test_a_report_that_cannot_be_written_is_refused_before_prompts_are_scored(place, outcomes, monkeypatch, capsys):
    """A directory or a package that is not there is said at once, not after an hour of scoring."""
    monkeypatch.setattr("pointsman.serve.commands.evaluate.load_router", None)
    assert main(["evaluate", str(outcomes), "--routers", "random", place, "nowhere/r.svg"]) == 1
    assert "there is no directory nowhere" in capsys.readouterr().err
    monkeypatch.setattr("pointsman.serve.commands.evaluate.find_spec", lambda name: None)
    assert main(["evaluate", str(outcomes), "--routers", "random", place, "r.svg"]) == 1
    assert 'pip install "pointsman[plot]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--routers", "column:yours"], "no column 'yours'; its columns are prompt, strong, weak"),
        (["--routers", "nope"], "'nope' is neither a checkpoint directory nor a known kind"),
        (["--routers", "random", "--strong", "gpt"], "no column 'gpt'"),
        (["--routers", "random", "--group", "topic"], "no column 'topic'"),
        (["--routers", "random", "--share", "2"], "--share is 2.0, wanted numbers in [0, 1]"),
        (["--routers", "random", "--figure", "f.bmp"], "--figure is f.bmp, wanted a file ending in"),
        (["--routers", "random", "--replicates", "0"], "--replicates is 0"),
        (["--routers", "random", "--scale", "1", "0"], "wanted a lower and a higher number"),
        (["--routers", "random", "--cost-usd", "-1", "0"], "dollars that are not negative"),
        (["--routers", "column:mine", "--benchmark", "mmlu"], "needs a table of outcomes, not --benchmark"),
    ],
)
def test_a_failed_run_exits_1_and_says_why(words, message, outcomes, capsys):
    """What went wrong is on stderr; stdout is empty."""
    assert main(["evaluate", str(outcomes), *words]) == 1
    streams = capsys.readouterr()
    assert message in streams.err and streams.out == ""


def test_wrong_usage_exits_2(outcomes, capsys):
    """An unknown benchmark or option is wrong usage."""
    assert main(["evaluate", str(outcomes), "--benchmark", "arc"]) == 2
    assert main(["evaluate"]) == 2
    assert capsys.readouterr().out == ""
