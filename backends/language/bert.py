"""The BERT router: a three-class reading of the prompt, run by onnxruntime, or by torch where no graph was exported.

With more than two models the encoder has a head per candidate, of the reference against it.
"""

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
from pointsman.core.router import CandidateMeans, Reading, Router
from pointsman.core.score_models import shrunk_win_rates

__all__ = ["GRAPH", "TOKENIZER", "BertRouter", "BertSettings", "CandidatesBertRouter", "load", "load_candidates"]

GRAPH, TOKENIZER = "model.onnx", "tokenizer.json"


@dataclass(frozen=True, slots=True)
class BertSettings:
    """The options of a `bert` checkpoint.

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
        self,
        forward: Forward,
        tokenize: PromptTokenizer,
        settings: BertSettings,
        *,
        batch_size: int = 32,
        head: int = 0,
    ) -> None:
        """
        Args:
            forward: logits, shape (n, 3 n_heads), from token ids and attention mask, both int64, shape (n, length);
                safe to call from several threads.
            batch_size: prompts per forward pass.
            head: of the pair.
        """
        self.forward = forward
        self.tokenize = tokenize
        self.settings = settings
        self.head = head
        self.batch_size = 1 if settings.int8 else batch_size

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        found = self.by_head(prompts)
        return found[:, self.head] if found.size else np.zeros(0)

    def by_head(self, prompts: Sequence[str]) -> FloatArray:
        """Win rates of the strong model over that of each head, shape (n_prompts, n_heads)."""
        rows = self.tokenize(prompts)
        rates: FloatArray = np.zeros((len(rows), 0))
        for chunk in chunks_by_length(rows, self.batch_size):
            logits = np.asarray(self.forward(*pad([rows[i] for i in chunk], self.settings.pad_id)))
            found = three_class_win_rates(logits.reshape(-1, 3), tie_share=self.settings.tie_share)
            if not rates.size:
                rates = np.empty((len(rows), logits.shape[1] // 3))
            rates[chunk] = found.reshape(len(chunk), -1)
        return rates


class CandidatesBertRouter(Router):
    """Of the reference and any of the others: a head's win rates, drawn to the means as far as evidence asks for."""

    kind: ClassVar[str] = "bert"

    def __init__(
        self, reads: BertRouter, heads: Sequence[int], means: Sequence[CandidateMeans], shrinkage: Sequence[float]
    ) -> None:
        """
        Args:
            heads: of the candidates after the reference.
            means: of all candidates.
            shrinkage: of all candidates' predictions beyond their means, in [0, 1].
        """
        self.means = tuple(means)
        self._reads, self._heads = reads, list(heads)
        self._scores = np.array([mean.score for mean in means])
        self._shrinkage = np.asarray(shrinkage, dtype=np.float64)

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        found = np.full((len(prompts), len(self._scores)), 0.5)
        if len(prompts):
            found[:, 1:] = self._reads.by_head(prompts)[:, self._heads]
        predicted = self._scores[0] - (2.0 * found - 1.0)
        return shrunk_win_rates(predicted, self._scores, self._shrinkage)

    def read(self, prompt: str) -> Reading:
        return Reading.of(self.win_rates([prompt])[0].tolist())


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
    head = 0
    if len(checkpoint.models) > 2 and pair.strong == checkpoint.models[0] and pair.weak in checkpoint.models[1:]:
        head, pair = checkpoint.models.index(pair.weak) - 1, checkpoint.pair
    folder = folder_for_pair(checkpoint, pair)
    settings = BertSettings.from_options(checkpoint.options)
    return BertRouter(_forward(checkpoint, folder, settings), prompt_tokenizer(folder, settings), settings, head=head)


def load_candidates(checkpoint: Checkpoint, embed: Embedder | None, candidates: Sequence[str]) -> Router:
    """The router of the reference and some of the other models that the checkpoint has heads for.

    Raises:
        CheckpointError: the reference is another, a candidate has no head, or a file or an option is missing.
    """
    own = checkpoint.models
    if candidates[0] != own[0] or not set(candidates) <= set(own) or len(own) < 3:
        raise CheckpointError(
            f"checkpoint {checkpoint.path} compares {own[0]!r} with {', '.join(own[1:])}, not {candidates[0]!r} with "
            f"{', '.join(candidates[1:])}: train it with --candidates {','.join(candidates)}"
        )
    rows = [own.index(name) for name in candidates]
    try:
        means = [CandidateMeans(*checkpoint.options["means"][row]) for row in rows]
        shrinkage = [float(checkpoint.options["shrinkage"][row]) for row in rows]
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint.path}: options are incomplete or malformed: {error!r}"
        ) from error
    reads = load(checkpoint, embed, checkpoint.pair)
    return CandidatesBertRouter(reads, [row - 1 for row in rows[1:]], means, shrinkage)


def _forward(checkpoint: Checkpoint, folder: Path, settings: BertSettings) -> Forward:
    if (folder / GRAPH).is_file():
        from pointsman.backends.onnx.graph import open_graph

        return open_graph(folder / GRAPH, n_heads=len(checkpoint.models) - 1)
    from pointsman.backends.torch.classifier import open_classifier

    return open_classifier(checkpoint, folder, pooling=settings.pooling)
