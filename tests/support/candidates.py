"""A router of three candidates, trained on made-up prompts of three topics: sums, poems and proofs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backends.data.score_tables import ScoreTable
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.training.embeddings import embed_prompts
from pointsman.backends.training.score_router import train_score_router
from pointsman.backends.training.scores import ScoreRecipe

__all__ = ["CANDIDATES", "PROMPTS", "config_of_three", "topic_table", "train_three"]

CANDIDATES = ("big", "middle", "small")
PROMPTS = {
    "sum": "What is {a} plus {b}? Add the two numbers.",
    "poem": "Write a rhyming poem about the {n} and the autumn wind.",
    "proof": "Prove the theorem that every continuous function on a compact {n} space is uniformly continuous.",
}
_RIGHT = {"sum": (0.95, 0.95, 0.95), "poem": (0.9, 0.9, 0.2), "proof": (0.9, 0.2, 0.1)}
_USD = (0.01, 0.002, 0.0005)
_NOUNS = ("river", "metric", "garden", "sea", "mountain", "bird", "village", "window", "forest", "street")


def topic_table(n_prompts: int = 240, *, seed: int = 0) -> ScoreTable:
    """Scores of three models: all can add, two write poems, one proves."""
    rng = np.random.default_rng(seed)
    topics = [list(PROMPTS)[i % 3] for i in range(n_prompts)]
    prompts = [
        PROMPTS[topic].format(a=i * 7 + 11, b=i * 3 + 5, n=f"{_NOUNS[i % 10]} {_NOUNS[i // 10 % 10]}")
        + " " * (i // 100)
        for i, topic in enumerate(topics)
    ]
    right = np.array([_RIGHT[topic] for topic in topics])
    shape = right.shape
    return ScoreTable(
        tuple(f"{prompt} ({i})" for i, prompt in enumerate(prompts)),
        CANDIDATES,
        (rng.random(shape) < right).astype(float),
        np.tile(_USD, (n_prompts, 1)),
        np.full(shape, 20.0),
        np.full(shape, 100.0),
    )


def train_three(folder: Path, *, kind: str = "linear") -> str:
    """Trains a router on such a table; the folder of its checkpoint."""
    table = topic_table()
    embeddings = embed_prompts(table.prompts, resolve_embedder("static"))
    recipe = ScoreRecipe(kind, ks=(20,), n_landmarks=(16,))
    _, note = train_score_router(table, embeddings, CANDIDATES, recipe, folder / "three")
    assert "gains" in note
    return str(folder / "three")


def config_of_three(checkpoint: str, url: str, **others: Any) -> dict[str, Any]:
    """A configuration with the three at one upstream; `others` replace or extend its parts."""
    prices = {"big": 100.0, "middle": 20.0, "small": 5.0}
    models: dict[str, Mapping[str, Any]] = {
        name: {
            "base_url": url,
            "price": {"input_usd_per_million": usd / 4, "output_usd_per_million": usd},
            "retry": {"attempts": 0},
        }
        for name, usd in prices.items()
    }
    changed = others.pop("models", {})
    models = {name: {**model, **changed.get(name, {})} for name, model in models.items()}
    return {
        "candidates": list(CANDIDATES),
        "models": models,
        "routers": {"three": {"checkpoint": checkpoint, "threshold": 0.6}},
        **others,
    }
