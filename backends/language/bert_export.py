"""From a fine-tuned classifier to a `bert` checkpoint, compared with PyTorch before anything is written."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.backends.export import calibrated, export_checkpoint, package_versions
from pointsman.backends.language.bert import GRAPH, TOKENIZER, BertRouter, BertSettings, load
from pointsman.core.arrays import FloatArray
from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.choice_rows import turning_points
from pointsman.core.errors import FitError
from pointsman.core.hull import point_usd
from pointsman.core.pair import ModelPair
from pointsman.core.registry import build_router
from pointsman.core.score_models import column_means

if TYPE_CHECKING:
    from pointsman.backends.data.score_tables import ScoreTable
    from pointsman.backends.language.candidate_examples import Worth
    from pointsman.backends.torch.bert_training import TrainedBert

__all__ = ["export_bert", "torch_win_rates"]

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
    table: "ScoreTable | None" = None,
    worth: "Worth | None" = None,
) -> Checkpoint:
    """Writes a checkpoint that serves without torch.

    Args:
        pair: the models; of more candidates the reference and the last one.
        table: of a classifier with several heads, what it was trained on: its models are the candidates.
        worth: of such a one, how far its predictions count.
        prompts: to compare and to calibrate on; `source` describes them.
        int8: ship the quantised graph; how far its win rates are from PyTorch's is written to the metrics.
        keep_weights: ship the PyTorch weights too, for further training and for serving with torch.

    Raises:
        FitError: win rates of the full-precision graph and of PyTorch differ by more than 1e-4.
        CheckpointError: writing failed; an old checkpoint at `path` stays.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    from pointsman.backends.torch.graph_export import export_graph

    compared = list(prompts[:_N_COMPARED])
    with tempfile.TemporaryDirectory(prefix="pointsman-export-") as name:
        folder = Path(name)
        if keep_weights:
            trained.model.base.save_pretrained(folder)
        trained.tokenize.tokenizer.save(str(folder / TOKENIZER))
        export_graph(trained.model, folder / GRAPH)
        checkpoint = _checkpoint(trained, pair, folder, head=keep_weights)
        if table is not None and worth is not None:
            checkpoint = _of_candidates(checkpoint, table, worth)
        wanted = torch_win_rates(trained, compared)
        history = [asdict(epoch) for epoch in trained.history]
        figures = {**(metrics or {}), "history": history, "graph_difference": _difference(checkpoint, compared, wanted)}
        if not figures["graph_difference"] <= PARITY_TOLERANCE:
            raise FitError(
                f"the exported graph's win rates differ from PyTorch's by {figures['graph_difference']:.2e}, "
                f"wanted at most {PARITY_TOLERANCE}: nothing was written"
            )
        if int8:
            _quantize(folder)
            checkpoint = replace(checkpoint, options={**checkpoint.options, "int8": True})
            figures["int8_difference"] = _difference(checkpoint, compared, wanted)
        checkpoint = replace(checkpoint, metrics=figures, provenance={**checkpoint.provenance, **(provenance or {})})
        if table is None:
            checkpoint = calibrated(checkpoint, prompts, source=source)
        else:
            checkpoint = _calibrated_among(checkpoint, table, source)
        files = {file.name: file for file in sorted(folder.iterdir())}
        export_checkpoint(checkpoint, path, sample=compared, expected=None, files=files)
    return replace(checkpoint, path=Path(path))


def torch_win_rates(trained: "TrainedBert", prompts: Sequence[str]) -> FloatArray:
    """PyTorch's outputs, shape (n_prompts, n_heads)."""
    from pointsman.backends.torch.classifier import torch_forward

    return BertRouter(torch_forward(trained.model), trained.tokenize, _settings(trained)).by_head(prompts)


def _settings(trained: "TrainedBert") -> BertSettings:
    return BertSettings(
        max_length=trained.tokenize.max_length,
        truncation=trained.tokenize.truncation,
        pad_id=trained.pad_id,
        tie_share=trained.recipe.tie_share,
        pooling=trained.recipe.pooling,
        int8=False,
    )


def _of_candidates(checkpoint: Checkpoint, table: "ScoreTable", worth: "Worth") -> Checkpoint:
    """The checkpoint of several heads, with what its candidates did on average and how far predictions count."""
    columns = (table.scores, table.usd, table.input_tokens, table.output_tokens)
    means = [[_json(value) for value in row] for row in np.stack([column_means(each) for each in columns], axis=1)]
    told = {"means": means, "shrinkage": list(worth.shrinkage)}
    return replace(checkpoint, models=table.models, candidates=table.models, options={**checkpoint.options, **told})


def _calibrated_among(checkpoint: Checkpoint, table: "ScoreTable", source: str) -> Checkpoint:
    """The checkpoint with the quantiles of turning points of its training prompts."""
    rates = build_router(checkpoint).win_rates(table.prompts)
    usd, scores = column_means(table.usd), column_means(table.scores)
    levels, priced = 1.0 - np.random.default_rng(0).random(len(rates)), bool(np.isfinite(usd).all())
    points = turning_points(
        rates,
        np.tile(usd, (len(rates), 1)) if priced else None,
        levels=levels,
        point_usd=point_usd(usd, scores) if priced else None,
    )
    return replace(checkpoint, calibration=Calibration.from_win_rates(points, source=source))


def _json(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _checkpoint(trained: "TrainedBert", pair: ModelPair, folder: Path, *, head: bool) -> Checkpoint:
    """The checkpoint as it lies in the staging folder, with the full-precision graph."""
    return Checkpoint(
        kind="bert",
        models=(pair.strong, pair.weak),
        pair=pair,
        arrays=_head(trained) if head else {},
        options=_settings(trained).to_options(),
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
    return float(np.abs(load(checkpoint, None, checkpoint.pair).by_head(prompts) - wanted).max(initial=0.0))
