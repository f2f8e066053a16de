"""The causal-LM router: one forward pass, five logits (Ong et al. 2024, causal LLM classifier)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import numpy as np

from pointsman.backends.language.pair_folder import folder_for_pair
from pointsman.backends.language.scores import SCORE_TOKENS, Readings, ScoreRouter, split_template
from pointsman.backends.language.tokens import PromptTokenizer, chunks_by_length, pad, read_tokenizer
from pointsman.core.aggregation import score_token_win_rates
from pointsman.core.arrays import Float32Array, IntArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.errors import CheckpointError, MissingExtraError
from pointsman.core.pair import ModelPair

try:
    import torch
    import transformers
except ImportError as error:
    raise MissingExtraError("torch (with transformers)", "torch") from error

__all__ = [
    "TOKENIZER",
    "CausalLMRouter",
    "CausalLMSettings",
    "answer_logits",
    "framed_tokenizer",
    "load",
    "score_token_ids",
]

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class CausalLMSettings:
    """The options of a `causal_llm` checkpoint.

    Attributes:
        template: text with "{prompt}" once; the model's next token after it is the score.
        score_threshold: lowest score at which the weak model suffices.
        max_length: tokens read, template included.
        truncation: what is kept of a longer prompt: "head_tail" or "head". The template is never cut.
        pad_id: id that fills short rows of a batch.
        start_id: id of the token that begins every text; None where the base has none.
    """

    template: str
    score_threshold: int
    max_length: int
    truncation: str
    pad_id: int
    start_id: int | None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "CausalLMSettings":
        """Settings from a checkpoint's options.

        Raises:
            CheckpointError: one is missing or unknown.
        """
        try:
            return cls(**options)
        except TypeError as error:
            raise CheckpointError(f"options of the causal_llm checkpoint do not fit: {error}") from error

    def to_options(self) -> dict[str, Any]:
        """The settings as JSON-ready types."""
        return asdict(self)


class CausalLMRouter(ScoreRouter):
    """Reads the score from the logits of the token that follows the template, all prompts of a batch in one pass.

    The reading is invalid, and the win rate 1, where the likeliest token is not a score or a logit is not finite.
    """

    kind: ClassVar[str] = "causal_llm"

    def __init__(
        self, model: Any, tokenize: PromptTokenizer, settings: CausalLMSettings, *, batch_size: int = 16
    ) -> None:
        """
        Args:
            model: an `AutoModelForCausalLM` whose vocabulary holds the score tokens.
            batch_size: prompts per forward pass.

        Raises:
            CheckpointError: the tokenizer lacks a score token.
        """
        self.model = model.eval()
        self.tokenize = tokenize
        self.settings = settings
        self.batch_size = batch_size
        self._scores = score_token_ids(tokenize)
        self._turn = Lock()  # one pass at a time takes the whole device

    def readings(self, prompts: Sequence[str]) -> Readings:
        rows = self.tokenize(prompts)
        logits = np.empty((len(rows), len(SCORE_TOKENS)), dtype=np.float32)
        best = np.empty(len(rows), dtype=np.int64)
        for chunk in chunks_by_length(rows, self.batch_size):
            logits[chunk], best[chunk] = self._read([rows[i] for i in chunk])
        finite = np.isfinite(logits).all(axis=1)
        valid = finite & np.isin(best, self._scores)
        rates = np.ones(len(rows))
        if valid.any():
            rates[valid] = score_token_win_rates(logits[valid], score_threshold=self.settings.score_threshold)
        return Readings(rates, tuple(self._reason(*case) for case in zip(valid, finite, best, strict=True)))

    def _read(self, rows: Sequence[Sequence[int]]) -> tuple[Float32Array, IntArray]:
        ids, mask = pad(rows, self.settings.pad_id)
        device = self.model.device
        with self._turn, torch.inference_mode():
            logits = answer_logits(self.model, torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        return logits[:, list(self._scores)].float().cpu().numpy(), logits.argmax(dim=1).cpu().numpy()

    def _reason(self, valid: bool, finite: bool, best: int) -> str | None:
        if valid:
            return None
        if not finite:
            return "invalid output: a logit is not finite"
        return f"invalid output: wanted a score token, got {self.tokenize.tokenizer.id_to_token(int(best))!r}"


def answer_logits(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Logits of the token after each row, shape (n_rows, vocabulary).

    Rows are padded on the right, where a causal model cannot see it: a row's logits do not depend on its batch.
    """
    last = mask.sum(dim=1) - 1
    kept, where = torch.unique(last, return_inverse=True)
    output = model(input_ids=ids, attention_mask=mask, logits_to_keep=kept, use_cache=False)
    logits: torch.Tensor = output.logits[torch.arange(len(ids), device=ids.device), where]
    return logits


def score_token_ids(tokenize: PromptTokenizer) -> tuple[int, ...]:
    """Ids of the five score tokens, lowest score first.

    Raises:
        CheckpointError: the tokenizer lacks one.
    """
    ids = [tokenize.tokenizer.token_to_id(token) for token in SCORE_TOKENS]
    missing = [token for token, id_ in zip(SCORE_TOKENS, ids, strict=True) if id_ is None]
    if missing:
        raise CheckpointError(
            f"the tokenizer lacks the score tokens {', '.join(missing)}: it is not the one that the model was trained "
            "with; copy the whole checkpoint again, or train with `pointsman train causal-lm`, which adds them"
        )
    return tuple(id_ for id_ in ids if id_ is not None)


def framed_tokenizer(tokenizer: Any, settings: CausalLMSettings) -> PromptTokenizer:
    """The tokenizer with the template around each prompt.

    Raises:
        ValueError: the template has no place for the prompt, or leaves no room for it.
    """
    before, after = (tokenizer.encode(part, add_special_tokens=False).ids for part in split_template(settings.template))
    start = () if settings.start_id is None else (settings.start_id,)
    return PromptTokenizer(tokenizer, (*start, *before), tuple(after), settings.max_length, settings.truncation)


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> CausalLMRouter:
    """The router of a `causal_llm` checkpoint, on a GPU where there is one.

    Raises:
        CheckpointError: it was trained for another pair, or a file is missing or does not fit.
    """
    folder = folder_for_pair(checkpoint, pair)
    settings = CausalLMSettings.from_options(checkpoint.options)
    try:
        tokenize = framed_tokenizer(read_tokenizer(folder / TOKENIZER), settings)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return CausalLMRouter(_read_model(folder), tokenize, settings)


def _read_model(folder: Path) -> Any:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no causal language model that transformers can read: {error}") from error
