"""Applies the first configured rule that the request matches."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.arrays import Float32Array
from pointsman.core.policy import Ruling
from pointsman.serve.engine.steps.score_prompt import RouterThreads
from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.rules import Policies
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.matched_rule import MatchedRule

if TYPE_CHECKING:
    from pointsman.serve.engine.rules import Rules

__all__ = ["ApplyRules"]

_LOG = logging.getLogger(__name__)


class ApplyRules:
    """Keeps only the candidates that the rule names, of those that can answer, and sets its threshold.

    A rule does not take a tool loop, a stored response or background work from its model, and a threshold that the
    request names is kept. Budgets and bounds hold for what a rule sends to an expensive model as for everything else.
    """

    def __init__(self, rules: "Rules", policies: Policies, threads: RouterThreads) -> None:
        self._rules = rules
        self._policies = policies
        self._threads = threads
        self._strict = {rule.name: rule.then.strict for rule in rules.rules}

    async def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None:
            return
        found = self._rules.match(context, await self._embedding(context, context.parsed.router))
        if found is None:
            return
        context.rule = self._restrict(context, found) if found.models else found
        self._set_threshold(context, found)

    def _restrict(self, context: RequestContext, found: MatchedRule) -> MatchedRule:
        able = tuple(model for model in found.models if model in context.candidates)
        strict = self._strict[found.name]
        if strict and not able:
            raise RequestError(
                f"rule {found.name!r} allows only {', '.join(found.models)}, which cannot answer this request: change "
                "the request, or leave out `strict` in the rule",
                code="no_model_allowed",
            )
        if context.sticky is not None or context.is_bound:
            return replace(found, models=(), note=context.sticky_reason)
        if strict:
            context.candidates = able
        return replace(found, models=able, note="" if able else "none of its models can answer this request")

    def _set_threshold(self, context: RequestContext, found: MatchedRule) -> None:
        field, ruled = context.parsed, context.ruled
        if found.threshold is None or field is None or ruled is None or ruled.exhausted or field.names_threshold:
            return
        context.ruled = ruled = self._policies.rule(field, context.key, base=Ruling(found.threshold, _policy(found)))
        context.threshold, context.policy = ruled.ruling.threshold, ruled.ruling.policy

    async def _embedding(self, context: RequestContext, router: str) -> Float32Array | None:
        """The prompt's embedding: from scoring, or computed now."""
        known = self._rules.examples.get(router)
        if known is None or context.embedding is not None or not context.request.prompt or context.win_rate is None:
            return context.embedding
        try:
            prompts = [context.request.prompt]
            blocks = known.embed.blocking
            return np.asarray((await self._threads.run(known.embed, prompts) if blocks else known.embed(prompts))[0])
        except Exception as error:  # noqa: BLE001  (as for scores: an embedding service must not fail the request)
            _LOG.warning("rules could not embed the prompt: %s", type(error).__name__)
            return None


def _policy(found: MatchedRule) -> str:
    return f"rule:{found.name}"
