"""What a comparison asks of the other model and of the judge, and what that can cost at most."""

from collections.abc import Mapping
from typing import Any

from pointsman.core.errors import ConfigError
from pointsman.core.pair import ModelPair
from pointsman.serve.config import ShadowConfig
from pointsman.serve.config.shadow import NO_JUDGE
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.judging.budget import estimate_tokens
from pointsman.serve.judging.verdict import TEMPLATE
from pointsman.serve.money.billing import Billing
from pointsman.serve.protocols.write_json import write_json

__all__ = ["answer_usd", "check_shadow", "judging_usd", "other_model", "shadow_request"]

_LIMITS = ("max_tokens", "max_completion_tokens")
_LEFT_OUT = ("stream", "stream_options", "store", "metadata", "user")


def check_shadow(config: ShadowConfig, billing: Billing, *, part: str = "shadow") -> None:
    """Raises `ConfigError` where the price of a model that is asked, or of the judge, is not known."""
    judges = [config.judge] if config.judge != NO_JUDGE else []
    others = billing.candidates[1:] or (billing.pair.weak,)
    asked = [billing.pair.strong, *judges, *(others if config.strong_share > 0.0 else ())]
    unpriced = [name for name in asked if name not in billing.prices]
    if unpriced:
        raise ConfigError(
            f"{part}.max_usd_per_day needs the price of {', '.join(unpriced)}: give it as models.<name>.price"
        )


def shadow_request(document: Mapping[str, Any], config: ShadowConfig) -> dict[str, Any]:
    """The request once more, for a whole answer of limited length."""
    request = {name: value for name, value in document.items() if name not in (*_LEFT_OUT, *_LIMITS)}
    limits: Mapping[str, int] = _limits(document) or {config.limit_parameter: config.max_tokens}
    return {**request, **limits}


def other_model(sample: Sample, pair: ModelPair) -> str:
    """The model that a sample is compared with: the one of a pair that did not answer, unless it names one."""
    if sample.against is not None:
        return sample.against
    return pair.weak if sample.model == pair.strong else pair.strong


def answer_usd(sample: Sample, config: ShadowConfig, billing: Billing) -> float:
    """The most that the other model's answer can cost."""
    question = estimate_tokens(write_json(sample.document.get("messages")).decode())
    return billing.prices[other_model(sample, billing.pair)].cost_usd(question, _longest_answer(sample, config))


def judging_usd(sample: Sample, config: ShadowConfig, billing: Billing, *, scorer_usd: float) -> float:
    """The most that judging can cost: both answers at full length before the judge, or the scorer, twice."""
    if config.judge == NO_JUDGE:
        return 2.0 * scorer_usd
    read = estimate_tokens(sample.question) + estimate_tokens(sample.answer) + estimate_tokens(TEMPLATE)
    judge = billing.prices[config.judge]
    return 2.0 * judge.cost_usd(read + _longest_answer(sample, config), config.judge_max_tokens)


def _limits(document: Mapping[str, Any]) -> dict[str, int]:
    """The length limits that a request sets; only positive whole numbers count."""
    given = {name: document.get(name) for name in _LIMITS}
    whole = {name: int(value) for name, value in given.items() if isinstance(value, (int, float)) and value >= 1}
    return {name: value for name, value in whole.items() if value == given[name] and given[name] is not True}


def _longest_answer(sample: Sample, config: ShadowConfig) -> int:
    return max(_limits(sample.document).values(), default=config.max_tokens)
