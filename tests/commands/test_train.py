"""`pointsman train`: from a user's own files to a router, and every way to get it wrong."""

import json

import numpy as np
import pytest

from pointsman.backends.data.table_writer import write_table
from pointsman.backends.data.tables import Table, read_table
from pointsman.core.checkpoint import read_checkpoint
from pointsman.serve import cli
from pointsman.serve.checkpoints.load import load_checkpoint, load_router

TOPICS = {"sum": "add the numbers {} and {}", "poem": "write a short poem about {} and {}"}


@pytest.fixture
def outcomes(tmp_path):
    """Outcomes of three models: big is always right, small on poems only, odd on sums only."""
    rows = {"prompt": [], "model": [], "score": []}
    for i in range(60):
        for topic, text in TOPICS.items():
            for model in ("big", "small", "odd"):
                rows["prompt"].append(text.format(i, i + 1))
                rows["model"].append(model)
                rows["score"].append(float(model == "big" or (topic == "poem") == (model == "small")))
    write_table(Table(rows), tmp_path / "outcomes.csv")
    return tmp_path / "outcomes.csv"


@pytest.fixture
def battles(tmp_path):
    """Battles of the same three models."""
    rows = {"prompt": [], "model_a": [], "model_b": [], "winner": []}
    for i in range(60):
        for topic, text in TOPICS.items():
            loser = "odd" if topic == "poem" else "small"
            rows["prompt"] += [text.format(i, i + 1)] * 2
            rows["model_a"] += ["big", "small"]
            rows["model_b"] += ["odd" if i % 2 else "small", "odd"]
            first = "model_a" if rows["model_b"][-2] == loser else "tie"
            rows["winner"] += [first, "model_b" if topic == "sum" else "model_a"]
    write_table(Table(rows), tmp_path / "battles.jsonl")
    return tmp_path / "battles.jsonl"


def _routes_sums_to_strong(path):
    router = load_router(load_checkpoint(str(path)))
    sums, poems = (router.win_rates([text.format(n, n + 3) for n in (7, 70, 33)]) for text in TOPICS.values())
    return sums.min() > poems.max()


def test_matrix_factorisation_from_outcomes(outcomes, tmp_path, capsys):
    """An outcome table trains a router that sends to the strong model what the weak one cannot do."""
    pytest.importorskip("flax")
    words = ["train", "mf", str(outcomes), "-o", str(tmp_path / "out"), "--strong", "big", "--weak", "small"]
    assert cli.main([*words, "--ties", "half", "--epochs", "60", "--batch-size", "64", "--dim", "8", "--json"]) == 0
    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    assert facts["pair"] == {"strong": "big", "weak": "small"}
    assert "epoch 1: loss" in printed.err
    assert "360 rows" in printed.err
    assert _routes_sums_to_strong(tmp_path / "out")
    checkpoint = read_checkpoint(tmp_path / "out")
    assert checkpoint.provenance["recipe"]["ties"] == "half"
    assert checkpoint.calibration.n_prompts == 120


def test_groups_of_models_make_a_pair(outcomes, tmp_path):
    """Several models on a side become one that stands for them."""
    pytest.importorskip("flax")
    words = ["train", "mf", str(outcomes), "-o", str(tmp_path / "out"), "--strong", "big", "--weak", "small", "odd"]
    assert cli.main([*words, "--ties", "half", "--epochs", "2", "--dim", "8"]) == 0
    checkpoint = read_checkpoint(tmp_path / "out")
    assert (checkpoint.pair.strong, checkpoint.pair.weak) == ("big", "weak")
    assert set(checkpoint.models) == {"big", "small", "odd", "weak"}


def test_nearest_neighbours_from_outcomes(outcomes, tmp_path, capsys):
    """The same table trains a nearest-neighbour router."""
    words = ["train", "knn", str(outcomes), "-o", str(tmp_path / "out"), "--strong", "big", "--weak", "small"]
    assert cli.main([*words, "-k", "10"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert _routes_sums_to_strong(tmp_path / "out")


def test_similarity_weighted_ranking_from_battles(battles, tmp_path, capsys):
    """Battles train a ranking, reduced or not, and say what was left out."""
    words = ["train", "sw-ranking", str(battles), "-o", str(tmp_path / "out"), "--strong", "big", "--weak", "small"]
    assert cli.main([*words, "--tiers", "3", "--reduce", "32"]) == 0
    assert "240 rows" in capsys.readouterr().err
    assert _routes_sums_to_strong(tmp_path / "out")
    assert read_checkpoint(tmp_path / "out").arrays["reduction"].shape == (256, 32)


def test_without_a_pair_the_models_are_listed_by_rating(battles, tmp_path, capsys):
    """Not naming the pair is an error that shows what there is to choose from."""
    assert cli.main(["train", "mf", str(battles), "-o", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert message.index("big") < message.index("odd")
    assert "name the strong and the weak model" in message


def test_embeddings_made_before_are_used(outcomes, tmp_path, capsys):
    """Embeddings of the same table give the same router as embedding now."""
    stored, made = tmp_path / "stored", tmp_path / "made"
    assert cli.main(["embed", str(outcomes), "-o", str(tmp_path / "e.npy")]) == 0
    words = ["train", "knn", str(outcomes), "--strong", "big", "--weak", "small"]
    assert cli.main([*words, "-o", str(stored), "--embeddings", str(tmp_path / "e.npy")]) == 0
    assert cli.main([*words, "-o", str(made)]) == 0
    first, second = (read_checkpoint(path) for path in (stored, made))
    assert (first.arrays["embeddings"] == second.arrays["embeddings"]).all()
    assert first.embedder == second.embedder
    capsys.readouterr()


def test_listed_prompts_can_be_embedded_elsewhere(tmp_path, capsys):
    """For conversations the prompts to embed are listed first; their embeddings then serve the training."""
    pytest.importorskip("flax")
    n = 40
    arena = {
        "prompt": [json.dumps([TOPICS["sum"].format(i % 20, 1), "and then?"]) for i in range(n)],
        "model_a": ["big"] * n,
        "model_b": ["small"] * n,
        "winner_model_a": [int(i % 4 > 0) for i in range(n)],
        "winner_model_b": [int(i % 4 == 0) for i in range(n)],
        "winner_tie": [0] * n,
    }
    source, prompts = tmp_path / "arena.csv", tmp_path / "prompts.parquet"
    write_table(Table(arena), source)
    words = ["train", "mf", str(source), "-o", str(tmp_path / "out"), "--strong", "big", "--weak", "small"]
    assert cli.main([*words, "--list-prompts", str(prompts)]) == 0
    assert not (tmp_path / "out").exists()
    assert read_table(prompts).texts("prompt")[0] == TOPICS["sum"].format(0, 1)
    assert cli.main(["embed", str(prompts), "-o", str(tmp_path / "e.npy")]) == 0
    given = ["--embeddings", str(tmp_path / "e.npy"), "--embedded", str(prompts), "--epochs", "1", "--dim", "4"]
    assert cli.main([*words, *given]) == 0
    assert cli.main([*words, *given[:2]]) == 1
    assert "20 embeddings for 40 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: np.save(folder / "e.npy", np.zeros((3, 256), np.float32)), "shape"),
        (lambda folder: (folder / "e.json").unlink(), "is not a record of embeddings"),
        (
            lambda folder: (folder / "outcomes.csv").write_text("prompt,model,score\nx,big,1\n"),
            "360 embeddings for 1 row",
        ),
        (
            lambda folder: (folder / "outcomes.csv").write_text(
                (folder / "outcomes.csv").read_text().replace("poem", "song")
            ),
            "made from other prompts",
        ),
    ],
)
def test_embeddings_that_do_not_belong_are_refused(outcomes, tmp_path, capsys, spoil, message):
    """Embeddings of other prompts, another number, or without their record are refused; nothing is written."""
    assert cli.main(["embed", str(outcomes), "-o", str(tmp_path / "e.npy")]) == 0
    spoil(tmp_path)
    words = ["train", "knn", str(outcomes), "--strong", "big", "--weak", "small", "-o", str(tmp_path / "out")]
    assert cli.main([*words, "--embeddings", str(tmp_path / "e.npy")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mf", "BATTLES", "--strong", "big", "--weak", "gpt-9"], "'gpt-9' fought no battle"),
        (["mf", "BATTLES", "--strong", "big", "--weak", "small", "--lr", "0"], "lr is 0.0"),
        (["mf", "BATTLES", "--strong", "big", "--weak", "small", "--devices", "99"], "n_devices is 99"),
        (["mf", "NONE", "--strong", "big", "--weak", "small"], "does not exist"),
        (["knn", "BATTLES", "--strong", "big", "--weak", "small"], "battles are for `train mf` and `train sw-ranking`"),
        (
            ["sw-ranking", "BATTLES", "--strong", "big", "odd", "--weak", "small"],
            "groups the models into tiers itself",
        ),
        (["sw-ranking", "BATTLES", "--strong", "big", "--weak", "small", "--reduce", "999"], "wanted at most 256"),
    ],
)
def test_a_wrong_request_says_what_was_wanted(battles, tmp_path, capsys, words, message):
    """Unknown models, settings out of range and unsuitable data end with exit status 1 and the reason."""
    pytest.importorskip("flax")
    names = {"BATTLES": str(battles), "NONE": str(tmp_path / "none.csv")}
    assert cli.main(["train", *(names.get(word, word) for word in words), "-o", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_kind_is_wrong_usage(capsys):
    """A kind that cannot be trained ends with exit status 2 and the list of kinds."""
    assert cli.main(["train", "magic"]) == 2
    assert "sw-ranking" in capsys.readouterr().err


def test_without_jax_the_way_to_get_it_is_said(monkeypatch, capsys):
    """Matrix factorisation without its extra ends at once with the command that installs it."""
    monkeypatch.setattr("pointsman.serve.commands.training.mf.find_spec", lambda name: None)
    assert cli.main(["train", "mf", "outcomes.csv", "-o", "my-mf"]) == 1
    assert 'pip install "pointsman[jax]"' in capsys.readouterr().err
