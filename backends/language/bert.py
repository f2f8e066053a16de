"""The BERT router: a three-class reading of the prompt, run by onnxruntime, or by torch where no graph was exported."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pointsman.backends.language.pair_folder import folder_for_pair
from pointsman.backends.language.tokens import (
    Forward,
    PromptTokenizer,
    chunks_by_length,
    encoder_frame,
    pad,
    read_tokenizer,
)
from pointsman.core.aggregation import three_class_win_rates
from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.errors import CheckpointError
from pointsman.core.pair import ModelPair
from pointsman.core.router import Router

__all__ = ["GRAPH", "TOKENIZER", "BertRouter", "BertSettings", "load", "prompt_tokenizer"]

GRAPH, TOKENIZER = "model.onnx", "tokenizer.json"


@dataclass(frozen=True, slots=True)
class BertSettings:
    """What a `bert` checkpoint's options say.

    Attributes:
        max_length: tokens that the model reads, special ones included.
        truncation: "head_tail" or "head".
        pad_id: id that fills short rows of a batch.
        tie_share: share of a tie that counts as a win of strong; 0 in the reference.
        pooling: "mean" over all tokens, or "model" for the base model's own classification head.
        int8: whether the graph is quantised. Its activations are scaled per batch, so it runs prompt by prompt and a
            prompt's win rate does not depend on its neighbours.
    """

    max_length: int
    truncation: str
    pad_id: int
    tie_share: float
    pooling: str
    int8: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "BertSettings":
        """Settings from a checkpoint's options.

        Raises:
            CheckpointError: one is missing or has the wrong type.
        """
        try:
            values = {name: type_(options[name]) for name, type_ in cls.__annotations__.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"options of the bert checkpoint are incomplete or malformed: {error!r}") from error
        return cls(**values)

    def to_options(self) -> dict[str, Any]:
        """The settings as JSON-ready types."""
        return asdict(self)


class BertRouter(Router):
    """win_rate = p(strong wins) + tie_share p(tie), the probabilities being a softmax over three classes."""

    kind: ClassVar[str] = "bert"

    def __init__(
        self, forward: Forward, tokenize: PromptTokenizer, settings: BertSettings, *, batch_size: int = 32
    ) -> None:
        """
        Args:
            forward: logits, shape (n, 3), from token ids and attention mask, both int64, shape (n, length); safe to
                call from several threads.
            batch_size: prompts per forward pass.
        """
        self.forward = forward
        self.tokenize = tokenize
        self.settings = settings
        self.batch_size = 1 if settings.int8 else batch_size

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        rows = self.tokenize(prompts)
        rates = np.empty(len(rows))
        for chunk in chunks_by_length(rows, self.batch_size):
            logits = self.forward(*pad([rows[i] for i in chunk], self.settings.pad_id))
            rates[chunk] = three_class_win_rates(logits, tie_share=self.settings.tie_share)
        return rates


def prompt_tokenizer(folder: Path, settings: BertSettings) -> PromptTokenizer:
    """The tokenizer of a checkpoint folder with the frame that its model wants.

    Raises:
        CheckpointError: the tokenizer is missing or damaged, or the settings leave no room for a prompt.
    """
    tokenizer = read_tokenizer(folder / TOKENIZER)
    before, after = encoder_frame(tokenizer)
    try:
        return PromptTokenizer(tokenizer, before, after, settings.max_length, settings.truncation)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> BertRouter:
    """The router of a `bert` checkpoint.

    Raises:
        CheckpointError: the checkpoint was trained for another pair, or a file is missing or does not fit.
        MissingExtraError: onnxruntime (or torch, where there is no graph) is not installed.
    """
    folder = folder_for_pair(checkpoint, pair)
    settings = BertSettings.from_options(checkpoint.options)
    return BertRouter(_forward(checkpoint, folder, settings), prompt_tokenizer(folder, settings), settings)


def _forward(checkpoint: Checkpoint, folder: Path, settings: BertSettings) -> Forward:
    if (folder / GRAPH).is_file():
        from pointsman.backends.onnx.graph import open_graph

        return open_graph(folder / GRAPH)
    from pointsman.backends.torch.classifier import open_classifier

    return open_classifier(checkpoint, folder, pooling=settings.pooling)
