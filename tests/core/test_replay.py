"""Replay: what a candidate would have done with logged traffic, and how sure that is."""

import asyncio
import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.checkpoint import write_checkpoint
from pointsman.core.errors import DataError
from pointsman.core.replay import Logged, replay, student_quantile
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder, load_router
from pointsman.serve.cli import main
from pointsman.serve.config import StoreConfig
from pointsman.serve.feedback.logged_traffic import read_traffic_file, traffic_from_rows
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow
from pointsman.serve.store.store import Store

from oracles.reference import doubly_robust_mean


def log(n, seed, *, seen=1.0, sides=(True, True)):
    """Traffic whose gain grows with the win rate, observed on a share of each side."""
    rng = np.random.default_rng(seed)
    rates = rng.random(n)
    gain = np.where(rng.random(n) < np.abs(rates - 0.4), np.sign(rates - 0.4), 0.0)
    went = rates + rng.normal(0, 0.2, n) >= 0.5
    probability = np.where(went, seen * sides[1], seen * sides[0])
    observed = rng.random(n) < probability
    none = np.full(n, np.nan)
    logged = Logged(went, np.full(n, 2.0), np.full(n, 0.5), np.where(observed, gain, np.nan), probability, none)
    return logged, rates, gain


@settings(max_examples=30)
@given(st.integers(10, 200), st.integers(0, 999), st.floats(0, 1))
def test_with_all_gains_known_it_is_the_plain_mean(n, seed, threshold):
    """Where every gain was observed, quality is the mean over the prompts, and the differences add up."""
    logged, rates, gain = log(n, seed)
    goes = rates >= threshold
    found = replay(logged, goes, rates[:, None])
    if found.quality.difference.value is not None:
        wanted = ((goes.astype(float) - logged.went_strong) * gain).mean()
        assert found.quality.difference.value == pytest.approx(wanted, abs=1e-9)
        assert found.quality.difference.low <= wanted + 1e-9 and wanted - 1e-9 <= found.quality.difference.high
    assert found.strong_share.difference.value == pytest.approx(goes.mean() - logged.went_strong.mean())
    assert found.agreement.value == pytest.approx((goes == logged.went_strong).mean())
    assert found.cost_usd.candidate.value == pytest.approx(np.where(goes, 2.0, 0.5).mean())
    assert found.saving_usd.candidate.value == pytest.approx(2.0 - found.cost_usd.candidate.value)


@settings(max_examples=20)
@given(st.integers(80, 300), st.integers(0, 999))
def test_the_estimate_is_the_doubly_robust_mean(n, seed):
    """It equals the formula written out prompt by prompt, with the prediction of the other half."""
    logged, rates, _ = log(n, seed, seen=0.6)
    goes = rates >= 0.3
    wanted = doubly_robust_mean(
        goes.astype(float) - logged.went_strong, logged.gain, logged.probability, rates[:, None], seed=0
    )
    found = replay(logged, goes, rates[:, None], seed=0).quality.difference
    assert found.value is None or found.value == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("sides", [(True, True), (True, False)])
def test_intervals_cover_the_truth(sides):
    """Over 200 logs the 95 % interval holds the true difference 180 times at least, seen on both sides or on one."""
    covered = 0
    _, rates, gain = log(200_000, 999)
    went = rates >= 0.5
    truth = (((rates >= 0.35).astype(float) - went) * gain).mean()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = rng.integers(0, len(rates), 1500)
        probability = np.where(went[rows], 0.1 * sides[1], 0.1)
        observed = np.where(rng.random(1500) < probability, gain[rows], np.nan)
        none = np.full(1500, np.nan)
        logged = Logged(went[rows], none, none, observed, probability, none)
        found = replay(logged, rates[rows] >= 0.35, rates[rows, None]).quality.difference
        covered += found.low <= truth <= found.high
    assert covered >= 180


def test_what_was_never_compared_counts_with_its_bounds():
    """Where the strong model's answers were never compared, a downgrade is worth anything between -1 and 1."""
    logged, rates, _ = log(3000, 1, seen=0.3, sides=(True, False))
    fewer = replay(logged, np.zeros(3000, dtype=bool), rates[:, None])
    assert fewer.quality.difference.value is None
    assert fewer.quality.difference.low <= -logged.went_strong.mean() + 1e-9
    assert fewer.unseen_share == pytest.approx(logged.went_strong.mean())
    more = replay(logged, np.ones(3000, dtype=bool), rates[:, None])
    assert more.quality.difference.value is not None and more.unseen_share == 0.0


def test_no_change_is_no_difference():
    """A candidate that chooses alike differs by nothing, with certainty, whatever was observed."""
    logged, rates, _ = log(100, 2, seen=0.0)
    found = replay(logged, logged.went_strong, rates[:, None])
    assert (found.quality.difference.value, found.quality.difference.low, found.quality.difference.high) == (0, 0, 0)
    assert found.agreement.value == 1.0


@pytest.mark.parametrize(
    ("probability", "freedom", "wanted"),
    [(0.975, 3, 3.18245), (0.975, 10, 2.22814), (0.995, 30, 2.74999), (0.95, 5, 2.01505), (0.5, 4, 0.0)],
)
def test_student_quantiles(probability, freedom, wanted):
    """Within 1 % of the tabulated quantiles."""
    assert student_quantile(probability, freedom) == pytest.approx(wanted, rel=0.01, abs=1e-9)


def test_bad_logs_and_candidates_are_refused():
    """Gains out of range or seen with probability 0, and shapes that do not fit, are refused."""
    logged, rates, _ = log(10, 0)
    columns = {name: getattr(logged, name) for name in Logged.__dataclass_fields__}
    for change in ({"gain": np.full(10, 2.0)}, {"probability": np.zeros(10)}, {"rating": np.zeros(9)}):
        with pytest.raises(ValueError, match=r"gain|shapes"):
            Logged(**{**columns, **change})
    with pytest.raises(ValueError, match="wanted"):
        replay(logged, np.zeros(9, dtype=bool), rates[:, None])
    with pytest.raises(ValueError, match="wanted a number"):
        replay(logged, np.zeros(10, dtype=bool), rates[:, None], confidence=1.0)
    for bad in ((1.0, 10), (0.9, 2)):
        with pytest.raises(ValueError, match="wanted"):
            student_quantile(*bad)


def decided(k, *, win_rate, **parts):
    model = "big" if win_rate >= 0.5 else "small"
    values = {"router": "mf", "decided": model, "model": model, "reason": "win_rate", "prompt": f"question {k}"}
    return DecisionRow(
        id=f"{k:028x}", request_id=f"r{k}", at=float(k), path="/v1/chat/completions", win_rate=win_rate, threshold=0.5,
        strong_usd=0.02, weak_usd=0.001, **{**values, **parts},
    )  # fmt: skip


def compared(k, *, to_strong):
    return ComparisonRow(
        id=f"c{k}",
        request_id=f"r{k}",
        at=float(k),
        model_a="small",
        model_b="big",
        outcome=1.0 - to_strong,
        judge="j",
        decision_id=f"{k:028x}",
    )


def test_rows_of_the_store_become_a_log():
    """Comparisons give gains, a side's share of them the probability, ratings their mean; the rest is left out.

    A key's last word counts, and nothing that was said of another's request with the same id.
    """
    rows = [decided(k, win_rate=k / 10) for k in range(10)]
    rows += [decided(10, win_rate=0.1, router=None)]
    said = [("k1", 0.1, 3), ("k1", 0.5, 3), ("k2", 1.0, 3), ("k1", 0.0, 99)]
    feedback = [
        FeedbackRow(
            id=f"f{i}", request_id="r3", at=9.0, kind="rating", value=value, key_id=key, decision_id=f"{k:028x}"
        )
        for i, (key, value, k) in enumerate(said)
    ]
    traffic = traffic_from_rows(rows, [compared(1, to_strong=1.0), compared(2, to_strong=0.5)], feedback, source="x")
    logged = traffic.logged
    assert logged.went_strong.tolist() == [False] * 5 + [True] * 5
    assert logged.gain[1:3].tolist() == [1.0, 0.0] and np.isnan(logged.gain[3:]).all()
    assert logged.probability.tolist() == [0.4] * 5 + [0.0] * 5
    assert logged.rating[3] == 0.75 and np.isnan(logged.rating[4])
    for words in ("1 request not routed", "strong"):
        assert any(words in note for note in traffic.notes)
    with pytest.raises(DataError, match="--strong"):
        traffic_from_rows([decided(1, win_rate=0.1)], [], [], source="x")


def test_decisions_of_rules_stay_with_another_router():
    """What a rule named stays where it went, a threshold of a rule holds, and the rest is decided anew."""
    rows = [
        decided(0, win_rate=0.1, decided="big", reason="rule: contracts"),
        decided(1, win_rate=0.9, decided="small", reason="bounds, not rule: contracts"),
        decided(2, win_rate=0.9, policy="rule:legal"),
        decided(3, win_rate=0.9),
    ]
    rows[2].threshold = 0.8
    traffic = traffic_from_rows(rows, [], [], strong="big", source="x")
    assert traffic.choices(np.full(4, 0.6), 0.7).tolist() == [True, False, False, False]
    assert traffic.choices(np.array([0.0, 1.0, 0.85, 0.7]), 0.7).tolist() == [True, False, True, True]


async def fill(url, rows):
    async with Store(StoreConfig(url=url)) as store:
        await store.add(rows)


async def test_the_command_replays_a_store(tmp_path):
    """`pointsman replay --store` scores the kept prompts and prints figures with intervals."""
    url = f"sqlite:///{tmp_path}/p.db"
    rates = load_router(load_checkpoint("mf")).win_rates([f"question {k}" for k in range(60)])
    middle = float(np.median(rates))
    rows = [decided(k, win_rate=0.5 + float(rate) - middle) for k, rate in enumerate(rates)]
    weak = [k for k, row in enumerate(rows) if row.decided == "small"]
    await fill(url, [*rows, *(compared(k, to_strong=1.0) for k in weak)])
    code, out = await asyncio.to_thread(_main, ["replay", "--candidate", "mf", "--store", url, "--json"])
    assert code == 0
    assert out["n_prompts"] == 60 and out["strong_share"]["difference"]["value"] == pytest.approx(0.0, abs=0.05)
    code, out = await asyncio.to_thread(
        _main, ["replay", "--candidate", "mf", "--store", url, "--threshold", "0", "--json"]
    )
    assert out["quality"]["difference"]["value"] == pytest.approx(len(weak) / 60)
    assert out["quality"]["difference"]["low"] > 0


def _main(words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(words)
    return code, json.loads(out.getvalue())


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_command_replays_a_file(tmp_path, capsys):
    """A table with scores of both models needs no store; the verdict is in words."""
    prompts = [f"Name {k} rivers." for k in range(200)]
    rates = load_router(load_checkpoint("mf")).win_rates(prompts)
    rows = [
        {"prompt": p, "went_strong": bool(r < np.median(rates)), "strong": float(r >= np.median(rates)), "weak": 0.0}
        for p, r in zip(prompts, rates, strict=True)
    ]
    path = write(tmp_path / "log.jsonl", rows)
    assert main(["replay", "--candidate", "mf", "--file", path]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "The candidate is better."
    wrong = [{**row, "strong": 0.0, "weak": row["strong"]} for row in rows]
    assert main(["replay", "--candidate", "mf", "--file", write(tmp_path / "other.jsonl", wrong)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "The candidate is worse."


def test_chat_logs_are_replayed_by_the_configuration(tmp_path, monkeypatch, capsys):
    """A folder of them: who answered is the column `model`, else what the configured router decides."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pointsman.yaml").write_text("strong: big\nweak: small\nrouters: {mf: {threshold: 0.5}}\n")
    prompts = ["Hello!", "Prove that there are infinitely many primes.", "Thanks a lot", "Integrate x^3 exp(x^2)."]
    rates = load_router(load_checkpoint("mf")).win_rates(prompts)
    logs = tmp_path / "logs"
    logs.mkdir()
    for k, prompt in enumerate(prompts):
        write(logs / f"{k}.jsonl", [{"messages": [{"role": "user", "content": prompt}]}])
    words = ["replay", "--candidate", "mf", "--json", "--threshold", "0.5", "--file"]
    code, found = _main([*words, "logs"])
    assert code == 0 and "what the configuration's router decides" in capsys.readouterr().err
    assert found["strong_share"]["current"]["value"] == (rates >= 0.5).mean()
    assert found["agreement"]["value"] == 1.0
    answered = ["big", "small", "small", "small"]
    rows = [{"messages": [{"role": "user", "content": p}], "model": m} for p, m in zip(prompts, answered, strict=True)]
    code, found = _main([*words, write(tmp_path / "named.jsonl", rows)])
    assert code == 0 and capsys.readouterr().err == ""
    assert found["strong_share"]["current"]["value"] == 0.25


def test_a_named_candidate_is_replayed_as_it_would_be_served(tmp_path, monkeypatch):
    """At the threshold that its folder's router asks for; by a path, at the log's share."""
    monkeypatch.chdir(tmp_path)
    stored = {"rule": "max_loss", "wanted": 0.05, "threshold": 0.7, "confidence": 0.95, "certified": True}
    checkpoint = replace(load_checkpoint("mf"), thresholds={"max_loss=0.05": stored})
    write_checkpoint(checkpoint, tmp_path / "checkpoints" / "next")
    (tmp_path / "pointsman.yaml").write_text("routers: {mine: {checkpoint: checkpoints, max_loss: 0.05}}\n")
    rows = [{"prompt": f"Name {k} rivers.", "went_strong": k % 2 == 0} for k in range(20)]
    log = write(tmp_path / "log.jsonl", rows)
    assert _main(["replay", "--candidate", "next", "--file", log, "--json"])[1]["threshold"] == 0.7
    found = _main(["replay", "--candidate", "checkpoints/next", "--file", log, "--json"])[1]
    assert found["strong_share"]["candidate"]["value"] == 0.5


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi"}, "does not say which model answered: add column went_strong"),
        ({"prompt": "Hi", "went_strong": "maybe"}, "row 1: went_strong is 'maybe'"),
        ({"prompt": "Hi", "went_strong": True, "gain": 3.0}, "a gain leaves"),
    ],
)
def test_files_that_tell_too_little_are_refused(tmp_path, row, message):
    """Missing or malformed columns are named."""
    with pytest.raises(DataError, match=message):
        read_traffic_file(write(tmp_path / "log.jsonl", [row]))


def test_kept_embeddings_stand_in_for_prompts(tmp_path, capsys):
    """Where only embeddings were kept, a candidate of the same embedder is scored on them, and another refused."""
    embed = load_embedder(load_checkpoint("mf"))
    prompts = [f"question {k}" for k in range(40)]
    rows = [
        decided(k, win_rate=0.4 + 0.2 * (k % 2), prompt=None, embedding=vector.tobytes())
        for k, vector in enumerate(embed(prompts))
    ]
    url = f"sqlite:///{tmp_path}/p.db"
    asyncio.run(fill(url, rows))
    words = ["replay", "--candidate", "mf", "--store", url]
    assert main(words) == 1 and "--current" in capsys.readouterr().err
    assert main([*words, "--current", "mf", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rates = load_router(load_checkpoint("mf")).win_rates(prompts)
    assert found["strong_share"]["candidate"]["value"] == (rates >= found["threshold"]).mean()
    bare = [decided(k + 100, win_rate=0.6, prompt=None) for k in range(2)]
    asyncio.run(fill(url, bare))
    assert main([*words, "--current", "mf"]) == 1 and "store.prompts" in capsys.readouterr().err
