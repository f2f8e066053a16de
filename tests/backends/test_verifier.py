"""Verifiers: from a table of answers to a checkpoint that reads them, in memory and by the command line."""

import json

import numpy as np
import pytest

from pointsman.backends.data.answers import read_answers
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.training.embeddings import embed_prompts
from pointsman.backends.training.verifier import VerifierRecipe, fit_verifier
from pointsman.core.answer_signals import Answer
from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.errors import CheckpointError, DataError, EmbedderMismatchError
from pointsman.core.metrics import apgr, quality_curve
from pointsman.core.verifier import read_verifier
from pointsman.serve.cli import main

from support.answers import planted


@pytest.fixture(scope="module")
def embed():
    """The bundled embedder."""
    return resolve_embedder("static")


def fitted(path, embed, **recipe):
    """Table and checkpoint of the planted pair."""
    table = read_answers(path, strong="big", weak="small")
    return table, fit_verifier(table, embed_prompts(table.prompts, embed), VerifierRecipe(**recipe))


def test_it_orders_unseen_answers_better_than_the_prompt_does(tmp_path, embed):
    """On prompts that training did not see, reading the answer recovers more of the gap than reading the prompt."""
    _, checkpoint = fitted(planted(tmp_path / "a.jsonl"), embed)
    other = read_answers(planted(tmp_path / "b.jsonl", seed=1), strong="big", weak="small")
    verifier = read_verifier(checkpoint, embed)
    strong, weak = other.score[:, 0], other.score[:, 1]
    read = verifier.win_rates(other.prompts, other.answers[1])
    alone = verifier.prompt_win_rates(other.prompts)
    assert ((read >= 0) & (read <= 1)).all()
    found = [apgr(quality_curve(order, strong, weak)) for order in (read, alone)]
    assert found[0] > found[1] + 0.1
    assert verifier.usd == pytest.approx((0.0001, 0.001))
    assert verifier.seconds == pytest.approx((0.4, 0.9))


def test_its_win_rate_is_about_the_truth(tmp_path, embed):
    """Among unseen answers the mean of 2 w - 1 is the mean benefit of asking on, in all and in each half."""
    _, checkpoint = fitted(planted(tmp_path / "a.jsonl", n=1200), embed)
    other = read_answers(planted(tmp_path / "b.jsonl", n=1200, seed=1), strong="big", weak="small")
    benefit = 2.0 * read_verifier(checkpoint, embed).win_rates(other.prompts, other.answers[1]) - 1.0
    truth = other.score[:, 0] - other.score[:, 1]
    for half in (benefit >= np.median(benefit), benefit < np.median(benefit)):
        assert benefit[half].mean() == pytest.approx(truth[half].mean(), abs=0.06)


def test_an_answer_without_log_probabilities_is_read_without_them(tmp_path, embed):
    """Missing signals choose another head: the win rate is a number, and another one than with the confidence."""
    table, checkpoint = fitted(planted(tmp_path / "a.jsonl"), embed)
    verifier = read_verifier(checkpoint, embed)
    prompt, whole = table.prompts[0], table.answers[1][0]
    answers = [whole, Answer(whole.text, output_tokens=5), Answer(whole.text)]
    rates = verifier.win_rates([prompt] * 3, answers)
    assert np.isfinite(rates).all()
    assert rates[0] != rates[1]
    one_by_one = [verifier.win_rates([prompt], [answer])[0] for answer in answers]
    assert np.allclose(rates, one_by_one)


def test_a_table_without_log_probabilities_gives_a_verifier_without_them(tmp_path, embed):
    """Without them it is trained on the texts, and says that it needs none."""
    _, checkpoint = fitted(planted(tmp_path / "a.jsonl", logprobs=False), embed)
    assert not read_verifier(checkpoint, embed).reads("doubt")


def test_a_checkpoint_reads_as_it_was_fitted(tmp_path, embed, capsys):
    """The command writes what the library fits, and scores it alike; rows of other models get nothing."""
    path = planted(tmp_path / "a.jsonl")
    out = tmp_path / "verifier"
    assert main(["train", "verifier", path, "-o", str(out), "--strong", "big", "--weak", "small", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["metrics"]["left_out"]["all"]["apgr"] > facts["metrics"]["left_out"]["prompt"]["apgr"]
    scored = tmp_path / "scored.jsonl"
    assert main(["score", path, "--verifier", str(out), "-o", str(scored)]) == 0
    rows = [json.loads(line) for line in scored.read_text().splitlines()]
    table, checkpoint = fitted(path, embed)
    wanted = read_verifier(checkpoint, embed).win_rates(table.prompts, table.answers[1])
    found = [row["escalation"] for row in rows if row["model"] == "small"]
    assert np.allclose(found, wanted, atol=1e-3)
    assert all(row["escalation"] is None for row in rows if row["model"] != "small")


def test_calibrate_stores_a_certified_policy(tmp_path, capsys):
    """The cheapest certified point goes into the verifier's checkpoint with its window and its bill."""
    path, out = planted(tmp_path / "a.jsonl"), str(tmp_path / "verifier")
    pair = ["--strong", "big", "--weak", "small"]
    assert main(["train", "verifier", path, "-o", out, *pair]) == 0
    labels = planted(tmp_path / "b.jsonl", n=1000, seed=2)
    capsys.readouterr()
    assert main(["calibrate", labels, "--verifier", out, "--max-loss", "0.1", *pair, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    stored = read_checkpoint(out).thresholds["max_loss=0.1,confidence=0.95"]
    assert stored["threshold"] == result["threshold"] > 0
    assert result["certified"] and result["cost_usd"] < result["always_strong_usd"] and result["loss"] <= 0.1


def test_evaluate_sets_the_cascade_beside_the_routers(tmp_path, capsys):
    """Shares, dollars and seconds of the prompt alone, the cascade, both, and the baselines."""
    path, out = planted(tmp_path / "a.jsonl"), str(tmp_path / "verifier")
    pair = ["--strong", "big", "--weak", "small"]
    assert main(["train", "verifier", path, "-o", out, *pair]) == 0
    other = planted(tmp_path / "b.jsonl", seed=1)
    capsys.readouterr()
    command = ["evaluate", other, *pair, "--verifier", out, "--routers", "random", "--replicates", "20"]
    assert main([*command, "--json"]) == 0
    cascade = json.loads(capsys.readouterr().out)["cascade"]
    rows = {row["name"]: row for row in cascade["rows"]}
    assert {"prompt only", "cascade", "both looks", "confidence alone", "length of the answer", "random"} <= set(rows)
    assert rows["cascade"]["apgr"] > rows["prompt only"]["apgr"]
    assert rows["cascade"]["usd"]["0.95"] < cascade["strong_usd"]
    assert rows["both looks"]["seconds"]["0.95"] > 0
    assert main(command) == 0
    assert "cascade on 400 prompts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"answer": None}, "no column 'answer'"),
        ({"confidence": 0.5}, "row 1: confidence is 0.5, wanted a log-probability"),
        ({"logprobs": "[1, 2]"}, "row 1: logprobs is .* wanted a list of log-probabilities"),
        ({"score": 3.0}, "wanted \\[0, 1\\]: scale the scores"),
    ],
)
def test_a_table_that_cannot_teach_is_refused(tmp_path, change, problem):
    """Missing answers and malformed values are errors that name the row."""
    path = tmp_path / "a.jsonl"
    planted(path, n=60)
    rows = [json.loads(line) | change for line in path.read_text().splitlines()]
    rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=problem):
        read_answers(str(path), strong="big", weak="small")


def test_too_little_and_nothing_to_learn_are_refused(tmp_path, embed):
    """Few prompts, unknown models, and models that never differ are errors."""
    with pytest.raises(DataError, match="40 prompts with answers, wanted at least 50"):
        fitted(planted(tmp_path / "a.jsonl", n=40), embed)
    with pytest.raises(DataError, match="no model 'huge'; its models are big, other, small"):
        read_answers(planted(tmp_path / "b.jsonl", n=60), strong="huge", weak="small")
    with pytest.raises(ValueError, match="wanted k >= 1"):
        VerifierRecipe(k=0)


def test_a_verifier_is_no_router_and_a_router_is_no_verifier(tmp_path, embed, capsys):
    """Each says what it is; a verifier of another pair and another embedder are refused."""
    path, out = planted(tmp_path / "a.jsonl"), str(tmp_path / "verifier")
    assert main(["train", "verifier", path, "-o", out, "--strong", "big", "--weak", "small"]) == 0
    assert main(["calibrate", path, "--router", out, "--strong-share", "0.3"]) == 1
    assert "is a verifier" in capsys.readouterr().err
    command = ["calibrate", path, "--verifier", out, "--max-loss", "0.1", "--strong", "other", "--weak", "small"]
    assert main(command) == 1
    assert "is a verifier of 'big' and 'small'" in capsys.readouterr().err
    checkpoint = read_checkpoint(out)
    with pytest.raises(EmbedderMismatchError):
        read_verifier(checkpoint, None)
    from pointsman.serve.checkpoints.load import load_checkpoint

    with pytest.raises(CheckpointError, match="is a router of kind 'mf'"):
        read_verifier(load_checkpoint("mf"), embed)
