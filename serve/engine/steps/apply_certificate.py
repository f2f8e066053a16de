"""Sets the threshold that the autopilot has certified."""

from typing import TYPE_CHECKING

from pointsman.serve.request.context import RequestContext

if TYPE_CHECKING:
    from pointsman.serve.autopilot.autopilot import Autopilot

__all__ = ["ApplyCertificate"]

_POLICY = "autopilot"


class ApplyCertificate:
    """For requests that name a router but no threshold; an exhausted hard limit takes precedence over the bound."""

    def __init__(self, autopilot: "Autopilot") -> None:
        self._autopilot = autopilot

    def __call__(self, context: RequestContext) -> None:
        field, ruled = context.parsed, context.ruled
        if field is None or field.router is None or ruled is None or ruled.exhausted or field.names_threshold:
            return
        if (certified := self._autopilot.certified(context, field.router)) is not None:
            score, context.threshold = certified
            context.policy = _POLICY
            context.score = score if score != context.win_rate else None
            context.planned = self._autopilot.planned(context)
            context.certified = self._autopilot.answer_score(context)
