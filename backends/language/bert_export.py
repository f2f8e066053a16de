"""From a fine-tuned classifier to a `bert` checkpoint, compared with PyTorch before anything is written."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.backends.export import calibrated, export_checkpoint, package_versions
from pointsman.backends.language.bert import GRAPH, TOKENIZER, BertRouter, BertSettings
from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import FitError
from pointsman.core.pair import ModelPair
from pointsman.core.registry import build_router

if TYPE_CHECKING:
    from pointsman.backends.torch.bert_training import TrainedBert

__all__ = ["PARITY_TOLERANCE", "export_bert"]

PARITY_TOLERANCE = 1e-4
_N_COMPARED = 64


def export_bert(
    trained: "TrainedBert",
    path: str | os.PathLike[str],
    *,
    pair: ModelPair,
    prompts: Sequence[str],
    source: str,
    int8: bool = True,
    keep_weights: bool = True,
    provenance: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Writes a checkpoint that serves without torch.

    Args:
        prompts: to compare and to calibrate on; `source` says what they are.
        int8: ship the quantised graph; how far its win rates are from PyTorch's is written to the metrics.
        keep_weights: ship the PyTorch weights too, for further training and for serving with torch.

    Raises:
        FitError: win rates of the full-precision graph and of PyTorch differ by more than 1e-4.
        CheckpointError: writing failed; an old checkpoint at `path` stays.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    from pointsman.backends.torch.classifier import torch_forward
    from pointsman.backends.torch.graph_export import export_graph

    compared = list(prompts[:_N_COMPARED])
    with tempfile.TemporaryDirectory(prefix="pointsman-export-") as name:
        folder = Path(name)
        if keep_weights:
            trained.model.base.save_pretrained(folder)
        trained.tokenize.tokenizer.save(str(folder / TOKENIZER))
        export_graph(trained.model, folder / GRAPH)
        checkpoint = _checkpoint(trained, pair, folder, head=keep_weights)
        settings = BertSettings.from_options(checkpoint.options)
        wanted = BertRouter(torch_forward(trained.model), trained.tokenize, settings).win_rates(compared)
        history = [asdict(epoch) for epoch in trained.history]
        figures = {**(metrics or {}), "history": history, "graph_difference": _difference(checkpoint, compared, wanted)}
        if not figures["graph_difference"] <= PARITY_TOLERANCE:
            raise FitError(
                f"the exported graph's win rates differ from PyTorch's by {figures['graph_difference']:.2e}, "
                f"wanted at most {PARITY_TOLERANCE}: nothing was written"
            )
        if int8:
            _quantize(folder)
            checkpoint = replace(checkpoint, options=replace(settings, int8=True).to_options())
            figures["int8_difference"] = _difference(checkpoint, compared, wanted)
        checkpoint = replace(checkpoint, metrics=figures, provenance={**checkpoint.provenance, **(provenance or {})})
        checkpoint = calibrated(checkpoint, prompts, source=source)
        files = {file.name: file for file in sorted(folder.iterdir())}
        export_checkpoint(checkpoint, path, sample=compared, expected=None, files=files)
    return replace(checkpoint, path=Path(path))


def _checkpoint(trained: "TrainedBert", pair: ModelPair, folder: Path, *, head: bool) -> Checkpoint:
    """The checkpoint as it lies in the staging folder, with the full-precision graph."""
    settings = BertSettings(
        max_length=trained.tokenize.max_length,
        truncation=trained.tokenize.truncation,
        pad_id=trained.pad_id,
        tie_share=trained.recipe.tie_share,
        pooling=trained.recipe.pooling,
        int8=False,
    )
    return Checkpoint(
        kind="bert",
        models=(pair.strong, pair.weak),
        pair=pair,
        arrays=_head(trained) if head else {},
        options=settings.to_options(),
        provenance={
            "base": trained.base,
            "recipe": trained.recipe.to_record(),
            "versions": package_versions("torch", "transformers", "onnxruntime"),
        },
        path=folder,
    )


def _head(trained: "TrainedBert") -> dict[str, np.ndarray]:
    if trained.model.head is None:
        return {}
    return {f"head_{name}": value.detach().numpy().copy() for name, value in trained.model.head.named_parameters()}


def _quantize(folder: Path) -> None:
    from pointsman.backends.onnx.optimization import quantize

    quantize(folder / GRAPH, folder / "int8.onnx")
    (folder / "int8.onnx").replace(folder / GRAPH)


def _difference(checkpoint: Checkpoint, prompts: Sequence[str], wanted: FloatArray) -> float:
    return float(np.abs(build_router(checkpoint).win_rates(prompts) - wanted).max(initial=0.0))
