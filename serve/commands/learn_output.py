"""Shared by `pointsman learn` with and without --candidates: held-out prompts, and what to do with the checkpoint."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.core.arrays import IntArray
from pointsman.core.errors import ConfigError
from pointsman.serve.checkpoints.promotion import checkpoint_names, promote, promoted_name
from pointsman.serve.commands.learn_report import next_steps

__all__ = ["draw_held_out", "new_name", "promote_and_configure"]

_LEAST = 20


def new_name(folder: Path, name: str | None) -> str:
    """The name of a new checkpoint in a folder: this one, or `learned-1`, `learned-2` and so on if None.

    Raises:
        ConfigError: the name is taken.
    """
    taken = set(checkpoint_names(folder))
    name = name or next(free for k in range(1, len(taken) + 2) if (free := f"learned-{k}") not in taken)
    if (folder / name).exists():
        raise ConfigError(f"{folder / name} already exists: choose another --name")
    return name


def draw_held_out(rows: IntArray, share: float, *, seed: int, what: str = "prompts") -> IntArray:
    """Rows drawn at random to compare and calibrate on, sorted.

    Args:
        rows: the rows to draw from.
        share: of them.
        what: the rows are, for the error message.

    Raises:
        ConfigError: too few rows for comparison, or for training.
    """
    n_held = round(share * len(rows))
    if not _LEAST <= n_held <= len(rows) - _LEAST:
        raise ConfigError(
            f"--held-out leaves {n_held} of {len(rows)} {what} for the comparison, wanted at least {_LEAST} there "
            f"and {_LEAST} to train on"
        )
    return np.sort(np.random.default_rng(seed).permutation(rows)[:n_held])


def promote_and_configure(
    args: argparse.Namespace, folder: Path, name: str, found: dict[str, Any], sections: dict[str, str]
) -> None:
    """Promotes a new checkpoint if it is the first or `--apply` is given, configures it, and prints the results.

    Args:
        found: the results, with the text to print under "lines".
        sections: further sections of the configuration, by name.
    """
    from pointsman.serve.config.add_router import add_router

    promoted = args.apply or promoted_name(folder) is None
    if promoted:
        promote(folder, name)
    config = add_router(Path(args.config), checkpoints=folder, max_loss=args.max_loss, sections=sections)
    found |= {"checkpoint": str(folder / name), "promoted": promoted, "config": config.line}
    print(json.dumps(found) if args.json else "\n".join([*found["lines"], *next_steps(found)]))
