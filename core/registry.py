"""From a checkpoint to its router: kinds and their loaders.

Built-in kinds are listed here by import path, so that a kind's module is imported only when one is loaded. Third
parties add a kind with an entry point in group `pointsman.routers`, a callable (checkpoint, embed, pair) -> Router.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeAlias, cast

from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import CANARIES, Embedder, check_canaries, check_identity
from pointsman.core.errors import CheckpointError, EmbedderMismatchError, UnknownRouterError
from pointsman.core.pair import ModelPair
from pointsman.core.router import Router

__all__ = ["ENTRY_POINT_GROUP", "Loader", "build_router", "known_kinds"]

ENTRY_POINT_GROUP = "pointsman.routers"
Loader: TypeAlias = Callable[[Checkpoint, Embedder | None, ModelPair], Router]

_BUILT_IN = {
    "knn": "pointsman.core.routers.knn:load",
    "mf": "pointsman.core.routers.mf:load",
    "sw_ranking": "pointsman.core.routers.sw_ranking:load",
    "random": "pointsman.core.routers.random:load",
}


def known_kinds() -> tuple[str, ...]:
    """All router kinds that can be loaded, sorted."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))}))


def build_router(checkpoint: Checkpoint, embed: Embedder | None = None, *, pair: ModelPair | None = None) -> Router:
    """The router of a checkpoint.

    Args:
        embed: the embedder that the checkpoint was trained with; its identity and canaries are checked.
        pair: models (as the checkpoint names them) whose win rate to predict; the checkpoint's own pair if None.

    Raises:
        UnknownRouterError: no such kind.
        EmbedderMismatchError: `embed` is missing, another one, or has drifted since training.
        CheckpointError: the checkpoint lacks something that its kind needs.
    """
    load = _loader(checkpoint.kind)
    if checkpoint.embedder is not None:
        if embed is None:
            raise EmbedderMismatchError(
                f"the checkpoint needs embedder {checkpoint.embedder.name!r} and none was given"
            )
        check_identity(checkpoint.embedder, embed.identity)
        if checkpoint.canaries is None:
            raise CheckpointError(f"checkpoint {checkpoint.path} names an embedder but holds no canary embeddings")
        check_canaries(checkpoint.canaries, embed(CANARIES), checkpoint.embedder.name)
    return load(checkpoint, embed, pair or checkpoint.pair)


def _loader(kind: str) -> Loader:
    if kind in _BUILT_IN:
        module, _, name = _BUILT_IN[kind].partition(":")
        return cast(Loader, getattr(import_module(module), name))
    for point in entry_points(group=ENTRY_POINT_GROUP, name=kind):
        return cast(Loader, point.load())
    if kind == "verifier":
        raise UnknownRouterError(
            "the checkpoint is a verifier, which reads answers, and no router: name it with --verifier on the command "
            "line, or as cascade.verifier in the configuration"
        )
    raise UnknownRouterError(f"router kind {kind!r} is unknown; known kinds are {', '.join(known_kinds())}")
