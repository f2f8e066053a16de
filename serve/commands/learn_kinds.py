"""The kinds of routers that `pointsman learn` tries, each trained as `pointsman train` does."""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import read_checkpoint
from pointsman.core.errors import MissingExtraError, PointsmanError
from pointsman.core.guarantee import Guarantee
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.train import TRAINERS

if TYPE_CHECKING:
    from pointsman.backends.evaluation.outcome_pairs import PairOutcomes

__all__ = ["BUNDLED", "KINDS", "LENGTH", "Tried", "baselines", "doubt", "train_kind", "train_kinds"]

BUNDLED, LENGTH = "mf (bundled)", "prompt length"
_EMBEDDED = ("--embedder", "static+length+common-sense")
_OPTIONS: dict[str, tuple[str, ...]] = {"bert": ()}
KINDS = tuple(kind for kind in ("knn", "linear", "blend", "mf", "bert") if kind in TRAINERS)
_N_TIMED = 20


@dataclass(frozen=True, slots=True)
class Tried:
    """A router in the comparison.

    Attributes:
        name: its kind, or another name.
        path: its checkpoint; None if it cannot be served.
        rates: win rates of the held-out prompts, shape (n_held,).
        decision_ms: one decision, median over some prompts.
        bound: the certified bound; None if it cannot be served.
    """

    name: str
    path: Path | None
    rates: FloatArray
    decision_ms: float = 0.0
    bound: Guarantee | None = None

    @property
    def share(self) -> float:
        """Share of the prompts that the certified threshold sends to the strong model."""
        return 1.0 if self.bound is None else self.bound.strong_share


def train_kinds(
    args: argparse.Namespace, train: "PairOutcomes", held: "PairOutcomes", scratch: Path
) -> Iterator[Tried]:
    """Trains every kind that can be trained here, and prints why the others cannot."""
    from pointsman.backends.data.table_writer import write_table
    from pointsman.backends.data.tables import Table

    table = scratch / "train.jsonl"
    low, high = args.scale
    write_table(
        Table({
            "prompt": train.prompts,
            "strong": (train.strong - low) / (high - low),
            "weak": (train.weak - low) / (high - low),
        }),
        table,
    )  # fmt: skip
    for kind in args.kinds:
        start = time.perf_counter()
        print(f"{kind}: ", end="", file=sys.stderr, flush=True)
        try:
            train_kind(kind, table, scratch / kind, ("--strong", "strong", "--weak", "weak"), seed=args.seed)
            yield _scored(kind, scratch / kind, held)
        except MissingExtraError as error:
            print(f"skipped: {error}", file=sys.stderr)
        except PointsmanError as error:
            print(f"not trained: {error}", file=sys.stderr)
        else:
            print(f"trained in {time.perf_counter() - start:.0f} s{doubt(scratch / kind)}", file=sys.stderr)


def baselines(held: "PairOutcomes") -> list[Tried]:
    """The bundled router and prompt length."""
    from pointsman.backends.assets import asset_path
    from pointsman.backends.evaluation.figures import length_ranks

    return [_scored(BUNDLED, asset_path("mf"), held), Tried(LENGTH, None, length_ranks(held.prompts))]


def train_kind(kind: str, table: Path, output: Path, models: tuple[str, ...], *, seed: int) -> None:
    """Trains as `pointsman train KIND` does, with these options."""
    module = import_module(f"pointsman.serve.commands.training.{kind.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=f"pointsman train {kind}")
    module.add_arguments(parser)
    words = [
        str(table),
        "-o",
        str(output),
        *models,
        "--seed",
        str(seed),
        *_OPTIONS.get(kind, _EMBEDDED),
    ]
    said = io.StringIO()  # what `pointsman train` says of its progress and result is too much here
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        module.run(parser.parse_args(words))


def doubt(path: Path) -> str:
    """A warning if the trained router is no better than a fixed choice: it gives one win rate to every prompt."""
    note = read_checkpoint(path).metrics.get("evidence", {}).get("note")
    return f"; {note}" if note else ""


def _scored(name: str, path: Path, held: "PairOutcomes") -> Tried:
    router = load_router(load_checkpoint(str(path), path))
    times = []
    for prompt in held.prompts[:_N_TIMED]:
        start = time.perf_counter()
        router.calculate_strong_win_rate(prompt)
        times.append(time.perf_counter() - start)
    return Tried(name, path, router.win_rates(held.prompts), 1000.0 * float(np.median(times)))
