"""The first view's arithmetic: what is saved, whether quality holds, what to change."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.decision import Decision
from pointsman.core.pair import ModelPair
from pointsman.core.paired_loss import paired_loss
from pointsman.core.roles import Roles
from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.config.load import make_config
from pointsman.serve.dashboard.advice import Found, best_step, checklist
from pointsman.serve.dashboard.alarms import alarms_now
from pointsman.serve.dashboard.figures import dollars, percent, points
from pointsman.serve.dashboard.quality import Bound, Loss, ratings_of, served_loss
from pointsman.serve.dashboard.saving import Dollars, saving_of
from pointsman.serve.dashboard.spans import BY, Spans
from pointsman.serve.dashboard.verdict import budget_verdict, quality_verdict, saving_verdict
from pointsman.serve.money.savings import SavingsTally
from pointsman.serve.observers.cascade_tally import CascadeTally
from pointsman.serve.protocols.requests import ChatRequest
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.request.cascade_run import CascadeRun, Stage
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.record import Record
from pointsman.serve.store.queries import Said
from pointsman.serve.store.rows import ComparisonRow

from support.dashboard_scenes import Past, app_of, bounded_checkpoint, raise_drift

_PRICE = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
MODELS = {name: {"base_url": "http://127.0.0.1:9/v1", "price": _PRICE} for name in ("big", "small")}
NOWHERE = "http://127.0.0.1:9/v1"
PAIR = Roles(("big", "small"), ModelPair("big", "small"))
PAST = Past(n_requests=300, n_comparisons=60, days=3.0)


def _client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def _routed():
    """The context of a request that a router sent to the weak model."""
    request = ChatRequest(b"", {}, "auto", False, "Hello")
    decision = Decision("small", 0.2, 0.5, "mf", "win_rate", ("big", "small"), "fixed")
    return RequestContext(request, decision=decision)


async def _overview(app, by="day"):
    """The overview of a server whose store is open."""
    await app.engine.state.store.start()
    try:
        async with _client(app) as client:
            answer = await client.get(f"/api/overview?by={by}")
            assert answer.status_code == 200, answer.text
            return answer.json()
    finally:
        await app.engine.state.store.close()


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """A folder whose store holds the past."""
    folder = tmp_path_factory.mktemp("past")
    app_of(folder, NOWHERE, past=PAST)
    return folder


@given(
    st.sampled_from(sorted(BY)), st.floats(1.6e9, 2.0e9), st.sampled_from(("UTC", "Asia/Kolkata", "America/New_York"))
)
def test_spans_are_the_zones_own(by, now, zone):
    """As many as are shown, up to the present one, each instant in one of them, in order."""
    spans = Spans(by, now, ZoneInfo(zone))
    labels = spans.labels()
    assert BY[by] <= len(labels) <= BY[by] + 1 and labels == sorted(set(labels)) and labels[-1] == spans.label(now)
    assert spans.label(spans.since) == labels[0] and spans.since % 900 == 0
    assert {spans.label(spans.since + k * (now - spans.since) / 40) for k in range(41)} <= set(labels)


def test_a_week_is_named_by_its_monday():
    """Saturday 28 November 2026 is of the week of the 23rd."""
    at = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
    assert Spans("week", at, UTC).label(at) == "2026-11-23"


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 0.01)), min_size=1, max_size=5
    )
)
def test_spans_add_up_to_the_whole(parts):
    """Saved, spent and always-strong dollars of the spans are those of all, without lengths to tell as with."""
    series, whole = {str(k): Dollars(*part) for k, part in enumerate(parts)}, Dollars()
    for part in parts:
        whole.add(*part)
    saving, spans = saving_of(whole, SavingsTally(), seconds=7200.0, series=series)
    assert sum(span["saved_usd"] for span in spans) == pytest.approx(saving.saved_usd)
    assert saving.always_usd - saving.spent_usd == pytest.approx(saving.saved_usd) and saving.low is None
    assert saving.share == pytest.approx(1.0 - saving.spent_usd / saving.always_usd)
    assert saving.month_usd == pytest.approx(saving.saved_usd * 360.0)


def _compared(outcome, k, model_a="small", model_b="big"):
    return ComparisonRow(id=str(k), request_id=str(k), at=0.0, model_a=model_a, model_b=model_b, outcome=outcome,
        judge="j")  # fmt: skip


@given(st.lists(st.sampled_from((0.0, 0.5, 1.0)), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_the_loss_is_that_of_what_was_served(outcomes, share):
    """The weak answers' mean loss times their share; comparisons of strong answers do not count."""
    rows = [_compared(outcome, k) for k, outcome in enumerate(outcomes)]
    strong = [_compared(1.0, -k, "big", "small") for k in range(1, 5)]
    loss = served_loss([*rows, *strong], reference="big", weak_share=share)
    pairs = paired_loss([1.0 - 2.0 * outcome for outcome in outcomes])
    assert (loss.value, loss.low, loss.high) == pytest.approx([share * x for x in (pairs.value, pairs.low, pairs.high)])
    assert loss.n_comparisons == len(outcomes) and loss.tells == (len(outcomes) >= 20)


def test_preferences_of_users_count_and_probabilities_weigh():
    """A preference on a weak answer is a comparison; where the autopilot drew, its probabilities weigh them."""
    said = [
        Said(0.0, "preference", 1.0, "small"),
        Said(0.0, "preference", 1.0, "big"),
        Said(0.0, "rating", 1.0, "small"),
    ]
    alone = served_loss([], said, reference="big", weak_share=1.0)
    assert (alone.value, alone.n_comparisons) == (1.0, 1)
    rows = [_compared(0.0, 0), _compared(1.0, 1), _compared(1.0, 2)]
    drawn = served_loss(rows, said, reference="big", weak_share=1.0, probabilities={"0": 0.1, "1": 0.5})
    assert (drawn.value, drawn.n_comparisons) == (pytest.approx((10 - 2) / 12), 2)
    assert served_loss(rows, reference="big", weak_share=None) is None
    assert served_loss([], reference="big", weak_share=0.5) is None
    assert served_loss([], reference="big", weak_share=0.0).value == 0.0


def test_ratings_have_an_interval_from_twenty_of_either():
    """Mean ratings of both, and the interval of their difference where there are enough."""
    few = [Said(0.0, "rating", 1.0, "big"), Said(0.0, "rating", 0.5, "small")]
    assert ratings_of(few, "big") == {"n": (1, 1), "reference": 1.0, "others": 0.5, "low": None, "high": None}
    many = ratings_of([*few * 20, *([replace(few[1], value=0.6)] * 20)], "big")
    assert many["low"] < 0.55 - 1.0 < many["high"] and ratings_of([], "big") is None


LOSS = Loss(0.012, -0.01, 0.034, 59, 0.6)


@pytest.mark.parametrize(
    ("loss", "bound", "state", "text"),
    [
        (LOSS, None, "good", "quality held (−1.2 points, 59 comparisons)"),
        (LOSS, Bound(0.05, 0.95, "autopilot"), "good", "quality held (−1.2 points, 59 comparisons)"),
        (replace(LOSS, low=0.006), None, "bad", "quality down (−1.2 points, 59 comparisons)"),
        (replace(LOSS, low=0.006), Bound(0.02, 0.95, "x"), "good", "quality held (−1.2 points, 59 comparisons)"),
        (LOSS, Bound(0.05, 0.95, "calibration", "void"), "bad", "quality bound void (−1.2 points, 59 comparisons)"),
        (replace(LOSS, low=0.06, value=0.1), Bound(0.05, 0.95, "x"), "bad",
            "quality below the bound (−10.0 points, 59 comparisons)"),
        (LOSS, Bound(0.05, 0.95, "x", "overridden"), "unknown",
            "quality bound overridden (−1.2 points, 59 comparisons)"),
        (replace(LOSS, n_comparisons=3), None, "unknown", "quality not known (3 comparisons, too few to tell)"),
        (replace(LOSS, n_comparisons=3, low=0.5), Bound(0.05, 0.95, "x"), "good",
            "quality bound of −5.0 points in force (3 comparisons, too few to tell)"),
        (None, None, "unknown", "quality not measured"),
        (replace(LOSS, weak_share=0.0), None, "good", "quality held (the strong model answers all)"),
    ],
)  # fmt: skip
def test_the_verdict_on_quality(loss, bound, state, text):
    """Held where nothing measured speaks against it; a void bound and a broken one come first."""
    assert quality_verdict(loss, bound, PAIR) == {"state": state, "text": text}


@pytest.mark.parametrize("loss", [None, replace(LOSS, n_comparisons=3)])
def test_where_the_autopilot_sends_nothing_away_quality_is_held(loss):
    """Also before anything was measured, and after what was certified has become void."""
    said = quality_verdict(loss, Bound(0.05, 0.95, "autopilot"), PAIR, nothing_away=True)
    assert said == {"state": "good", "text": "quality held (now the strong model answers all)"}


def test_the_verdict_on_money():
    """In percent of always asking the strong model; what is not known is said, and a loss of money too."""
    saving, _ = saving_of(Dollars(10, 59.0, 100.0, 9.0), SavingsTally(), seconds=60.0, series={})
    assert saving_verdict(saving, PAIR, stand_in=False, priced=True) == {"state": "good", "text": "Saving 41 %"}
    assert saving.month_usd is None
    dear, _ = saving_of(Dollars(10, 110.0, 100.0, 9.0), SavingsTally(), seconds=60.0, series={})
    assert saving_verdict(dear, PAIR, stand_in=False, priced=True)["text"].startswith("Costs 10 % more")
    learning, _ = saving_of(Dollars(10, 99.0, 100.0, 9.0), SavingsTally(shadow_usd=2.5), seconds=60.0, series={})
    said = saving_verdict(learning, PAIR, stand_in=False, priced=True, learning=True)
    assert said == {"state": "unknown", "text": "Not saving yet: $1.00 saved, $2.50 paid for comparing"}
    begun, _ = saving_of(Dollars(10, 1e2 + 1e-13, 1e2, 9.0), SavingsTally(shadow_usd=2.5), seconds=60.0, series={})
    said = saving_verdict(begun, PAIR, stand_in=False, priced=True, learning=True)
    assert said["text"] == "Not saving yet: nothing saved, $2.50 paid for comparing"
    assert saving_verdict(learning, PAIR, stand_in=False, priced=True)["state"] == "bad"
    assert saving_verdict(dear, PAIR, stand_in=False, priced=True, learning=True)["state"] == "bad"
    for stand_in, priced, words in ((True, True, "Stand-ins"), (False, False, "prices"), (False, True, "no routed")):
        said = saving_verdict(None, PAIR, stand_in=stand_in, priced=priced)
        assert said["state"] == "unknown" and words in said["text"]


def test_the_verdict_on_budgets():
    """Of the most used one: on track, ahead of its plan, or exhausted; nothing without a budget."""
    budget = {"usd": 50.0, "spent_usd": 10.0, "planned_usd": 10.5}
    assert budget_verdict([]) is None
    assert budget_verdict([budget, budget | {"spent_usd": 0.0}])["text"] == "budget on track"
    assert budget_verdict([budget | {"spent_usd": 20.0}])["text"] == "budget 19 % ahead of plan"
    assert budget_verdict([budget | {"spent_usd": 50.0}])["state"] == "bad"


@given(st.floats(-1e6, 1e6))
def test_no_figure_has_seventeen_digits(value):
    """Money, shares and points are rounded, whatever they are."""
    for words in (dollars(value), percent(value / 1e6), points(value / 1e6)):
        assert len(words.replace(",", "")) <= 14, words


def test_figures_in_words():
    """As people write them."""
    assert [dollars(usd) for usd in (0.0, 0.36000000000000004, 0.0947, 1e-6, 1234.5, -0.5)] == [
        "$0.00", "$0.36", "$0.0947", "$0.000001", "$1,234.50", "−$0.50"]  # fmt: skip
    assert [percent(share) for share in (0.41, 0.02, 0.0123)] == ["41 %", "2 %", "1.2 %"]
    assert [points(loss) for loss in (0.012, -0.2, 0.0)] == ["−1.2 points", "+20.0 points", "±0.0 points"]


@pytest.mark.parametrize("by", ["hour", "day", "week"])
async def test_the_store_answers_all_three_questions(past, by):
    """Dollars, percent and interval; loss and interval; a next step; and spans that add up to the whole."""
    seen = await _overview(app_of(past, NOWHERE, policy={"threshold": 0.55}), by)
    saving, loss = seen["saving"], seen["loss"]
    assert 0.0 < saving["low"] < saving["share"] < saving["high"] < 1.0 and saving["low_usd"] < saving["saved_usd"]
    assert sum(span.get("saved_usd", 0.0) for span in seen["spans"]) == pytest.approx(saving["saved_usd"])
    assert loss["low"] < loss["value"] < loss["high"] and loss["n_comparisons"] >= 20
    assert [part["text"].split()[0] for part in seen["verdict"]] == ["Saving", "quality"]
    assert seen["advice"]["text"].startswith("Compare") and seen["advice"]["action"]["kind"] == "copy"
    assert [step["done"] for step in seen["checklist"]] == [True, True, True, False, False]
    assert seen["why"][0]["words"] == "The policy decides: threshold 0.55."


async def test_another_span_is_refused(past):
    """With the ones there are."""
    async with _client(app_of(past, NOWHERE)) as client:
        answer = await client.get("/api/overview?by=year")
    assert answer.status_code == 400 and "hour, day, week" in answer.json()["error"]["message"]


async def test_stand_ins_say_so_and_what_to_do():
    """Nothing is saved, the next step is to name models, and nothing of the checklist is done."""
    async with _client(create_app()) as client:
        seen = (await client.get("/api/overview")).json()
    assert seen["stand_in"] and "Stand-ins" in seen["verdict"][0]["text"] and not seen["kept"]
    assert seen["advice"]["text"].startswith("Name your models") and not any(s["done"] for s in seen["checklist"])


async def test_without_a_store_this_process_is_told_of():
    """The saving since the start, without an interval; the next step is a store."""
    app = create_app(make_config({"strong": "big", "weak": "small", "models": MODELS}))
    for _ in range(3):
        app.engine.state.live(Record("r", "/v1/chat/completions", outcome="answered", cost_usd=1.0, strong_usd=4.0,
            context=_routed()))  # fmt: skip
    async with _client(app) as client:
        seen = (await client.get("/api/overview")).json()
    assert seen["saving"]["share"] == 0.75 and seen["saving"]["low"] is None and seen["spans"] == []
    assert "store" in seen["advice"]["action"]["text"]


async def test_a_void_bound_is_said_with_its_cause_and_the_way_out(past, tmp_path):
    """Drift voids the bound of calibration: verdict, alarm, effect and button; without drift it is in force."""
    routers = {"mf": {"checkpoint": str(bounded_checkpoint(tmp_path)), "max_loss": 0.05}}
    app = app_of(past, NOWHERE, drift={}, routers=routers)
    seen = await _overview(app)
    assert seen["bound"]["state"] == "held" and seen["bound"]["confidence"] == 0.95 and seen["alarms"] == []
    raise_drift(app)
    seen = await _overview(app)
    assert [span["bound"] for span in seen["spans"] if span.get("loss")][-1] == "void"
    assert seen["bound"]["state"] == "void" and seen["verdict"][1]["text"].startswith("quality bound void")
    assert seen["alarms"][0]["action"]["path"] == "/v1/drift/reset" and "void" in seen["alarms"][0]["effect"]
    assert seen["advice"]["text"] == seen["alarms"][0]["do"]


async def test_the_drift_of_one_key_is_its_own_alarm(past, tmp_path):
    """Where one key alone has drifted, an alarm names it, and the bound of all the others stays in force."""
    routers = {"mf": {"checkpoint": str(bounded_checkpoint(tmp_path)), "max_loss": 0.05}}
    app = app_of(past, NOWHERE, drift={}, routers=routers)
    raise_drift(app)
    watch = app.engine.state.drift._watches["mf"]
    watch.key_alarms, watch.alarm = {"k1a2b3c4": watch.alarm}, None
    seen = await _overview(app)
    assert seen["bound"]["state"] == "held"
    assert [alarm["cause"].split(" are not")[0] for alarm in seen["alarms"]] == ["Drift: the prompts of key k1a2b3c4"]
    assert seen["alarms"][0]["action"]["path"] == "/v1/drift/reset"


async def test_a_bound_that_comparisons_refute_is_an_alarm(tmp_path):
    """Where nine of ten comparisons are lost, the bound is not kept: in the verdict, by day, and as an alarm."""
    routers = {"mf": {"checkpoint": str(bounded_checkpoint(tmp_path)), "max_loss": 0.05}}
    past = Past(n_requests=100, n_comparisons=60, days=0.5, lost=0.9, n_ratings=0)
    seen = await _overview(app_of(tmp_path, NOWHERE, past=past, routers=routers), "week")
    assert seen["bound"]["state"] == "broken" and "below the bound" in seen["verdict"][1]["text"]
    assert "broken" in [span["bound"] for span in seen["spans"]]
    assert (
        seen["alarms"][0]["cause"].startswith("Comparisons show") and "--strong big" in seen["advice"]["action"]["text"]
    )


async def test_a_budget_that_overrides_is_named_with_its_reckoning(past, tmp_path):
    """The rule that decides is the budget, with what is left, for how many prompts; it overrides the bound."""
    routers = {"mf": {"checkpoint": str(bounded_checkpoint(tmp_path, threshold=0.2)), "max_loss": 0.05}}
    policy = {"max_loss": 0.05, "budgets": [{"usd": 1e-6, "per": "day"}]}
    seen = await _overview(app_of(past, NOWHERE, routers=routers, policy=policy))
    assert seen["why"][0]["policy"] == "budget:day"
    assert all(words in seen["why"][0]["words"] for words in ("of $0.000001 are left", "prompts", "it allows 0"))
    assert seen["bound"]["state"] == "overridden" and "overrides the bound" in seen["alarms"][0]["cause"]


async def test_comparisons_that_cost_more_than_they_save_are_advised_against(past):
    """The autopilot's own status decides: certified, and in the red after comparisons; else it is to go on."""
    prices = {"judge": MODELS["big"]}
    autopilot = {"max_loss": 0.1, "judge": "judge", "compare": 0.2}
    engine = app_of(past, NOWHERE, extra=prices, autopilot=autopilot).engine
    known = {"certified_share": 0.5, "next": {"share": 0.6, "comparisons": 40, "usd": 1.5}}
    known |= {"requests": {"n": 100, "weak": 50}}
    engine.state.autopilot.status = lambda: known | {"phase": "certified", "paused": None, "store_away": False}
    total = Dollars(10, 59.0, 100.0, 9.0)
    texts = {}
    for compared_usd in (1.0, 60.0):
        saving, _ = saving_of(total, SavingsTally(shadow_usd=compared_usd), seconds=3600.0, series={})
        found = Found(10, 3600.0, 1000, True, saving, None, None, [])
        texts[compared_usd] = best_step(engine, found)
    assert texts[1.0].text.startswith("Wait: after about 40 comparisons more ($1.50)") and "a month" in texts[1.0].worth
    assert texts[60.0].text.startswith("Compare less") and "compare: 0.05" in texts[60.0].action.text
    young_found = Found(10, 3600.0, 400, True, saving, None, None, [])
    young = best_step(engine, young_found)
    assert young.text.startswith("Wait: after about 40 comparisons more")  # what they open pays for them later
    known["requests"]["weak"] = 10  # so far; half of all from now on
    assert best_step(engine, found).text.startswith("Wait: after about 40 comparisons more")
    assert "$60.00" in texts[60.0].worth and "$41.00" in texts[60.0].worth
    engine.state.autopilot.status = lambda: known | {"phase": "learning"}
    steps = checklist(engine, young_found)
    assert [(step["name"], step["done"]) for step in steps] == [
        ("Name models", True), ("Ask", True), ("Compare", True), ("Certify", False)]  # fmt: skip
    assert all("shadow" not in step["how"] for step in steps)
    for share, said in ((0.0, "Wait: the first requests"), (0.5, "Nothing: all that can be certified")):
        engine.state.autopilot.status = lambda share=share: known | {"certified_share": share, "next": None}
        found = Found(10, 3600.0, 40, True, None, None, None, [])
        assert best_step(engine, found).text.startswith(said)


@pytest.mark.parametrize(
    ("status", "cause", "effect"),
    [
        ({"store_away": True}, "store cannot be reached", "served on"),
        ({"phase": "void", "why": "drift"}, "is void: the traffic has changed", "strong model"),
        ({"paused": "by an administrator"}, "paused: by an administrator", "holds"),
        ({"state": "superseded"}, "have a newer configuration", "strong model"),
    ],
)
def test_the_autopilots_troubles_are_alarms(past, status, cause, effect):
    """Each with its cause and what it does to what is certified; a paused one has a button that resumes it."""
    autopilot = {"max_loss": 0.1, "judge": "judge"}
    engine = app_of(past, NOWHERE, extra={"judge": MODELS["big"]}, autopilot=autopilot).engine
    calm = {"phase": "certified", "paused": None, "store_away": False}
    engine.state.autopilot.status = lambda: calm
    assert alarms_now(engine, bound=None, loss=None, failed=(0, 0)) == []
    engine.state.autopilot.status = lambda: calm | status
    (alarm,) = alarms_now(engine, bound=None, loss=None, failed=(0, 0))
    assert cause in alarm.cause and effect in alarm.effect and alarm.do
    if "phase" in status:
        engine.state.autopilot.status = lambda: calm | status | {"next": {"comparisons": 21}}
        (again,) = alarms_now(engine, bound=None, loss=None, failed=(0, 0))
        assert again.do == alarm.do.removesuffix(".") + ", the first after about 21 comparisons."
    assert ("paused" in status) == (alarm.action is not None and alarm.action.body == {"action": "resume"})


def test_models_that_fail_are_alarms(past):
    """An open circuit names who answers in its place; from 5 % of failures on, the errors are told of."""
    engine = app_of(past, NOWHERE).engine
    assert alarms_now(engine, bound=None, loss=None, failed=(1, 100)) == []
    for _ in range(50):
        engine.services["big"].breaker.fail()
    down, errors = alarms_now(engine, bound=None, loss=None, failed=(5, 100))
    assert "big" in down.cause and "small answers in its place" in down.effect and errors.cause.startswith("5 %")


async def test_the_overview_is_for_admins(tmp_path):
    """It holds dollars: where keys are asked for, an admin's is needed."""
    (user, text), (admin, admin_text) = new_key("user"), new_key("boss", admin=True)
    write_keys(tmp_path / "keys.json", {user.id: user, admin.id: admin})
    async with _client(create_app(make_config({"server": {"keys_file": str(tmp_path / "keys.json")}}))) as client:
        for key, status in ((text, 403), (admin_text, 200)):
            answer = await client.get("/api/overview", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == status


def test_cascades_are_counted():
    """Read, escalated and why; dollars of the answers that were not returned; saved against always strong."""
    tally = CascadeTally()
    for k in range(4):
        context = _routed()
        read = (Stage("small", "escalated", "json"), Stage("big", "answered", "")) if k == 0 else (
            Stage("small", "accepted", "verifier", 0.2),)  # fmt: skip
        context.cascade = CascadeRun(("small", "big"), "cascade", stages=list(read),
            answered_by="big" if k == 0 else "small")  # fmt: skip
        charges = (Charge("small", Usage(1, 1), 0.5), *((Charge("big", Usage(1, 1), 4.0),) if k == 0 else ()))
        tally(Record("r", "/", context=context, charges=charges, cost_usd=4.5 if k == 0 else 0.5, strong_usd=4.0))
    tally(Record("plain", "/"))
    assert tally.facts() == {
        "n_planned": 4, "looks": {"cascade": 4}, "n_read": 4, "n_escalated": 1, "reasons": {"json": 1},
        "unused_usd": 0.5, "saved_usd": 10.0,
    }  # fmt: skip
