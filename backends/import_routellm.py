"""RouteLLM's matrix-factorisation checkpoints as Pointsman's.

RouteLLM stores three float32 arrays and no configuration: `P.weight` (n_models, latent_dim), `text_proj.0.weight`
(latent_dim, dim) and `classifier.0.weight` (1, latent_dim). Rows of P are the Chatbot Arena's models of early 2024 in
ASCII order, embeddings are OpenAI's text-embedding-3-small.
"""

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pointsman.backends.export import export_checkpoint, package_versions
from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import CANARIES, Embedder
from pointsman.core.errors import CheckpointError, MissingExtraError
from pointsman.core.pair import ModelPair

__all__ = ["ROUTELLM_PAIR", "arena_models", "import_routellm"]

ROUTELLM_PAIR = ModelPair("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
_P, _W, _CLASSIFIER = "P.weight", "text_proj.0.weight", "classifier.0.weight"
_N_SAMPLE = 256


def import_routellm(
    source: str,
    path: str | os.PathLike[str],
    embed: Embedder,
    *,
    models: Sequence[str] | None = None,
    pair: ModelPair = ROUTELLM_PAIR,
) -> Checkpoint:
    """Writes RouteLLM's checkpoint as one of ours.

    Args:
        source: folder with `model.safetensors`, or a Hugging Face Hub id such as "routellm/mf_gpt4_augmented".
        path: checkpoint directory to write.
        embed: the embedder that it was trained with; it embeds the three canary sentences.
        models: names of the rows of P; the 64 Arena models if None.
        pair: the models whose win rate it predicts by default.

    Raises:
        CheckpointError: the file is missing, damaged, or not RouteLLM's; models or embedder do not fit it.
    """
    arrays = _read(_weights_file(source))
    names = arena_models() if models is None else tuple(models)
    n_models, dim = len(arrays[_P]), arrays[_W].shape[1]
    if n_models != len(names):
        raise CheckpointError(f"{source} has {n_models} models, {len(names)} names are given: list them in row order")
    if embed.identity.dim != dim:
        raise CheckpointError(
            f"{source} was trained on embeddings of dimension {dim}, "
            f"embedder {embed.identity.name!r} has {embed.identity.dim}: name the one it was trained with"
        )
    checkpoint = Checkpoint(
        kind="mf",
        models=names,
        pair=pair,
        embedder=embed.identity,
        canaries=embed(CANARIES),
        arrays={
            "model_embeddings": arrays[_P],
            "projection": arrays[_W],
            "classifier": arrays[_CLASSIFIER][0],
            "projection_bias": np.zeros(len(arrays[_W]), dtype=np.float32),
        },
        provenance={"imported_from": source, "format": "RouteLLM", "versions": package_versions()},
    )
    sample = np.random.default_rng(0).standard_normal((_N_SAMPLE, dim)).astype(np.float32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    expected = _reference_win_rates(arrays, sample, checkpoint.row(pair.strong), checkpoint.row(pair.weak))
    export_checkpoint(checkpoint, path, sample=sample, expected=expected)
    return checkpoint


def arena_models() -> tuple[str, ...]:
    """Names of the 64 models in the row order of RouteLLM's checkpoints."""
    return tuple((files("pointsman.backends.data") / "arena_models.txt").read_text(encoding="utf-8").split())


def _weights_file(source: str) -> Path:
    if Path(source).exists():
        return Path(source) / "model.safetensors" if Path(source).is_dir() else Path(source)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "data") from error
    try:
        return Path(hf_hub_download(source, "model.safetensors"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(f"{source} is neither a folder nor a Hub id that can be fetched: {error}") from error


def _read(path: Path) -> dict[str, Float32Array]:
    """The three arrays, their shapes checked."""
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    missing = [name for name in (_P, _W, _CLASSIFIER) if name not in arrays]
    if missing:
        raise CheckpointError(f"{path} is not a RouteLLM matrix factorisation: it lacks {', '.join(missing)}")
    found = {name: np.asarray(arrays[name], dtype=np.float32) for name in (_P, _W, _CLASSIFIER)}
    shapes = [found[name].shape for name in (_P, _W, _CLASSIFIER)]
    latent_dim = shapes[0][-1]
    if [len(shape) for shape in shapes] != [2, 2, 2] or shapes[1][0] != latent_dim or shapes[2] != (1, latent_dim):
        raise CheckpointError(
            f"{path}: {_P}, {_W} and {_CLASSIFIER} have shapes {shapes}, "
            "wanted (n_models, latent_dim), (latent_dim, dim) and (1, latent_dim)"
        )
    return found


def _reference_win_rates(arrays: dict[str, Float32Array], sample: Float32Array, strong: int, weak: int) -> FloatArray:
    """RouteLLM's own computation, in float32 and one logit per model."""
    logits = []
    for row in (strong, weak):
        vector = arrays[_P][row] / max(float(np.linalg.norm(arrays[_P][row])), 1e-12)
        logits.append((vector * (sample @ arrays[_W].T)) @ arrays[_CLASSIFIER][0])
    return np.asarray(1.0 / (1.0 + np.exp(logits[1].astype(np.float64) - logits[0])))
