"""Conditions of rules other than examples: API, key, headers, images, tools, patterns, length, language."""

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, TypeAlias

from pointsman.core.language import guess_language
from pointsman.serve.config.rules import RuleConfig, compile_pattern
from pointsman.serve.protocols.capabilities import find_needs
from pointsman.serve.protocols.surfaces import CHAT, COUNT_TOKENS, MESSAGES, RESPONSES
from pointsman.serve.protocols.token_count import count_input_tokens
from pointsman.serve.request.context import RequestContext

__all__ = ["Facts", "any_pattern", "conditions"]

_SEARCHED = 20_000  # characters of each end of a prompt: a search is linear, and so is bounded
_APIS = {"chat": (CHAT,), "responses": (RESPONSES,), "messages": (MESSAGES, COUNT_TOKENS)}
_MAX_SHOWN = 60


class Facts:
    """Facts about a request that conditions check, each computed on first use."""

    def __init__(self, context: RequestContext, any_pattern: Any) -> None:
        """Takes the request, and one expression that matches what any pattern of any rule matches; None if unknown."""
        self.context = context
        self._any_pattern = any_pattern

    @cached_property
    def n_tokens(self) -> int:
        return count_input_tokens(self.context.request.document)

    @cached_property
    def needs(self) -> tuple[str, ...]:
        return find_needs(self.context.request.document)

    @cached_property
    def language(self) -> str | None:
        return guess_language(self.context.request.prompt)

    @cached_property
    def matches_any(self) -> bool:
        return self._any_pattern is None or self._any_pattern.search(self.text) is not None

    @cached_property
    def text(self) -> str:
        prompt = self.context.request.prompt
        return prompt if len(prompt) <= 2 * _SEARCHED else f"{prompt[:_SEARCHED]}\n{prompt[-_SEARCHED:]}"


Condition: TypeAlias = Callable[[Facts], str | None]  # what matched, in words; None if it does not match


def conditions(rule: RuleConfig) -> Iterator[Condition]:
    """A rule's conditions other than its examples, the cheapest first."""
    if rule.api:
        yield _api(rule.api)
    if rule.key:
        yield _key(rule.key)
    if rule.tier:
        yield _tier(rule.tier)
    for name, pattern in rule.header.items():
        yield _header(name, pattern)
    if rule.images is not None:
        yield _need("images", rule.images)
    if rule.tools is not None:
        yield _need("tools", rule.tools)
    if rule.matches:
        yield _matches(rule.matches)
    if rule.tokens is not None:
        yield _tokens(rule.tokens.at_least, rule.tokens.at_most)
    if rule.language:
        yield _language(rule.language)


def _api(names: Sequence[str]) -> Condition:
    surfaces = {surface.path: name for name in names for surface in _APIS[name]}

    def condition(facts: Facts) -> str | None:
        name = surfaces.get(facts.context.surface.path)
        return None if name is None else f"API {name}"

    return condition


def _key(names: Sequence[str]) -> Condition:
    def condition(facts: Facts) -> str | None:
        key = facts.context.key
        return f"key {key.id}" if key is not None and (key.id in names or key.name in names) else None

    return condition


def _tier(names: Sequence[str]) -> Condition:
    def condition(facts: Facts) -> str | None:
        key = facts.context.key
        return f"tier {key.tier}" if key is not None and key.tier in names else None

    return condition


def _header(name: str, pattern: str) -> Condition:
    def condition(facts: Facts) -> str | None:
        value = facts.context.rule_headers.get(name)
        return f"header {name}: {pattern}" if value is not None and fnmatchcase(value, pattern) else None

    return condition


def _need(need: str, wanted: bool) -> Condition:
    def condition(facts: Facts) -> str | None:
        return (need if wanted else f"no {need}") if (need in facts.needs) == wanted else None

    return condition


def _matches(patterns: Sequence[str]) -> Condition:
    compiled = [(pattern, compile_pattern(pattern)) for pattern in patterns]

    def condition(facts: Facts) -> str | None:
        if not facts.matches_any:
            return None
        found = next((pattern for pattern, search in compiled if search.search(facts.text) is not None), None)
        return None if found is None else f"matches {found[:_MAX_SHOWN]}"

    return condition


def any_pattern(patterns: Sequence[str]) -> Any:
    try:
        return compile_pattern("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None
    except ValueError:  # together they are too large: each is searched for by itself
        return None


def _tokens(least: int, most: int | None) -> Condition:
    def condition(facts: Facts) -> str | None:
        n = facts.n_tokens
        return f"about {n:,} tokens" if least <= n and (most is None or n <= most) else None

    return condition


def _language(codes: Sequence[str]) -> Condition:
    def condition(facts: Facts) -> str | None:
        return f"language {facts.language}" if facts.language in codes else None

    return condition
