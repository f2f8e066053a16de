"""`train` and `evaluate` with --candidates: figures, an exit status for CI, and errors with the way out."""

import json
import shutil
from pathlib import Path

import pytest

from pointsman.backends.data.table_writer import write_table
from pointsman.backends.data.tables import Table
from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.reference import read_reference
from pointsman.serve import Controller
from pointsman.serve.checkpoints.load import load_router
from pointsman.serve.cli import main

from support.candidates import CANDIDATES, config_of_three, topic_table, train_three

NAMES = ",".join(CANDIDATES)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The table of topics, a row per prompt and model."""
    table, path = topic_table(), tmp_path_factory.mktemp("data") / "outcomes.jsonl"
    cells = [(i, j) for i in range(len(table)) for j in range(3)]
    columns = {
        "prompt": [table.prompts[i] for i, _ in cells],
        "model": [CANDIDATES[j] for _, j in cells],
        "score": [float(table.scores[i, j]) for i, j in cells],
        "cost_usd": [float(table.usd[i, j]) for i, j in cells],
    }
    write_table(Table(columns), path)
    return str(path)


def _rows(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def _run(capsys, *arguments):
    status = main(list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_router_is_trained_and_set_beside_fixed_choices(outcomes, tmp_path, capsys):
    """Training says what it is worth; evaluation gives curve, singles, hull and limits; CI can fail on a figure."""
    folder = str(tmp_path / "three")
    status, out, err = _run(capsys, "train", "linear", outcomes, "--candidates", NAMES, "-o", folder, "--json")
    assert status == 0 and "choosing by prompt gains" in err
    assert json.loads(out)["candidates"] == list(CANDIDATES)
    assert read_checkpoint(folder).candidates == CANDIDATES
    asked = ("evaluate", outcomes, "--routers", folder, "--candidates", NAMES, "--replicates", "20")
    status, out, _ = _run(capsys, *asked, "--json")
    report = json.loads(out)["routers"][folder]
    assert status == 0 and report["gain_over_hull"] > 0.02
    low, high = report["intervals"]["gain_over_hull"]
    assert low <= report["gain_over_hull"] <= high
    assert report["best_single"] == "big" and {each["model"] for each in report["singles"]} == set(CANDIDATES)
    assert report["cheapest_correct"]["quality"] >= max(each["quality"] for each in report["curve"])
    assert report["gain_over_length"] > 0.0 and len(report["prompt_length"]) == len(report["curve"])
    page = tmp_path / "report.html"
    status, out, err = _run(capsys, *asked, "--html", str(page), "--fail-if", "gain_over_hull < 0.9")
    assert "over choosing by the prompt's length" in out
    assert "<svg" in page.read_text() and "single models:" in page.read_text()
    assert status == 1 and "gain_over_hull < 0.9" in err and "over random mixtures" in out
    assert _run(capsys, *asked, "--fail-if", "gain_over_hull < -1")[0] == 0


def test_wrong_candidates_are_named(outcomes, tmp_path, capsys):
    """Unknown and missing candidates and figures are errors that list what there is."""
    folder = str(tmp_path / "x")
    for arguments, message in (
        (("train", "blend", outcomes, "-o", folder), "name the candidates, the reference first"),
        (("train", "knn", outcomes, "--candidates", "big,gpt-9", "-o", folder), "no scores of candidate 'gpt-9'"),
        (("train", "knn", outcomes, "--candidates", NAMES, "--strong", "big", "-o", folder), "leave out --strong"),
        (
            ("train", "knn", outcomes, "-o", folder, "--candidates", *NAMES.split(",")),
            "candidates are separated by commas",
        ),
        (("evaluate", outcomes, "--routers", "mf", "--candidates", NAMES), "of 2 models (strong, weak)"),
    ):
        status, _, err = _run(capsys, *arguments)
        assert status != 0 and message in err
    for wrong in ("apgr < 1", "gain_over_hull"):
        status, _, err = _run(capsys, "evaluate", outcomes, "--candidates", NAMES, "--fail-if", wrong)
        assert status == 2 and "wanted FIGURE < NUMBER" in err


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A checkpoint of the three."""
    return train_three(tmp_path_factory.mktemp("calibrated"))


@pytest.mark.parametrize(
    ("rule", "key", "field"),
    [
        (("--spend-share", "40%"), "strong_share=0.4", None),
        (("--max-cost-usd", "5"), "max_cost_usd=5", "router-three-cost5"),
        (("--max-loss", "0.2", "--confidence", "0.9"), "max_loss=0.2,confidence=0.9", "router-three-loss0.2"),
    ],
)
def test_a_threshold_among_many_is_calibrated_and_served(three, outcomes, tmp_path, capsys, rule, key, field):
    """By spend, dollars or loss: the figures keep what was asked for, and the served router knows the model's name."""
    shutil.copytree(three, tmp_path / "three")
    folder = str(tmp_path / "three")
    asked = ("calibrate", outcomes, "--candidates", NAMES, "--checkpoint", folder, *rule)
    status, out, _ = _run(capsys, *asked, "--json")
    result = json.loads(out)
    stored = read_checkpoint(folder)
    assert status == 0 and stored.thresholds[key]["threshold"] == result["threshold"]
    assert stored.candidates == CANDIDATES and stored.calibration.n_prompts == result["n_prompts"] == 240
    reference = read_reference(stored)  # that live traffic is compared with: these prompts, of these candidates
    assert reference.source.startswith("240 prompts of") and len(reference.win_rates) == 240
    assert sum(result["asked"].values()) == pytest.approx(1.0) and result["quality"] <= 1.0
    kept = {
        "strong_share": result["spend_share"] <= 0.4,
        "max_cost_usd": result.get("cost_usd", 9.0) <= 5.0 < result.get("reference_usd", 0.0),
        "max_loss": result.get("certified") and result["loss"] <= 0.2 and result["threshold"] > 0.0,
    }
    assert kept[result["rule"]]
    status, out, _ = _run(capsys, *asked)
    assert status == 0 and "of the way from the cheapest bill to the reference's" in out and "holds as long as" in out
    if field is not None:
        with Controller(config=config_of_three(folder, "http://127.0.0.1:9/v1")) as controller:
            assert controller.route("Prove it.", model=field).threshold == result["threshold"]


def test_calibrating_for_other_candidates_gives_them_a_reference_of_their_own(three, outcomes, tmp_path, capsys):
    """Live prompts are compared with win rates over the candidates that are served, not over those of training."""
    shutil.copytree(three, tmp_path / "three")
    folder, others = str(tmp_path / "three"), ("middle", "big", "small")
    asked = ("calibrate", outcomes, "--candidates", ",".join(others), "--checkpoint", folder, "--spend-share", "40%")
    assert _run(capsys, *asked)[0] == 0
    stored = read_checkpoint(folder)
    rates = load_router(stored, candidates=others).win_rates([each["prompt"] for each in _rows(outcomes)[::3]])
    kept = read_reference(stored).win_rates
    assert sorted(kept) == pytest.approx(sorted(rates[:, 1:].mean(axis=1)), abs=1e-6)


def test_what_cannot_be_calibrated_is_named(three, outcomes, capsys):
    """A pair, no router, and a budget below the cheapest models are errors with the way out."""
    for arguments, message in (
        (("--candidates", "big,small", "--router", three, "--spend-share", "0.3"), "calibrate a pair with --strong"),
        (("--candidates", NAMES, "--spend-share", "0.3"), "name it with --router or --checkpoint"),
        (("--candidates", NAMES, "--router", three, "--max-cost-usd", "0.0001"), "or add a cheaper candidate"),
    ):
        status, _, err = _run(capsys, "calibrate", outcomes, *arguments)
        assert status != 0 and message in err
