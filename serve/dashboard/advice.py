"""What should I change: the one next step that is worth most, and the way from stand-ins to a certified router."""

from dataclasses import asdict, dataclass
from typing import Any

from pointsman.core.counted import counted
from pointsman.serve.dashboard.alarms import Action, Alarm
from pointsman.serve.dashboard.figures import dollars, percent, points
from pointsman.serve.dashboard.quality import Bound, Loss
from pointsman.serve.dashboard.saving import Saving
from pointsman.serve.engine.engine import Engine

__all__ = ["Advice", "Found", "best_step", "checklist"]

_COMPARED_SHARE = 0.02
_ENOUGH_TO_LEARN = 300
_LEARNED_TWICE = 900  # comparisons, which are paid for what they open later
_MODELS = """strong: gpt-5.5
weak: gpt-5.5-mini
models:
  gpt-5.5: {api_key: env:OPENAI_API_KEY}
  gpt-5.5-mini: {api_key: env:OPENAI_API_KEY}"""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known when advice is asked for; None where it is not.

    Attributes:
        n_requests: routed ones.
        seconds: since the first of them.
        n_comparisons: made by judges.
        bundled: whether the router is the one that comes with the package, which has never seen this traffic.
    """

    n_requests: int
    seconds: float
    n_comparisons: int
    bundled: bool
    saving: Saving | None
    loss: Loss | None
    bound: Bound | None
    alarms: list[Alarm]


@dataclass(frozen=True, slots=True)
class Advice:
    """A step.

    Attributes:
        text: what to do.
        worth: what it brings.
        action: that does it, or begins it.
    """

    text: str
    worth: str
    action: Action | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def best_step(engine: Engine, found: Found) -> Advice:
    """The first of these that is left to do: what is broken, what is not known, what is not promised, what is spent."""
    config = engine.config
    if not config.routed:
        return Advice(
            "Name your models: built-in stand-ins answer now, and no model is asked.",
            "Until then nothing is answered, spent or saved.",
            Action("copy", "Copy a configuration", _MODELS),
        )
    if found.alarms:
        first = found.alarms[0]
        return Advice(first.do, first.effect, first.action)
    if unpriced := [name for name in engine.candidates if name not in engine.price_list]:
        lines = "".join(
            f"\n  {name}: {{price: {{input_usd_per_million: 1.0, output_usd_per_million: 4.0}}}}" for name in unpriced
        )
        return Advice(
            f"Give the prices of {', '.join(unpriced)}.",
            "Without them nobody can say what is saved.",
            Action("copy", "Copy the lines", f"models:{lines}"),
        )
    if engine.state.store is None:
        return Advice(
            "Keep a store: savings and quality are forgotten with this process.",
            "It takes one line, and costs nothing.",
            Action("copy", "Copy the line", "store: {url: sqlite:///pointsman.db}"),
        )
    if not found.n_requests:
        return Advice(
            "Send requests here: set your client's base URL to this server's, ending in /v1.",
            "The first answer shows whether all is well.",
            Action("view", "Try a prompt", path="#playground"),
        )
    if config.autopilot is not None:
        return _next_certified(engine, found)
    if config.shadow is None:
        return Advice(
            f"Compare {percent(_COMPARED_SHARE)} of the answers with {engine.roles.reference}'s, by a judge.",
            _cost_of_comparing(found),
            Action("copy", "Copy the lines", "shadow: {judge: JUDGE, share: 0.02, max_usd_per_day: 5}"),
        )
    if found.loss is None or not found.loss.tells:
        return Advice(
            "Wait for comparisons: there are too few yet to tell whether quality holds.",
            f"{counted(found.n_comparisons, 'comparison')} so far.",
        )
    return _with_comparisons(engine, found)


def _with_comparisons(engine: Engine, found: Found) -> Advice:
    saving, models = found.saving, engine.roles.options
    left = saving.spread_usd if saving is not None else None
    worth = "More may be saved" if left is None else f"Up to {dollars(left)} more a month"
    if found.bundled and found.n_comparisons >= _ENOUGH_TO_LEARN:
        return Advice(
            f"Learn a router of your own from {counted(found.n_comparisons, 'comparison')}.",
            f"{worth}; the bundled one has never seen your traffic.",
            Action(
                "copy",
                "Copy the commands",
                "pointsman export-battles --as outcomes -o labels.jsonl\n"
                f"pointsman learn labels.jsonl {models} --max-loss 5% --apply",
            ),
        )
    if found.bound is None:
        return Advice(
            "Turn the autopilot on: it sends away only what is certified to keep quality.",
            f"A bound on the loss that always holds. {worth}.",
            Action(
                "copy",
                "Copy the lines",
                "autopilot: {max_loss: 0.03, judge: JUDGE, compare: 0.05, max_usd_per_day: 10}",
            ),
        )
    room = found.bound.max_loss - found.loss.high if found.loss is not None else 0.0
    if room > 0.0:
        return Advice(
            f"Calibrate again on more labels: {100.0 * room:.1f} points of the bound are not used.",
            f"{worth}.",
            Action(
                "copy", "Copy the command", f"pointsman learn labels.csv {models} --max-loss {found.bound.max_loss:g}"
            ),
        )
    return Advice(
        "Nothing: the bound is in force, and nothing that was measured speaks against it.", f"{worth} only at a loss."
    )


def _next_certified(engine: Engine, found: Found) -> Advice:
    assert engine.state.autopilot is not None and engine.config.autopilot is not None
    status = engine.state.autopilot.status()
    following, saving = status.get("next"), found.saving
    if saving is not None and found.n_comparisons >= _LEARNED_TWICE and _costs_more(status, saving):
        return Advice(
            f"Compare less: comparisons cost more than asking {engine.roles.others} saves.",
            f"{dollars(saving.compared_usd)} went to comparisons, {dollars(saving.gross_usd)} were saved.",
            Action("copy", "Copy the lines", f"autopilot:\n  compare: {engine.config.autopilot.compare / 4.0:.2g}"),
        )
    if following is None and status["certified_share"] == 0.0:
        return Advice("Wait: the first requests say how prompts differ.", "Then some of them are compared.")
    if following is None:
        return Advice("Nothing: all that can be certified is, and served.", "Comparisons go on watching.")
    cost = f" ({dollars(following['usd'])})" if following.get("usd") is not None else ""
    if following["comparisons"] is None:
        return Advice(
            "Wait: the next step opens if comparisons go on as they have begun.",
            f"Then {percent(following['share'])} may go to {engine.roles.others}.",
        )
    n = counted(following["comparisons"], "comparison")
    now = status["certified_share"]
    saved = saving.month_usd if saving is not None else None
    more = (
        ""
        if saved is None or now <= 0.0
        else f": about {dollars(saved * (following['share'] / now - 1.0))} more a month"
    )
    return Advice(
        f"Wait: after about {n} more{cost} the next step can open.",
        f"Then {percent(following['share'])} may go to {engine.roles.others}{more}.",
    )


def _costs_more(status: dict[str, Any], saving: Saving) -> bool:
    """Whether comparisons have cost more than the weak model saves at what is certified now."""
    n, weak = status["requests"]["n"], status["requests"]["weak"]
    if saving.saved_usd >= 0.0 or not weak:
        return False
    return bool(0.0 < saving.gross_usd * status["certified_share"] * n / weak < saving.compared_usd)


def _cost_of_comparing(found: Found) -> str:
    gain = "Then you know whether quality holds."
    if found.saving is None or found.seconds < 3600.0 or not found.saving.n_requests:
        return gain
    each = found.saving.always_usd / found.saving.n_requests
    daily = _COMPARED_SHARE * found.n_requests * 86_400.0 / found.seconds
    return f"{gain} About {dollars(daily * each)} a day for {counted(round(daily), 'answer')}, and as many verdicts."


def checklist(engine: Engine, found: Found) -> list[dict[str, Any]]:
    """From stand-ins to a certified router: what is done, and what to do for the rest."""
    loss = "" if found.loss is None or not found.loss.tells else f" ({points(found.loss.value)})"
    begun = (
        ("Name models", bool(engine.config.routed), "pointsman init writes a configuration from the keys it finds."),
        ("Ask", found.n_requests > 0, "Set your client's base URL to this server's, ending in /v1."),
    )
    steps: tuple[tuple[str, bool, str], ...]
    if engine.config.autopilot is not None and engine.state.autopilot is not None:
        phase = engine.state.autopilot.status()["phase"]
        steps = (
            *begun,
            ("Compare", found.n_comparisons > 0, "The autopilot does, from the first hundreds of requests on."),
            ("Certify", phase != "learning", "The autopilot does, as soon as comparisons prove it."),
        )
    else:
        steps = (
            *begun,
            (f"Compare{loss}", found.n_comparisons > 0, "shadow: or autopilot: has a judge compare answers."),
            ("Learn", not found.bundled, "pointsman learn makes a router from your own outcomes."),
            ("Certify", found.bound is not None, "pointsman learn --max-loss 5%, or autopilot:, promises it."),
        )
    return [{"name": name, "done": done, "how": how} for name, done, how in steps]
