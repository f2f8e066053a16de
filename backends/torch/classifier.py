"""A transformer that reads a prompt and answers with three logits, or three for each of several weak models."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pointsman.backends.language.tokens import Forward
from pointsman.core.arrays import Float32Array, IntArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import CheckpointError, FitError, MissingExtraError

try:
    import torch
    import transformers
    from torch import nn
except ImportError as error:
    raise MissingExtraError("torch (with transformers)", "torch") from error

__all__ = ["POOLINGS", "PromptClassifier", "new_classifier", "open_classifier", "torch_forward"]

POOLINGS = ("mean", "model")
ENCODER_FILES = ("config.json", "model.safetensors")
_N_CLASSES = 3


class PromptClassifier(nn.Module):
    """Logits over (strong wins, tie, weak wins) from token ids and attention mask, shape (n, 3 n_heads).

    With pooling "mean" the logits are a linear map of the mean of the last hidden states over all tokens, which suits
    sentence encoders; with "model" they are what the base's own `AutoModelForSequenceClassification` says.

    Attributes:
        base: an `AutoModel` for "mean", else an `AutoModelForSequenceClassification`.
        head: the linear map for "mean", else None.
    """

    def __init__(self, base: Any, head: nn.Linear | None, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.head = head
        self.dropout = nn.Dropout(dropout)

    def pooled(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Mean of the last hidden states over all tokens, shape (n, dim); for pooling "mean"."""
        hidden = self.base(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self.head is None:
            logits: torch.Tensor = self.base(input_ids=input_ids, attention_mask=attention_mask).logits
            return logits
        return self.head(self.dropout(self.pooled(input_ids, attention_mask)))

    def encoder_layers(self) -> nn.ModuleList:
        """The transformer's layers, first to last.

        Raises:
            FitError: the base keeps its layers in no single list.
        """
        config = self.base.config
        for module in self.base.modules():
            if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers:
                return module
        raise FitError(f"cannot find the layers of a {config.model_type!r} model: train with freeze_layers 0")


def new_classifier(
    base: str | os.PathLike[str],
    *,
    pooling: str = "mean",
    layers: int | None = None,
    dropout: float = 0.1,
    n_heads: int = 1,
) -> PromptClassifier:
    """A classifier on a base model, its head still to be trained.

    A classification head that the base brings along and that has another number of classes is replaced.

    Args:
        base: folder or Hub id.
        layers: keep this many of the first layers; all if None.
        n_heads: weak models that the strong one is compared with.

    Raises:
        ValueError: `pooling` is unknown, or the base has fewer layers.
        FitError: the base does not exist, or is not an encoder that transformers knows.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}, wanted one of {', '.join(POOLINGS)}")
    try:
        config = transformers.AutoConfig.from_pretrained(base)
        depth = config.num_hidden_layers
        if layers is not None and not 1 <= layers <= depth:
            raise ValueError(f"layers is {layers}, wanted 1 to {depth}, the depth of {base}")
        config.num_hidden_layers = layers or depth
        config.num_labels = _N_CLASSES * n_heads
        auto = transformers.AutoModel if pooling == "mean" else transformers.AutoModelForSequenceClassification
        with _quiet():  # what it reports, layers left out and a head replaced, is what was asked for
            model = auto.from_pretrained(
                base, config=config, ignore_mismatched_sizes=pooling == "model", dtype=torch.float32
            )
    except OSError as error:
        raise FitError(f"base model {base} cannot be loaded: {error}; name a folder or a Hub id") from error
    if pooling == "model":
        return PromptClassifier(model, None)
    for name, parameter in model.named_parameters():
        if name.startswith("pooler."):  # not part of the mean: several processes would wait for its gradient
            parameter.requires_grad_(False)
    head = nn.Linear(config.hidden_size, _N_CLASSES * n_heads)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return PromptClassifier(model, head, dropout=dropout)


@contextmanager
def _quiet() -> Iterator[None]:
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def torch_forward(model: PromptClassifier) -> Forward:
    """The model's forward pass from arrays to arrays, on the CPU, one call at a time on all cores."""
    model.eval()
    turn = Lock()

    def forward(ids: IntArray, mask: IntArray) -> Float32Array:
        with turn, torch.inference_mode():
            return np.asarray(model(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy())

    return forward


def open_classifier(checkpoint: Checkpoint, folder: Path, *, pooling: str) -> Forward:
    """Forward pass of a checkpoint's own weights, on the CPU.

    Raises:
        CheckpointError: a file is missing, or the model has another number of labels.
    """
    for name in ENCODER_FILES:
        if not (folder / name).is_file():
            raise CheckpointError(f"checkpoint {folder} has neither a graph nor {name}: export it again")
    n_labels = _N_CLASSES * (len(checkpoint.models) - 1)
    if pooling == "model":
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        if model.config.num_labels != n_labels:
            raise CheckpointError(
                f"the model in {folder} has {model.config.num_labels} labels, wanted {n_labels}: "
                "strong wins, tie, weak wins"
            )
        return torch_forward(PromptClassifier(model, None))
    weight, bias = checkpoint.array("head_weight", ndim=2), checkpoint.array("head_bias", ndim=1)
    base = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    wanted = (n_labels, base.config.hidden_size)
    if weight.shape != wanted or bias.shape != wanted[:1]:
        raise CheckpointError(f"the head in {folder} has shape {weight.shape}, wanted {wanted}; export it again")
    head = nn.Linear(base.config.hidden_size, n_labels)
    head.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    return torch_forward(PromptClassifier(base, head))
