"""Filters the candidates by context window."""

from collections.abc import Mapping
from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.token_count import count_input_tokens
from pointsman.serve.request.context import RequestContext

__all__ = ["CheckContext"]

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class CheckContext:
    """Removes candidates whose context window is too small for the prompt with its history and the requested answer."""

    def __init__(self, windows: Mapping[str, int]) -> None:
        """Takes the context windows, in tokens, of the models that declare them."""
        self._windows = windows
        self._least = min(windows.values())

    def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None:
            return
        request = context.request
        wanted = _answer_tokens(request.document)
        if len(request.body) + wanted <= self._least:  # a token has at least one byte
            return
        n_tokens = count_input_tokens(request.document) + wanted
        able = tuple(model for model in context.candidates if n_tokens <= self._windows.get(model, n_tokens))
        if not able:
            declared = ", ".join(f"{model} {self._windows[model]:,}" for model in context.candidates)
            raise RequestError(
                f"the request has about {n_tokens:,} tokens with its answer, too many for every candidate: {declared}; "
                "shorten it, name another model, or correct models.<name>.context_tokens",
                code="context_length_exceeded",
            )
        if len(able) < len(context.candidates):
            context.candidates, context.reason = able, f"about {n_tokens:,} tokens"


def _answer_tokens(document: Mapping[str, Any]) -> int:
    """The longest answer that a request allows, in tokens; 0 if it sets no limit."""
    found = (document.get(name) for name in _LIMITS)
    return max((n for n in found if isinstance(n, int) and not isinstance(n, bool)), default=0)
