"""From a checkpoint to its router: kinds and their loaders.

Built-in kinds are listed here by import path, so that a kind's module is imported only when one is loaded. Third
parties add a kind with an entry point in group `pointsman.routers`, a callable (checkpoint, embed, pair) -> Router, and
one that weighs any number of candidates with an entry point of the same name in group `pointsman.candidate_routers`, a
callable (checkpoint, embed, candidates) -> Router, the reference first; `load_candidates` in the module of the other
does without one. A kind of embeddings that has neither weighs more than two by its win rates of pairs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeAlias, cast

from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import CANARIES, Embedder, check_canaries, check_identity
from pointsman.core.errors import CheckpointError, EmbedderMismatchError, UnknownRouterError
from pointsman.core.pair import ModelPair
from pointsman.core.router import Router
from pointsman.core.routers.pairs import load_pairs

__all__ = ["ENTRY_POINT_GROUP", "Loader", "build_router", "known_kinds"]

ENTRY_POINT_GROUP = "pointsman.routers"
CANDIDATES_GROUP = "pointsman.candidate_routers"
Loader: TypeAlias = Callable[[Checkpoint, Embedder | None, ModelPair], Router]
CandidatesLoader: TypeAlias = Callable[[Checkpoint, Embedder | None, Sequence[str]], Router]

_BUILT_IN = {
    "knn": "pointsman.core.routers.knn",
    "linear": "pointsman.core.routers.scores",
    "blend": "pointsman.core.routers.scores",
    "mf": "pointsman.core.routers.mf",
    "sw_ranking": "pointsman.core.routers.sw_ranking",
    "random": "pointsman.core.routers.random",
}


def known_kinds() -> tuple[str, ...]:
    """All router kinds that can be loaded, sorted."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))}))


def build_router(
    checkpoint: Checkpoint,
    embed: Embedder | None = None,
    *,
    pair: ModelPair | None = None,
    candidates: Sequence[str] | None = None,
) -> Router:
    """The router of a checkpoint: of a pair, or of any number of candidates.

    Args:
        embed: the embedder that the checkpoint was trained with; its identity and canaries are checked.
        pair: models (as the checkpoint names them) whose win rate to predict.
        candidates: models likewise, the reference first, over which its win rates are predicted. If neither is given,
            the checkpoint's own candidates where they are more than two, else its own pair.

    Raises:
        UnknownRouterError: no such kind.
        EmbedderMismatchError: `embed` is missing, another one, or has drifted since training.
        CheckpointError: the checkpoint lacks something that its kind needs, or does not know a model.
        ValueError: both `pair` and `candidates` are given, or fewer than two candidates, or one twice.
    """
    if pair is None and candidates is None and len(checkpoint.candidates) > 2:
        candidates = checkpoint.candidates
    if candidates is not None and (pair is not None or len(set(candidates)) < max(len(candidates), 2)):
        raise ValueError(
            f"candidates are {list(candidates)}, pair is {pair}: wanted one, and two different models or more"
        )
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
    if candidates is None:
        return load(checkpoint, embed, pair or checkpoint.pair)
    return _candidates_loader(checkpoint.kind)(checkpoint, embed, candidates)


def _loader(kind: str) -> Loader:
    if kind in _BUILT_IN:
        return cast(Loader, import_module(_BUILT_IN[kind]).load)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=kind):
        return cast(Loader, point.load())
    if kind == "verifier":
        raise UnknownRouterError(
            "the checkpoint is a verifier, which reads answers, not a router: name it with --verifier on the command "
            "line, or as cascade.verifier in the configuration"
        )
    raise UnknownRouterError(f"router kind {kind!r} is unknown; known kinds are {', '.join(known_kinds())}")


def _candidates_loader(kind: str) -> CandidatesLoader:
    if kind in _BUILT_IN:
        return cast(CandidatesLoader, import_module(_BUILT_IN[kind]).load_candidates)
    for point in entry_points(group=CANDIDATES_GROUP, name=kind):
        return cast(CandidatesLoader, point.load())
    load = _loader(kind)
    beside = getattr(import_module(load.__module__), "load_candidates", None)
    return cast(CandidatesLoader, beside) if beside is not None else partial(load_pairs, load)
