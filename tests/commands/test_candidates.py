"""`train` and `evaluate` with --candidates: figures, an exit status for CI, and errors with the way out."""

import json

import pytest

from pointsman.backends.data.table_writer import write_table
from pointsman.backends.data.tables import Table
from pointsman.core.checkpoint import read_checkpoint
from pointsman.serve.cli import main

from support.candidates import CANDIDATES, topic_table

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
    status, out, err = _run(capsys, *asked, "--fail-if", "gain_over_hull < 0.9")
    assert status == 1 and "gain_over_hull < 0.9" in err and "over random mixtures" in out
    assert _run(capsys, *asked, "--fail-if", "gain_over_hull < -1")[0] == 0


def test_wrong_candidates_are_named(outcomes, tmp_path, capsys):
    """Unknown and missing candidates and figures are errors that list what there is."""
    folder = str(tmp_path / "x")
    for arguments, message in (
        (("train", "blend", outcomes, "-o", folder), "name the candidates, the reference first"),
        (("train", "knn", outcomes, "--candidates", "big,gpt-9", "-o", folder), "no scores of candidate 'gpt-9'"),
        (("evaluate", outcomes, "--routers", "mf", "--candidates", NAMES), "does not know model 'big'"),
    ):
        status, _, err = _run(capsys, *arguments)
        assert status != 0 and message in err
    for wrong in ("apgr < 1", "gain_over_hull"):
        status, _, err = _run(capsys, "evaluate", outcomes, "--candidates", NAMES, "--fail-if", wrong)
        assert status == 2 and "wanted FIGURE < NUMBER" in err
