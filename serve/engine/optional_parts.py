"""Parts of an engine that few configurations use: each is imported only where it is configured."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.serve.config import Config
from pointsman.serve.engine.state import ServerState
from pointsman.serve.money.billing import Billing
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.upstreams.attempts import Failover

if TYPE_CHECKING:
    from pointsman.serve.engine.cascade import Cascade
    from pointsman.serve.engine.paid_signals import Checker
    from pointsman.serve.engine.rules import Rules

__all__ = ["check_comparisons", "make_cascade", "make_rules", "make_scorer"]


def check_comparisons(config: Config, billing: Billing) -> None:
    """Checks that shadow comparisons and those of the autopilot can be made.

    Raises:
        ConfigError: they cannot.
    """
    for part, settings in (
        ("shadow", config.shadow),
        ("autopilot", config.autopilot.comparisons() if config.autopilot is not None else None),
    ):
        if settings is not None:
            from pointsman.serve.feedback.shadow_request import check_shadow

            check_shadow(settings, billing, part=part)


def make_rules(config: Config, routers: Mapping[str, ServedRouter], candidates: Sequence[str]) -> "Rules | None":
    """The rules that are checked before a prompt is scored."""
    if not config.rules:
        return None
    from pointsman.serve.engine.rules import Rules

    return Rules(config.rules, {name: served.router for name, served in routers.items()}, candidates=candidates)


def make_cascade(
    config: Config,
    pair: ModelPair,
    routers: Mapping[str, ServedRouter],
    prices: Mapping[str, Price],
    failover: Failover,
    state: ServerState,
) -> "Cascade | None":
    """The cascade, which asks the next model if an answer is not good enough."""
    if config.cascade is None:
        return None
    from pointsman.serve.engine.cascade import Cascade

    return Cascade(
        config,
        config.cascade,
        pair,
        routers=routers,
        prices=prices,
        failover=failover,
        refused_logprobs=state.refused_logprobs,
        unchecked=state.cascades.unchecked,
    )


def make_scorer(config: Config) -> "Checker | None":
    """The scorer of the autopilot's comparisons."""
    if config.autopilot is None or config.autopilot.scorer is None:
        return None
    from pointsman.serve.engine.paid_signals import Checker

    return Checker(config.autopilot.scorer)
