"""What does a decision among 2, 5 and 20 candidates cost, from the parsed request to the chosen model?

    python -m benchmarks.bench_decision

The whole of `Engine.decide`: reading the model field, embedding the prompt, the router's score, policies, filters,
expected bills and the choice. One checkpoint of 20 models for each kind, trained on made-up outcomes of 1,000 prompts
in which the kind of prompt tells who is right; the first 2, 5 or 20 of them are the candidates. All are asked in turns:
each round asks every one for the same prompts, in an order that moves on. Times are of the processor; multiples of two
candidates are medians of the rounds', with intervals at 95 %.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.pairs import median_interval
from benchmarks.targets import at_most
from benchmarks.utterances import INTENTS
from pointsman.backends.data.score_tables import ScoreTable
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.training.embeddings import embed_prompts
from pointsman.backends.training.score_router import train_score_router
from pointsman.backends.training.scores import ScoreRecipe
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.protocols.requests import make_question
from pointsman.serve.request.context import RequestContext

_KINDS, _SIZES = ("knn", "linear", "blend"), (2, 5, 20)
_N_PROMPTS, _GOAL = 1000, 2.0


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="in turns (default: 40)")
    parser.add_argument("--prompts", type=int, default=100, help="in each round (default: 100)")
    args = parser.parse_args()
    names = [f"m{i}" for i in range(max(_SIZES))]
    table = _table(names)
    embeddings = embed_prompts(table.prompts, resolve_embedder("static+surface"))
    with tempfile.TemporaryDirectory() as folder:
        engines = {}
        for kind in _KINDS:
            path = Path(folder) / kind
            train_score_router(table, embeddings, names, ScoreRecipe(kind), path)
            engines |= {(kind, size): _engine(kind, names[:size], path) for size in _SIZES}
        rows = asyncio.run(_measure(engines, [f"{text} {len(text)}" for text in table.prompts], args))
    print(f"{'router':<8}{'candidates':>11}{'median us':>11}{'times two':>11}{'interval':>16}")
    for row in rows:
        times, low, high = row["times_two"]
        print(f"{row['router']:<8}{row['candidates']:>11}{row['us']:>11.1f}{times:>11.2f}    [{low:.2f}, {high:.2f}]")
    targets = at_most(
        **{f"{row['router']}_of_20_over_two": (row["times_two"][0], _GOAL) for row in rows if row["candidates"] == 20}
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    summary = {"bench": "decision", "rows": rows, "targets": targets, "machine": f"{os.cpu_count()} cores"}
    print(json.dumps({**summary, "commit": commit.stdout.strip()}))
    return 0


def _table(names: Sequence[str]) -> ScoreTable:
    """Outcomes of models that are right in some intents and seldom in others, the dearer the more of them."""
    rng = np.random.default_rng(0)
    intents = list(INTENTS)
    texts = [f"{INTENTS[intents[i % 10]][i // 10 % 20]} ({i})" for i in range(_N_PROMPTS)]
    able = rng.random((len(intents), len(names))) < np.linspace(0.95, 0.3, len(names))
    chance = np.where(able, 0.9, 0.15)[np.arange(_N_PROMPTS) % 10]
    usd = np.tile(0.02 * 0.8 ** np.arange(len(names)), (_N_PROMPTS, 1))
    scores = (rng.random(chance.shape) < chance).astype(np.float64)
    tokens = np.full(chance.shape, 200.0)
    return ScoreTable(tuple(texts), tuple(names), scores, usd, np.full(chance.shape, 20.0), tokens)


def _engine(kind: str, names: Sequence[str], checkpoint: Path) -> Engine:
    models = {
        name: {
            "base_url": "http://127.0.0.1:9/v1",
            "price": {"input_usd_per_million": 1.0, "output_usd_per_million": 1e6 * 0.02 * 0.8**i / 200.0},
        }
        for i, name in enumerate(names)
    }
    routers = {kind: {"checkpoint": str(checkpoint), "threshold": 0.6}}
    return Engine(make_config({"candidates": list(names), "models": models, "routers": routers}))


async def _measure(
    engines: dict[tuple[str, int], Engine], prompts: Sequence[str], args: argparse.Namespace
) -> list[dict[str, Any]]:
    times: dict[tuple[str, int], list[float]] = {key: [] for key in engines}
    order = list(engines)
    for turn in range(-1, args.rounds):
        first = turn % len(order)
        start = (turn + 1) * args.prompts
        asked = [prompts[(start + i) % len(prompts)] for i in range(args.prompts)]
        for key in (*order[first:], *order[:first]):
            contexts = [RequestContext(make_question(text, "auto")) for text in asked]
            before = process_time()
            for context in contexts:
                await engines[key].decide(context)
            spent = process_time() - before
            _check(contexts, key)
            if turn >= 0:  # the first warms up
                times[key].append(1e6 * spent / len(asked))
    rows = []
    for (kind, size), found in times.items():
        ratios = [a / b for a, b in zip(found, times[kind, 2], strict=True)]
        times_two = [round(value, 3) for value in median_interval(ratios)]
        rows.append(
            {"router": kind, "candidates": size, "us": round(float(np.median(found)), 1), "times_two": times_two}
        )
    return rows


def _check(contexts: Sequence[RequestContext], key: tuple[str, int]) -> None:
    """Every decision was by win rate among all candidates, and of many not always for the same."""
    kind, size = key
    decisions = [context.decision for context in contexts]
    if any(each is None or each.reason != "win_rate" or len(each.candidates) != size for each in decisions):
        raise AssertionError(f"{kind} of {size}: a decision was not among all candidates")
    if size > 2 and len({each.model for each in decisions if each is not None}) < 2:
        raise AssertionError(f"{kind} of {size}: one model was chosen for everything")


if __name__ == "__main__":
    sys.exit(main())
