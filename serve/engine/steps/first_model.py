"""The model that a conversation began with, derived from the request alone: the same in all processes."""

from collections.abc import Mapping
from typing import Any

from pointsman.core.errors import PointsmanError
from pointsman.core.pair import ModelPair
from pointsman.serve.engine.steps.score_prompt import RouterThreads
from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.turns import is_models_turn, turns_of
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.request.context import RequestContext

__all__ = ["FirstModel", "steady_threshold"]

_MOVING = ("share", "budget", "admin")  # policies whose threshold changes from request to request


class FirstModel:
    """Repeats the decision for the first turn of a conversation, at a fixed threshold."""

    def __init__(self, routers: Mapping[str, ServedRouter], pair: ModelPair, threads: RouterThreads) -> None:
        self._routers = routers
        self._pair = pair
        self._threads = threads

    async def __call__(self, context: RequestContext) -> str | None:
        """The model of the first turn; None if the request does not contain it."""
        if context.parsed is None or context.parsed.router is None or context.score is not None:
            return None
        served = self._routers[context.parsed.router]
        threshold = steady_threshold(context, served)
        prompt = await off_loop(len(context.request.body), _first_prompt, context)
        if threshold is None or not prompt:
            return None
        try:
            reading = await self._threads.run(served.router.read, prompt)
        except PointsmanError:
            return None
        return self._pair.strong if reading.win_rate >= threshold else self._pair.weak


def steady_threshold(context: RequestContext, router: ServedRouter) -> float | None:
    """The request's threshold if it is fixed; else the router's own, around which pacing and shares move it."""
    policy = context.policy or ""
    moves = policy.startswith(_MOVING) or any(hasattr(share, "target") for share in _shares(context))
    return router.default_threshold if moves else context.threshold


def _shares(context: RequestContext) -> tuple[Any, ...]:
    return context.ruled.shares if context.ruled is not None else ()


def _first_prompt(context: RequestContext) -> str:
    """The prompt of the first turn, as it was read then."""
    document = context.request.document
    turns = list(turns_of(document))
    end = next((i for i, turn in enumerate(turns) if is_models_turn(turn)), 0)
    if not end:
        return ""
    place = "messages" if "messages" in document else "input"
    begun = {**document, place: turns[:end]}
    try:
        return context.surface.read(write_json(begun)).prompt
    except RequestError:
        return ""
