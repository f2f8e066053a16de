"""Makes the bundled default router: `python -m pointsman.backends.assets.make_default_router ../shared/data`.

Battles of many public sources, all under permissive licences, train one matrix factorisation. Its pair is not a pair of
models but of classes: in every source the best-rated third of the models counts as "strong", the lower half as "weak",
and what the one class wins of the other on a prompt is one battle. It tells where better models pay off, whichever the
two are. What is peculiar to a source is averaged away. What pays off on one kind of prompts does not on the next, so
the factorisation is over a prompt's memberships of landmarks rather than its embedding.

To that it adds what anybody can tell at a glance, the last coordinate of the embedding, times a constant: the sources
are examinations, and say little of small talk and look-ups, or of proofs and deadlocks.

Folds 0 to 5 of every source train, folds 6 and 7 validate. Benchmarks' own labels (routellm_*_dev) are not read.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backends.assets import asset_path
from pointsman.backends.common_sense import EXAMINATIONS
from pointsman.backends.data.battle_files import read_battles
from pointsman.backends.data.battle_sets import BattleSet, concatenate
from pointsman.backends.data.outcomes import read_outcomes
from pointsman.backends.data.tables import read_table
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.embedders.common_sense import SCALE
from pointsman.backends.export import calibrated, export_checkpoint, package_versions, served_win_rates
from pointsman.backends.training.drift_sample import nearest_examples, stored_centroids
from pointsman.backends.training.examples import Examples, rating_baseline
from pointsman.backends.training.history import Epoch
from pointsman.backends.training.mf_recipe import FAST
from pointsman.backends.training.model_groups import group_battles, group_gains, rank_group
from pointsman.backends.training.source_effects import add_sources, average_sources, equal_shares
from pointsman.core.activations import sigmoid
from pointsman.core.arrays import Float32Array, IntArray
from pointsman.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pointsman.core.embedding import CANARIES, Embedder
from pointsman.core.landmarks import Landmarks
from pointsman.core.mf import MFWeights
from pointsman.core.novelty import fit_centroids
from pointsman.core.pair import ModelPair
from pointsman.core.reference import Reference, with_reference

__all__ = ["RECIPE", "SOURCES", "main"]

SOURCES = {
    "battles_arena_hard": ("huangcb01/lookahead-routing", "MIT"),
    "battles_pandalm": ("WeOpenML/PandaLM", "Apache-2.0"),
    "battles_qlora_oasst": ("artidoro/qlora", "MIT"),
    "battles_vicuna80": ("bcdnlp/PRD and i-Eval/FairEval", "MIT"),
    "outcomes_eq_bench": ("EQ-bench/EQ-Bench", "MIT"),
    "outcomes_llmrouter_example": ("ulab-uiuc/LLMRouter", "MIT"),
    "outcomes_lookahead": ("huangcb01/lookahead-routing", "MIT"),
    "outcomes_mmlu_pro": ("TIGER-AI-Lab/MMLU-Pro", "Apache-2.0"),
    "outcomes_paretobandit": ("ParetoBandit/ParetoBandit", "Apache-2.0"),
    "outcomes_reasoning_gym": ("open-thought/reasoning-gym-eval", "Apache-2.0"),
    "outcomes_zeroeval": ("WildEval/ZeroEval", "Apache-2.0"),
}
RECIPE = replace(FAST, latent_dim=16, alpha=0.02, ties="half", epochs=20, patience=None)
_PAIR = ModelPair("strong", "weak")
_STRONG_RANKS, _WEAK_RANKS = (0.0, 0.3), (0.5, 1.0)
_N_TRAINING_FOLDS, _N_FOLDS = 6, 8
_EMBEDDER = "static+length+common-sense"
_COMMON_SENSE = 1.5  # nats between what cannot be told and what is plainly hard
_N_LANDMARKS, _TEMPERATURE, _N_LANDMARK_PROMPTS = 256, 0.05, 2500
_N_CALIBRATION_PROMPTS = 500
# their prompts are the sources' own, under the licence above; some others quote third parties
_EXAMPLE_SOURCES = ("battles_arena_hard", "battles_qlora_oasst", "outcomes_mmlu_pro", "outcomes_reasoning_gym")
_N_CENTROID_PROMPTS, _N_REFERENCE_PROMPTS = 1000, 120


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, checks and writes the checkpoint."""
    from pointsman.backends.jax.mf_router import flax_win_rates, mf_checkpoint
    from pointsman.backends.jax.mf_training import train_mf

    parser = argparse.ArgumentParser(prog="pointsman.backends.assets.make_default_router")
    parser.add_argument("data", type=Path, help="folder of the parquet files")
    parser.add_argument("-o", "--output", type=Path, default=asset_path("mf"), help="checkpoint to write")
    parser.add_argument("--reference-only", action="store_true", help="renew its reference alone")
    args = parser.parse_args(argv)
    parts = [_source(args.data / f"{name}.parquet") for name in SOURCES]
    together = concatenate([*(train for train, _ in parts), *(held for _, held in parts)])
    embed = resolve_embedder(_EMBEDDER)
    if args.reference_only:
        write_checkpoint(_referenced(read_checkpoint(args.output), parts, embed), args.output)
        return 0
    landmarks = _landmarks(parts, embed)
    memberships = landmarks.memberships(embed(together.prompts))
    scale = float((memberships**2).sum(axis=1).mean() ** -0.5)  # rows of norm 1, as embeddings are
    features = (memberships * scale).astype(np.float32)
    examples = Examples(together, add_sources(features, _source_numbers(parts, together), len(parts)))
    is_training = np.arange(len(together)) < sum(len(train) for train, _ in parts)
    train, validation = examples.take(is_training), examples.take(~is_training)
    result = train_mf(train, validation, RECIPE, on_epoch=_tell)
    shares = equal_shares(len(parts))
    checkpoint = mf_checkpoint(
        replace(result, weights=_on_memberships(average_sources(result.weights, shares), scale)),
        together.battles.models,
        _PAIR,
        embedder=embed.identity,
        canaries=embed(CANARIES),
        provenance=_provenance(len(train), len(validation)),
        metrics={
            "best_epoch": {**asdict(result.best), "seconds": None},
            "always_better_rated": asdict(rating_baseline(train.battle_set, validation.battle_set)),
        },
    )
    checkpoint = replace(
        checkpoint,
        arrays={
            **checkpoint.arrays,
            "landmarks": landmarks.vectors.astype(np.float16),
            "linear": _common_sense(checkpoint, embed.identity.dim),
        },
        options={"temperature": landmarks.temperature},
    )
    sample = embed(_calibration_prompts(parts))
    mix = f"up to {_N_CALIBRATION_PROMPTS} prompts of each training source, {len(sample)} in all"
    checkpoint = _referenced(calibrated(checkpoint, sample, source=mix), parts, embed)
    rows = checkpoint.row(_PAIR.strong), checkpoint.row(_PAIR.weak)
    inputs = (landmarks.memberships(sample) * scale).astype(np.float32)
    learnt = flax_win_rates(result, add_sources(inputs, shares, len(parts)), *rows)
    expected = sigmoid(np.log(learnt / (1.0 - learnt)) + _COMMON_SENSE * sample[:, -1].astype(np.float64) / SCALE)
    export_checkpoint(checkpoint, args.output, sample=sample, expected=expected)
    print(f"wrote {args.output}", file=sys.stderr)  # noqa: T201 - a script
    return 0


def _source(path: Path) -> tuple[BattleSet, BattleSet]:
    """Training and validation battles between the two classes of models of one source.

    Sources count by the square root of their size.
    """
    table = read_table(path, columns=("prompt", "fold"))
    fold_of = dict(zip(table.texts("prompt"), table.numbers("fold"), strict=True))
    every = read_battles(path)
    train = _folds(every, fold_of, 0, _N_TRAINING_FOLDS)
    strong = rank_group(train, *_STRONG_RANKS)
    weak = [name for name in rank_group(train, *_WEAK_RANKS) if name not in strong]
    if path.name.startswith("outcomes_"):
        classes = group_gains(read_outcomes(path), strong, weak)
    else:
        classes = group_battles(every, strong, weak)
    b = classes.battles
    n_training = len(_folds(classes, fold_of, 0, _N_TRAINING_FOLDS))
    weighted = replace(classes, battles=replace(b, weight=np.full(len(b), n_training**-0.5)))
    return _folds(weighted, fold_of, 0, _N_TRAINING_FOLDS), _folds(weighted, fold_of, _N_TRAINING_FOLDS, _N_FOLDS)


def _landmarks(parts: Sequence[tuple[BattleSet, BattleSet]], embed: Embedder) -> Landmarks:
    """Directions around which the training folds' prompts lie, rounded as the checkpoint will round them."""
    prompts = [prompt for part, _ in parts for prompt in _spaced(part.prompts, _N_LANDMARK_PROMPTS)]
    found = fit_centroids(embed(prompts), _N_LANDMARKS, rng=np.random.default_rng(0))
    return Landmarks(found.vectors.astype(np.float16), _TEMPERATURE)


def _common_sense(checkpoint: Checkpoint, dim: int) -> Float32Array:
    """Adds common sense to the strong model's logit, shape (n_models, dim)."""
    linear = np.zeros((len(checkpoint.models), dim), dtype=np.float32)
    linear[checkpoint.row(_PAIR.strong), -1] = _COMMON_SENSE / SCALE
    return linear


def _on_memberships(weights: MFWeights, scale: float) -> MFWeights:
    """Weights on memberships that equal `weights` on memberships times `scale`."""
    return replace(weights, projection=weights.projection * scale)


def _source_numbers(parts: Sequence[tuple[BattleSet, BattleSet]], together: BattleSet) -> IntArray:
    """Number of the source of every prompt; of the first one that has it."""
    number: dict[str, int] = {}
    for i, sets in enumerate(parts):
        for prompt in (*sets[0].prompts, *sets[1].prompts):
            number.setdefault(prompt, i)
    return np.array([number[prompt] for prompt in together.prompts], dtype=np.int64)


def _folds(battle_set: BattleSet, fold_of: Mapping[str, float], first: int, end: int) -> BattleSet:
    fold = np.array([fold_of[prompt] for prompt in battle_set.prompts])[battle_set.prompt]
    return battle_set.take((fold >= first) & (fold < end)).with_used_prompts()


def _calibration_prompts(parts: Sequence[tuple[BattleSet, BattleSet]]) -> list[str]:
    """An equal number of prompts of every source, as far as it has them, evenly spaced."""
    chosen: list[str] = []
    for train, held in parts:
        chosen += _spaced((*train.prompts, *held.prompts), _N_CALIBRATION_PROMPTS)
    return chosen


def _referenced(checkpoint: Checkpoint, parts: Sequence[tuple[BattleSet, BattleSet]], embed: Embedder) -> Checkpoint:
    """Centroids of the training folds' prompts, an example near each, and a reference of the validation folds' ones."""
    train = [prompt for part, _ in parts for prompt in _spaced(part.prompts, _N_CENTROID_PROMPTS)]
    held = [prompt for _, part in parts for prompt in _spaced(part.prompts, _N_REFERENCE_PROMPTS)]
    quotable = [part for name, (part, _) in zip(SOURCES, parts, strict=True) if name in _EXAMPLE_SOURCES]
    shown = [prompt for part in quotable for prompt in part.prompts]
    sample = embed(held)
    centroids = stored_centroids(embed(train), seed=0)
    source = f"{len(held)} prompts of folds {_N_TRAINING_FOLDS} and {_N_FOLDS - 1} of its training data's sources"
    return with_reference(
        checkpoint,
        Reference(
            source,
            served_win_rates(checkpoint, sample),
            centroids.distances(sample),
            centroids,
            nearest_examples(centroids, shown, embed(shown)),
        ),
    )


def _spaced(prompts: Sequence[str], n_prompts: int) -> list[str]:
    """So many of the prompts, evenly spaced; all if there are fewer."""
    rows = np.linspace(0, len(prompts) - 1, min(n_prompts, len(prompts)), dtype=np.int64)
    return [prompts[row] for row in rows]


def _provenance(n_training: int, n_validation: int) -> dict[str, Any]:
    return {
        "sources": {name: {"origin": origin, "licence": licence} for name, (origin, licence) in SOURCES.items()},
        "folds": "0 to 5 train, 6 and 7 validate",
        "n_battles": {"training": n_training, "validation": n_validation},
        "pair": f"classes of models by rating within each source: ranks {_STRONG_RANKS} against {_WEAK_RANKS}",
        "landmarks": f"{_N_LANDMARKS} centroids of up to {_N_LANDMARK_PROMPTS} training prompts of each source",
        "common_sense": {
            "origin": "prompts written for Pointsman by hand and from templates, backends/common_sense; beside them "
            f"questions, without outcomes, of {', '.join(EXAMINATIONS)}, folds 0 to 5",
            "licence": "Apache-2.0",
            "nats": _COMMON_SENSE,
        },
        "sources_averaged": "one indicator input per source while training, equal shares of all afterwards",
        "recipe": asdict(RECIPE),
        "versions": package_versions("jax", "flax", "optax"),
    }


def _tell(epoch: Epoch) -> None:
    print(  # noqa: T201 - a script
        f"epoch {epoch.number}: loss {epoch.train_loss:.4f}, validation {epoch.validation_loss:.4f}, "
        f"accuracy {epoch.validation_accuracy:.4f}, {epoch.seconds:.1f} s",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
