"""What is set aside of hard budgets before a model is asked is the most that the request can cost."""

import asyncio

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.core.prices import Price
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.engine.steps.reserve_budget import most_input_tokens, most_usd
from pointsman.serve.protocols.surfaces import CHAT, MESSAGES, RESPONSES
from pointsman.serve.request.context import RequestContext

PRICE = Price(1.0, 1000.0)
SAID = [{"role": "user", "content": "Hello"}]
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
READ = {CHAT: LIMITS[:2], RESPONSES: LIMITS[2:], MESSAGES: LIMITS[:1]}  # what each API reads of them
numbers = st.one_of(st.integers(-2, 9), st.sampled_from([2.5, "7", "x", True, None, [3], 0, "nan", "1e999", 1e300]))


def as_a_lenient_service_reads(value):
    """How many that is; None where it is no number."""
    try:
        found = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else 0.0
    except ValueError:
        return None
    return min(found, 1e12) if found > 0 else None


@settings(max_examples=60)
@given(
    surface=st.sampled_from(list(READ)),
    limits=st.dictionaries(st.sampled_from(LIMITS), numbers, max_size=3),
    more=st.dictionaries(st.sampled_from(["n", "best_of"]), numbers, max_size=2),
    parameters=st.dictionaries(st.sampled_from(LIMITS), st.integers(1, 9), max_size=2),
    override=st.booleans(),
)
@example(RESPONSES, {"max_tokens": 1}, {}, {}, False)  # which this API does not read
@example(CHAT, {"max_output_tokens": 1}, {}, {}, False)
@example(CHAT, {}, {"n": 128}, {}, False)
@example(CHAT, {"max_tokens": 1}, {}, {"max_tokens": 9}, True)
def test_no_field_makes_less_be_set_aside_than_a_service_may_charge(surface, limits, more, parameters, override):
    """Limits that an API does not read limit nothing; several answers cost as much as several; ours win if they do."""
    sent = {"model": "big", "messages": SAID, "input": "Hello", **limits, **more}
    told = {**sent, **parameters} if override else {**parameters, **sent}
    read = [n for name in READ[surface] if (n := as_a_lenient_service_reads(told.get(name))) is not None]
    n_answers = max([n for name in more if (n := as_a_lenient_service_reads(more[name])) is not None], default=1)
    dearest = (max(read) if read else 4096) * max(n_answers, 1)
    charged = PRICE.cost_usd(2, 0) + dearest * PRICE.output_usd / 1e6
    body = orjson.dumps(sent)
    engine = budgeted(parameters=parameters, override=override)
    context = RequestContext(surface.read(body), surface=surface)
    assert reserved_usd(engine, context) >= charged * (1 - 1e-9)


def budgeted(**big):
    """An engine with a hard budget that nothing exhausts."""
    price = {"input_usd_per_million": PRICE.input_usd, "output_usd_per_million": PRICE.output_usd}
    models = {"big": {"base_url": "http://127.0.0.1:9/v1", "price": price, **big}}
    models["small"] = {"base_url": "http://127.0.0.1:9/v1", "price": {**price, "output_usd_per_million": 1.0}}
    policy = {"budgets": [{"usd": 1e305, "hard": True, "per": "month"}]}
    values = {"strong": "big", "weak": "small", "models": models, "routers": {"random": {}}, "policy": policy}
    return Engine(make_config(values))


def reserved_usd(engine, context):
    asyncio.run(engine.decide(context))
    (held,) = context.held
    return held.usd


@settings(max_examples=30)
@given(st.text(max_size=200), st.integers(0, 5))
@example("\U0010fffd" * 60, 0)
def test_no_text_has_more_tokens_than_are_set_aside(text, n_images):
    """A tokenizer may need a token for each byte that is no ASCII; an image has tokens of its own, however short."""
    image = {"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}
    parts = [{"type": "text", "text": text}, *[image] * n_images]
    document = {"messages": [{"role": "user", "content": parts}]}
    n_bytes = len(text.encode()) - sum(map(str.isascii, text))
    assert most_input_tokens(document, orjson.dumps(document)) >= n_bytes + 700 * n_images


@pytest.mark.parametrize("largest_usd", [None, 2.0])
def test_what_sets_no_limit_costs_what_answers_cost(largest_usd):
    """The largest answer lately and a quarter more, for each answer; before there were enough, 4,096 tokens."""
    expected = 4096 * 3 * PRICE.output_usd / 1e6 if largest_usd is None else 1.25 * 3 * largest_usd
    found = most_usd(PRICE, {"n": 3}, 0, path="/chat/completions", largest_usd=largest_usd)
    assert found == pytest.approx(expected)


async def test_a_client_that_leaves_while_budgets_are_asked_takes_nothing_with_it():
    """What the first of two budgets has set aside is known to the request before the second is asked."""
    engine = budgeted()
    first, second = Waiting(), Waiting()
    engine.policies.hard_limits = lambda key: (first, second)
    context = RequestContext(CHAT.read(orjson.dumps({"model": "big", "messages": SAID})), surface=CHAT)
    task = asyncio.create_task(engine.decide(context))
    first.answers.set()
    while not second.n_asked:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert context.held == ("held",)


class Waiting:
    """A budget that answers when it is told to."""

    name = "budget:day"
    n_asked = 0

    def __init__(self):
        self.answers = asyncio.Event()

    async def reserve(self, usd):
        self.n_asked += 1
        await self.answers.wait()
        return "held"
