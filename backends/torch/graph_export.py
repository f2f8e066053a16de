"""From a classifier in PyTorch to an ONNX graph."""

import os
import warnings

from pointsman.backends.onnx.simplification import simplify
from pointsman.backends.torch.classifier import PromptClassifier
from pointsman.core.errors import MissingExtraError

try:
    import torch
except ImportError as error:
    raise MissingExtraError("torch", "torch") from error

__all__ = ["export_graph"]

OPSET = 20


def export_graph(model: PromptClassifier, path: str | os.PathLike[str]) -> None:
    """Writes the forward pass as a graph with free batch size and length.

    Inputs `input_ids` and `attention_mask`, int64, shape (batch, length); output `logits`, float32, shape
    (batch, 3 n_heads).

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    ids = torch.ones(2, 9, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    implementation = model.base.config._attn_implementation
    model.base.set_attn_implementation("eager")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.eval(),
                (ids, mask),
                os.fspath(path),
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_axes={
                    "input_ids": {0: "batch", 1: "length"},
                    "attention_mask": {0: "batch", 1: "length"},
                    "logits": {0: "batch"},
                },
                opset_version=OPSET,
                dynamo=False,
            )
    finally:
        model.base.set_attn_implementation(implementation)
    simplify(path)
