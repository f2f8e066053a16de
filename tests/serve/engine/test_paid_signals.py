"""Signals of an answer that cost a call: what is asked, and what is made of it."""

import asyncio
import json
import math

import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from pointsman.core.decision import Decision
from pointsman.serve.config.cascade import CascadeConfig, CheckerConfig
from pointsman.serve.engine.paid_signals import Checker, PaidSignals
from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.requests import read_chat
from pointsman.serve.protocols.said import Said
from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.attempts import Answered
from pointsman.serve.upstreams.base import Call, Reply

from support.upstream import LocalServer, closed_port


class Scripted:
    """Stands in for `Failover`: answers with the next text, or fails where it is None."""

    def __init__(self, *texts, logprob=None):
        self.texts = list(texts)
        self.logprob = logprob
        self.asked = []

    async def ask(self, call, models, new_stream, attempts=None):
        self.asked.append((models[0], json.loads(call.body)))
        text = self.texts.pop(0)
        if text is None:
            raise UpstreamFailure("no answer")
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        if self.logprob is not None:
            choice["logprobs"] = {"content": [{"token": text, "logprob": self.logprob}]}
        return Answered(Reply(200, (), json.dumps({"choices": [choice]}).encode()), models[0])


def asking(**fields):
    """A request, its context and its call."""
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "2 + 2?"}], **fields}).encode()
    request = read_chat(body)
    decision = Decision("small", None, None, "mf", "", ("big", "small"))
    return RequestContext(request), Call("/chat/completions", body, request.document, request.stream, decision)


async def test_agreement_is_the_share_of_samples_with_the_same_result():
    """Samples are plain requests of the cheap model, compared by their last number; those that fail do not count."""
    failover = Scripted("It is 4.", "So the sum is 4", "5", None)
    context, call = asking(stream=True, stream_options={"include_usage": True})
    signals = PaidSignals(CascadeConfig(samples=4), failover, checker=None)
    assert await signals.agreement(context, call, "small", Said("2 + 2 = 4")) == pytest.approx(2 / 3)
    assert all(model == "small" and document["stream"] is False for model, document in failover.asked)
    assert not any("stream_options" in document for _, document in failover.asked)
    nobody = PaidSignals(CascadeConfig(), failover, checker=None)
    assert await nobody.agreement(context, call, "small", Said("4")) is None


async def test_what_was_cut_off_is_asked_about_all_the_same(judge):
    """A lone surrogate, which JSON may carry, reaches the samples, the judge and the checker."""
    failover = Scripted("4", "True", logprob=math.log(0.9))
    context, call = asking(user="Hi \ud83d", n=10**30)
    signals = PaidSignals(CascadeConfig(samples=1, p_true="judge"), failover, checker=None)
    assert await signals.agreement(context, call, "small", Said("4")) == 1.0
    assert await signals.p_true(context, call, Said("4 \ud83d")) == pytest.approx(0.9)
    assert failover.asked[0][1]["user"] == "Hi \ud83d"
    assert failover.asked[1][1]["messages"][0]["content"].count("\ud83d") == 1
    checker = Checker(CheckerConfig(url=judge.url, timeout_s=30.0))
    said = Said('{"score": 0.25, "why": "\\ud83d"}')
    assert await checker.score("2 + 2?", [said], {"user": "Hi \ud83d", "n": math.inf}) == 0.25
    await checker.close()
    assert judge.received[-1]["request"] == {"user": "Hi \ud83d", "n": None}


@pytest.mark.parametrize(
    ("word", "p", "expected"),
    [("True", 0.9, 0.9), ("False", 0.9, 0.1), ("no", 0.6, 0.4), ("Perhaps", 0.9, None), (None, 0.9, None)],
)
async def test_p_true_is_the_probability_of_a_yes(word, p, expected):
    """One token of the named model, read with its log-probability; anything else is unknown."""
    failover = Scripted(word, logprob=math.log(p))
    context, call = asking()
    found = await PaidSignals(CascadeConfig(p_true="judge"), failover, checker=None).p_true(context, call, Said("4"))
    assert found == (None if expected is None else pytest.approx(expected))
    model, document = failover.asked[0]
    assert model == "judge" and document["max_tokens"] == 1 and "2 + 2?" in document["messages"][0]["content"]


def scores(prompt, answer, request):
    """A checker of this test's own."""
    return {"accept": answer == "4"}


async def test_a_checker_s_score_is_the_lowest_of_the_answers():
    """`accept` counts as 1 or 0; a score outside [0, 1] is no score, and is counted."""
    checker = Checker(CheckerConfig(entry_point=f"{__name__}:scores"))
    assert await checker.score("2 + 2?", [Said("4")], {}) == 1.0
    assert await checker.score("2 + 2?", [Said("4"), Said("5")], {}) == 0.0
    odd = Checker(CheckerConfig(entry_point="builtins:print"))
    assert await odd.score("2 + 2?", [Said("4")], {}) is None
    assert (checker.n_absent, odd.n_absent) == (0, 1)


class Judge:
    """An HTTP checker that does as the answer says, and keeps what it was sent."""

    def __init__(self):
        self.received, self.keys = [], []

    def app(self):
        return Starlette(routes=[Route("/check", self._check, methods=["POST"])])

    async def _check(self, request):
        document = await request.json()
        self.received.append(document)
        self.keys.append(request.headers.get("authorization"))
        answer = document["answer"]
        if answer == "hang":
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
        if answer == "fails":
            return Response(status_code=500)
        return Response(answer)


@pytest.fixture(scope="module")
def judge():
    """The checker and its URL."""
    made = Judge()
    with LocalServer(made.app()) as server:
        made.url = f"{server.url}/check"
        yield made


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"score": 0.25}', 0.25),
        ('{"accept": true}', 1.0),
        ('{"accept": false}', 0.0),
        ('{"score": 7}', None),
        ('{"verdict": "good"}', None),
        ("no JSON", None),
        ("fails", None),
    ],
)
async def test_a_checker_is_asked_over_http(judge, monkeypatch, answer, score):
    """It gets prompt, answer and request with its key; what is no score in time counts as absent, and is counted."""
    monkeypatch.setenv("CHECKER_KEY", "s3cret")
    absent = Counter("absent", "", registry=CollectorRegistry())
    checker = Checker(CheckerConfig(url=judge.url, api_key="env:CHECKER_KEY", timeout_s=30.0), absent=absent)
    try:
        assert await checker.score("2 + 2?", [Said(answer)], {"model": "auto"}) == score
    finally:
        await checker.close()
    assert judge.received[-1] == {"prompt": "2 + 2?", "answer": answer, "request": {"model": "auto"}}
    assert judge.keys[-1] == "Bearer s3cret"
    assert checker.n_absent == absent._value.get() == (score is None)


async def test_a_checker_that_hangs_or_is_not_there_is_absent(judge):
    """The deadline ends the call; a port on which nobody listens is no error of the request either."""
    hanging = Checker(CheckerConfig(url=judge.url, timeout_s=0.05))
    with closed_port() as port:
        gone = Checker(CheckerConfig(url=f"http://127.0.0.1:{port}/check"))
        for checker in (hanging, gone):
            assert await checker.score("2 + 2?", [Said("hang")], {}) is None
            assert checker.n_absent == 1
            await checker.close()
