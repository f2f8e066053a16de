"""The state shown on the dashboard: models, prices, rules, budgets, drift."""

from typing import Any

from pointsman.serve.engine.engine import Engine

__all__ = ["facts_about", "facts_now", "typical_prices"]


def facts_about(engine: Engine) -> dict[str, Any]:
    """What does not change while an engine serves, as JSON types."""
    return {
        "pair": [engine.pair.strong, engine.pair.weak],
        "candidates": list(engine.candidates),
        "routers": [{"name": name, "threshold": router.default_threshold} for name, router in engine.routers.items()],
        "models": list(engine.upstreams),
        "rules": [rule.name for rule in engine.config.rules],
        "autopilot": next(iter(engine.routers)) if engine.config.autopilot is not None else None,
    }


def typical_prices(engine: Engine) -> list[dict[str, Any]] | None:
    """Dollars of a thousand prompts at each candidate, answered at its own expected length, and the tokens they are
    for; None where a price is not known.
    """
    answers = engine.bills.typical_answers(next(iter(engine.routers)))
    if any(each.usd is None or each.model not in engine.price_list for each in answers):
        return None
    return [
        {
            "model": each.model,
            "usd": round(1000.0 * each.usd, 6),
            "input_tokens": round(each.input_tokens),
            "output_tokens": round(each.output_tokens),
        }
        for each in answers
        if each.usd is not None
    ]


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
