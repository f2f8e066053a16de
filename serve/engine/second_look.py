"""Scores a weak model's answer; the autopilot certifies thresholds on this score."""

from pointsman.core.answer_signals import Answer
from pointsman.core.cascade import doubt
from pointsman.serve.config.cascade import CascadeConfig
from pointsman.serve.engine.answer_checks import check_answer
from pointsman.serve.engine.paid_signals import Checker
from pointsman.serve.engine.served_verifier import ServedVerifier
from pointsman.serve.protocols.said import Said, read_said
from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["LEAST_CHECKED", "SecondLook"]

LEAST_CHECKED = 0.5  # score of an external checker below which an answer is not enough


class SecondLook:
    """Scores complete answers, for a request's own cascade or a comparison in the background.

    The score is the verifier's win rate of the strong model, or without a verifier the model's own doubt. An answer
    that fails a free check or the checker, or cannot be scored, has the score 1: it goes to the strong model whatever
    is certified.
    """

    def __init__(self, config: CascadeConfig, verifier: ServedVerifier | None, checker: Checker | None) -> None:
        self._config, self._verifier, self._checker = config, verifier, checker

    async def score(self, context: RequestContext, said: list[Said]) -> tuple[float, str]:
        """The score, in [0, 1], and why: "certified" if the answer was read, else the check that it failed."""
        document = context.request.document
        if not said:
            return 1.0, "unread"
        if failed := check_answer(said, document, self._config.checks):
            return 1.0, failed
        if self._checker is not None:
            checked = await self._checker.score(context.request.prompt, said, document)
            if checked is not None and checked < LEAST_CHECKED:
                return 1.0, "checker"
        if self._verifier is not None:
            return await self._verifier.read(context, [_answer(one) for one in said]), "certified"
        if all(one.logprobs for one in said):
            return max(doubt(one.logprobs) for one in said), "certified"
        return 1.0, "unread"

    async def score_attempt(self, context: RequestContext, attempt: Attempt) -> float:
        """The score of a complete answer to the request of `context`."""
        return (await self.score(context, read_said(attempt.document())))[0]


def _answer(said: Said) -> Answer:
    return Answer(
        said.text,
        token_logprobs=said.logprobs,
        margin=said.margin,
        output_tokens=said.output_tokens or len(said.logprobs) or None,
        finish_reason=said.finish_reason,
    )
