"""What a dashboard may have to show: servers whose store holds a past, and what is the matter with them now."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.serve import create_app
from pointsman.serve.checkpoints.load import load_checkpoint
from pointsman.serve.config.load import make_config
from pointsman.serve.config.store import StoreConfig
from pointsman.serve.drift.watch import Alarm
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow
from pointsman.serve.store.store import Store

__all__ = ["PROMPTS", "Past", "app_of", "bounded_checkpoint", "raise_drift", "write_past"]

_PRICES = {"big": (10.0, 30.0), "small": (0.5, 1.5)}
PROMPTS = (
    "Translate “good morning” into Portuguese", "Prove that there are infinitely many primes congruent to 3 mod 4",
    "Summarise this thread in two sentences", "Why does this deadlock under load? func (p *Pool) Get() ...",
    "Rewrite politely: send me the file", "Design an exactly-once queue on top of PostgreSQL",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Past:
    """What a store holds of the days before.

    Attributes:
        n_requests: decisions, spread over the days.
        days: before now.
        n_comparisons: of the weak model's answers, about.
        lost: share of these that the strong model's answer won; a tenth the weak one's won, the rest are ties.
        n_ratings: by users.
    """

    n_requests: int = 400
    days: float = 20.0
    n_comparisons: int = 60
    lost: float = 0.14
    n_ratings: int = 60


def app_of(
    folder: Path, url: str, *, past: Past | None = None, extra: dict[str, Any] | None = None, **more: Any
) -> Any:
    """A server of two priced models on a store in `folder`, which holds a past.

    Args:
        extra: further models.
        more: of its configuration.
    """
    models = {
        name: {"base_url": url, "price": {"input_usd_per_million": read, "output_usd_per_million": written}}
        for name, (read, written) in _PRICES.items()
    }
    models |= extra or {}
    store = {"url": f"sqlite:///{folder}/store.db", "prompts": "text", "batch_s": 0.01}
    if past is not None:
        with ThreadPoolExecutor(1) as thread:  # a browser's loop may run in this one
            thread.submit(asyncio.run, write_past(store, past)).result()
    return create_app(make_config({"strong": "big", "weak": "small", "models": models, "store": store, **more}))


async def write_past(store: dict[str, Any], past: Past) -> None:
    """Decisions, comparisons and ratings, the oldest first; the same every time, but for the hour."""
    rng, now = random.Random(7), time.time()
    step = 86_400.0 * past.days / past.n_requests
    rows: list[Any] = []
    due = 0.0
    for k in range(past.n_requests):
        at = now - 30.0 - step * (past.n_requests - 1 - k)
        rows.append(decision := _decision(rng, at, k))
        if decision.model == "small":
            due += past.n_comparisons / past.n_requests / 0.65
        if due >= 1.0:
            due -= 1.0
            luck = rng.random()
            rows.append(_comparison(rng, decision, 0.0 if luck < past.lost else 1.0 if luck > 0.9 else 0.5))
        if k < past.n_ratings and decision.model is not None:
            value = min(1.0, max(0.0, rng.gauss(0.84 if decision.model == "big" else 0.81, 0.15)))
            rows.append(FeedbackRow(id=new_row_id(at), request_id=decision.request_id, at=at, kind="rating",
                value=value, decision_id=decision.id))  # fmt: skip
    async with Store(StoreConfig(**store)) as opened:
        for first in range(0, len(rows), 2000):
            await opened.add(rows[first : first + 2000])


def _decision(rng: random.Random, at: float, k: int) -> DecisionRow:
    win_rate = round(min(0.95, max(0.05, rng.gauss(0.5, 0.13))), 4)
    model = "big" if win_rate >= 0.55 else "small"
    read, written = int(rng.lognormvariate(5, 0.7)), int(rng.lognormvariate(5.3, 0.5))
    usd = {name: (read * p[0] + written * p[1]) / 1e6 for name, p in _PRICES.items()}
    failed = k % 97 == 96
    return DecisionRow(
        id=new_row_id(at), request_id=f"req-{k:06d}", at=at, path="/v1/chat/completions", requested="auto",
        model=None if failed else model, decided=model, router="mf", win_rate=win_rate, threshold=0.55,
        policy="fixed", reason="win_rate", key_id=f"team-{k % 3}", prompt=f"{PROMPTS[k % len(PROMPTS)]} ({k})",
        input_tokens=None if failed else read, output_tokens=None if failed else written,
        cost_usd=None if failed else usd[model], strong_usd=None if failed else usd["big"],
        weak_usd=None if failed else usd["small"], outcome="failed" if failed else "answered",
        status=502 if failed else 200, trail=(f"{model} {502 if failed else 200}",), routing_ms=0.2,
        upstream_ms=rng.lognormvariate(6, 0.5), total_ms=rng.lognormvariate(7, 0.5),
    )  # fmt: skip


def _comparison(rng: random.Random, decision: DecisionRow, outcome: float) -> ComparisonRow:
    at, given = decision.at + 5.0, decision.output_tokens or 200
    return ComparisonRow(
        id=new_row_id(at), request_id=decision.request_id, at=at, model_a="small", model_b="big", outcome=outcome,
        judge="judge", cost_usd=0.012, tokens_a=given, tokens_b=int(1.2 * given * rng.uniform(0.8, 1.2)),
        decision_id=decision.id,
    )  # fmt: skip


def bounded_checkpoint(folder: Path, *, max_loss: float = 0.05, threshold: float = 0.5) -> Path:
    """The bundled router with a stored threshold for a loss of at most `max_loss`."""
    stored = {"rule": "max_loss", "wanted": max_loss, "threshold": threshold, "confidence": 0.95, "certified": True}
    checkpoint = replace(load_checkpoint("mf"), thresholds={f"max_loss={max_loss:g},confidence=0.95": stored})
    write_checkpoint(checkpoint, folder / "bounded")
    assert read_checkpoint(folder / "bounded").thresholds
    return folder / "bounded"


def raise_drift(app: Any, router: str = "mf") -> None:
    """Has the drift monitor find that prompts have changed."""
    drift = app.engine.state.drift
    if not drift._watches:  # the engine was not started
        drift.reconfigure(app.engine.routers)
    watch = drift._watches[router]
    watch.alarm = Alarm("novelty", time.time(), 1840, 512.0, 200.0)
    watch.n_prompts = 1840
