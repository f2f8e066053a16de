"""Supervised fine-tuning of the causal-LM router."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backends.language.scores import SCORE_TOKENS, TEMPLATE
from pointsman.backends.language.tokens import PromptTokenizer, pad
from pointsman.backends.torch.causal_lm import CausalLMSettings, answer_logits, framed_tokenizer, score_token_ids
from pointsman.backends.torch.finetuning import Epoch, FineTuning, Progress, finetune
from pointsman.backends.torch.finetuning_state import run_fingerprint
from pointsman.core.aggregation import N_SCORES
from pointsman.core.arrays import IntArray
from pointsman.core.errors import FitError, MissingExtraError

try:
    import torch
    import transformers
    from torch.nn import functional
except ImportError as error:
    raise MissingExtraError("torch (with transformers)", "torch") from error

__all__ = ["CausalLMRecipe", "LoRA", "TrainedCausalLM", "train_causal_lm"]

_DEFAULT_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class LoRA:
    """Low-rank adaptation: only updates of this rank are learned, and merged into the weights at the end.

    Attributes:
        rank: of the update of every linear layer.
        alpha: the update is scaled by alpha / rank.
        dropout: on the update's input.

    Raises:
        ValueError: a value leaves its range.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"{self}: wanted a rank of at least 1, a positive alpha and a dropout in [0, 1)")


@dataclass(frozen=True, slots=True)
class CausalLMRecipe:
    """Settings of one training run of the causal-LM router.

    Attributes:
        template: text with "{prompt}" once; the score token follows it.
        score_threshold: lowest score at which the weak model suffices.
        max_length: tokens read, template included; the base's limit, at most 2048, if None.
        truncation: what is kept of a longer prompt: "head_tail" or "head".
        lora: None trains all weights.
        finetuning: the loop's settings.

    Raises:
        ValueError: `score_threshold` is not a score.
    """

    template: str = TEMPLATE
    score_threshold: int = 4
    max_length: int | None = None
    truncation: str = "head_tail"
    lora: LoRA | None = None
    finetuning: FineTuning = field(default_factory=lambda: FineTuning(epochs=3, lr=1e-5, batch_size=8))

    def __post_init__(self) -> None:
        if not 1 <= self.score_threshold <= N_SCORES:
            raise ValueError(f"score_threshold is {self.score_threshold}, wanted 1 to {N_SCORES}")

    def to_record(self) -> dict[str, Any]:
        """The settings as JSON-ready types."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedCausalLM:
    """A fine-tuned model, on the CPU, with its tokenizer, what its checkpoint's options will say, and its history."""

    model: Any
    tokenize: PromptTokenizer
    settings: CausalLMSettings
    recipe: CausalLMRecipe
    base: str
    history: tuple[Epoch, ...]


def train_causal_lm(
    prompts: Sequence[str],
    scores: IntArray,
    recipe: CausalLMRecipe,
    *,
    base: str | os.PathLike[str],
    validation: Sequence[int] | IntArray = (),
    state: Path | None = None,
    progress: Progress | None = None,
) -> TrainedCausalLM:
    """Teaches a causal language model to follow the template with the score token of the prompt.

    Args:
        scores: 1 (the weak model is of no use) to 5 (it suffices), shape (n_prompts,).
        base: folder or Hub id of any `AutoModelForCausalLM` with a fast tokenizer.
        validation: rows kept out of training, which decide when to stop and which epoch to keep; may be empty.
        state: file written after every epoch; training resumes from it if it exists.

    Raises:
        CheckpointError: the state is damaged, or of another run.
        ValueError: a score is not 1 to 5, or the template or its length do not fit.
        FitError: the base cannot be used, or training fails.
    """
    scores = np.asarray(scores)
    if scores.shape != (len(prompts),) or not np.isin(scores, np.arange(1, N_SCORES + 1)).all():
        raise ValueError(f"scores have shape {scores.shape}, wanted one of 1 to {N_SCORES} for each of {len(prompts)}")
    transformers.set_seed(recipe.finetuning.seed)
    model, fast = _read_base(base)
    settings = _settings(model, fast, recipe)
    tokenize = framed_tokenizer(fast.backend_tokenizer, settings)
    targets = np.array(score_token_ids(tokenize))[scores - 1]
    rows = tokenize(prompts)
    tuned = model if recipe.lora is None else _with_lora(model, recipe.lora, score_token_ids(tokenize))
    loss = _Loss(rows, targets, settings.pad_id)
    held = np.asarray(validation, dtype=np.int64)
    run = run_fingerprint(recipe, base, scores.tolist(), held.tolist(), rows=rows)
    history = finetune(
        tuned,
        loss,
        [len(row) for row in rows],
        recipe.finetuning,
        validation=held,
        state=None if state is None else (state, run),
        progress=progress,
    )
    merged = tuned if recipe.lora is None else tuned.merge_and_unload()
    return TrainedCausalLM(merged, tokenize, settings, recipe, os.fspath(base), history)


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    """Cross-entropy of the score token over the whole vocabulary, so that the model outputs nothing but a score."""

    rows: list[list[int]]
    targets: IntArray
    pad_id: int

    def __call__(self, model: torch.nn.Module, chosen: IntArray, device: torch.device) -> torch.Tensor:
        ids, mask = pad([self.rows[i] for i in chosen], self.pad_id)
        logits = answer_logits(model, torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        return functional.cross_entropy(
            logits.float(), torch.from_numpy(self.targets[chosen]).to(device), reduction="sum"
        )


def _read_base(base: str | os.PathLike[str]) -> tuple[Any, Any]:
    """The base model, its vocabulary grown by the score tokens, and its tokenizer."""
    try:
        fast = transformers.AutoTokenizer.from_pretrained(base)
        model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise FitError(f"base model {base} cannot be loaded: {error}; name a folder or a Hub id") from error
    if not getattr(fast, "is_fast", False):
        raise FitError(f"base model {base} has no fast tokenizer (tokenizer.json)")
    fast.add_tokens([transformers.AddedToken(token, normalized=False) for token in SCORE_TOKENS])
    fast.backend_tokenizer.no_truncation()
    fast.backend_tokenizer.no_padding()
    if len(fast) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(fast))
    return model, fast


def _settings(model: Any, fast: Any, recipe: CausalLMRecipe) -> CausalLMSettings:
    limit = getattr(model.config, "max_position_embeddings", _DEFAULT_LENGTH)
    length = min(limit, _DEFAULT_LENGTH) if recipe.max_length is None else recipe.max_length
    if length > limit:
        raise ValueError(f"max_length is {length}, wanted at most {limit}, what the base model can read")
    known = (fast.pad_token_id, fast.eos_token_id, 0)
    return CausalLMSettings(
        template=recipe.template,
        score_threshold=recipe.score_threshold,
        max_length=length,
        truncation=recipe.truncation,
        pad_id=next(id_ for id_ in known if id_ is not None),
        start_id=fast.bos_token_id,
    )


def _with_lora(model: Any, lora: LoRA, score_ids: Sequence[int]) -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("peft", "torch") from error
    # The new tokens are only ever predicted, so that their rows of the output matrix are all that must be learned.
    output = model.get_output_embeddings()
    name = next(name for name, module in model.named_modules() if module is output)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        trainable_token_indices={name: list(score_ids)},
    )
    return peft.get_peft_model(model, config)
