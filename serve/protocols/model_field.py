"""The `model` field of a request: which router with which threshold, or which model itself.

    router-<name>-<threshold>   strong iff win_rate >= threshold
    router-<name>-<N>pct        the threshold that sends N % of the calibration prompts to the strong model
    router-<name>-loss<L>       the threshold that `pointsman calibrate --max-loss L` stored in the checkpoint
    router-<name>-cost<USD>     the threshold that `pointsman calibrate --max-cost-usd USD` stored in the checkpoint
    router-<name>               the threshold that the policy sets, or the router's default
    auto                        likewise for the first router
    <model>                     that model, asked directly
    <alias>                     what it stands for in the configuration's `aliases`

Names may contain hyphens: the longest name of a configured router that fits is used.
"""

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pointsman.core.quick_dataclass import quick_dataclass
from pointsman.serve.http.errors import RequestError

__all__ = ["AUTO", "ROUTER_PREFIX", "ModelField", "parse_model_field", "resolve_alias", "stored_field"]

AUTO = "auto"
ROUTER_PREFIX = "router-"
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)pct", re.ASCII)
_STORED = re.compile(r"(loss|cost)([0-9]+\.?[0-9]*|\.[0-9]+)", re.ASCII)
_RULES = {"loss": "max_loss", "cost": "max_cost_usd"}
_FORMS = "router-<name>-<threshold>, router-<name>-<N>pct, router-<name>, auto, or a model's own id"


@quick_dataclass(frozen=True, slots=True)
class ModelField:
    """The meaning of a request's `model`. Either `router` or `model` is set.

    Attributes:
        router: name of the router to ask.
        threshold: the threshold, if named.
        strong_share: the share of prompts for the strong model, if named, in [0, 1].
        rule: the rule whose stored threshold is wanted, "max_loss" or "max_cost_usd", if named.
        wanted: the value of that rule.
        model: the model, if named directly.
    """

    router: str | None = None
    threshold: float | None = None
    strong_share: float | None = None
    model: str | None = None
    rule: str | None = None
    wanted: float | None = None

    @property
    def names_threshold(self) -> bool:
        """Whether the request itself names the threshold."""
        return (self.threshold, self.strong_share, self.rule) != (None, None, None)


def parse_model_field(
    field: str, *, routers: Collection[str], models: Collection[str], aliases: Mapping[str, str] | None = None
) -> ModelField:
    """The meaning of a `model` field.

    Args:
        routers: names of the configured routers, the default one first.
        models: names of the configured models.
        aliases: other names, or patterns with `*`, and the model fields that they mean.

    Raises:
        RequestError: 404 for an unknown router or model, 400 for a malformed threshold; it lists what exists.
    """
    field = resolve_alias(field, aliases or {})
    if field in models:
        return ModelField(model=field)
    if field == AUTO:
        return ModelField(router=next(iter(routers)))
    if not field.startswith(ROUTER_PREFIX):
        raise _unknown(f"model {field!r} is not configured here", routers, models)
    rest = field.removeprefix(ROUTER_PREFIX)
    if rest in routers:
        return ModelField(router=rest)
    for name in sorted(routers, key=len, reverse=True):
        if rest.startswith(name + "-"):
            return _parse_setting(field, name, rest[len(name) + 1 :])
    raise _unknown(f"model {field!r} names a router that is not configured here", routers, models)


def resolve_alias(field: str, aliases: Mapping[str, str]) -> str:
    """The target of an alias, by name or else by the first matching pattern; any other field unchanged."""
    if field in aliases:
        return aliases[field]
    return next((means for alias, means in aliases.items() if "*" in alias and fnmatchcase(field, alias)), field)


def stored_field(router: str, stored: Mapping[str, Any]) -> str | None:
    """The model field that names a stored threshold; None if there is no form for its rule."""
    word = next((word for word, rule in _RULES.items() if rule == stored.get("rule")), None)
    return f"{ROUTER_PREFIX}{router}-{word}{stored['wanted']:g}" if word is not None else None


def _parse_setting(field: str, router: str, setting: str) -> ModelField:
    if match := _PERCENT.fullmatch(setting):
        if (percent := float(match[1])) <= 100.0:
            return ModelField(router=router, strong_share=percent / 100.0)
    elif match := _STORED.fullmatch(setting):
        return ModelField(router=router, rule=_RULES[match[1]], wanted=float(match[2]))
    elif _NUMBER.fullmatch(setting) and (threshold := float(setting)) <= 1.0:
        return ModelField(router=router, threshold=threshold)
    is_percent = _NUMBER.fullmatch(setting) and float(setting) <= 100.0
    hint = f"; did you mean router-{router}-{setting}pct?" if is_percent else ""
    raise RequestError(
        f"model {field!r} ends in {setting!r}: wanted a threshold from 0 to 1, as in router-{router}-0.5, a percentage "
        f"(of prompts for the strong model, among more than two of spending), as in router-{router}-30pct, "
        f"or a bound that the checkpoint was calibrated for, as in router-{router}-loss0.02{hint}",
        param="model",
        code="invalid_threshold",
    )


def _unknown(problem: str, routers: Collection[str], models: Collection[str]) -> RequestError:
    return RequestError(
        f"{problem}; wanted {_FORMS}; routers: {', '.join(routers)}; models: {', '.join(models)}",
        status=404,
        param="model",
        code="model_not_found",
    )
