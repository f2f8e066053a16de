"""Filters the candidates by the capabilities that the request needs."""

from collections.abc import Collection, Mapping
from typing import NoReturn

from pointsman.serve.engine.steps.set_threshold import refuse_for_budget
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.capabilities import find_needs
from pointsman.serve.request.context import RequestContext

__all__ = ["CheckCapabilities"]


class CheckCapabilities:
    """Removes candidates without a capability that the request needs; refuses the request if none is left."""

    def __init__(self, capabilities: Mapping[str, Collection[str]]) -> None:
        """Takes the capabilities of the models that declare them; the others are assumed to have all."""
        self._capabilities = capabilities

    def __call__(self, context: RequestContext) -> None:
        if context.parsed is None:
            return
        needs = find_needs(context.request.document)
        if not needs:
            return
        named = context.parsed.model
        models = context.candidates if named is None else (named,)
        able = tuple(model for model in models if all(need in self._capabilities.get(model, needs) for need in needs))
        if not able:
            self._refuse(context, needs, models)
        if named is None and len(able) < len(models):
            context.candidates = able
            context.reason = f"needs {', '.join(needs)}"

    def _refuse(self, context: RequestContext, needs: Collection[str], models: Collection[str]) -> NoReturn:
        if context.ruled is not None and context.ruled.exhausted:
            refuse_for_budget(f"{context.policy}, and no remaining candidate supports {', '.join(needs)}")
        declared = "; ".join(
            f"{model} supports {', '.join(self._capabilities[model]) or 'only text'}" for model in models
        )
        raise RequestError(
            f"the request needs {', '.join(needs)}, and no model that it may go to declares support: {declared}; "
            "leave it out, name another model, or extend models.<name>.capabilities in the server's configuration",
            code="unsupported_capability",
        )
