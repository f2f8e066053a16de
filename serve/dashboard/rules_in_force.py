"""Why the strong share is what it is: the rule that decides now, and the reckoning of the budgets, in words."""

from typing import Any

from pointsman.core.counted import counted
from pointsman.core.roles import Roles
from pointsman.serve.dashboard.figures import dollars, percent
from pointsman.serve.dashboard.quality import Bound
from pointsman.serve.engine.engine import Engine
from pointsman.serve.policy.served_router import ServedRouter

__all__ = ["bound_in_force", "why_this_share"]

_SETTINGS = {
    "threshold": "threshold {:g}",
    "max_loss": "a loss of at most {:g}",
    "max_cost_usd": "${:,.2f} for a thousand prompts",
}


def why_this_share(engine: Engine) -> list[dict[str, Any]]:
    """Each router with the rule that decides now: `router`, `policy`, `threshold`, and `words`."""
    rules = engine.policies.describe()
    budgets = {budget["name"]: budget for budget in rules["budgets"]}
    return [_why(engine, rules, router, budgets) for router in rules["routers"]]


def _why(
    engine: Engine, rules: dict[str, Any], router: dict[str, Any], budgets: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    name, policy, threshold = router["router"], router["policy"], router["threshold"]
    roles = engine.roles
    certified = _certified(engine, name)
    if certified is not None:
        who = "cheaper candidates answer" if roles.many else "the weak model answers"
        words = f"The autopilot decides: nothing is certified yet, so all goes to {roles.reference}."
        if certified > 0.0:
            words = f"The autopilot decides: {who} below the certified threshold {certified:.4g}."
        return {"router": name, "policy": "autopilot", "threshold": certified, "words": words}
    if policy is None:
        words = "Nothing sets a threshold: requests must name one."
    elif policy in budgets:
        words = budget_words(budgets[policy], roles)
        if rules["overridden"]:
            words += f" It overrides the setting of the administrator ({_setting(rules['setting'], roles)})."
    else:
        words = _rule_words(policy, rules, router, roles)
    return {"router": name, "policy": policy, "threshold": threshold, "words": words}


def _rule_words(policy: str, rules: dict[str, Any], router: dict[str, Any], roles: Roles) -> str:
    kind, _, name = policy.partition(":")
    if policy.endswith(" exhausted"):
        budget = policy.removesuffix(" exhausted").partition(":")[2]
        return f"The {budget} budget is exhausted: {roles.cheapest} answers."
    if kind in ("tier", "schedule"):
        return f"The {kind} {name} decides."
    words = {
        "admin": f"The administrator's setting decides: {_setting(rules['setting'], roles)}.",
        "default": "The router's own threshold decides; nothing overrides it.",
        "floor": "The lowest threshold that policy.threshold_bounds allows decides.",
        "ceiling": "The highest threshold that policy.threshold_bounds allows decides.",
        "share floor": f"The least {roles.share} that policy.share_bounds allows decides.",
        "share ceiling": f"The largest {roles.share} that policy.share_bounds allows decides.",
    }.get(policy, f"The policy decides: {_setting(rules['setting'], roles)}.")
    if router["owed"] is not None and abs(router["owed"]) >= 1.0:
        calls = f"answers of {roles.reference}" if roles.many else "strong calls"
        words += f" {abs(router['owed']):.0f} {calls} {'behind' if router['owed'] > 0 else 'ahead'} so far."
    return words


def budget_words(budget: dict[str, Any], roles: Roles) -> str:
    """How a budget comes to the share that it allows."""
    left = budget["usd"] - budget["spent_usd"] - budget["under_way_usd"]
    name = budget["name"].removeprefix("budget:")
    return (
        f"Budget {name}: {dollars(max(left, 0.0))} of {dollars(budget['usd'])} are left for about "
        f"{counted(round(budget['prompts_to_come']), 'prompt')}, at {dollars(budget['strong_usd'])} for an answer of "
        f"{roles.reference} and {dollars(budget['weak_usd'])} of {roles.cheapest}: it allows "
        f"{roles.at_share(percent(budget['strong_share']))}."
    )


def bound_in_force(engine: Engine) -> Bound | None:
    """The bound on the loss of the first router, and whether it holds; None where nothing is promised."""
    name, served = next(iter(engine.routers.items()))
    autopilot = engine.config.autopilot
    if autopilot is not None and _certified(engine, name) is not None:
        return Bound(autopilot.max_loss, autopilot.confidence, "autopilot")
    wanted = _wanted_loss(engine, name)
    stored = None if wanted is None else served.stored_threshold("max_loss", wanted)
    if wanted is None or stored is None:
        return None
    bound = (wanted, _confidence(served, wanted), "calibration")
    router = next(each for each in engine.policies.describe()["routers"] if each["router"] == name)
    drift = engine.state.drift
    if drift is not None and drift.alarm(name) is not None and not drift.falls_back(name):
        since = drift.status()["routers"][name]["alarm"]["at"]
        return Bound(*bound, "void", "prompts are no longer like those it was calibrated on", since)
    if router["threshold"] is not None and router["threshold"] > stored + 1e-12:
        why = f"{router['policy']} asks {engine.roles.reference} less than the bound was certified for"
        return Bound(*bound, "overridden", why)
    return Bound(*bound)


def _wanted_loss(engine: Engine, router: str) -> float | None:
    """The loss that the policy's setting, or else the router's own, is to keep to."""
    setting = engine.policies.describe()["setting"]
    if setting:
        loss = setting.get("max_loss")
        return None if loss is None else float(loss)
    return engine.config.routers[router].max_loss


def _confidence(served: ServedRouter, wanted: float) -> float | None:
    found = [
        float(each["confidence"])
        for each in served.thresholds.values()
        if each.get("rule") == "max_loss" and each.get("wanted") == wanted and "confidence" in each
    ]
    return max(found, default=None)


def _certified(engine: Engine, router: str) -> float | None:
    autopilot = engine.state.autopilot
    return None if autopilot is None or engine.config.autopilot is None else autopilot.threshold(router)


def _setting(setting: dict[str, float], roles: Roles) -> str:
    return ", ".join(
        roles.at_share(f"{value:.0%}") if name == "strong_share" else _SETTINGS[name].format(value)
        for name, value in setting.items()
    )
