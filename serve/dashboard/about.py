"""The state shown on the dashboard: models, prices, rules, budgets, drift."""

from typing import Any

from pointsman.serve.engine.engine import Engine

__all__ = ["facts_about", "facts_now"]

_TOKENS = 300  # of a prompt, and of an answer, to give a price per thousand prompts


def facts_about(engine: Engine) -> dict[str, Any]:
    """What does not change while an engine serves, as JSON types."""
    prices = {name: listed.price for name, listed in engine.price_list.items()}
    usd = {
        side: round(1000.0 * prices[model].cost_usd(_TOKENS, _TOKENS), 6)
        for side, model in (("strong", engine.pair.strong), ("weak", engine.pair.weak))
        if model in prices
    }
    return {
        "pair": [engine.pair.strong, engine.pair.weak],
        "candidates": list(engine.candidates),
        "routers": [{"name": name, "threshold": router.default_threshold} for name, router in engine.routers.items()],
        "models": list(engine.upstreams),
        "rules": [rule.name for rule in engine.config.rules],
        "autopilot": next(iter(engine.routers)) if engine.config.autopilot is not None else None,
        "prices": {**usd, "tokens": _TOKENS} if len(usd) == 2 else None,
    }


def facts_now(engine: Engine) -> dict[str, Any]:
    """Where models, rules, budgets and drift stand, as JSON types."""
    rules = engine.policies.describe()
    drift = engine.state.drift
    return {
        "models": {name: not service.breaker.is_open for name, service in engine.services.items()},
        "priced": bool(engine.price_list),
        "target_share": next((router["target"] for router in rules["routers"] if router["target"] is not None), None),
        "policy": {"overridden": rules["overridden"], "setting": rules["setting"], "routers": rules["routers"]},
        "budgets": rules["budgets"],
        "drift": drift.status()["routers"] if drift is not None else None,
    }
