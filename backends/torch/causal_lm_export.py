"""From a fine-tuned causal language model to a `causal_llm` checkpoint, read back before anything is written."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pointsman.backends.export import calibrated, export_checkpoint, package_versions
from pointsman.backends.torch.causal_lm import TOKENIZER, CausalLMRouter
from pointsman.backends.torch.causal_lm_training import TrainedCausalLM
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.pair import ModelPair

__all__ = ["export_causal_lm"]

_N_COMPARED = 64


def export_causal_lm(
    trained: TrainedCausalLM,
    path: str | os.PathLike[str],
    *,
    pair: ModelPair,
    prompts: Sequence[str],
    source: str,
    provenance: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Writes a checkpoint with Hugging Face's own files in it.

    Args:
        prompts: to compare and to calibrate on; `source` describes them.

    Raises:
        FitError: the model gives other win rates once it is read back.
        CheckpointError: writing failed; an old checkpoint at `path` stays.
    """
    compared = list(prompts[:_N_COMPARED])
    with tempfile.TemporaryDirectory(prefix="pointsman-export-") as name:
        folder = Path(name)
        trained.model.save_pretrained(folder)
        trained.tokenize.tokenizer.save(str(folder / TOKENIZER))
        checkpoint = Checkpoint(
            kind="causal_llm",
            models=(pair.strong, pair.weak),
            pair=pair,
            options=trained.settings.to_options(),
            provenance={
                "base": trained.base,
                "recipe": trained.recipe.to_record(),
                "versions": package_versions("torch", "transformers"),
                **(provenance or {}),
            },
            metrics={**(metrics or {}), "history": [asdict(epoch) for epoch in trained.history]},
            path=folder,
        )
        expected = CausalLMRouter(trained.model, trained.tokenize, trained.settings).win_rates(compared)
        checkpoint = calibrated(checkpoint, prompts, source=source)
        files = {file.name: file for file in sorted(folder.iterdir())}
        export_checkpoint(checkpoint, path, sample=compared, expected=expected, files=files)
    return replace(checkpoint, path=Path(path))
