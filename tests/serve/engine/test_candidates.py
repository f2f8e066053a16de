"""Three candidates served: chosen by topic and bill, filtered, fallen back from, and explained."""

import asyncio
import json

import httpx
import numpy as np
import pytest

from pointsman.core.errors import ConfigError
from pointsman.serve import Controller
from pointsman.serve.cli import main
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.errors import RequestError, UpstreamFailure
from pointsman.serve.money.savings import read_savings
from pointsman.serve.protocols.requests import make_question
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.record import Record
from pointsman.serve.server.app import create_app
from pointsman.serve.store.store import Store

from support.candidates import CANDIDATES, PROMPTS, config_of_three, train_three
from support.upstream import LocalServer, running_upstream

ASKED = {
    "sum": PROMPTS["sum"].format(a=31, b=48),
    "poem": PROMPTS["poem"].format(n="lake"),
    "proof": PROMPTS["proof"].format(n="Hausdorff"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return train_three(tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as made:
        yield made


def _turn(text):
    return [{"role": "user", "content": text}]


def test_prices_that_changed_since_training_are_named(checkpoint, upstream, caplog):
    """A price that gives another bill than the labels is warned of with both; prices as they were are not."""
    halved = {"middle": {"price": {"input_usd_per_million": 2.5, "output_usd_per_million": 10.0}}}
    Controller(config=config_of_three(checkpoint, upstream.url)).close()
    assert "other prices" not in caplog.text
    Controller(config=config_of_three(checkpoint, upstream.url, models=halved)).close()
    assert "middle $0.002 then, $0.00105 now" in caplog.text and "big" not in caplog.text
    assert "correct models.<name>.price" in caplog.text


async def test_drift_sends_everything_to_the_reference_until_it_is_reset(checkpoint, upstream):
    """Prompts unlike those of training raise the alarm, prompts like them do not; the reference answers then."""
    config = config_of_three(checkpoint, upstream.url, drift={"on_alarm": "strong"})
    engine = Engine(make_config(config))
    engine.state.drift._rng = np.random.default_rng(0)
    engine.state.drift.reconfigure(engine.routers)

    async def decided(text):
        context = RequestContext(make_question(text, "auto"))
        decision = await engine.decide(context)
        record = Record("id", "/v1/chat/completions")
        record.context = context
        engine.state.drift(record)
        return decision

    usual = [prompt.format(a=i, b=i + 1, n="lake") for i in range(60) for prompt in PROMPTS.values()]
    for text in usual:
        assert (await decided(text)).reason != "drift"
    await engine.state.drift._take_waiting()
    assert engine.state.drift.status()["routers"]["three"]["state"] == "watching"
    for i in range(400):
        await decided(f"zxqv wvut {i} ponm lkjh")
    await engine.state.drift._take_waiting()
    found = {text: await decided(text) for text in ASKED.values()}
    assert {(each.model, each.reason) for each in found.values()} == {("big", "drift")}
    await engine.state.drift.reset("three")
    assert (await decided(ASKED["sum"])).model == "small"
    await engine.close()


def test_each_topic_goes_to_the_cheapest_that_can(checkpoint, upstream):
    """Sums go to the small model, poems to the middle one, proofs to the big one, and decisions say why."""
    with Controller(config=config_of_three(checkpoint, upstream.url)) as controller:
        decisions = {topic: controller.route(prompt) for topic, prompt in ASKED.items()}
        assert {topic: d.model for topic, d in decisions.items()} == {
            "sum": "small",
            "poem": "middle",
            "proof": "big",
        }
        poem = decisions["poem"]
        assert poem.candidates[0] == "middle" and sorted(poem.candidates) == sorted(CANDIDATES)
        assert 0.0 < poem.share < 1.0 and poem.margin > 0.0 and "ahead of the next of 3" in poem.why
        shown = poem.to_dict()["weighed"]
        assert [each["model"] for each in shown] == list(poem.candidates)
        usd = {each["model"]: each["usd"] for each in shown}
        assert usd["small"] < usd["middle"] < usd["big"]
        assert controller.win_rates(list(ASKED.values())).shape == (3, 3)


def test_the_knob_goes_from_the_reference_to_the_cheapest(checkpoint, upstream):
    """Threshold 0 and 100 % are the reference, threshold 1 is the cheapest, and a share lies between."""
    with Controller(config=config_of_three(checkpoint, upstream.url)) as controller:
        for prompt in ASKED.values():
            assert controller.route(prompt, threshold=0.0).model == "big"
            assert controller.route(prompt, threshold=1.0).model == "small"
            assert controller.route(prompt, strong_share=1.0).model == "big"
        shares = [controller.route(prompt, model="router-three-40pct").share for prompt in ASKED.values()]
        assert 0.0 < sum(shares) / 3 < 1.0


def test_parameters_make_candidates_of_one_model(checkpoint, upstream):
    """Parameters are put into the request; what the client sets stays, unless it is overridden."""
    variants = {
        "big": {"model": "one", "parameters": {"reasoning_effort": "high", "temperature": 0.2}},
        "small": {"model": "one", "parameters": {"reasoning_effort": "low"}, "override": True},
    }
    with Controller(config=config_of_three(checkpoint, upstream.url, models=variants)) as controller:
        controller.completion(model="big", messages=_turn("Hello"), temperature=1.0)
        assert upstream.last.document["reasoning_effort"] == "high"
        assert upstream.last.document["temperature"] == 1.0 and upstream.last.document["model"] == "one"
        controller.completion(model="small", messages=_turn("Hello"), reasoning_effort="high")
        assert upstream.last.document["reasoning_effort"] == "low"
        controller.completion(model="middle", messages=_turn("Hello"))
        assert "reasoning_effort" not in upstream.last.document


def test_a_long_prompt_goes_where_it_fits(checkpoint, upstream):
    """What a context window does not hold goes to the next best that does; nobody's window is an error."""
    windows = {"small": {"context_tokens": 200}, "middle": {"context_tokens": 4000}, "big": {"context_tokens": 8000}}
    with Controller(config=config_of_three(checkpoint, upstream.url, models=windows)) as controller:
        history = [*_turn("word " * 500), {"role": "assistant", "content": "Yes."}, *_turn(ASKED["sum"])]
        controller.completion(messages=history)
        assert upstream.last.document["model"] == "middle"
        controller.completion(messages=_turn(ASKED["sum"]))
        assert upstream.last.document["model"] == "small"
        with pytest.raises(RequestError, match=r"too many for every candidate: big 8,000"):
            controller.completion(messages=_turn(ASKED["sum"]), max_tokens=9000)


def test_a_failure_falls_back_in_the_order_of_the_choice(checkpoint, upstream):
    """The next best answers for one that fails; one whose circuit is open is not weighed; `none` means nobody."""
    failing = {"middle": {"model": "status-503", "breaker": {"failures": 2, "open_s": 60}}}
    with Controller(config=config_of_three(checkpoint, upstream.url, models=failing)) as controller:
        for i in range(2):
            controller.completion(messages=_turn(f"{ASKED['poem']} ({i})"))
            assert upstream.last.document["model"] == "big"
        decision = controller.route(ASKED["poem"])
        assert decision.reason == "circuit open: middle" and "middle" not in decision.candidates
    alone = config_of_three(checkpoint, upstream.url, models=failing, fallback="none")
    with Controller(config=alone) as controller, pytest.raises(UpstreamFailure):
        controller.completion(messages=_turn(ASKED["poem"]))


def test_a_spent_hard_budget_leaves_the_cheapest(checkpoint, upstream):
    """With nothing left of a hard budget only the cheapest candidate answers, and others are refused by name."""
    policy = {"budgets": [{"usd": 1e-9, "per": "month", "hard": True}]}
    with Controller(config=config_of_three(checkpoint, upstream.url, policy=policy)) as controller:
        controller.completion(messages=_turn(ASKED["proof"]))
        assert controller.route(ASKED["proof"]).model == "small"
        with pytest.raises(RequestError, match="request small or a router"):
            controller.route(ASKED["proof"], model="big")


def test_a_budget_buys_what_is_expected_to_be_best_and_no_more(checkpoint, upstream):
    """With plenty left a budget alone asks at threshold 0.5, a threshold of the router's own stays as it is."""
    policy = {"budgets": [{"usd": 1e6, "per": "day"}]}
    config = config_of_three(checkpoint, upstream.url, policy=policy)
    with Controller(config=config) as controller:
        assert controller.route(ASKED["sum"]).threshold == 0.6
    config["routers"] = {"three": {"checkpoint": checkpoint}}
    with Controller(config=config) as controller:
        decision = controller.route(ASKED["proof"])
        assert (decision.threshold, decision.policy, decision.model) == (0.5, "budget:day", "big")


def test_a_share_is_held(checkpoint, upstream):
    """A share of spending is held over many requests, whatever their topics."""
    policy = {"strong_share": 0.5}
    with Controller(config=config_of_three(checkpoint, upstream.url, policy=policy)) as controller:
        for i in range(60):
            controller.completion(messages=_turn(f"{list(ASKED.values())[i % 3]} ({i})"))
        live = controller.engine.policies.describe()["routers"][0]["live"]
        assert live["n_requests"] == 60 and live["strong_share"]["100"] == pytest.approx(0.5, abs=0.15)


def test_a_conversation_stays_unless_a_better_model_is_worth_it(checkpoint, upstream):
    """A second turn stays with its model where another is only cheaper, and goes up where its model cannot."""
    with Controller(config=config_of_three(checkpoint, upstream.url, sessions={})) as controller:
        first = _turn(ASKED["poem"])
        controller.completion(messages=first)
        assert upstream.last.document["model"] == "middle"
        said = [*first, {"role": "assistant", "content": "A poem."}]
        controller.completion(messages=[*said, *_turn(ASKED["sum"])])
        assert upstream.last.document["model"] == "middle"
        controller.completion(messages=[*said, *_turn(ASKED["proof"])])
        assert upstream.last.document["model"] == "big"


def test_the_server_shows_the_candidates(checkpoint, upstream):
    """Headers, /v1/route with its explanation, /v1/models and /ready name all three."""
    app = create_app(make_config(config_of_three(checkpoint, upstream.url)))
    with LocalServer(app) as server, httpx.Client(base_url=server.url) as client:
        body = {"model": "auto", "messages": _turn(ASKED["poem"])}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.headers["x-pointsman-model"] == "middle"
        shown = answer.headers["x-pointsman-candidates"]
        assert shown.startswith("middle 0.") and "big 0.500 $" in shown and "small 0." in shown
        routed = client.post("/v1/route", json={"prompt": ASKED["poem"], "explain": True}).json()
        assert routed["model"] == "middle" and len(routed["weighed"]) == 3 and routed["margin"] > 0
        explained = routed["explanation"]
        assert [each["model"] for each in explained["candidates"]] == routed["candidates"]
        assert {"quality", "usd"} <= set(explained["candidates"][0])
        assert set(client.get("/ready").json()["models"]) == set(CANDIDATES)
        assert {"auto", "router-three", *CANDIDATES} <= {card["id"] for card in client.get("/v1/models").json()["data"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": ["big"]}, "wanted at least two"),
        ({"candidates": ["big", "small", "big"]}, "name 'big' twice"),
        ({"strong": "big", "weak": "small"}, "given together, wanted one of both"),
        ({"candidates": ["big", "gpt-9", "small"]}, "does not know 'gpt-9'; its checkpoint knows big, middle, small"),
        (
            {"routers": {"mf": {}}},
            r"is of 2 models \(strong, weak\), which cannot weigh 3 candidates: train a router of them",
        ),
        ({"candidates": []}, "candidates are empty, wanted at least two"),
        ({"policy": {"budgets": [{"usd": 1}]}, "models": {"middle": {"price": None}}}, "all models; not known: middle"),
        ({"policy": {"max_loss": 0.01}}, "calibrate TABLE --candidates big,middle,small --max-loss 0.01 --checkpoint"),
        ({"routers": {"r": {"kind": "mf", "candidates": {"huge": "strong"}}}}, "maps huge, wanted some of big"),
        ({"models": {"big": {"parameters": {"model": "x"}}}}, "parameters model are the request's own"),
    ],
)
def test_wrong_candidates_are_named(checkpoint, upstream, change, message):
    """Too few, doubled, unknown and mixed candidates, and checkpoints of a pair, are errors with the way out."""
    values = config_of_three(checkpoint, upstream.url, **{"models": {"gpt-9": {}}, **change})
    if "gpt-9" in values["candidates"]:
        values["models"]["gpt-9"] = {"base_url": upstream.url}
    with pytest.raises(ConfigError, match=message):
        Controller(config=values)


def test_names_of_the_checkpoint_are_mapped(checkpoint, upstream):
    """Candidates may be called otherwise than in the checkpoint."""
    values = config_of_three(checkpoint, upstream.url)
    values["candidates"] = ["gpt-big", "middle", "small"]
    values["models"]["gpt-big"] = values["models"].pop("big")
    values["routers"]["three"]["candidates"] = {"gpt-big": "big"}
    with Controller(config=values) as controller:
        assert controller.route(ASKED["proof"]).model == "gpt-big"


@pytest.mark.parametrize(
    ("candidates", "router", "message"),
    [
        (["middle", "big", "small"], {"strong_share": 0.3}, "--candidates middle,big,small --strong-share 0.3"),
        (CANDIDATES, {"candidates": {"big": "middle"}}, "maps big and middle to 'middle'"),
    ],
)
def test_routers_of_other_candidates_say_how_to_fit_them(checkpoint, upstream, candidates, router, message):
    """Another reference needs a calibration of its own, and no two candidates are one model of the checkpoint."""
    values = config_of_three(checkpoint, upstream.url)
    values |= {"candidates": list(candidates), "routers": {"three": {"checkpoint": checkpoint, **router}}}
    with pytest.raises(ConfigError, match=message):
        Controller(config=values)


def test_candidates_are_named_in_python(checkpoint, upstream):
    """`Controller(candidates=...)` takes the place of a configured pair; with a pair given, it is refused."""
    values = config_of_three(checkpoint, upstream.url)
    del values["candidates"]
    with Controller(config={**values, "strong": "big", "weak": "small"}, candidates=CANDIDATES) as controller:
        assert controller.route(ASKED["poem"]).model == "middle"
        assert controller.win_rates([ASKED["sum"]]).shape == (1, 3)
    with pytest.raises(ConfigError, match="given together"):
        Controller(strong_model="big", weak_model="small", config=values, candidates=CANDIDATES)


def test_the_store_holds_what_was_weighed(checkpoint, upstream, tmp_path, capsys):
    """A row tells the reference, each candidate's bill and what was charged; savings are against the reference."""
    url = f"sqlite:///{tmp_path}/store.db"
    values = config_of_three(checkpoint, upstream.url, store={"url": url})
    with Controller(config=values) as controller:
        decisions = [controller.route(prompt) for prompt in ASKED.values()]
        for prompt in ASKED.values():
            controller.completion(messages=_turn(prompt))

    async def read():
        async with Store(StoreConfig(url=url)) as store:
            return (await store.decisions())[::-1], await read_savings(store)

    rows, savings = asyncio.run(read())
    assert [(row.reference, row.decided) for row in rows] == [("big", "small"), ("big", "middle"), ("big", "big")]
    assert [[each["model"] for each in row.weighed] for row in rows] == [list(d.candidates) for d in decisions]
    assert [row.share for row in rows] == [decision.share for decision in decisions]
    assert all(0.0 < row.expected_usd <= row.weighed[0]["usd"] and row.cost_usd > 0.0 for row in rows)
    assert savings.n_requests == 3 and savings.n_weak == 2 and savings.saved_usd > 0.0
    assert savings.always_strong_usd == pytest.approx(sum(row.strong_usd for row in rows))
    (tmp_path / "c.yaml").write_text(json.dumps(values))
    assert main(["usage", "--config", str(tmp_path / "c.yaml"), "--by", "model", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in told["rows"]} == set(CANDIDATES)
    assert told["savings"]["n_weak"] == 2


def test_two_of_the_three_are_a_pair(checkpoint, upstream):
    """A checkpoint of three serves two of them as a pair, by its win rate alone."""
    values = config_of_three(checkpoint, upstream.url)
    values["candidates"] = ["big", "small"]
    with Controller(config=values) as controller:
        decision = controller.route(ASKED["poem"], threshold=0.5)
        assert decision.candidates == ("big", "small") and not decision.weighed
        assert (decision.model == "big") == (decision.win_rate >= 0.5)


def test_the_command_decides_like_the_server(checkpoint, upstream, tmp_path, capsys):
    """`pointsman route --config` weighs the candidates, and explains them."""
    values = config_of_three(checkpoint, upstream.url)
    (tmp_path / "c.yaml").write_text(json.dumps(values))
    assert main(["route", ASKED["poem"], "--config", str(tmp_path / "c.yaml"), "--explain"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("middle: win rate") and "big: expected quality +0.0000 against the reference" in said
    assert "ahead of the next one by 0." in said
