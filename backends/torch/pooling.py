"""Embeddings from hidden states: the poolings and dense layers of sentence-transformers models."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pointsman.core.errors import ConfigError

__all__ = ["Dense", "pool"]

_POOLED = "sentence_embedding"


def pool(hidden: Tensor, attention: Tensor, mode: str, *, n_prompt_tokens: int = 0) -> Tensor:
    """Pooling of the hidden states over the tokens of each text, shape (n_texts, dim).

    mean = sum h / n, mean_sqrt_len_tokens = sum h / sqrt(n), weightedmean = sum i h_i / sum i with i = 1 for the text's
    first token, cls the first token.

    Args:
        hidden: last hidden states, shape (n_texts, n_tokens, dim).
        attention: 1 for tokens, 0 for padding on either side, shape (n_texts, n_tokens).
        mode: name of the pooling, see above.
        n_prompt_tokens: leading tokens of each text that do not count.
    """
    position = attention.cumsum(1) * attention  # 1 for the first token of each text, 0 for padding
    counts = position > n_prompt_tokens
    weight = counts[..., None].to(hidden.dtype)
    total, n = (hidden * weight).sum(1), weight.sum(1).clamp(min=1e-9)
    match mode:
        case "cls":
            return hidden[torch.arange(len(hidden), device=hidden.device), counts.int().argmax(1)]
        case "mean_sqrt_len_tokens":
            return total / n.sqrt()
        case "weightedmean":
            by_position = weight * position[..., None]
            return (hidden * by_position).sum(1) / by_position.sum(1).clamp(min=1e-9)
        case _:
            return total / n


class Dense(nn.Module):
    """activation(W x + b), the dense layer in a folder of a sentence-transformers model.

    Raises:
        ConfigError: the layer has no safetensors weights, another form, or an activation that torch does not have.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"module 'Dense' in {folder} has no readable config.json: {error}") from error
        name = str(config.get("activation_function", "torch.nn.Tanh"))
        activation = getattr(nn, name.rpartition(".")[2], None) if name.startswith("torch.nn.") else None
        if not (isinstance(activation, type) and issubclass(activation, nn.Module)):
            raise ConfigError(f"{folder} has activation {name!r}, wanted one of torch.nn")
        if config.get("use_residual") or config.get("module_input_name", _POOLED) != _POOLED:
            raise ConfigError(f"{folder} adds a residual or reads another input than {_POOLED}: wanted a plain layer")
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise ConfigError(f"{folder} has no model.safetensors; pickled weights are not read")
        self.linear = nn.Linear(int(config["in_features"]), int(config["out_features"]), bool(config.get("bias", True)))
        self.activation: Any = activation()
        try:
            self.load_state_dict(load_file(weights))
        except RuntimeError as error:
            raise ConfigError(f"{weights} does not fit {folder / 'config.json'}: {error}") from error

    def forward(self, embeddings: Tensor) -> Tensor:
        """Maps embeddings of shape (n_texts, in_features) to (n_texts, out_features)."""
        return self.activation(self.linear(embeddings))  # type: ignore[no-any-return]
