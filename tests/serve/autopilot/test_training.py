"""Generations that the autopilot of a server trains by itself, in a process of their own."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pointsman.core.learned_candidates import LearnedCandidates
from pointsman.core.learned_score import LearnedScore
from pointsman.serve.autopilot import training
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.autopilot.train_generation import train, train_candidates
from pointsman.serve.autopilot.training import TrainingError, train_in_process
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.store.rows import AutopilotRow
from pointsman.serve.store.store import Store

CONFIG = AutopilotConfig(max_loss=0.1, judge="judge", train_seconds=300)


def comparisons(n: int, *, useful: bool = True) -> list[AutopilotRow]:
    """The weak model loses on long prompts; neither the win rate nor the embedding tells."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 400, n)
    losses = (rng.random(n) < np.where(useful, 0.6 * lengths / 400, 0.3)).astype(float)
    return [
        AutopilotRow(
            id=f"{i:014x}", at=10.0, generation=0, score=0.5, loss=losses[i], probability=0.5, n_undrawn=0,
            plan=(1, 0.5, 0.1), agreed=True, cost_usd=0.0, win_rate=float(rng.random()), n_characters=int(lengths[i]),
            embedding=rng.normal(size=3).astype("<f4").tobytes(),
        )
        for i in range(n)
    ]  # fmt: skip


def test_what_pays_is_told():
    """A score that finds the losses is expected to pay; one that learned from chance is not."""
    found = train(comparisons(400), serving=None, max_loss=0.1)
    score = LearnedScore.from_dict(found["learned"])
    assert (found["pays"], found["n"]) == (True, 400)
    embedding = np.zeros(3, dtype=np.float32)
    assert score.one(0.5, 20, embedding) < score.one(0.5, 390, embedding)
    assert train(comparisons(400, useful=False), serving=None, max_loss=0.1)["pays"] is False
    again = train(comparisons(400), serving=found["learned"], max_loss=0.1)
    assert again["pays"] is False


def test_rows_that_teach_nothing_are_left_out():
    """Rows without a win rate, and those of another router's embeddings, train nothing."""
    rows = comparisons(100)
    rows[0] = AutopilotRow(**{**{f: getattr(rows[0], f) for f in rows[0].__slots__}, "win_rate": None})
    rows[1] = AutopilotRow(**{**{f: getattr(rows[1], f) for f in rows[1].__slots__}, "embedding": b"1234"})
    assert train(rows, serving=None, max_loss=0.1)["n"] == 98
    with pytest.raises(ValueError, match="wanted at least 50"):
        train([], serving=None, max_loss=0.1)


def _of_three(n: int) -> list[AutopilotRow]:
    """Both candidates lose on half of the prompts, which the embedding alone tells."""
    rng = np.random.default_rng(0)
    hard = rng.integers(0, 2, n)
    rates = rng.uniform(0.3, 0.7, (n, 2)).round(2).tolist()
    return [
        replace(
            row, embedding=np.eye(2, dtype="<f4")[hard[i]].tobytes(), loss=float(hard[i] and rng.random() < 0.6),
            candidate=("middle", "small")[i % 2], win_rates=(0.5, *rates[i]), score=0.4, until=1.0,
        )
        for i, row in enumerate(comparisons(n))
    ]  # fmt: skip


def test_win_rates_over_candidates_are_learned():
    """Each candidate's is learned from its own comparisons, and pays where it finds the losses; not a second time."""
    bills = [("big", 1.0), ("middle", 0.4), ("small", 0.0)]
    found = train_candidates(_of_three(400), serving=None, max_loss=0.05, bills=bills)
    assert (found["pays"], found["n"]) == (True, 400)
    learned = LearnedCandidates.from_dict(json.loads(json.dumps(found["learned"])))
    easy, hard = (learned.win_rates((0.5, 0.5, 0.5), 100, each) for each in np.eye(2, dtype=np.float32))
    assert (easy[1] < hard[1], easy[2] < hard[2]) == (True, True)
    assert train_candidates(_of_three(400), serving=found["learned"], max_loss=0.05, bills=bills)["pays"] is False
    with pytest.raises(ValueError, match="none of 20 comparisons tells the win rates over 3 candidates"):
        train_candidates(comparisons(20), serving=None, max_loss=0.05, bills=bills)


async def test_a_process_of_its_own_trains_from_the_store(tmp_path):
    """It reads the comparisons since evidence became void, and gives a score within its bounds."""
    config = StoreConfig(url=f"sqlite:///{tmp_path}/t.db")
    async with Store(config) as store:
        await store.add(comparisons(120))
        found = await train_in_process(AutopilotState("", since=0.0), CONFIG, config)
    assert found["n"] == 120
    assert LearnedScore.from_dict(found["learned"]).weights.size == 3


async def test_a_process_that_fails_says_why(tmp_path, monkeypatch):
    """Too few comparisons, a process that dies, and one that takes too long are errors with the reason."""
    config = StoreConfig(url=f"sqlite:///{tmp_path}/t.db")
    monkeypatch.setattr(training, "_MODULE", "this_module_is_not_there")
    with pytest.raises(TrainingError, match=r"ended with 1: .*this_module_is_not_there"):
        await train_in_process(AutopilotState(""), CONFIG, config)
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(training, "_MODULE", "sleeps")
    with pytest.raises(TrainingError, match="took longer than 1 s: raise train_seconds"):
        await train_in_process(AutopilotState(""), CONFIG.model_copy(update={"train_seconds": 1}), config)


def test_its_memory_is_bounded():
    """Beyond its bound of memory the process gets none, and what served goes on."""
    code = (
        "from pointsman.serve.autopilot.train_generation import _bound; import numpy as np\n"
        "_bound(1024, 60)\n"
        "try: np.ones(2**30)\n"
        "except MemoryError: print('bounded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("bounded", 0)
    assert json.loads(json.dumps(CONFIG.model_dump()))["train_memory_mb"] == 2048
