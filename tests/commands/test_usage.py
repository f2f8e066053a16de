"""`pointsman usage`: what a store says was spent and saved."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pointsman.core.prices import Price
from pointsman.serve.cli import main
from pointsman.serve.config import StoreConfig
from pointsman.serve.money.savings import SavingsTally
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, SpendRow
from pointsman.serve.store.store import Store

START = datetime(2026, 3, 1, 22, 30, tzinfo=UTC).timestamp()
BIG, SMALL = (10.0, 30.0), (0.15, 0.6)


def cost(price, read, written):
    return (price[0] * read + price[1] * written) / 1e6


def answered(i, *, strong, read, written, **values):
    model = "big" if strong else "small"
    at = START + 60 * i
    return DecisionRow(
        id=new_row_id(at), request_id=f"r{i}", at=at, path="/v1/chat/completions", model=model, decided=model,
        router="mf", threshold=0.5, input_tokens=read, output_tokens=written, cached_tokens=0,
        cost_usd=cost(BIG if strong else SMALL, read, written), strong_usd=cost(BIG, read, written),
        weak_usd=cost(SMALL, read, written), **values,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    """A configuration with a store; `put` fills it."""
    price = {"input_usd_per_million": BIG[0], "output_usd_per_million": BIG[1]}
    model = {"base_url": "http://127.0.0.1:9/v1"}
    values = {
        "strong": "big",
        "weak": "small",
        "models": {"big": {**model, "price": price}, "small": model},
        "store": {"url": f"sqlite:///{tmp_path / 'store.db'}"},
        "policy": {"timezone": "Europe/Berlin"},
    }
    (tmp_path / "pointsman.yaml").write_text(json.dumps(values))

    class Made:
        config, url = str(tmp_path / "pointsman.yaml"), values["store"]["url"]

        def put(self, rows):
            async def put():
                async with Store(StoreConfig(url=self.url)) as opened:
                    await opened.add(rows)

            asyncio.run(put())

        def spend(self, at, key, usd):
            row = SpendRow(
                writer="w", at=at, key_id=key, model="big", n_requests=1, input_tokens=1, output_tokens=1, cost_usd=usd
            )

            async def put():
                async with Store(StoreConfig(url=self.url)) as opened:
                    await opened.put_spend([row])

            asyncio.run(put())

    return Made()


def report(capsys, *arguments):
    assert main(["usage", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_days_are_those_of_the_zone(store, capsys):
    """Midnight is the policy's time zone's, or that of the command line; sums are those of the rows."""
    store.put([answered(i, strong=False, read=1000, written=100, policy="share") for i in range(4 * 60)])
    found = report(capsys, "--config", store.config)
    assert [(row["day"], row["n_requests"]) for row in found["rows"]] == [("2026-03-01", 30), ("2026-03-02", 210)]
    assert found["total"]["input_tokens"] == 240_000
    assert found["total"]["cost_usd"] == pytest.approx(240 * cost(SMALL, 1000, 100))
    found = report(capsys, "--config", store.config, "--timezone", "UTC", "--by", "day", "policy")
    assert [(row["day"], row["policy"], row["n_requests"]) for row in found["rows"]] == [
        ("2026-03-01", "share", 90),
        ("2026-03-02", "share", 150),
    ]
    found = report(capsys, "--store", store.url, "--since", "2026-03-01T23:00", "--until", "2026-03-02T00:00:00+00:00")
    assert found["total"]["n_requests"] == 60


def test_groups_by_model_and_key(store, capsys):
    """Requests without a key are told apart from those with one."""
    rows = [answered(i, strong=i < 3, read=10, written=1, key_id="k1" if i % 2 else None) for i in range(10)]
    store.put(rows)
    found = report(capsys, "--config", store.config, "--by", "model", "key")
    counts = {(row["model"], row["key"]): row["n_requests"] for row in found["rows"]}
    assert counts == {("big", "-"): 2, ("big", "k1"): 1, ("small", "-"): 3, ("small", "k1"): 4}


@pytest.mark.parametrize("kept", ["file", "store"])
def test_keys_have_names_in_the_table(store, tmp_path, capsys, kept):
    """Whoever reads it need not look ids up; a key that is gone has its id alone."""
    place, keys = str(tmp_path / "keys.json"), {}
    for name in ("alice", "bob"):
        assert main(["keys", "create", name, *(["--file", place] if kept == "file" else ["--store", store.url])]) == 0
        keys[name] = capsys.readouterr().out.split("-")[1]
    if kept == "file":
        config = json.loads(Path(store.config).read_text())
        Path(store.config).write_text(json.dumps({**config, "server": {"keys_file": place}}))
    whose = [keys["alice"], keys["bob"], "gone", None]
    store.put([answered(i, strong=False, read=10, written=1, key_id=key) for i, key in enumerate(whose)])
    assert main(["usage", "--config", store.config, "--by", "key"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert {line.split("  ")[0] for line in lines[:5]} == {
        *(f"{key} {name}" for name, key in keys.items()), "gone", "-", "all",
    }  # fmt: skip


def simulated(n=400, seed=0):
    """Decisions whose strong answers' lengths follow the prompt's length and the win rate, and the true saving."""
    rng = np.random.default_rng(seed)
    rows, truth = [], 0.0
    for i in range(n):
        read, win_rate = int(rng.lognormal(5, 1)) + 1, float(rng.random())
        mean = 100 + 50 * np.log1p(read) + 300 * win_rate
        long, short = (int(factor * mean * rng.lognormal(-0.125, 0.5)) for factor in (1.0, 0.6))
        strong = win_rate >= 0.5
        rows.append(answered(i, strong=strong, read=read, written=long if strong else short, win_rate=win_rate))
        if not strong:
            truth += cost(BIG, read, long) - cost(SMALL, read, short)
    return rows, truth


def test_savings_are_within_their_interval(store, capsys):
    """With the strong model's price its missing answers are estimated from those that it gave; the method is said."""
    rows, truth = simulated()
    store.put(rows)
    found = report(capsys, "--config", store.config)["savings"]
    assert found["low_usd"] < truth < found["high_usd"]
    assert found["low_usd"] < found["saved_usd"] < found["high_usd"]
    assert found["method"].startswith("regression of ")
    naive = report(capsys, "--store", store.url)["savings"]
    assert naive["saved_usd"] < truth
    assert naive["low_usd"] is None
    assert "as long as those given" in naive["method"]


def test_shadow_comparisons_tell_lengths_better(store, capsys):
    """Where both models answered the same prompts, their ratio is taken; what that cost is told beside."""
    rows, _ = simulated()
    weak = [row for row in rows if row.model == "small"]
    compared = [
        ComparisonRow(
            id=new_row_id(row.at), request_id=row.request_id, at=row.at, model_a="small", model_b="big", outcome=0.5,
            judge="j", cost_usd=0.001, tokens_a=row.output_tokens, tokens_b=2 * row.output_tokens,
        )
        for row in weak[:50]
    ]  # fmt: skip
    store.put([*rows, *compared])
    store.spend(START + 900, "shadow", 0.5)  # what a failed one cost, too
    store.spend(START + 900, "k1", 7.0)
    found = report(capsys, "--config", store.config)["savings"]
    assert found["method"].startswith("ratio of lengths in 50 shadow comparisons")
    assert found["shadow_usd"] == pytest.approx(0.5)
    strong = [row.strong_usd for row in rows if row.model == "big"]
    doubled = sum(cost(BIG, row.input_tokens, 2 * row.output_tokens) for row in weak)
    assert found["always_strong_usd"] == pytest.approx(sum(strong) + doubled)


def test_of_many_candidates_the_missing_answers_are_estimated_alike(store, capsys):
    """Whatever the rows take for the reference's length, regression replaces it; the reference is named."""
    rows, _ = simulated()
    store.put(rows)
    pair = report(capsys, "--config", store.config)["savings"]
    tally = SavingsTally("big", Price(*BIG))
    weighed = [{"model": "big", "win_rate": 0.5, "usd": 1.0, "relative_bill": 1.0, "score": 0.5}]
    off = [3.0 if row.model == "small" else 1.0 for row in rows]
    tally.add([replace(row, weighed=weighed, strong_usd=k * row.strong_usd) for k, row in zip(off, rows, strict=True)])
    found = tally.savings()
    assert found.always_strong_usd == pytest.approx(pair["always_strong_usd"])
    assert (found.low_usd, found.high_usd) == pytest.approx((pair["low_usd"], pair["high_usd"]))
    assert found.reference == "big" and "answers of big" in found.method


def test_the_table_is_for_people(store, capsys):
    """Header, a row per group, the sum, and the saving with its interval and method."""
    store.put(simulated()[0])
    assert main(["usage", "--config", store.config, "--by", "model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["model", "requests"]
    assert [line.split()[0] for line in lines[1:4]] == ["big", "small", "all"]
    (said,) = [line for line in lines if line.startswith("saved $")]
    assert "95% confidence" in said
    assert re.search(r" \(\d+%\) \[", said)


def test_an_empty_store_and_unknown_prices_are_told(store, capsys):
    """Nothing is made up where nothing is known."""
    store.put([])
    assert main(["usage", "--config", store.config]) == 0
    assert "Savings are unknown" in capsys.readouterr().out
    rows = [answered(i, strong=False, read=10, written=1) for i in range(3)]
    store.put([replace(row, cost_usd=None, strong_usd=None, input_tokens=None) for row in rows])
    found = report(capsys, "--config", store.config)
    assert (found["total"]["n_requests"], found["total"]["n_priced"], found["total"]["cost_usd"]) == (3, 0, 0.0)
    assert main(["usage", "--config", store.config]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[-2:] == ["-", "-"]


@pytest.mark.parametrize("command", [["usage"], ["export-battles", "-o", "out.jsonl"], ["replay", "--candidate", "mf"]])
def test_a_store_that_is_not_there_is_not_made(tmp_path, capsys, command):
    """A misspelt path is no empty store; a key for a store to come makes it."""
    url = f"sqlite:///{tmp_path}/folder/none.db"
    assert main([*command, "--store", url]) == 1
    assert "does not exist; a server" in capsys.readouterr().err
    assert main(["keys", "list", "--store", url]) == 1
    assert "does not exist; a server" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["keys", "create", "someone", "--store", url]) == 0
    assert main([*command, "--store", url]) == (0 if command == ["usage"] else 1)
    assert "does not exist" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--since", "yesterday"], "is not a date or time"),
        (["--timezone", "Mars"], "--timezone is 'Mars'"),
        (["--days", "-1"], "positive number"),
        (["--days", "3", "--since", "2026-01-01"], "cannot be combined with --since"),
    ],
)
def test_wrong_arguments_are_refused(store, capsys, arguments, problem):
    """The message says which and what was wanted."""
    assert main(["usage", "--store", store.url, *arguments]) == 1
    assert problem in capsys.readouterr().err
