"""Alarms: what has happened, what it does to the guarantee, and what to do."""

from dataclasses import asdict, dataclass
from typing import Any

from pointsman.core.counted import counted
from pointsman.serve.autopilot.turn import BY_ADMIN
from pointsman.serve.dashboard.figures import dollars, percent, points
from pointsman.serve.dashboard.quality import Bound, Loss
from pointsman.serve.engine.engine import Engine

__all__ = ["Action", "Alarm", "alarms_now"]

_LEAST_REQUESTS = 20
_MANY_ERRORS = 0.05
_FAR_OVER = 0.1  # of the budget
_DRIFT = "the traffic has changed (drift)"


@dataclass(frozen=True, slots=True)
class Action:
    """A button.

    Attributes:
        kind: "copy" puts `text` on the clipboard, "post" sends `body` to `path`, "view" opens `path`.
        label: on the button.
    """

    kind: str
    label: str
    text: str = ""
    path: str = ""
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person should know at once.

    Attributes:
        cause: what has happened.
        effect: on the guarantee, or on the service.
        do: what to do.
        action: that does it, or begins it.
    """

    cause: str
    effect: str
    do: str
    action: Action | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def alarms_now(engine: Engine, *, bound: Bound | None, loss: Loss | None, failed: tuple[int, int]) -> list[Alarm]:
    """All that are raised now, the most urgent first.

    Args:
        bound: the promise about the loss that is in force.
        loss: what was measured.
        failed: requests of the last minutes that failed, and all of them.
    """
    found = [*_models(engine), *_errors(*failed), *_drift(engine), *_budgets(engine), *_autopilot(engine)]
    found += _lengths(engine)
    if bound is not None and not bound.kept_by(loss) and loss is not None:
        cause = f"Comparisons show a quality of {points(loss.value)}, at best {points(loss.low)}"
        effect = f"The bound of {points(bound.max_loss)} does not hold: the calibration promised too much."
        found.append(
            Alarm(
                cause + ".",
                effect,
                "Lower the loss asked for, or calibrate on your own prompts.",
                Action(
                    "copy",
                    "Copy the command",
                    f"pointsman learn labels.csv {engine.roles.options} --max-loss {bound.max_loss:g}",
                ),
            )
        )
    elif bound is not None and bound.state == "overridden":
        found.append(
            Alarm(
                f"A rule overrides the bound: {bound.why}.",
                "The bound is not in force.",
                "Raise that budget or limit, or live with a loss that nobody bounds.",
            )
        )
    return found


def _models(engine: Engine) -> list[Alarm]:
    down = [name for name, service in engine.services.items() if service.breaker.is_open]
    if not down:
        return []
    routed = [name for name in engine.candidates if name not in down]
    effect = f"{', '.join(routed)} answers in its place." if routed else "No routed request can be answered."
    return [
        Alarm(
            f"Circuit open: {', '.join(down)} keeps failing.",
            f"{effect} Outages never count as losses.",
            "Look at the provider and at the log; it is tried again by itself.",
            Action("view", "See the errors", path="#live?outcome=failed"),
        )
    ]


def _errors(failed: int, n: int) -> list[Alarm]:
    if n < _LEAST_REQUESTS or failed < _MANY_ERRORS * n:
        return []
    return [
        Alarm(
            f"{percent(failed / n)} of the requests of the last five minutes failed.",
            "No guarantee covers requests without an answer.",
            "Look at what the models answered.",
            Action("view", "See the errors", path="#live?outcome=failed"),
        )
    ]


def _drift(engine: Engine) -> list[Alarm]:
    drift = engine.state.drift
    if drift is None:
        return []
    found = []
    for name, watch in drift.status()["routers"].items():
        if watch["alarm"] is None:
            found += [
                _drift_of_key(name, key, alarm, to=engine.roles.reference if drift.falls_back(name, key) else None)
                for key, alarm in watch["key_alarms"].items()
            ]
            continue
        test = "win rates" if watch["alarm"]["test"] == "win rate" else "subjects"
        autopilot = engine.config.autopilot is not None
        reference = "earlier ones" if autopilot else "those that it was calibrated on"
        cause = f"The traffic has changed (drift): the {test} of router {name}'s prompts differ from {reference}"
        effect = "Its guarantees are void; routing goes on."
        do = "Calibrate it on recent prompts, then reset the alarm."
        if drift.falls_back(name):
            effect = (
                f"Its guarantees would be void, so all its prompts go to {engine.roles.reference}: "
                "nothing is lost or saved."
            )
        elif autopilot:
            effect = (
                f"What was certified is void: all goes to {engine.roles.reference} until the new traffic is certified."
            )
            do = "Nothing: comparisons of the new traffic have begun, and certify it by themselves."
        found.append(
            Alarm(
                f"{cause} (seen after {counted(watch['alarm']['n_prompts'], 'prompt')}).",
                effect,
                do,
                Action("post", "Reset the alarm", path="/v1/drift/reset", body={"router": name}),
            )
        )
    return found


def _drift_of_key(router: str, key: str, alarm: dict[str, Any], *, to: str | None) -> Alarm:
    effect = "Its prompts are left out of the tests, which began again; guarantees hold for the others."
    return Alarm(
        f"Drift: the prompts of key {key} are not those that router {router} was calibrated on "
        f"(seen after {counted(alarm['n_prompts'], 'prompt')}).",
        f"Its prompts go to {to}. {effect}" if to is not None else effect,
        "Ask whose key it is what changed; calibrate on its prompts if they are to stay, then reset the alarm.",
        Action("post", "Reset the alarm", path="/v1/drift/reset", body={"router": router}),
    )


def _budgets(engine: Engine) -> list[Alarm]:
    found, roles = [], engine.roles
    for budget in engine.policies.describe()["budgets"]:
        name, over = budget["name"].removeprefix("budget:"), budget["spent_usd"] - budget["planned_usd"]
        if budget["spent_usd"] >= budget["usd"]:
            effect = f"{roles.cheapest} alone answers" if budget["hard"] else "As little as possible is spent"
            found.append(
                Alarm(
                    f"Budget {name} is exhausted: {dollars(budget['spent_usd'])} of {dollars(budget['usd'])}.",
                    f"{effect[0].upper()}{effect[1:]} until it resets; a bound on the loss is not in force meanwhile.",
                    "Raise policy.budgets, or wait.",
                )
            )
        elif over > _FAR_OVER * budget["usd"]:
            found.append(
                Alarm(
                    f"Budget {name} is {dollars(over)} ahead of its plan.",
                    "Less is spent on each prompt than otherwise; it may override a bound on the loss.",
                    "Nothing, if the traffic was a burst; else raise policy.budgets.",
                )
            )
    return found


def _lengths(engine: Engine) -> list[Alarm]:
    """Bills are expected by labelled lengths: among many candidates they decide who is asked."""
    others = engine.bills.other_lengths() if engine.roles.many else {}
    if not others:
        return []
    told = [f"{name} {live:,.0f} tokens, labelled {labelled:,.0f}" for name, (labelled, live) in others.items()]
    return [
        Alarm(
            f"Answers are of other lengths than the router's labels: {'; '.join(told)}.",
            "Expected bills are off, and with them who is asked and every share of spending.",
            "Label and train again with the models as they are served: the same effort and limits.",
        )
    ]


def _autopilot(engine: Engine) -> list[Alarm]:
    autopilot = engine.state.autopilot
    if autopilot is None or engine.config.autopilot is None:
        return []
    status = autopilot.status()
    if status.get("store_away"):
        return [
            Alarm(
                "The store cannot be reached.",
                "What is certified is served on; nothing is compared, so nothing new is certified.",
                "Bring the database back.",
            )
        ]
    if status.get("state") == "superseded":
        return [
            Alarm(
                "Other servers of this store have a newer configuration.",
                f"All that comes here goes to {engine.roles.reference}: nothing is lost, nothing is saved.",
                "Reload or restart this server with the newer configuration.",
            )
        ]
    if status["phase"] == "void":
        following = status.get("next") or {}
        n = following.get("comparisons")
        opens = "." if n is None else f", the first after about {counted(n, 'comparison')}."
        return [
            Alarm(
                f"What the autopilot had certified is void: {_DRIFT if status['why'] == 'drift' else status['why']}.",
                f"All goes to {engine.roles.reference}: nothing is lost, nothing is saved.",
                f"Nothing to do: it learns from new comparisons, and opens its steps again{opens}",
            )
        ]
    if status.get("paused"):
        return [
            Alarm(
                f"The autopilot is paused: {status['paused']}.",
                "What is certified holds and is served on; nothing new is certified.",
                "Resume it to go on learning." if status["paused"] == BY_ADMIN else "Resume it when the cause is gone.",
                Action("post", "Resume", path="/v1/autopilot", body={"action": "resume"}),
            )
        ]
    return []
