"""`pointsman export-battles`: from what was said of answers to a trained router."""

import asyncio
import json

import pytest

from pointsman.backends.data.answers import read_answers
from pointsman.backends.data.battle_files import read_battles
from pointsman.backends.data.outcomes import read_outcomes
from pointsman.backends.embedders import resolve_embedder
from pointsman.core.answer_signals import known_signals
from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.verifier import read_verifier
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.cli import main
from pointsman.serve.config import StoreConfig
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow
from pointsman.serve.store.store import Store

from support.answers import planted

NOW = 1_800_000_000.0


class Log:
    """Rows of a store, made one after another."""

    def __init__(self, folder):
        self.url, self._rows, self._at = f"sqlite:///{folder / 'store.db'}", [], NOW
        self._asked = {}

    def ask(self, request_id, prompt, model="small", **kept):
        asked = {"request_id": request_id, "path": "/v1/chat/completions", "prompt": prompt, "model": model, **kept}
        row = self._add(DecisionRow, **asked)
        self._asked[request_id] = row.id

    def forget(self, request_id):
        """A request whose answer is not among the decisions."""
        self._asked[request_id] = None

    def say(self, request_id, kind, value, key_id=None):
        about = {"request_id": request_id, "decision_id": self._asked[request_id]}
        self._add(FeedbackRow, **about, kind=kind, value=value, key_id=key_id)

    def compare(self, request_id, outcome, model_a="small", model_b="big", **kept):
        about = {"request_id": request_id, "decision_id": self._asked[request_id]}
        self._add(ComparisonRow, **about, model_a=model_a, model_b=model_b, outcome=outcome, judge="judge", **kept)

    def _add(self, row, /, **values):
        self._at += 1.0
        self._rows.append(row(id=new_row_id(self._at), at=self._at, **values))
        return self._rows[-1]

    def write(self):
        async def write():
            async with Store(StoreConfig(url=self.url)) as store:
                await store.add(self._rows)

        asyncio.run(write())


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path)


def export(log, path, *arguments):
    log.write()
    return main(
        ["export-battles", "--store", log.url, "-o", str(path), "--strong", "big", "--weak", "small", *arguments]
    )


def test_comparisons_and_preferences_become_battles(log, tmp_path, capsys):
    """With winner and judge; the last word of a user counts, once."""
    log.ask("r1", "Why?")
    log.compare("r1", 0.0)
    log.ask("r2", "How?", model="big")
    log.say("r2", "preference", 1.0)
    log.say("r2", "preference", 0.5)
    log.say("r2", "preference", 0.0, key_id="k")
    log.say("r2", "rating", 0.9)
    assert export(log, tmp_path / "battles.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_battles"] == 3
    rows = [json.loads(line) for line in (tmp_path / "battles.jsonl").read_text().splitlines()]
    found = [(row["prompt"], row["model_a"], row["model_b"], row["winner"], row["judge"]) for row in rows]
    assert found == [
        ("Why?", "small", "big", "model_b", "judge"),
        ("How?", "big", "small", "tie", "user"),
        ("How?", "big", "small", "model_b", "user"),
    ]
    assert len(read_battles(tmp_path / "battles.jsonl")) == 2


def test_requests_of_one_id_are_told_apart(log, tmp_path):
    """Clients choose request ids: what is said of one answer never counts for another one's prompt."""
    log.ask("same", "Why?")
    log.compare("same", 0.0)
    log.say("same", "preference", 1.0, key_id="k1")
    log.ask("same", "How?", model="big")
    log.compare("same", 1.0, "big", "small")
    log.say("same", "preference", 0.0, key_id="k1")
    assert export(log, tmp_path / "battles.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "battles.jsonl").read_text().splitlines()]
    found = [(row["prompt"], row["model_a"], row["winner"], row["judge"]) for row in rows]
    assert found == [
        ("Why?", "small", "model_b", "judge"),
        ("How?", "big", "model_a", "judge"),
        ("Why?", "big", "model_a", "user"),
        ("How?", "big", "model_b", "user"),
    ]


def test_outcomes_hold_the_ratings_too(log, tmp_path):
    """Either model gets its share of the win; ratings count for prompts without a battle."""
    for i, prompt in enumerate(("Why?", "How?", "Where?")):
        log.ask(f"r{i}", prompt)
    log.compare("r0", 0.5)
    log.say("r0", "rating", 0.1)
    log.say("r1", "rating", 0.7)
    log.say("r1", "rating", 0.8)
    assert export(log, tmp_path / "outcomes.csv", "--as", "outcomes") == 0
    found = read_outcomes(tmp_path / "outcomes.csv")
    names = [(found.prompts[p], found.models[m]) for p, m in zip(found.prompt, found.model, strict=True)]
    assert dict(zip(names, found.score, strict=True)) == {
        ("Why?", "small"): 0.5,
        ("Why?", "big"): 0.5,
        ("How?", "small"): 0.8,
    }


def test_what_cannot_be_exported_is_counted(log, tmp_path, capsys):
    """Prompts that were not kept, preferences between models that nobody named."""
    log.ask("r1", None)
    log.compare("r1", 1.0)
    log.ask("r2", "Why?")
    log.say("r2", "preference", 1.0)
    log.write()
    assert main(["export-battles", "--store", log.url, "-o", str(tmp_path / "b.csv")]) == 1
    said = capsys.readouterr().err
    assert "1 were left out" in said
    assert "1 preferences were left out" in said
    assert "store.prompts: text" in said
    assert not (tmp_path / "b.csv").exists()


def test_words_on_answers_that_are_not_known_are_counted_one_by_one(log, tmp_path, capsys):
    """Each is left out for itself, not all of them as one."""
    log.ask("a", "First?")
    log.say("a", "preference", 1.0)
    for gone in ("b", "c", "d"):
        log.forget(gone)
        log.say(gone, "preference", 1.0)
    assert export(log, tmp_path / "battles.jsonl") == 0
    assert "3 were left out" in capsys.readouterr().err


def test_an_empty_store_is_told(log, tmp_path, capsys):
    """Nothing to export is no success."""
    assert export(log, tmp_path / "b.csv") == 1
    assert "neither feedback nor comparisons" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "form"), [("knn", "outcomes"), ("sw-ranking", "battles")])
def test_a_router_can_be_trained_on_it(log, tmp_path, capsys, kind, form):
    """From comparisons in the store to a router that knows which prompts need the strong model."""
    for i in range(120):
        hard = i % 2 == 0
        log.ask(f"r{i}", f"prove theorem number {i} about rings" if hard else f"name {i} kinds of cheese")
        log.compare(f"r{i}", 0.0 if hard else 1.0)
    path, out = tmp_path / "said.jsonl", tmp_path / "router"
    assert export(log, path, "--as", form) == 0
    assert main(["train", kind, str(path), "-o", str(out), "--strong", "big", "--weak", "small"]) == 0
    capsys.readouterr()
    router = load_router(load_checkpoint(str(out)))
    hard, easy = router.win_rates(["prove theorem number 7 about rings", "name 7 kinds of cheese"])
    assert hard > easy + 0.05


@pytest.mark.parametrize("text", [True, False])
def test_a_verifier_is_trained_from_the_store(log, tmp_path, capsys, text):
    """From kept answers, or, where neither prompts nor answers were kept as text, from signals and embeddings."""
    table = read_answers(planted(tmp_path / "planted.jsonl", n=60, models=("big", "small")), strong="big", weak="small")
    embeddings = resolve_embedder("static")(table.prompts)
    for i, prompt in enumerate(table.prompts):
        kept = {} if text else {"prompt_hash": f"{i:x}", "embedding": embeddings[i].astype("<f4").tobytes()}
        log.ask(f"r{i}", prompt if text else None, **kept)
        strong, weak = table.answers[0][i], table.answers[1][i]
        log.compare(
            f"r{i}",
            0.5 + (table.score[i, 1] - table.score[i, 0]) / 2.0,
            signals_a=known_signals(prompt, weak),
            signals_b=known_signals(prompt, strong),
            answer_a=weak.text if text else None,
            answer_b=strong.text if text else None,
        )
    path, out = tmp_path / "answers.jsonl", str(tmp_path / "v")
    assert export(log, path, "--as", "answers") == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 120 and all((row["answer"] is not None) == text for row in rows)
    assert rows[0]["prompt"] == (table.prompts[0] if text else "hash:0")
    assert main(["train", "verifier", str(path), "-o", out, "--strong", "big", "--weak", "small"]) == 0
    verifier = read_verifier(read_checkpoint(out), resolve_embedder("static"))
    rates, right = verifier.win_rates(table.prompts, table.answers[1]), table.score[:, 1] == 1.0
    assert rates[~right].mean() > rates[right].mean() + 0.03
    assert verifier.reads("doubt")
    capsys.readouterr()
    if not text:
        command = ["train", "verifier", str(path), "-o", out, "--strong", "big", "--weak", "small"]
        assert main([*command, "--embedder", "static+length"]) == 1
        assert "name the embedder of the router that served" in capsys.readouterr().err


def test_a_store_without_kept_answers_says_how_they_are_kept(log, tmp_path, capsys):
    """Comparisons of older versions hold no answers."""
    log.ask("r1", "Why?")
    log.compare("r1", 0.0)
    assert export(log, tmp_path / "answers.jsonl", "--as", "answers") == 1
    assert "the store keeps answers only of comparisons" in capsys.readouterr().err
