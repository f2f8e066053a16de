"""What the configured rules need: stored thresholds of the routers, prices, and a ledger for budgets."""

from collections.abc import Iterator, Mapping, Sequence

from pointsman.core.prices import Price
from pointsman.serve.config import PolicyConfig, SettingConfig
from pointsman.serve.policy.served_router import ServedRouter, no_stored_threshold

__all__ = ["policy_problems", "setting_problems"]


def policy_problems(
    config: PolicyConfig,
    routers: Mapping[str, ServedRouter],
    prices: tuple[Price | None, Price | None],
    unpriced: Sequence[str] = (),
    *,
    has_ledger: bool,
) -> Iterator[str]:
    """Everything that the rules of a configuration need and do not have, one message each."""
    if config.budgets:
        if unpriced or None in prices:
            yield (
                f"policy.budgets need the prices of all models; not known: {', '.join(unpriced) or 'of both'}. "
                "Give models.<name>.price"
            )
        elif not has_ledger:
            yield "policy.budgets need a ledger, and this deployment keeps none"
    settings = {"policy": config, **{f"policy.tiers.{name}": tier for name, tier in config.tiers.items()}}
    settings |= {f"policy.schedule.{entry.name}": entry for entry in config.schedule}
    for where, setting in settings.items():
        yield from setting_problems(where, setting, routers)


def setting_problems(where: str, setting: SettingConfig, routers: Mapping[str, ServedRouter]) -> Iterator[str]:
    """The stored thresholds that a setting needs and routers do not have, one message each."""
    for rule, wanted in (("max_loss", setting.max_loss), ("max_cost_usd", setting.max_cost_usd)):
        for router in routers.values():
            if wanted is not None and router.stored_threshold(rule, wanted) is None:
                yield f"{where}.{rule}: {no_stored_threshold(router, rule, wanted)}"
