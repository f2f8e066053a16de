"""Learns what is plainly easy or hard: `python -m pointsman.backends.common_sense.train ../shared/data`.

Two logits, easy and hard, against a third class of 0, by logistic regression on runs of characters and the embedding.
The third class is made of questions of examinations: how hard those are does not show, and their outcomes tell it.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.sparse import csr_matrix

from pointsman.backends.assets import asset_path
from pointsman.backends.common_sense import EXAMINATIONS
from pointsman.backends.common_sense.prompts import Prompt, held_out, read_look, read_prompts
from pointsman.backends.data.tables import read_table
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.embedders.common_sense import N_BUCKETS, SCALE, CommonSenseEmbedder, hashed_runs
from pointsman.core.arrays import FloatArray

__all__ = ["main"]

_N_TRAINING_FOLDS = 6
_PER_TEMPLATE = 12
_EPOCHS, _STEP, _RUNS_DECAY, _EMBEDDING_DECAY = 120, 0.1, 1e-5, 1e-4


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, writes the weights and prints how well they separate the held-out prompts."""
    parser = argparse.ArgumentParser(prog="pointsman.backends.common_sense.train")
    parser.add_argument("data", type=Path, help="folder of the parquet files")
    parser.add_argument("-o", "--output", type=Path, default=asset_path("common_sense"), help="folder to write")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    prompts = read_prompts(per_template=_PER_TEMPLATE, rng=rng)
    train = [prompt for prompt in prompts if not held_out(prompt)]
    questions = [text for name, n in EXAMINATIONS.items() for text in _questions(args.data, name, n, rng)]
    texts = [prompt.text for prompt in train] + questions
    classes = np.array([[1.0 - prompt.hard, prompt.hard] for prompt in train] + [[0.0, 0.0]] * len(questions))
    weights = np.concatenate([_weights(train), np.full(len(questions), 1.0 / len(questions))])
    embeddings = resolve_embedder("static+length")(texts).astype(np.float64)
    runs, directions, constants = _fit(_counted(texts), embeddings, classes, weights / weights.sum())
    args.output.mkdir(parents=True, exist_ok=True)
    arrays = {
        "runs": runs.astype(np.float16),
        "directions": directions.astype(np.float32),
        "constants": constants.astype(np.float32),
    }
    save_file(arrays, args.output / "weights.safetensors")
    (args.output / "weights.safetensors").chmod(0o644)
    _tell(args.output, prompts)
    return 0


def _questions(data: Path, name: str, n: int, rng: np.random.Generator) -> list[str]:
    """So many questions of a source's training folds."""
    table = read_table(data / f"{name}.parquet", columns=("prompt", "fold"))
    pairs = zip(table.texts("prompt"), table.numbers("fold"), strict=True)
    texts = sorted({text for text, fold in pairs if fold < _N_TRAINING_FOLDS})
    return [texts[row] for row in rng.permutation(len(texts))[:n]]


def _weights(prompts: Sequence[Prompt]) -> FloatArray:
    """Templates count by the square root of their prompts, easy ones together half as much again as hard ones."""
    n_of = Counter(prompt.template for prompt in prompts)
    weight = np.array([n_of[prompt.template] ** -0.5 for prompt in prompts])
    hard = np.array([prompt.hard for prompt in prompts])
    return weight * np.where(hard == 1.0, 1.0 / weight[hard == 1.0].sum(), 1.5 / weight[hard == 0.0].sum())


def _counted(texts: Sequence[str]) -> csr_matrix:
    """Runs of characters of every text, over the square root of their number, shape (n_texts, N_BUCKETS)."""
    runs = [found[:, : bounds[1]].ravel() for found, bounds in (hashed_runs([text]) for text in texts)]
    n = np.array([len(found) for found in runs])
    rows = np.repeat(np.arange(len(texts)), n)
    counted = csr_matrix((np.repeat(n**-0.5, n), (rows, np.concatenate(runs))), shape=(len(texts), N_BUCKETS))
    counted.sum_duplicates()
    return counted


def _fit(
    counted: csr_matrix, embeddings: FloatArray, classes: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights of runs (N_BUCKETS, 2), of the embedding (2, dim) and constants (2,), by Adam on all rows at once."""
    transposed = counted.T.tocsr()
    sizes = ((N_BUCKETS, 2), (2, embeddings.shape[1]), (2,))
    values, means, squares = ([np.zeros(size) for size in sizes] for _ in range(3))
    for epoch in range(1, _EPOCHS + 1):
        runs, directions, constants = values
        logits = counted @ runs + embeddings @ directions.T + constants
        most = np.maximum(logits.max(axis=1, keepdims=True), 0.0)
        exp = np.exp(logits - most)
        residual = (exp / (np.exp(-most) + exp.sum(axis=1, keepdims=True)) - classes) * weights[:, None]
        gradients = (
            transposed @ residual + _RUNS_DECAY * runs,
            residual.T @ embeddings + _EMBEDDING_DECAY * directions,
            residual.sum(axis=0),
        )
        step = _STEP * (1.0 - epoch / (_EPOCHS + 1))
        for value, mean, square, gradient in zip(values, means, squares, gradients, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.01 * (gradient**2 - square)
            value -= step * (mean / (1.0 - 0.9**epoch)) / (np.sqrt(square / (1.0 - 0.99**epoch)) + 1e-8)
    return values[0], values[1], values[2]


def _tell(folder: Path, prompts: Sequence[Prompt]) -> None:
    embed = CommonSenseEmbedder(resolve_embedder("static+length"), folder)
    tests = {"held-out templates": [prompt for prompt in prompts if held_out(prompt)]}
    tests |= {f"{name} look": read_look(name) for name in ("second", "third")}
    for name, found in tests.items():
        hardness = embed([prompt.text for prompt in found])[:, -1] / SCALE
        hard = np.array([prompt.hard for prompt in found]) == 1.0
        above = (hardness[hard][:, None] > hardness[~hard]).mean()
        print(f"{name}: AUC {above:.4f} on {len(found)} prompts", file=sys.stderr)  # noqa: T201 - a script


if __name__ == "__main__":
    sys.exit(main())
