"""One fine-tuning loop for every model here: warm-up, early stopping, mixed precision, several processes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from pointsman.core.arrays import IntArray
from pointsman.core.errors import FitError, MissingExtraError

try:
    import accelerate
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtraError("torch (with accelerate)", "torch") from error

from pointsman.backends.torch.finetuning_state import read_state, write_state

__all__ = ["Epoch", "FineTuning", "Progress", "finetune", "is_main_process"]


@dataclass(frozen=True, slots=True)
class FineTuning:
    """Settings of one fine-tuning run.

    Attributes:
        epochs: passes over the examples; 0 leaves the model unchanged.
        lr: peak step size of AdamW for the base model.
        head_lr: peak step size for what was added to it; `lr` if None.
        batch_size: examples per step and process.
        warmup: share of the steps over which the step size rises from 0; it then falls to 0 evenly.
        weight_decay: of matrices; biases and norms have none.
        clip: largest norm of the gradient.
        patience: stop after this many epochs without a lower validation loss; None never stops early.
        precision: "auto" takes bf16 (or fp16) where the device has it.
        seed: of order, dropout and new weights.

    Raises:
        ValueError: a value leaves its range.
    """

    epochs: int = 4
    lr: float = 5e-5
    head_lr: float | None = None
    batch_size: int = 32
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    patience: int | None = 2
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("batch_size", 1), ("weight_decay", 0), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise ValueError(f"{name} is {value}, wanted at least {low}")
        for name in ("lr", "head_lr", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}, wanted a positive number")
        if not 0.0 <= self.warmup < 1.0:
            raise ValueError(f"warmup is {self.warmup}, wanted a share in [0, 1)")
        if self.precision not in ("auto", "no", "bf16", "fp16"):
            raise ValueError(f"precision is {self.precision!r}, wanted auto, no, bf16 or fp16")


@dataclass(frozen=True, slots=True)
class Epoch:
    """Figures of one epoch.

    Attributes:
        number: counted from 1.
        train_loss: mean over the steps of this process, in nats per example.
        validation_loss: after the epoch, in nats per example; None without validation examples.
    """

    number: int
    train_loss: float
    validation_loss: float | None


Progress: TypeAlias = Callable[[str], None]
Loss: TypeAlias = Callable[[nn.Module, IntArray, torch.device], torch.Tensor]


def finetune(
    model: nn.Module,
    loss: Loss,
    lengths: Sequence[int],
    settings: FineTuning,
    *,
    validation: IntArray,
    head: Sequence[nn.Parameter] = (),
    state: tuple[Path, str] | None = None,
    progress: Progress | None = None,
) -> tuple[Epoch, ...]:
    """Trains `model` in place and leaves it, on the CPU, with the weights of its best epoch.

    Under `torchrun` or `accelerate launch` every process takes its share of the batches; each computes the whole
    validation loss, so that all stop together.

    Args:
        loss: sum of the losses of some examples, given the model, their row numbers and the device.
        lengths: tokens of each example: batches are made of similar ones, in random order.
        validation: rows that are kept out of training; may be empty.
        head: parameters trained at `head_lr`.
        state: file that is written after every epoch and gone on from where it is there, and the fingerprint of the
            run; with one process only.

    Raises:
        CheckpointError: the state is damaged, or of another run.
        ValueError: a state with several processes.
        FitError: there is nothing to train on, or the loss is no longer finite.
    """
    train = np.setdiff1d(np.arange(len(lengths)), validation)
    accelerator = accelerate.Accelerator(mixed_precision=mixed_precision(settings.precision))
    n_steps = -(-train.size // settings.batch_size) // accelerator.num_processes
    if not n_steps:
        raise FitError(
            f"{train.size} examples to train on (and {validation.size} for validation) are less than a batch for each "
            f"of {accelerator.num_processes} processes: give more"
        )
    torch.manual_seed(settings.seed)
    optimizer = _optimizer(model, head, settings)
    total = max(1, settings.epochs * n_steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total, settings.warmup))
    run = _Run(accelerator, *accelerator.prepare(model, optimizer), schedule, loss, settings)
    rng = np.random.default_rng(settings.seed)
    history: list[Epoch] = []
    best: tuple[float, dict[str, torch.Tensor]] | None = None
    if state is not None and run.world > 1:
        raise ValueError("a state file is for one process: start anew with several, or train with one")
    if state is not None and state[0].exists():
        history, best = run.restore(read_state(*state))
        for _ in history:  # the order of the epochs to come follows that of those done
            _shuffled_batches(train, lengths, settings.batch_size, rng)
    for number in range(len(history) + 1, settings.epochs + 1):
        if settings.patience is not None and _stalled(history, settings.patience):
            break
        train_loss = run.epoch(
            _shuffled_batches(train, lengths, settings.batch_size, rng)[: n_steps * run.world], number
        )
        history.append(Epoch(number, train_loss, run.mean_loss(validation)))
        held = history[-1].validation_loss
        if progress is not None and accelerator.is_main_process:
            shown = "" if held is None else f", validation {held:.4f}"
            progress(f"epoch {number}/{settings.epochs}: loss {train_loss:.4f}{shown}")
        if held is not None and (best is None or held < best[0]):
            best = held, {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        if state is not None:
            write_state(state[0], run.state(history, best), state[1])
    accelerator.unwrap_model(run.model, keep_fp32_wrapper=False).to("cpu")
    if best is not None:
        model.load_state_dict(best[1])
    model.eval()
    return tuple(history)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    accelerator: accelerate.Accelerator
    model: nn.Module
    optimizer: Any
    schedule: Any
    loss: Loss
    settings: FineTuning

    @property
    def world(self) -> int:
        return int(self.accelerator.num_processes)

    def epoch(self, batches: Sequence[IntArray], number: int) -> float:
        """One step on each batch of this process; the mean loss in nats per example."""
        self.model.train()
        total, seen = 0.0, 0
        for rows in batches[self.accelerator.process_index :: self.world]:
            value = self.loss(self.model, rows, self.accelerator.device)
            if not torch.isfinite(value):
                raise FitError(f"the loss is {float(value)} in epoch {number}: lower lr (now {self.settings.lr})")
            self.accelerator.backward(value / len(rows))
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            total, seen = total + float(value.detach()), seen + len(rows)
        return total / seen

    def state(self, history: Sequence[Epoch], best: tuple[float, dict[str, torch.Tensor]] | None) -> dict[str, Any]:
        """Everything that the next epoch depends on, as tensors and plain values."""
        return {
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.last_epoch,
            "random": torch.get_rng_state(),
            "history": [asdict(epoch) for epoch in history],
            "best": best,
        }

    def restore(self, state: dict[str, Any]) -> tuple[list[Epoch], tuple[float, dict[str, torch.Tensor]] | None]:
        """Takes up a stored state; the epochs that it has done, and the best of them."""
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.last_epoch = state["schedule"]
        self.schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        torch.set_rng_state(state["random"])
        return [Epoch(**epoch) for epoch in state["history"]], state["best"]

    def mean_loss(self, rows: IntArray) -> float | None:
        """Mean loss of some examples in nats, without training; None if there are none."""
        if not rows.size:
            return None
        self.model.eval()
        size = self.settings.batch_size
        chunks = [rows[start : start + size] for start in range(0, rows.size, size)]
        with torch.inference_mode():
            return sum(float(self.loss(self.model, chunk, self.accelerator.device)) for chunk in chunks) / rows.size


def is_main_process() -> bool:
    """Whether this process writes results: the only one, or the first of several that train together."""
    return bool(accelerate.PartialState().is_main_process)


def mixed_precision(wanted: str) -> str:
    """What "auto" means on this machine: bf16 or fp16 on a GPU, full precision on a CPU."""
    if wanted != "auto":
        return wanted
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _optimizer(model: nn.Module, head: Sequence[nn.Parameter], settings: FineTuning) -> torch.optim.Optimizer:
    added = {id(parameter) for parameter in head}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            lr = (settings.head_lr or settings.lr) if id(parameter) in added else settings.lr
            decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((lr, decay), []).append(parameter)
    if not groups:
        raise FitError("no parameter is left to train: freeze fewer layers")
    listed: list[dict[str, Any]] = [
        {"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()
    ]
    return torch.optim.AdamW(listed)


def _rate(step: int, n_steps: int, warmup: float) -> float:
    rising = (step + 1) / max(warmup * n_steps, 1.0)
    falling = (n_steps - step) / max((1.0 - warmup) * n_steps, 1.0)
    return max(0.0, min(1.0, rising, falling))


def _shuffled_batches(
    rows: IntArray, lengths: Sequence[int], batch_size: int, rng: np.random.Generator
) -> list[IntArray]:
    """Batches of similar length in random order; random breadth keeps the same examples from always meeting."""
    blurred = np.array([lengths[i] for i in rows]) * rng.uniform(0.9, 1.1, len(rows))
    order = rows[np.argsort(blurred)]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _stalled(history: Sequence[Epoch], patience: int) -> bool:
    losses = [epoch.validation_loss for epoch in history if epoch.validation_loss is not None]
    return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= patience
