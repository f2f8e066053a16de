"""Loads a router by its name or checkpoint directory."""

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pointsman.core.checkpoint import Checkpoint, read_checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.errors import ConfigError
from pointsman.core.pair import ModelPair
from pointsman.core.registry import build_router, known_kinds
from pointsman.core.router import Router
from pointsman.serve.checkpoints.promotion import checkpoint_names, promoted_folder, promoted_name
from pointsman.serve.checkpoints.shared_arrays import read_arrays

__all__ = ["check_size", "checkpoint_folder", "is_bundled", "load_checkpoint", "load_embedder", "load_router"]

_BUNDLED = ("mf",)
_LEARNED = Path("checkpoints")


def is_bundled(name: str) -> bool:
    """Whether a name means a router that needs no directory, even if a directory has that name."""
    return name in ("random", *_BUNDLED)


def load_checkpoint(name: str, checkpoint: str | os.PathLike[str] | None = None) -> Checkpoint:
    """The checkpoint of a router.

    Args:
        name: a router kind or any name of the user's; may itself be a checkpoint directory, or the name of one in
            ./checkpoints, where `pointsman learn` writes them.
        checkpoint: the directory; None takes the one bundled for kind `name`.

    Raises:
        ConfigError: there is no directory, and none is bundled under that name.
        CheckpointError: the directory is not a checkpoint.
    """
    folder = checkpoint_folder(name, checkpoint)
    if folder is not None:
        _check_promotion(folder)
        return read_checkpoint(folder, read_arrays=read_arrays)
    if name == "random":
        return Checkpoint("random", ("strong", "weak"), ModelPair("strong", "weak"))
    if name in _BUNDLED:
        from pointsman.backends.assets import asset_path

        return read_checkpoint(asset_path(name))
    if name in known_kinds():
        raise ConfigError(
            f"router {name!r} has no bundled checkpoint: train one with `pointsman train` and name its directory, "
            f"on the command line instead of {name!r} or as routers.{name}.checkpoint in the config file"
        )
    learned = _LEARNED / name
    if (learned / "pointsman.json").is_file():
        return read_checkpoint(learned, read_arrays=read_arrays)
    near = get_close_matches(name, [*known_kinds(), *checkpoint_names(_LEARNED)])
    raise ConfigError(
        f"router {name!r} is neither a checkpoint directory nor a known kind ({', '.join(known_kinds())})"
        f"{f'; did you mean {near[0]}?' if near else ''}"
    )


def checkpoint_folder(name: str, checkpoint: str | os.PathLike[str] | None = None) -> Path | None:
    """The user's directory that a router is read from; None for a bundled router, or if there is none.

    In a folder of named checkpoints, the promoted one.
    """
    if checkpoint is not None:
        return promoted_folder(Path(checkpoint))
    return promoted_folder(Path(name)) if not is_bundled(name) and Path(name).is_dir() else None


def _check_promotion(folder: Path) -> None:
    """Raises where a folder holds named checkpoints, none of which is promoted."""
    promoted_name(folder)
    if names := () if (folder / "pointsman.json").is_file() else checkpoint_names(folder):
        raise ConfigError(
            f"{folder} holds the checkpoints {', '.join(names)}, and none is promoted: say which is to be served with "
            f"`pointsman promote {names[0]} --checkpoints {folder}`"
        )


def load_router(
    checkpoint: Checkpoint,
    *,
    pair: ModelPair | None = None,
    candidates: Sequence[str] = (),
    embedder: Mapping[str, Any] | None = None,
) -> Router:
    """The router of a checkpoint, with the embedder that the checkpoint names.

    Args:
        pair: models, as the checkpoint names them, whose win rate to predict.
        candidates: likewise, the reference first, to weigh; of two it is their win rate. The checkpoint's own pair or
            candidates if neither is given.
        embedder: options for the embedder, e.g. {"base_url": ..., "api_key": ...}.

    Raises:
        ConfigError: the checkpoint is of fewer models than there are candidates.
        CheckpointError, EmbedderMismatchError: the checkpoint is damaged or does not fit its embedder.
    """
    check_size(checkpoint, candidates)
    embed = load_embedder(checkpoint, embedder)
    if len(candidates) == 2:
        return build_router(checkpoint, embed, pair=ModelPair(*candidates))
    return build_router(checkpoint, embed, pair=pair, candidates=candidates or None)


def check_size(checkpoint: Checkpoint, candidates: Sequence[str]) -> None:
    """Raises `ConfigError` where a checkpoint is of fewer models than there are candidates: no mapping helps."""
    if checkpoint.kind == "random" or len(candidates) <= max(len(checkpoint.models), 2):
        return
    name = checkpoint.path.name if checkpoint.path is not None else checkpoint.kind
    raise ConfigError(
        f"checkpoint {name!r} is of {len(checkpoint.models)} models ({', '.join(checkpoint.models)}), which cannot "
        f"weigh {len(candidates)} candidates: train a router of them, `pointsman train linear TABLE --candidates "
        f"{','.join(candidates)} -o DIR`, and name DIR instead"
    )


def load_embedder(checkpoint: Checkpoint, options: Mapping[str, Any] | None = None) -> Embedder | None:
    """The embedder that a checkpoint names, with further options for it; None if it names none."""
    if checkpoint.embedder is None:
        return None
    from pointsman.backends.embedders import resolve_embedder

    return resolve_embedder(checkpoint.embedder.name, **(options or {}))
