"""Shadow comparisons: drawn at random, judged in both orders, within a day's dollars, and nobody waits for them."""

import asyncio
import json
import math
import random
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pointsman.core.errors import ConfigError, UpstreamError
from pointsman.core.pair import ModelPair
from pointsman.core.periods import find_period
from pointsman.core.prices import Price
from pointsman.serve import create_app
from pointsman.serve.config import ShadowConfig, StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.feedback.dollars_of_keys import DollarsOfKeys
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.feedback.shadow import Shadow
from pointsman.serve.feedback.shadow_request import shadow_request
from pointsman.serve.money.billing import Billing
from pointsman.serve.money.ledger import SHADOW_KEY, Ledger
from pointsman.serve.money.metrics import MoneyMetrics
from pointsman.serve.request.record import Record
from pointsman.serve.store.store import Store
from pointsman.serve.upstreams.base import Reply, Upstream

from support.upstream import LocalServer
from support.upstream import Upstream as OpenAI

NOON = 1_767_268_800.0  # on 1 January 2026, in UTC
PRICES = {"big": Price(10.0, 30.0), "small": Price(1.0, 2.0), "judge": Price(5.0, 15.0)}


class Scripted(Upstream):
    """A model that answers as a function of the document says, and keeps what it was asked."""

    def __init__(self, say):
        self._say, self.asked = say, []

    provider = "test"

    async def send(self, call):
        self.asked.append(call.document)
        said = self._say(call.document)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Reply):
            return said
        answer = {"choices": [{"message": {"content": said}}], "usage": {"prompt_tokens": 100, "completion_tokens": 50}}
        return Reply(200, (), json.dumps(answer).encode())


def prefers(text):
    """A judge that is for the answer with `text` in it, wherever it stands."""

    def say(document):
        first, second = document["messages"][0]["content"].split("<answer_b>")
        return "[[A]]" if text in first else "[[B]]" if text in second else "[[C]]"

    return say


def make(strong="strong words", judge=None, keep_characters=0, **settings):
    values = {"share": 1.0, "judge": "judge", "max_usd_per_day": 10.0, **settings}
    rows, registry = [], CollectorRegistry()
    ledger = Ledger(clock=lambda: NOON)
    shadow = Shadow(
        ShadowConfig(**values),
        ledger=ledger,
        money=MoneyMetrics(registry),
        put=rows.append,
        registry=registry,
        rng=random.Random(0),
        keep_characters=keep_characters,
    )
    models = {
        "big": Scripted(strong if callable(strong) else lambda _: strong),
        "judge": Scripted(judge or prefers("strong words")),
    }
    shadow.reconfigure(ShadowConfig(**values), models, Billing(PRICES, ModelPair("big", "small")))
    shadow.rows, shadow.ledger, shadow.models = rows, ledger, models
    shadow.count = lambda result: registry.get_sample_value("pointsman_shadow_comparisons_total", {"result": result})
    return shadow


def sample(**more):
    document = {"model": "auto", "messages": [{"role": "user", "content": "Why?"}], **more}
    return Sample("r1", "d1", "small", document, "Why?", "weak words", 7)


async def compared(shadow, *samples):
    """Lets the shadow compare samples, and stops it when it has."""
    for each in samples:
        shadow._queue.put_nowait(each)
    await shadow.start()
    n_before = sum(shadow.count(result) for result in ("compared", "over_budget", "failed"))
    for _ in range(6000):
        if sum(shadow.count(r) for r in ("compared", "over_budget", "failed")) - n_before == len(samples):
            break
        await asyncio.sleep(0.01)
    await shadow.close()
    return shadow.rows


@pytest.mark.parametrize(
    ("judge", "outcome"),
    [
        (prefers("strong words"), 0.0),
        (prefers("weak words"), 1.0),
        (lambda _: "[[C]]", 0.5),
        (lambda _: "[[A]]", 0.5),
    ],
)
async def test_both_orders_are_judged(judge, outcome):
    """A judge that always prefers the first answer makes a tie; one that knows what it wants is heard."""
    (row,) = await compared(make(judge=judge), sample())
    assert (row.request_id, row.decision_id, row.model_a, row.model_b) == ("r1", "d1", "small", "big")
    assert (row.outcome, row.judge) == (outcome, "judge")
    assert (row.tokens_a, row.tokens_b) == (7, 50)
    assert row.cost_usd == pytest.approx((100 * 10 + 50 * 30 + 2 * (100 * 5 + 50 * 15)) / 1e6)


@pytest.mark.parametrize("after", range(3))
async def test_each_call_is_billed_at_the_prices_that_it_was_sent_under(after):
    """New prices and upstreams in the middle of a comparison: those sent before cost the old prices.

    Without its judge, what is left of a comparison fails, and what was sent stays booked.
    """
    for keeps_judge in (True, False):
        shadow, asked = make(), []
        dear = {name: Price(10 * price.input_usd, 10 * price.output_usd) for name, price in PRICES.items()}

        def say(document, shadow=shadow, asked=asked, dear=dear, keeps_judge=keeps_judge):
            asked.append(document["model"])
            if len(asked) == after + 1:  # under way when the configuration is loaded
                models = {name: shadow.models[name] for name in ("big", "judge") if keeps_judge or name != "judge"}
                shadow.reconfigure(shadow._config, models, Billing(dear, ModelPair("big", "small")))
            return "strong words" if document["model"] == "big" else prefers("strong words")(document)

        shadow.models["big"]._say = shadow.models["judge"]._say = say
        rows = await compared(shadow, sample())
        sent = asked if keeps_judge else ["big", "judge", "judge"][: after + 1]
        assert asked == sent
        usd = [(dear if i > after else PRICES)[model].cost_usd(100, 50) for i, model in enumerate(sent)]
        assert shadow.ledger.spent_usd("day", key=SHADOW_KEY) == pytest.approx(sum(usd))
        assert [row.cost_usd for row in rows] == ([pytest.approx(sum(usd))] if len(sent) == 3 else [])


async def test_strong_answers_are_compared_with_the_weak_model():
    """The other way round all is the same: the weak model is asked and paid, the outcome is that of who answered."""
    shadow = make()
    shadow.models["small"] = Scripted(lambda _: "weak words")
    (row,) = await compared(shadow, replace(sample(), model="big", answer="strong words"))
    assert (row.model_a, row.model_b, row.outcome, row.tokens_b) == ("big", "small", 1.0, 50)
    assert row.cost_usd == pytest.approx((100 * 1 + 50 * 2 + 2 * (100 * 5 + 50 * 15)) / 1e6)
    assert shadow.models["big"].asked == []


@pytest.mark.parametrize(("keep", "texts"), [(0, (None, None)), (6, ("weak w", "strong"))])
async def test_what_a_verifier_learns_from_is_kept(keep, texts):
    """Signals of both answers always, their texts only where the store keeps texts, and only so much of them."""
    (row,) = await compared(make(keep_characters=keep), sample())
    assert (row.answer_a, row.answer_b) == texts
    assert row.signals_a["characters"] == pytest.approx(math.log1p(len("weak words")))
    assert row.signals_b["characters"] == pytest.approx(math.log1p(len("strong words")))
    assert row.signals_a["tokens"] == pytest.approx(math.log1p(7))
    assert "doubt" not in row.signals_a


@pytest.mark.parametrize("refuses", [False, True])
async def test_the_weak_model_is_asked_for_log_probabilities(refuses):
    """They are kept as signals; a model that refuses them is asked again without, once, and from then on without."""

    def weak(document):
        if refuses and document.get("logprobs"):
            return Reply(400, (), b'{"error": {"message": "no logprobs"}}')
        told = {"content": [{"token": "weak", "logprob": -0.5}]} if document.get("logprobs") else None
        choice = {"message": {"content": "weak words"}, "logprobs": told, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 50}
        return Reply(200, (), orjson.dumps({"choices": [choice], "usage": usage}))

    shadow = make(concurrency=1)
    shadow.models["small"] = Scripted(weak)
    strong = replace(sample(), model="big", answer="strong words")
    rows = await compared(shadow, strong, strong)
    assert [("doubt" in row.signals_b) for row in rows] == [not refuses] * 2
    asked = [bool(document.get("logprobs")) for document in shadow.models["small"].asked]
    assert asked == ([True, False, False] if refuses else [True, True])


async def test_a_hard_budget_that_is_spent_ends_comparisons():
    """Behind the wall neither the strong model nor the judge is asked, until its next period."""
    shadow = make()
    shadow.reconfigure(shadow._config, shadow.models, shadow._billing, lambda: True)
    assert await compared(shadow, sample()) == []
    assert (shadow.count("over_budget"), shadow.models["big"].asked) == (1, [])


async def test_equal_answers_are_a_tie_without_a_judge():
    """Nothing is paid for what can be seen."""
    shadow = make(strong="weak words")
    (row,) = await compared(shadow, sample())
    assert row.outcome == 0.5
    assert not shadow.models["judge"].asked


async def test_the_strong_model_is_asked_what_the_weak_one_was():
    """The same messages and settings, without a stream, and with a limit where the request had none."""
    shadow = make(max_tokens=99)
    await compared(shadow, sample(temperature=0.3, stream=True, stream_options={}, user="ann"), sample(max_tokens=5))
    first, second = shadow.models["big"].asked
    assert first == {"model": "big", "messages": sample().document["messages"], "temperature": 0.3, "max_tokens": 99}
    assert second["max_tokens"] == 5


async def test_what_was_cut_off_is_compared():
    """A lone surrogate, which JSON may carry, in the request and in both answers."""
    shadow = make(strong="strong \ud83d words")
    odd = sample(messages=[{"role": "user", "content": "Why \ud83d"}])
    (row,) = await compared(shadow, replace(odd, question="Why \ud83d", answer="weak \ud83d words"))
    assert shadow.models["big"].asked[0]["messages"] == odd.document["messages"]
    assert row.tokens_b == 50


async def test_what_it_spends_is_spending():
    """The ledger books it under a key of its own, and in the whole."""
    shadow = make()
    (row,) = await compared(shadow, sample())
    assert shadow.ledger.spent_usd("day", key=SHADOW_KEY) == pytest.approx(row.cost_usd)
    assert shadow.ledger.spent_usd("day") == pytest.approx(row.cost_usd)


async def test_the_days_dollars_are_never_exceeded():
    """With many comparisons at once what they can cost at most is set aside; the rest is left out, and counted."""
    shadow = make(max_usd_per_day=0.2, max_tokens=1000, concurrency=8, queue=100)
    await compared(shadow, *[sample() for _ in range(100)])
    assert shadow.ledger.spent_usd("day") <= 0.2
    assert shadow.count("compared") >= 10
    assert shadow.count("compared") + shadow.count("over_budget") == 100


async def test_one_key_leaves_the_others_half_of_the_dollars():
    """However many answers of one key are drawn, what those of another cost to compare is there for it."""
    shadow = make(max_usd_per_day=0.4, max_tokens=1000, concurrency=8, queue=200)
    await compared(shadow, replace(sample(), key="honest"), *[replace(sample(), key="busy") for _ in range(100)])
    busy = shadow.ledger.spent_usd("day")
    assert 0.1 < busy <= 0.2 + shadow.rows[0].cost_usd and shadow.count("over_budget") > 0
    n_before = shadow.count("compared")
    await compared(shadow, *[replace(sample(), key="honest") for _ in range(5)])
    assert shadow.count("compared") == n_before + 5


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 0.3), st.floats(0.0, 1.0)), max_size=60))
def test_no_key_has_more_than_its_part_of_the_dollars(drawn):
    """The most that a key's comparisons can cost never passes half, from when a second key was drawn."""
    dollars, spent, seen = DollarsOfKeys(lambda: find_period("day", NOON, UTC), clock=lambda: NOON), Counter(), set()
    for key, most_usd, part in drawn:
        seen.add(key)
        limit = 1.0 if len(seen) == 1 else 0.5
        if dollars.reserve(key, most_usd, of_usd=1.0):
            assert spent[key] + most_usd <= limit + 1e-9
            dollars.settle(key, reserved_usd=most_usd, usd=most_usd * part)
            spent[key] += most_usd * part
        else:
            assert spent[key] + most_usd > limit - 1e-9


@pytest.mark.parametrize(
    "broken",
    [
        lambda _: UpstreamError("away"),
        lambda _: Reply(500, (), b'{"error": {"message": "no"}}'),
        lambda _: Reply(200, (), b"not json"),
        lambda _: "",
        lambda _: RuntimeError("a defect"),
    ],
)
async def test_a_failure_costs_only_the_comparison(broken):
    """It is counted, and the next one is made."""
    answers = iter([broken, lambda _: "strong words"])
    shadow = make(strong=lambda document: next(answers)(document))
    rows = await compared(shadow, sample(), sample())
    assert len(rows) == 1
    assert (shadow.count("failed"), shadow.count("compared")) == (1, 1)


async def test_a_verdict_that_cannot_be_read_is_no_comparison():
    """It was paid for all the same."""
    shadow = make(judge=lambda _: "both are nice")
    assert await compared(shadow, sample()) == []
    assert shadow.count("failed") == 1
    assert shadow.ledger.spent_usd("day") > 0


@pytest.fixture
def served(tmp_path):
    """A server with a shadow before a real upstream."""
    upstream = OpenAI()
    with LocalServer(upstream.app()) as up:
        price = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
        model = {"base_url": f"{up.url}/v1", "price": price}
        values = {
            "strong": "big",
            "weak": "small",
            "models": dict.fromkeys(("big", "small", "judge"), model),
            "routers": {"random": {}},
            "store": {"url": f"sqlite:///{tmp_path / 'store.db'}"},
            "shadow": {"share": 1.0, "judge": "judge", "max_usd_per_day": 5.0},
        }
        yield upstream, values


def comparisons(values):
    async def read():
        async with Store(StoreConfig(**values["store"])) as store:
            return await store.comparisons()

    return asyncio.run(read())


@pytest.mark.parametrize("stream", [False, True])
def test_requests_do_not_wait_for_their_shadow(served, stream):
    """The weak answer is there at once; the comparison, which takes longer, is in the store a moment later."""
    upstream, values = served
    with LocalServer(create_app(make_config(values))) as front, httpx.Client(base_url=front.url) as http:
        body = {"model": "router-random-1", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
        answer = http.post("/v1/chat/completions", json=body)
        request_id = answer.headers["x-pointsman-request-id"]
        deadline = time.monotonic() + 60
        while not (found := comparisons(values)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        metrics = http.get("/metrics").text
    assert [(row.request_id, row.outcome) for row in found] == [(request_id, 0.5)]
    assert 'pointsman_shadow_comparisons_total{result="compared"} 1.0' in metrics
    assert [json.loads(r.body)["model"] for r in upstream.received] == ["small", "big"]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "small"},
        {"model": "router-random-0"},
        {"model": "router-random-1", "tools": [{"type": "function", "function": {"name": "f"}}]},
        {"model": "router-random-1", "n": 2},
        {"model": "router-random-1", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]}]},
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_left_alone(served, body):
    """Requests that name a model, strong answers, tools, several answers, images."""
    upstream, values = served
    values["models"]["small"] = {**values["models"]["small"], "capabilities": ["tools", "images"]}
    with LocalServer(create_app(make_config(values))) as front:
        hello = {"messages": [{"role": "user", "content": "Hello"}]}
        assert httpx.post(f"{front.url}/v1/chat/completions", json={**hello, **body}).status_code == 200
        time.sleep(0.2)
    assert len(upstream.received) == 1


def test_a_share_is_a_share(monkeypatch):
    """Of many answers about that share is drawn; where the queue is full, the rest is counted and left."""
    monkeypatch.setattr("pointsman.serve.feedback.shadow.take_sample", lambda record: sample())
    for model, share in (("small", 0.25), ("big", 0.1), ("other", 0.0), (None, 0.0)):
        shadow = make(share=0.25, strong_share=0.1, queue=5000)
        for _ in range(4000):
            shadow(Record("r", "/", model=model))
        assert abs(shadow._queue.qsize() - 4000 * share) < 200
    shadow = make(share=1.0, queue=10)
    for _ in range(30):
        shadow(Record("r", "/", model="small"))
    assert (shadow._queue.qsize(), shadow.count("busy")) == (10, 20)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"store": None}, "shadow needs a store"),
        ({"shadow": {"share": 0.1, "judge": "nobody", "max_usd_per_day": 1.0}}, "shadow.judge is 'nobody'"),
        ({"shadow": {"share": 0.1, "judge": "big", "max_usd_per_day": 1.0}}, "not routed itself"),
        ({"shadow": {"share": 0.0, "judge": "judge", "max_usd_per_day": 1.0}}, "shadow.share"),
        ({"shadow": {"share": 0.1, "judge": "judge", "max_usd_per_day": 0.0}}, "shadow.max_usd_per_day"),
    ],
)
def test_a_shadow_that_cannot_work_is_refused(served, changes, problem):
    """When the configuration is read, with what is wanted."""
    values = {**served[1], **changes}
    with pytest.raises(ConfigError, match=problem):
        make_config({name: value for name, value in values.items() if value is not None})


def test_prices_are_needed_for_the_ceiling(served):
    """Dollars cannot be held where they are not known."""
    values = served[1]
    bare = {"base_url": values["models"]["judge"]["base_url"]}
    with pytest.raises(ConfigError, match="needs the price of judge"):
        create_app(make_config({**values, "models": {**values["models"], "judge": bare}}))
    shadow = {**values["shadow"], "strong_share": 0.1}
    with pytest.raises(ConfigError, match="needs the price of small"):
        create_app(make_config({**values, "models": {**values["models"], "small": bare}, "shadow": shadow}))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_tokens": -1}, {"max_tokens": 100}),
        ({"max_tokens": 1, "max_completion_tokens": 50_000}, {"max_tokens": 1, "max_completion_tokens": 50_000}),
        ({"max_tokens": 50_000.0}, {"max_tokens": 50_000}),
        ({"max_tokens": "many"}, {"max_tokens": 100}),
        ({"max_tokens": True}, {"max_tokens": 100}),
        ({"max_tokens": 0.5}, {"max_tokens": 100}),
        ({}, {"max_tokens": 100}),
    ],
)
def test_only_limits_that_are_counted_are_sent(given, expected):
    """A comparison asks for no longer an answer than it has set money aside for, whatever the client's limits are."""
    request = shadow_request(
        {"messages": [], **given},
        ShadowConfig(judge="judge", share=0.1, max_usd_per_day=1, max_tokens=100, limit_parameter="max_tokens"),
    )
    assert {name: value for name, value in request.items() if "max" in name} == expected
