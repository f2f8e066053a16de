"""`pointsman rules test`: rules against labelled prompts."""

import json

import pytest

from pointsman.serve.cli import main

CONFIG = """
rules:
  - name: translate
    similar_to: [translate this letter into German, how do you say water in French, put this sentence into Spanish]
    then: {threshold: 0.9}
  - name: cooking
    similar_to: [give me a recipe for lentil soup, how long do I boil an egg, which spices go well with pumpkin]
    then: {threshold: 0.9}
  - name: tickets
    api: chat
    tokens: {at_least: 100000}
    then: {threshold: 0.1}
"""
LABELLED = """prompt,rule
translate my message into French,translate
what is water in Italian,translate
a recipe for pumpkin soup,cooking
prove that the square root of two is irrational,
name three rivers in Asia,none
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "labelled.csv").write_text(LABELLED)
    (tmp_path / "plain.csv").write_text("prompt\na recipe for pumpkin soup\n")
    return tmp_path


def outcome(files, capsys, *arguments):
    """Status and output of the command."""
    name, *more = arguments
    status = main(["rules", "test", str(files / name), "--config", str(files / "config.yaml"), *more])
    return status, capsys.readouterr()


def test_labelled_prompts_give_accuracy_and_thresholds(files, capsys):
    """Each rule is counted as met, right and wrong, with its threshold and the one that fits the labels best."""
    status, out = outcome(files, capsys, "labelled.csv", "--json")
    found = json.loads(out.out)
    rows = {row["rule"]: row for row in found["rules"]}
    assert status == 0 and found["n_prompts"] == 5 and 0.6 <= found["accuracy"] <= 1.0
    assert rows["translate"]["labelled"] == 2 and rows["cooking"]["right"] == 1 and rows["cooking"]["wrong"] == 0
    assert -1.0 < rows["translate"]["calibrated"] < 1.0 and rows["translate"]["similarity"] < 1.0
    assert rows["tickets"] == {"rule": "tickets", "met": 0, "labelled": 0, "right": 0, "wrong": 0}
    _, table = outcome(files, capsys, "labelled.csv")
    assert "calibrated" in table.out.splitlines()[0] and "are right" in table.out.splitlines()[-1]


def test_prompts_without_labels_are_matched(files, capsys):
    """Without a column of rules it tells which are met, and no accuracy."""
    status, out = outcome(files, capsys, "plain.csv", "--json")
    found = json.loads(out.out)
    assert (status, found["n_met"], "accuracy" in found) == (0, 1, False)


def test_a_lowest_accuracy_fails_the_run(files, capsys):
    """--min-accuracy exits 1 where less is right, or where nothing says what is right."""
    assert outcome(files, capsys, "labelled.csv", "--min-accuracy", "0.2")[0] == 0
    assert outcome(files, capsys, "plain.csv", "--min-accuracy", "0.2")[0] == 1


def test_what_is_wrong_is_said(files, capsys):
    """Unknown rules in the file, a configuration without rules and an unknown router end with the way out."""
    (files / "labelled.csv").write_text("prompt,rule\nhello,cookery\n")
    assert "wanted names of rules (translate, cooking, tickets)" in outcome(files, capsys, "labelled.csv")[1].err
    assert "wanted one of mf" in outcome(files, capsys, "plain.csv", "--router", "x")[1].err
    (files / "config.yaml").write_text("weak: a\nstrong: b\n")
    assert "has no rules: add some under `rules`" in outcome(files, capsys, "plain.csv")[1].err
