"""Battles with a planted truth, shaped like the Chatbot Arena's: what training and ranking are timed on."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["PlantedBattles", "plant_battles"]

_N_TOPICS, _N_SKILLS = 200, 8


@dataclass(frozen=True)
class PlantedBattles:
    """Battles, one prompt each, no ties.

    Attributes:
        models: names.
        embeddings: unit norm, float32, shape (n_battles, dim).
        model_a, model_b: rows of models, shape (n_battles,).
        a_won: whether model_a won, shape (n_battles,).
        logit: true log-odds of that, shape (n_battles,).
    """

    models: tuple[str, ...]
    embeddings: np.ndarray
    model_a: np.ndarray
    model_b: np.ndarray
    a_won: np.ndarray
    logit: np.ndarray

    def store(self, folder: Path, n_train: int) -> None:
        """Writes them for a peer: `embeddings.npy`, and `battles.json` in RouteLLM's format."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "embeddings.npy", self.embeddings)
        rows = zip(self.model_a, self.model_b, self.a_won, strict=True)
        battles = [
            {"model_a": self.models[a], "model_b": self.models[b], "idx": i, "winner": "model_a" if won else "model_b"}
            for i, (a, b, won) in enumerate(rows)
        ]
        (folder / "battles.json").write_text(json.dumps(battles))
        (folder / "meta.json").write_text(json.dumps({"n_train": n_train, "n_prompts": len(self.embeddings)}))


def plant_battles(n_battles: int, dim: int, models: tuple[str, ...], seed: int = 0) -> PlantedBattles:
    """Embeddings around 200 topics with a common mean and a falling spectrum, as text embeddings have; models differ in
    general skill and in 8 skills that the embedding tells. The best possible loss is about 0.52 nats."""
    rng = np.random.default_rng(seed)
    n_models = len(models)
    spectrum = (1.0 + np.arange(dim)) ** -0.6
    topics = _unit(rng.standard_normal((_N_TOPICS, dim)) * spectrum)
    topic = rng.choice(_N_TOPICS, n_battles, p=rng.dirichlet(np.full(_N_TOPICS, 0.5)))
    details = _unit(rng.standard_normal((n_battles, dim)) * spectrum)
    mean = _unit(rng.standard_normal((1, dim)))
    centred = 0.6 * topics[topic] + 0.66 * details
    embeddings = _unit(0.45 * mean + centred).astype(np.float32)
    features = centred[:, :_N_SKILLS] / centred[:, :_N_SKILLS].std(axis=0)
    popularity = rng.dirichlet(np.full(n_models, 2.0))
    a, b = (rng.choice(n_models, n_battles, p=popularity) for _ in range(2))
    b = np.where(a == b, (b + 1) % n_models, b)
    skill, talents = rng.normal(0.0, 0.8, n_models), rng.standard_normal((n_models, _N_SKILLS))
    logit = skill[a] - skill[b] + 0.25 * np.sum((talents[a] - talents[b]) * features, axis=1)
    a_won = rng.random(n_battles) < 1.0 / (1.0 + np.exp(-logit))
    return PlantedBattles(models, embeddings, a, b, a_won, logit)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
