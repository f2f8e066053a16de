"""Rules before the score: what they match, what they do, and that bounds hold for them."""

import asyncio
import json

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.errors import ConfigError
from pointsman.core.routers.random import RandomRouter
from pointsman.serve import Controller
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.cli import main
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.engine.rules import Rules
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.model_field import ModelField
from pointsman.serve.protocols.requests import read_chat, read_responses
from pointsman.serve.protocols.surfaces import CHAT, MESSAGES, RESPONSES
from pointsman.serve.request.context import RequestContext
from pointsman.serve.server.app import create_app

from support.candidates import CANDIDATES, PROMPTS, config_of_three, train_three
from support.upstream import LocalServer, running_upstream

pytest.importorskip("re2")

STRONG, WEAK = "stand-in-strong", "stand-in-weak"
TRANSLATE = ["translate this letter into German", "how do you say water in French", "put this sentence into Spanish"]
COOK = ["give me a recipe for lentil soup", "how long do I boil an egg", "which spices go well with pumpkin"]
KEY = AccessKey("k1", "legal-team", "", 0, tier="gold")
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def rules(*given):
    """The rules as configured, each with a rule's `then` unless it has one."""
    entries = [{"name": f"r{i}", "then": {"threshold": 0.5}, **entry} for i, entry in enumerate(given)]
    return Rules(make_config({"rules": entries}).rules, {"r": RandomRouter(np.random.default_rng(0))})


def asked(text="hello", *, surface=CHAT, key=None, headers=None, **document):
    content = document.pop("content", text)
    body = {"model": "router-r", "messages": [{"role": "user", "content": content}], **document}
    request = read_chat(json.dumps(body).encode())
    return RequestContext(request, surface=surface, key=key, parsed=ModelField(router="r"), rule_headers=headers or {})


def name_of(found):
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("condition", "met", "not_met"),
    [
        ({"matches": r"(?i)\brefund\b"}, asked("A REFUND, please"), asked("I refunded it")),
        ({"matches": ["x{3}", "straße|gasse"]}, asked("Lange Straße, straße"), asked("xx")),
        ({"header": {"X-Team": "legal*"}}, asked(headers={"x-team": "legal-eu"}), asked(headers={"x-team": "sales"})),
        ({"key": "legal-team"}, asked(key=KEY), asked()),
        ({"key": ["k1", "k2"]}, asked(key=KEY), asked(key=AccessKey("k3", "other", "", 0))),
        ({"tier": "gold"}, asked(key=KEY), asked(key=AccessKey("k2", "x", "", 0))),
        ({"api": "messages"}, asked(surface=MESSAGES), asked(surface=CHAT)),
        ({"api": ["responses", "chat"]}, asked(surface=RESPONSES), asked(surface=MESSAGES)),
        ({"tokens": {"at_least": 50}}, asked("word " * 100), asked("word")),
        ({"tokens": {"at_most": 50}}, asked("word"), asked("word " * 100)),
        ({"language": ["de", "fr"]}, asked("Wie geht es dir und was ist das?"), asked("What is that?")),
        ({"images": True}, asked(content=[IMAGE]), asked()),
        ({"images": False}, asked(), asked(content=[IMAGE])),
        ({"tools": True}, asked(tools=[{"type": "function"}]), asked()),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_each_condition(condition, met, not_met):
    """Every condition is met by what it says, with the reason in words, and by nothing else."""
    given = rules(condition)
    assert (found := given.match(met, None)) is not None and found.because
    assert given.match(not_met, None) is None


def test_all_conditions_of_a_rule_are_needed_and_the_first_rule_counts():
    """A rule with two conditions takes both; of two rules that are met the first in order counts."""
    given = rules({"matches": "pay", "tier": "gold"}, {"matches": "pay"}, {"matches": "pay now"})
    assert name_of(given.match(asked("pay now", key=KEY), None)) == "r0"
    assert name_of(given.match(asked("pay now"), None)) == "r1"
    assert given.match(asked("hello", key=KEY), None) is None


def embedded(given, text):
    return given.examples["r"].embed([text])[0]


def match(given, text, **more):
    return given.match(asked(text, **more), embedded(given, text))


def test_similar_prompts_meet_the_rule_of_the_nearest_examples():
    """Examples of two subjects part new prompts on them, whatever the order of the rules; others meet none."""
    for order in ((TRANSLATE, COOK), (COOK, TRANSLATE)):
        given = rules(*[{"similar_to": examples} for examples in order])
        names = {f"r{i}": examples for i, examples in enumerate(order)}
        assert names[match(given, "translate my message into French").name] is TRANSLATE
        assert names[match(given, "a recipe for pumpkin soup with spices").name] is COOK
        assert match(given, "prove that the square root of two is irrational") is None


def test_rules_whose_other_conditions_fail_do_not_compete():
    """The nearest examples count among the rules that the request can meet at all."""
    given = rules({"similar_to": TRANSLATE, "tier": "gold"}, {"similar_to": TRANSLATE})
    assert match(given, TRANSLATE[0], key=KEY).name == "r0"
    assert match(given, TRANSLATE[0]).name == "r1"


def test_counter_examples_raise_the_threshold():
    """A near counter-example lifts the calibrated threshold above itself; a given threshold stays as it is."""
    near = "translate the balance sheet into a cash flow statement"
    plain, careful = rules({"similar_to": TRANSLATE}), rules({"similar_to": TRANSLATE, "unlike": [near] * 2})
    assert careful.examples["r"].thresholds[0] > plain.examples["r"].thresholds[0] - 1e-9
    assert match(plain, near) is not None and match(careful, near) is None
    assert rules({"similar_to": TRANSLATE, "similarity": 0.25}).examples["r"].thresholds.tolist() == [0.25]


def test_without_an_embedding_no_examples_are_met():
    """A router that failed leaves no embedding; rules of other conditions still count."""
    given = rules({"similar_to": TRANSLATE}, {"matches": "German"})
    assert given.match(asked(TRANSLATE[0]), None).name == "r1"


@given(st.text(alphabet="ab(c", max_size=200))
@settings(max_examples=30)
def test_a_pattern_that_backtracks_elsewhere_is_searched_as_it_should(text):
    """Nested repeats, on which backtracking never ends, give what a plain reading of the text gives."""
    found = rules({"matches": r"(a+)+b"}).match(asked(text), None)
    assert (found is not None) == ("ab" in text)


def test_both_ends_of_a_long_prompt_are_searched():
    """Of a prompt beyond the limit its beginning and its end are searched, and its middle is not."""
    given, filler = rules({"matches": "needle"}), "x" * 30_000
    assert given.match(asked(f"needle {filler} {filler}"), None) and given.match(
        asked(f"{filler} {filler} needle"), None
    )
    assert given.match(asked(f"{filler} needle {filler}"), None) is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"then": {"threshold": 0.5}}, "has no condition, wanted one of similar_to, matches"),
        ({"matches": "(?=x)", "then": {"threshold": 0.5}}, "is not a regular expression of RE2"),
        ({"matches": "(", "then": {"threshold": 0.5}}, "is not a regular expression of RE2"),
        ({"matches": "x", "then": {}}, "has no effect, wanted one of model, candidates, threshold, cascade: false"),
        ({"matches": "x", "then": {"model": "a", "candidates": ["b"]}}, "both given, wanted one of them"),
        ({"matches": "x", "then": {"model": "middle"}}, "rule 'r' names 'middle', wanted models that are routed"),
        ({"matches": "x", "then": {"cascade": False}}, "skips the cascade, and none is configured"),
        ({"matches": "x", "then": {"threshold": 0.5, "strict": True}}, "without a model or candidates"),
        (
            {"similar_to": ["x"], "then": {"threshold": 0.5}},
            "from which no threshold can be calibrated: wanted two or more",
        ),
        ({"matches": "x", "similarity": 0.5, "then": {"threshold": 0.5}}, "without similar_to, wanted examples"),
        ({"similar_to": ["a", " "], "then": {"threshold": 0.5}}, "an example is empty"),
        ({"header": {"Authorization": "*"}, "then": {"threshold": 0.5}}, "holds a secret, wanted another header"),
        ({"language": "xx", "then": {"threshold": 0.5}}, "cannot be detected, wanted some of ar, bg"),
        ({"tokens": {"at_least": 5, "at_most": 4}, "then": {"threshold": 0.5}}, "at_most 4 is below at_least 5"),
        ({"api": "grpc", "then": {"threshold": 0.5}}, "wanted 'chat', 'responses' or 'messages'"),
    ],
)
def test_wrong_rules_are_refused_when_they_are_loaded(entry, said):
    """What is wrong with a rule is said with what was wanted, before a request is served."""
    with pytest.raises(ConfigError) as error:
        Engine(make_config({"rules": [{"name": "r", **entry}]}))
    assert said in str(error.value)


def test_names_are_given_once_and_the_autopilot_certifies_no_rules():
    """Two rules of one name, and rules beside the autopilot, are refused."""
    rule = {"name": "r", "matches": "x", "then": {"threshold": 0.5}}
    with pytest.raises(ConfigError, match="the name 'r' is given twice"):
        make_config({"rules": [rule, rule]})
    pair = {"strong": "a", "weak": "b", "models": {"a": {}, "b": {}, "j": {}}, "store": {}}
    with pytest.raises(ConfigError, match="autopilot and rules are both given"):
        make_config({**pair, "autopilot": {"judge": "j", "max_loss": 0.1}, "rules": [rule]})


def decide(engine, text, *, model="auto", **more):
    context = asked(text, model=model, **more)
    context.parsed, context.dry_run = None, False
    decision = asyncio.run(engine.decide(context))
    return decision, context


def pair_engine(*given, **config):
    return Engine(make_config({"rules": [{"name": f"r{i}", **entry} for i, entry in enumerate(given)], **config}))


def test_a_rule_of_a_pair_names_a_model():
    """Prompts that meet it go to its model whatever their win rate, and the decision names it; others are as before."""
    engine = pair_engine({"matches": "urgent", "then": {"model": STRONG}}, {"matches": "idle", "then": {"model": WEAK}})
    plain = Engine(make_config({}))
    for word, model in (("urgent", STRONG), ("idle", WEAK)):
        for threshold in (0, 1):
            decision, _ = decide(engine, word, model=f"router-mf-{threshold}")
            assert (decision.model, decision.rule) == (model, f"r{int(word == 'idle')}")
    assert decide(engine, "urgent", model="router-mf-1")[0].reason == "rule: r0"
    assert decide(engine, "hello")[0] == decide(plain, "hello")[0]
    assert "rule" not in decide(engine, "hello")[0].to_dict()
    assert decide(engine, "urgent", model=WEAK)[0].reason == "pass-through"


def test_a_threshold_of_a_rule_is_bounded_and_yields_to_the_requests_own():
    """It comes before tiers and settings, within the bounds; a request that names a threshold keeps its own."""
    rule = {"matches": "x", "then": {"threshold": 0.9}}
    assert decide(pair_engine(rule, policy={"threshold": 0.1}), "x")[0].threshold == 0.9
    assert decide(pair_engine(rule), "x")[0].policy == "rule:r0"
    bounded, _ = decide(pair_engine(rule, policy={"threshold_bounds": {"ceiling": 0.4}}), "x")
    assert (bounded.threshold, bounded.policy) == (0.4, "ceiling")
    assert decide(pair_engine(rule), "x", model="router-mf-0.2")[0].threshold == 0.2


@pytest.mark.parametrize("then", [{"model": STRONG}, {"candidates": [STRONG]}])
def test_bounds_hold_for_what_a_rule_sends_to_the_strong_model(then):
    """A share ceiling holds for a rule that names the strong model for everything; the reason says both."""
    engine = pair_engine({"matches": ".", "then": then}, policy={"threshold": 1.0, "share_bounds": {"ceiling": 0.25}})
    decisions = [decide(engine, "hello")[0] for _ in range(40)]
    strong = sum(decision.model == STRONG for decision in decisions)
    assert 5 <= strong <= 11
    assert {d.reason for d in decisions if d.model == WEAK} == {"bounds, not rule: r0"}


def test_a_rule_leaves_what_can_answer():
    """A rule whose model lacks a capability is not followed, and says so; a strict one refuses the request."""
    models = {"a": {"model": "openai/x"}, "b": {"model": "openai/y", "capabilities": []}}
    config = {
        "strong": "a",
        "weak": "b",
        "models": {n: {**m, "base_url": "http://localhost:1/v1"} for n, m in models.items()},
    }
    engine = pair_engine({"matches": ".", "then": {"model": "b"}}, **config)
    decision, context = decide(engine, "", content=[{"type": "text", "text": "look"}, IMAGE])
    assert decision.model == "a" and context.rule.note == "none of its models can answer this request"
    strict = pair_engine({"matches": ".", "then": {"model": "b", "strict": True}}, **config)
    assert decide(strict, "look")[0].candidates == ("b",)
    with pytest.raises(RequestError, match="rule 'r0' allows only b, which cannot answer"):
        decide(strict, "", content=[{"type": "text", "text": "look"}, IMAGE])


def test_requests_of_a_batch_meet_rules_too():
    """Prompts that were scored together meet the same rules as each alone."""
    from pointsman.serve.server.endpoints.route_batch import decide_batch

    engine = pair_engine({"similar_to": TRANSLATE, "then": {"model": STRONG}})
    prompts = ["translate my message into French", "hello"]
    found = asyncio.run(decide_batch(engine, "auto", prompts, None))
    assert [d.rule for d in found] == ["r0", None] == [decide(engine, prompt)[0].rule for prompt in prompts]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return train_three(tmp_path_factory.mktemp("three"))


PROMPT = {
    "sum": PROMPTS["sum"].format(a=31, b=48),
    "poem": PROMPTS["poem"].format(n="lake"),
    "proof": PROMPTS["proof"].format(n="Hausdorff"),
}


def test_of_three_the_score_decides_among_what_a_rule_leaves(checkpoint):
    """Bill and score decide between the two that a rule leaves; the other comes last; a choice that is left stands."""
    config = config_of_three(
        checkpoint,
        "http://localhost:1/v1",
        rules=[{"name": "no-small", "matches": ".", "then": {"candidates": ["big", "middle"]}}],
    )
    with Controller(config=config) as controller:
        found = {topic: controller.route(prompt) for topic, prompt in PROMPT.items()}
    assert {topic: d.model for topic, d in found.items()} == {"sum": "middle", "poem": "middle", "proof": "big"}
    assert [d.reason for d in found.values()] == ["rule: no-small", "win_rate", "win_rate"]
    assert found["sum"].candidates == ("middle", "big", "small") and found["sum"].rule == "no-small"


def test_of_three_bounds_hold(checkpoint):
    """A rule that names the reference gets it only as often as the ceiling allows, else the cheapest."""
    config = config_of_three(
        checkpoint,
        "http://localhost:1/v1",
        rules=[{"name": "all-big", "matches": ".", "then": {"model": "big"}}],
        policy={"threshold": 1.0, "share_bounds": {"ceiling": 0.2}},
    )
    engine = Engine(make_config(config))
    models = [decide(engine, PROMPT["sum"])[0].model for _ in range(20)]
    assert 2 <= models.count("big") <= 5 and set(models) == {"big", "small"}
    assert set(CANDIDATES) >= set(models)


def test_served_explained_and_counted(checkpoint):
    """Headers reach the rules; explanations give what was met, and metrics count it."""
    rule = {"name": "legal", "header": {"x-team": "legal"}, "matches": "sum|plus", "then": {"model": "big"}}
    team, body = {"X-Team": "legal"}, {"model": "auto", "messages": [{"role": "user", "content": PROMPT["sum"]}]}
    with running_upstream() as upstream:
        app = create_app(make_config(config_of_three(checkpoint, upstream.url, rules=[rule])))
        with LocalServer(app) as server, httpx.Client(base_url=server.url) as http:
            plain = http.post("/v1/chat/completions", json=body)
            legal = http.post("/v1/chat/completions", json=body, headers=team)
            told = http.post("/v1/route", json={**body, "explain": True}, headers=team).json()
            metrics = http.get("/metrics").text
    assert plain.headers["x-pointsman-model"] == "small" and legal.headers["x-pointsman-model"] == "big"
    assert legal.headers["x-pointsman-reason"] == "rule: legal"
    assert told["rule"] == "legal" and told["explanation"]["rule"] == {
        "name": "legal",
        "because": ["header x-team: legal", "matches sum|plus"],
        "candidates": ["big"],
    }
    assert 'pointsman_rules_total{rule="legal"} 1.0' in metrics


def test_the_store_keeps_the_rule_for_usage_filters_and_replay(checkpoint, tmp_path, capsys):
    """Of two requests one meets a rule: usage counts both apart, and replay looks at its requests alone."""
    store = f"sqlite:///{tmp_path}/store.db"
    rule = {"name": "legal", "matches": "sum|plus", "then": {"model": "big"}}
    with running_upstream() as upstream:
        kept = {"url": store, "prompts": "text"}
        values = config_of_three(checkpoint, upstream.url, rules=[rule], store=kept)
        with Controller(config=values) as controller:
            for topic in ("sum", "poem", "sum"):
                controller.completion(messages=[{"role": "user", "content": PROMPT[topic]}])
    assert main(["usage", "--store", store, "--by", "rule", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["rule"], row["n_requests"]) for row in found] == [("-", 1), ("legal", 2)]
    assert main(["replay", "--candidate", checkpoint, "--store", store, "--rule", "legal", "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)["asked"]
    assert asked["big"] == {"now": 1.0, "candidate": 1.0}
    assert main(["replay", "--candidate", checkpoint, "--store", store, "--rule", "none such"]) == 1
    assert "no request" in capsys.readouterr().err


def test_the_responses_api_is_read_alike():
    """A rule sees the prompt of every API."""
    request = read_responses(json.dumps({"model": "auto", "input": "a refund"}).encode())
    context = RequestContext(request, surface=RESPONSES, parsed=ModelField(router="r"))
    assert rules({"matches": "refund", "api": "responses"}).match(context, None).name == "r0"
