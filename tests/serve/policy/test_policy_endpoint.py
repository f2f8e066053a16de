"""Policies, capabilities and conversations, over HTTP."""

import httpx
import pytest

from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint, write_checkpoint
from pointsman.core.errors import ConfigError
from pointsman.core.pair import ModelPair
from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.config.load import make_config
from pointsman.serve.http.errors import RequestError
from pointsman.serve.python_api.controller import Controller

from support.upstream import LocalServer

HELLO = [{"role": "user", "content": "Hello"}]
IMAGE = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url"}]}]
ANSWERED = [*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And now?"}]
PRICE = {"input_usd_per_million": 1e5, "output_usd_per_million": 1e5}  # an answer of the upstream costs 1.4 dollars
DEAR, CHEAP = {"price": PRICE}, {"price": {**PRICE, "input_usd_per_million": 1.0, "output_usd_per_million": 1.0}}


@pytest.fixture
def serve(upstream):
    """Starts a server with two models and further configuration."""
    made = []

    def start(*, big=None, small=None, **more):
        model = {"base_url": upstream.url, "retry": {"attempts": 0}}
        models = {"big": {**model, **(big or {})}, "small": {**model, **(small or {})}, "third": model}
        values = {"strong": "big", "weak": "small", "models": models, "routers": {"random": {}}, **more}
        made.append(LocalServer(create_app(make_config(values))).__enter__())
        return made[-1]

    yield start
    for server in made:
        server.__exit__()


def ask(front, messages=HELLO, *, model="auto", headers=None, **more):
    body = {"model": model, "messages": messages, **more}
    return httpx.post(f"{front.url}/v1/chat/completions", json=body, headers=headers or {})


def told(reply):
    """Model, policy and reason of an answer."""
    assert reply.status_code == 200, reply.text
    return tuple(reply.headers.get(f"x-pointsman-{name}") for name in ("model", "policy", "reason"))


def test_the_policy_sets_the_threshold_and_answers_say_which_rule_did(serve):
    """Of auto and router-<name> alone: a threshold in the model field is the request's own."""
    front = serve(policy={"threshold": 1.0})
    assert told(ask(front))[:2] == ("small", "fixed")
    assert told(ask(front, model="router-random"))[:2] == ("small", "fixed")
    assert told(ask(front, model="router-random-0"))[:2] == ("big", "request")
    assert told(ask(front, model="third"))[:2] == ("third", None)
    assert told(ask(serve()))[1] == "default"


def test_a_paying_tier_gets_its_own_threshold(serve, tmp_path):
    """By the tier of the key; keys of other tiers and of none get the setting for all."""
    made = [new_key("x", tier=tier) for tier in ("paid", "free", None)]
    write_keys(tmp_path / "keys.json", {key.id: key for key, _ in made})
    policy = {"threshold": 1.0, "tiers": {"paid": {"threshold": 0.0}}}
    front = serve(policy=policy, server={"keys_file": str(tmp_path / "keys.json")})
    found = [told(ask(front, headers={"authorization": f"Bearer {text}"}))[:2] for _, text in made]
    assert found == [("big", "tier:paid"), ("small", "fixed"), ("small", "fixed")]


def test_an_administrator_changes_the_setting_live(serve, tmp_path):
    """POST replaces it and is checked like the configuration, reset undoes it, and other keys may not."""
    made = [new_key("boss", admin=True), new_key("user")]
    write_keys(tmp_path / "keys.json", {key.id: key for key, _ in made})
    front = serve(policy={"threshold": 1.0}, server={"keys_file": str(tmp_path / "keys.json")})
    boss, user = ({"authorization": f"Bearer {text}"} for _, text in made)
    url = f"{front.url}/v1/policy"
    assert httpx.get(url, headers=user).status_code == 403
    assert httpx.get(url, headers=boss).json()["setting"] == {"threshold": 1.0}
    changed = httpx.post(url, headers=boss, json={"threshold": 0.0}).json()
    shown = [changed[name] for name in ("setting", "configured", "overridden")]
    assert shown == [{"threshold": 0.0}, {"threshold": 1.0}, True]
    assert told(ask(front, headers=user))[:2] == ("big", "admin")
    for body in (
        {"threshold": 2.0},
        {"threshold": 0.1, "strong_share": 0.1},
        {},
        {"thershold": 0.1},
        {"max_loss": 0.1},
    ):
        refused = httpx.post(url, headers=boss, json=body)
        assert refused.status_code == 400, body
        assert refused.json()["error"]["message"]
    assert httpx.post(url, headers=boss, json={"reset": True}).json()["overridden"] is False
    assert told(ask(front, headers=user))[:2] == ("small", "fixed")


def test_a_share_is_held_and_shown_live(serve):
    """Of a hundred requests a quarter goes to strong, and the policy's state says so."""
    front = serve(policy={"strong_share": 0.25})
    body = {"model": "auto", "messages": HELLO}
    with httpx.Client(base_url=front.url) as client:
        went = [told(client.post("/v1/chat/completions", json=body))[0] for _ in range(100)]
        shown = client.get("/v1/policy").json()["routers"][0]
    assert went.count("big") == pytest.approx(25, abs=10)
    share = went.count("big") / 100
    assert shown["live"] == {"n_requests": 100, "strong_share": {"100": share, "1000": share}}
    assert (shown["target"], shown["policy"]) == (0.25, "share")


def test_asking_for_a_decision_alone_counts_nothing(serve):
    """POST /v1/route leaves shares, budgets and conversations as they are."""
    front = serve(policy={"strong_share": 0.25}, sessions={})
    decided = httpx.post(f"{front.url}/v1/route", json={"prompt": "Hello"})
    assert decided.json()["policy"] == "share"
    assert httpx.get(f"{front.url}/v1/policy").json()["routers"][0]["live"]["n_requests"] == 0


def test_a_hard_budget_that_is_spent_leaves_the_weak_model(serve, noon):
    """Whatever threshold a request names; a model that is named itself is refused until the next period."""
    policy = {"budgets": [{"usd": 2.0, "per": "month", "hard": True}], "timezone": noon}
    front = serve(big=DEAR, small=CHEAP, policy=policy, server={"log_requests": False})
    strong = "router-random-0"
    assert [told(ask(front, model=strong))[0] for _ in range(2)] == ["big", "big"]
    assert told(ask(front, model=strong))[:2] == ("small", "budget:month exhausted")
    assert told(ask(front, model="small"))[0] == "small"
    refused = ask(front, model="big")
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "budget_spent"
    budget = httpx.get(f"{front.url}/v1/policy").json()["budgets"][0]
    assert budget["spent_usd"] == pytest.approx(2.8, rel=0.01)
    assert budget["usd"] == 2.0


def test_a_soft_budget_raises_the_threshold_and_refuses_nobody(serve, noon):
    """Far beyond its ceiling everything that names no threshold goes to weak, what names one does not."""
    policy = {"budgets": [{"usd": 1.0, "per": "month"}], "timezone": noon}
    front = serve(big=DEAR, small=CHEAP, policy=policy)
    assert told(ask(front, model="router-random-0"))[:2] == ("big", "request")
    assert told(ask(front))[:2] == ("small", "budget:month")
    assert told(ask(front, model="router-random-0"))[:2] == ("big", "request")


def test_requests_go_to_the_model_that_can_do_what_they_need(serve, upstream):
    """Images and tools to the model that declares them, whatever the threshold; text as ever."""
    front = serve(big={"capabilities": ["images", "tools"]}, small={"capabilities": ["tools"]})
    assert told(ask(front, IMAGE, model="router-random-1")) == ("big", "request", "needs images")
    assert (
        told(ask(front, model="router-random-1", tools=[{"type": "function", "function": {"name": "f"}}]))[0] == "small"
    )
    assert told(ask(front, model="router-random-1"))[0] == "small"
    assert told(ask(front, IMAGE, model="third"))[0] == "third"
    for model in ("auto", "small"):
        refused = ask(front, [{"role": "user", "content": [{"type": "input_audio"}]}], model=model)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "unsupported_capability"
        assert "audio" in refused.json()["error"]["message"]


def test_a_model_that_cannot_do_it_does_not_answer_for_one_that_failed(serve):
    """Falling back keeps to the models that declare what the request needs."""
    broken = {"model": "status-500", "capabilities": ["images"]}
    front = serve(small=broken, big={"capabilities": []})
    assert ask(front, IMAGE, model="router-random-1").status_code == 500
    assert told(ask(front, model="router-random-1"))[0] == "big"


def test_conversations_stay_with_their_model(serve):
    """Strong is kept at any win rate, weak unless the win rate clears the margin; each by beginning or by header."""
    front = serve(sessions={"margin": 1.0})
    for name, first, then in (
        ("big", "router-random-0", "router-random-1"),
        ("small", "router-random-1", "router-random-0.0"),
    ):
        header = {"x-pointsman-session": name}
        begun = [{"role": "user", "content": f"Hello {name}"}]
        assert told(ask(front, begun, model=first))[0] == name
        assert told(ask(front, [*begun, *ANSWERED[1:]], model=then))[::2] == (name, "session")
        assert told(ask(front, model=first, headers=header))[0] == name
        assert told(ask(front, model=then, headers=header))[::2] == (name, "session")
        unknown = [{"role": "user", "content": f"Good evening {name}"}, *ANSWERED[1:]]
        assert told(ask(front, unknown, model=then))[2] == "win_rate"


def test_an_answer_in_anothers_place_moves_no_conversation(serve, upstream):
    """Where the weak model fails and the strong one answers, the next turn asks the weak model again."""
    front = serve(small={"model": "status-503", "breaker": {"failures": 100}}, sessions={"margin": 1.0})
    header = {"x-pointsman-session": "1"}
    for model, messages in (("router-random-1", HELLO), ("router-random-0.0", ANSWERED)):
        before = len(upstream.received)
        assert told(ask(front, messages, model=model, headers=header))[0] == "big"
        assert [got.document["model"] for got in upstream.received[before:]] == ["status-503", "big"]


def test_budgets_without_a_store_are_warned_of(caplog):
    """A restart would forget what was spent: that is said when the server is made."""
    price = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}
    model = {"base_url": "http://127.0.0.1:9/v1", "price": price}
    values = {"strong": "big", "weak": "small", "models": {"big": model, "small": model}, "routers": {"random": {}}}
    create_app(make_config(values))
    assert "budgets" not in caplog.text
    create_app(make_config({**values, "policy": {"budgets": [{"usd": 5}]}}))
    assert "policy.budgets without a store" in caplog.text


def test_an_upgrade_that_the_win_rate_argues_for_is_made(serve):
    """With prices and no cache to lose, a conversation goes on with strong as soon as the threshold says so."""
    front = serve(big=DEAR, small=CHEAP, sessions={})
    header = {"x-pointsman-session": "1"}
    assert told(ask(front, model="router-random-1", headers=header))[0] == "small"
    assert told(ask(front, ANSWERED, model="router-random-0", headers=header)) == ("big", "request", "win_rate")


def test_without_sessions_each_request_is_decided_by_itself(serve):
    """As long as the configuration says nothing of them, the header changes nothing."""
    front, header = serve(), {"x-pointsman-session": "1"}
    assert told(ask(front, model="router-random-0", headers=header))[0] == "big"
    assert told(ask(front, ANSWERED, model="router-random-1", headers=header))[::2] == ("small", "win_rate")


@pytest.fixture
def checkpoint(tmp_path):
    found = {"rule": "max_loss", "wanted": 0.02, "threshold": 0.75}
    thresholds = {"max_loss=0.02,confidence=0.9": {**found, "threshold": 0.8, "confidence": 0.9}}
    thresholds |= {"max_loss=0.02,confidence=0.95": {**found, "confidence": 0.95}}
    thresholds |= {"max_cost_usd=2": {"rule": "max_cost_usd", "wanted": 2.0, "threshold": 0.6}}
    pair = ModelPair("strong", "weak")
    calibration = Calibration("x", 5, (0.0, 1.0))
    made = Checkpoint("random", ("strong", "weak"), pair, calibration=calibration, thresholds=thresholds)
    write_checkpoint(made, tmp_path / "mine")
    return str(tmp_path / "mine")


def test_stored_thresholds_are_named_in_the_model_field(checkpoint):
    """By the loss or the cost that they were calibrated for, the most certain of several; listed, and checked."""
    routers = {"mine": {"checkpoint": checkpoint}}
    with Controller(config={"routers": routers}) as controller:
        decided = [controller.route("Hi", model=f"router-mine-{rule}") for rule in ("loss0.02", "cost2", "cost2.0")]
        assert [decision.threshold for decision in decided] == [0.75, 0.6, 0.6]
        assert decided[0].policy == "request"
        with pytest.raises(RequestError, match=r"pointsman calibrate TABLE --max-loss 0\.5"):
            controller.route("Hi", model="router-mine-loss0.5")
    with LocalServer(create_app(make_config({"routers": routers}))) as front:
        listed = [card["id"] for card in httpx.get(f"{front.url}/v1/models").json()["data"]]
    assert {"router-mine-loss0.02", "router-mine-cost2"} <= set(listed)


def test_a_stored_threshold_may_be_the_default(checkpoint):
    """As the router's own, or as the policy's; one that is not stored is refused at the start."""
    router = {"checkpoint": checkpoint}
    with Controller(config={"routers": {"mine": {**router, "max_loss": 0.02}}}) as controller:
        assert controller.route("Hi").threshold == 0.75
    with Controller(config={"routers": {"mine": router}, "policy": {"max_cost_usd": 2.0}}) as controller:
        assert (controller.route("Hi").threshold, controller.route("Hi").policy) == (0.6, "max_cost_usd")
    for values in (
        {"routers": {"mine": {**router, "max_loss": 0.5}}},
        {"routers": {"mine": router}, "policy": {"max_loss": 0.5}},
    ):
        with pytest.raises(ConfigError, match="pointsman calibrate TABLE --max-loss"):
            Controller(config=values)
