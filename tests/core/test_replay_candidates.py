"""Replay among any number of candidates: of two it is the replay of a pair, and what nobody compared stays open."""

import asyncio
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.choice_rows import weigh_rows
from pointsman.core.errors import DataError
from pointsman.core.replay import Logged, replay
from pointsman.core.replay_candidates import LoggedCandidates, replay_candidates
from pointsman.serve.cli import main
from pointsman.serve.commands.replay_candidates import with_rules
from pointsman.serve.config import StoreConfig
from pointsman.serve.feedback.logged_candidates import candidates_from_rows
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow
from pointsman.serve.store.store import Store

from support.candidates import CANDIDATES, topic_table, train_three

NOW = 1_800_000_000.0
USD = (0.01, 0.002, 0.0005)


@settings(max_examples=10)
@given(st.integers(30, 38), st.integers(0, 2**32 - 1))  # too few to predict gains from: both take the plain mean
def test_of_two_it_is_the_replay_of_a_pair(n, seed):
    """Every figure equals that of `core.replay` where the candidates are a strong and a weak model."""
    rng = np.random.default_rng(seed)
    now, then, seen = rng.random(n) < 0.5, rng.random(n) < 0.5, rng.random(n) < 0.6
    gain = np.where(seen, rng.choice([-1.0, 0.0, 1.0], n), np.nan)
    usd, rating, features = rng.uniform(0.1, 1.0, (n, 2)), rng.random(n), rng.random((n, 1))
    usd[:, 0] += 1.0
    pair = replay(Logged(now, usd[:, 0], usd[:, 1], gain, np.full(n, 0.6), rating), then, features)
    nothing = np.full(n, np.nan)
    many = LoggedCandidates(
        np.where(now, 0, 1), usd, np.stack([nothing, gain], axis=1), np.tile([0.0, 0.6], (n, 1)), rating
    )
    found = replay_candidates(many, np.where(then, 0, 1), features)
    assert found.agreement == pair.agreement and found.rating == pair.rating
    for name in ("strong_share", "cost_usd", "saving_usd", "quality"):
        for side in ("current", "candidate", "difference"):
            one, other = (getattr(getattr(each, name), side) for each in (found, pair))
            assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), nan_ok=True)


def test_decisions_and_thresholds_of_rules_stay():
    """What a rule named is not decided anew, a threshold of a rule holds, and other requests follow the new one."""
    made = {"request_id": "r", "path": "/", "outcome": "answered", "status": 200, "at": NOW}
    rows = [
        DecisionRow(id="1", reason="rule: legal", threshold=0.9, **made),
        DecisionRow(id="2", reason="win_rate", policy="rule:cheap", threshold=1.0, **made),
        DecisionRow(id="3", reason="win_rate", policy="fixed", threshold=1.0, **made),
    ]
    nothing = np.full((3, 3), np.nan)
    logged = LoggedCandidates(np.array([1, 2, 2]), np.tile(USD, (3, 1)), nothing, np.zeros((3, 3)), np.full(3, np.nan))
    weighing = weigh_rows(np.tile([0.5, 0.6, 0.7], (3, 1)), np.tile(USD, (3, 1)))
    assert with_rules(rows, logged, weighing, 0.0).tolist() == [1, 2, 0]


def test_a_change_between_two_others_is_not_known():
    """From one model to another of which neither is the reference the interval allows for everything."""
    n = 50
    gain = np.full((n, 3), np.nan)
    gain[:, 1] = 0.0
    logged = LoggedCandidates(
        np.ones(n, dtype=np.int64), np.tile(USD, (n, 1)), gain, np.tile([0.0, 1.0, 0.0], (n, 1)), np.full(n, np.nan)
    )
    stays, back, on = (replay_candidates(logged, np.full(n, i), np.zeros((n, 1))) for i in (1, 0, 2))
    assert (stays.quality.difference.value, stays.agreement.value, stays.unseen_share) == (0.0, 1.0, 0.0)
    assert back.quality.difference.value == pytest.approx(0.0) and back.quality.difference.low > -0.1
    assert on.quality.difference.value is None and on.unseen_share == 1.0
    assert (on.quality.difference.low, on.quality.difference.high) == (-1.0, 1.0)
    assert on.cost_usd.difference.value == pytest.approx(USD[2] - USD[1])
    with pytest.raises(ValueError, match="wanted 50 rows"):
        replay_candidates(logged, np.zeros(3, dtype=np.int64), np.zeros((n, 1)))


def _rows(n=60):
    """Decisions among the three: everything went to the middle model; every second one was compared."""
    table = topic_table(n)
    weighed = [
        {"model": name, "win_rate": 0.5, "usd": usd, "relative_bill": 0.0, "score": 0.0}
        for name, usd in zip(CANDIDATES, USD, strict=True)
    ]
    rows = [
        DecisionRow(
            id=new_row_id(NOW + i), request_id=f"r{i}", at=NOW + i, path="/v1/chat/completions", router="three",
            decided="middle", model="middle", win_rate=0.5, threshold=0.6, reason="win_rate", reference="big",
            weighed=weighed, prompt=prompt,
        )
        for i, prompt in enumerate(table.prompts)
    ]  # fmt: skip
    compared = [
        ComparisonRow(id=new_row_id(NOW + 900 + i), request_id=row.request_id, at=NOW + 900 + i, model_a="middle",
                      model_b="big", outcome=0.5, judge="j", decision_id=row.id)
        for i, row in enumerate(rows[::2])
    ]  # fmt: skip
    said = FeedbackRow(id=new_row_id(NOW), request_id="r0", at=NOW, kind="rating", value=0.5, decision_id=rows[0].id)
    return rows, compared, [said]


def test_rows_of_the_store_become_a_log():
    """Expected dollars, gains against the reference with their probability, and ratings come from the rows."""
    rows, compared, said = _rows()
    pairs = [DecisionRow(id="p", request_id="p", at=NOW, path="/", router="mf", win_rate=0.5, decided="big")]
    kept, logged = candidates_from_rows([*rows, *pairs], compared, said, CANDIDATES)
    assert kept == rows and (logged.asked == 1).all() and logged.usd == pytest.approx(np.tile(USD, (60, 1)))
    assert np.isfinite(logged.gain).sum() == 30 and (logged.probability[:, 1] == 0.5).all()
    assert logged.rating[0] == 0.5 and logged.share[0] == pytest.approx([1.0, 0.0015 / 0.0095, 0.0])
    with pytest.raises(DataError, match="with small as the reference; it holds those of big"):
        candidates_from_rows(rows, compared, said, CANDIDATES[::-1])
    with pytest.raises(DataError, match="none among more than two"):
        candidates_from_rows(pairs, [], [], CANDIDATES)


def test_the_command_replays_a_store(tmp_path, capsys):
    """`pointsman replay` of a checkpoint of three tells models, spend, dollars and quality, now and then."""
    url, folder = f"sqlite:///{tmp_path}/store.db", train_three(tmp_path)

    async def fill():
        async with Store(StoreConfig(url=url)) as store:
            await store.add([row for rows in _rows() for row in rows])

    asyncio.run(fill())
    asked = ("replay", "--candidate", folder, "--store", url)
    assert main([*asked, "--threshold", "0.6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_prompts"] == 60 and told["asked"]["middle"]["now"] == 1.0
    assert sum(each["candidate"] for each in told["asked"].values()) == pytest.approx(1.0)
    assert told["asked"]["small"]["candidate"] > 0.1 and told["cost_usd"]["current"]["value"] == pytest.approx(USD[1])
    assert main(list(asked)) == 0
    said = capsys.readouterr().out
    assert "spend share" in said and "the reference, from 30 compared prompts" in said
    assert main([*asked[:3], "--file", "log.csv"]) == 1
    assert "from a store" in capsys.readouterr().err
