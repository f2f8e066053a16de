"""Cascades in a running server: what the client gets, what upstreams are asked, and what it costs."""

import asyncio
import json
import random
import re
import shutil
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from decimal import Decimal

import httpx
import pytest

from pointsman.serve import create_app
from pointsman.serve.cli import main
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.engine import escalate
from pointsman.serve.engine.explain_cascade import cascade_lines
from pointsman.serve.engine.held_stream import Replay, collect
from pointsman.serve.protocols import logprobs
from pointsman.serve.protocols.said import read_said
from pointsman.serve.protocols.sse import event_data
from pointsman.serve.store.store import Store

from support.answers import planted
from support.cascading import PRICES, CascadingUpstream, ask, texts
from support.upstream import LocalServer

SURE, UNSURE = {"text": "It is 4.", "sure": 0.995}, {"text": "It is 4.", "sure": 0.3}
PRICED = ("small", "middle", "big")
PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages")


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    """Directory of a verifier that doubts unsure answers."""
    folder = tmp_path_factory.mktemp("verifier")
    table = planted(folder / "answers.jsonl", n=300)
    main(["train", "verifier", table, "-o", str(folder / "v"), "--strong", "big", "--weak", "small"])
    return str(folder / "v")


@contextmanager
def serving(upstream=None, *, path=PATHS[0], store=None, **cascade):
    """A server with this cascade before two models, which speak the protocol of an API, and a client of it."""
    upstream = upstream or CascadingUpstream()
    with ExitStack() as stack:
        url = stack.enter_context(LocalServer(upstream.app())).url
        provider = "anthropic" if path == PATHS[2] else "openai"
        names = cascade.get("models", ["small", "big"])
        models = {name: _model(name, f"{url}/v1", provider) for name in names if name in PRICED}
        config = {"models": models, "routers": {"random": {"threshold": 1.0}}, "cascade": cascade, "store": store}
        config |= {"candidates": ["big", "middle", "small"]} if len(models) > 2 else {"strong": "big", "weak": "small"}
        front = stack.enter_context(LocalServer(create_app(make_config(config))))
        client = stack.enter_context(httpx.Client(base_url=front.url, timeout=60.0))
        client.upstream = upstream
        yield client


def _model(name, url, provider):
    """A model at its prices, tried once a request and however often it failed."""
    read, written = map(float, PRICES[f"{name}-1"])
    price = {"input_usd_per_million": read, "output_usd_per_million": written}
    tried = {"retry": {"attempts": 0}, "breaker": {"failures": 10_000}}
    return {"base_url": url, "model": f"{name}-1", "provider": provider, "price": price, **tried}


def post(client, prompt, path=PATHS[0], **fields):
    """A routed request on one of the APIs."""
    document = ask(prompt, **fields)
    if path.endswith("responses"):
        document["input"] = document.pop("messages")[0]["content"]
    elif path.endswith("messages"):
        document.setdefault("max_tokens", 1000)
    return client.post(path, json=document)


def events(response):
    """The data of a stream's events, parsed, [DONE] left out."""
    return [json.loads(data) for data in event_data(response.content) if data != b"[DONE]"]


def stream_text(response):
    """What a stream says, on any API."""
    found = ""
    for event in events(response):
        for choice in event.get("choices", ()):
            found += choice["delta"].get("content") or ""
        if event.get("type") == "response.output_text.delta":
            found += event["delta"]
        if event.get("type") == "content_block_delta":
            found += event["delta"].get("text", "")
    return found


def metric(client, name):
    """Sum of a metric over its labels."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_fails_a_check_is_asked_on(path, stream):
    """Empty answers are replaced by the strong model's, of which every byte arrives; good ones arrive as they came."""
    with serving(path=path, stream="hold") as client:
        for small, header, text in (
            ({}, "small:accepted(unread)", "It is fine."),
            ({"text": " "}, "small:escalated(empty) big", "I am big."),
        ):
            response = post(client, {"small": small, "big": {"text": "I am big."}}, path, stream=stream)
            assert response.headers["x-pointsman-cascade"] == header
            assert response.headers["x-pointsman-model"] == header.rpartition(" ")[2].partition(":")[0]
            if stream:
                assert stream_text(response) == text
            else:
                assert text in response.text


@pytest.mark.parametrize(
    ("small", "fields", "reason"),
    [
        ({"text": "I'm sorry, but I can't help."}, {}, "refusal"),
        ({"finish": "length"}, {}, "length"),
        ({"finish": "length"}, {"max_tokens": 3}, None),
        ({"text": "{}"}, {"response_format": {"type": "json_object"}}, None),
        ({"text": "{"}, {"response_format": {"type": "json_object"}}, "json"),
        ({"others": {"text": ""}}, {"n": 3}, "empty"),
        ({}, {"n": 3}, None),
    ],
)
def test_the_free_checks_are_on_by_default(small, fields, reason):
    """`cascade: {}` alone makes all of them."""
    with serving() as client:
        response = post(client, {"small": small}, **fields)
        expected = "small:accepted(unread)" if reason is None else f"small:escalated({reason}) big"
        assert response.headers["x-pointsman-cascade"] == expected


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_in_fragments_are_held_and_checked(path, stream):
    """Calls of unknown tools never reach the client; good ones arrive whole, with what they hold."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = {"name": "weather", "parameters": schema}
    tools = {
        PATHS[0]: [{"type": "function", "function": function}],
        PATHS[1]: [{"type": "function", **function}],
        PATHS[2]: [{"name": "weather", "input_schema": schema}],
    }[path]
    good, wrong = {"tools": {"weather": '{"city": "Paris"}'}}, {"tools": {"time": "{}"}}
    with serving(path=path, stream="hold") as client:
        response = post(client, {"small": good}, path, stream=stream, tools=tools)
        assert response.headers["x-pointsman-cascade"] == "small:accepted(unread)"
        assert "weather" in response.text
        response = post(client, {"small": wrong, "big": good}, path, stream=stream, tools=tools)
        assert response.headers["x-pointsman-cascade"] == "small:escalated(tools) big"
        assert "weather" in response.text and '"time"' not in response.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", [{"status": 500}, {"status": 400}, {"status": 401}, {"status": 429}])
def test_where_the_strong_model_fails_the_cheap_answer_is_returned(stream, failure):
    """An answer that exists is never lost, and a header says so."""
    small = {"text": "cut", "finish": "length"}
    with serving(stream="hold") as client:
        response = post(client, {"small": small, "big": failure}, stream=stream)
        assert response.status_code == 200
        assert response.headers["x-pointsman-cascade"].startswith("small:escalated(length) big:failed(")
        assert response.headers["x-pointsman-model"] == "small"
        assert "cut" in (stream_text(response) if stream else response.text)


def test_where_the_cheap_model_fails_the_strong_one_answers():
    """As without a cascade; what is the client's fault is passed on."""
    with serving() as client:
        response = post(client, {"small": {"status": 500}, "big": {"text": "I am big."}})
        assert response.headers["x-pointsman-cascade"] == "small:failed(fallback) big"
        assert post(client, {"small": {"status": 400}}).status_code == 400


@pytest.mark.parametrize("path", PATHS[:2])
@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_asked_for_read_and_not_shown(verifier, path, stream):
    """The verifier reads them; the client sees none that it did not ask for."""
    with serving(verifier=verifier, threshold=0.55, stream="hold") as client:
        sure = post(client, {"small": SURE}, path, stream=stream)
        unsure = post(client, {"small": UNSURE, "big": {"text": "I am big."}}, path, stream=stream)
        assert sure.headers["x-pointsman-cascade"].startswith("small:accepted(0.")
        assert unsure.headers["x-pointsman-cascade"].startswith("small:escalated(0.")
        asked = client.upstream.asked("small-1")
        assert all(document.get("logprobs") or document.get("include") for document in asked)
        assert not any(document.get("logprobs") for document in client.upstream.asked("big-1"))
        for response in (sure, unsure):
            assert "top_logprobs" not in response.text.replace('"top_logprobs":0', "").replace('"top_logprobs": 0', "")
            assert '"logprob"' not in response.text
        text = stream_text(sure) if stream else sure.text
        assert "It is 4." in text


def on_loop():
    """Whether an event loop waits for what calls this."""
    return asyncio._get_running_loop() is not None


def test_log_probabilities_of_long_texts_keep_nobody_waiting(verifier, monkeypatch):
    """Long bodies are changed in a thread, short ones on the event loop."""
    found = []

    def watched(work):
        def run(*args):
            found.append(on_loop())
            return work(*args)

        return run

    for name in ("ask_for_logprobs", "hide_logprobs"):
        monkeypatch.setattr(escalate, name, watched(getattr(escalate, name)))
    with serving(verifier=verifier, threshold=0.55) as client:
        for length in (1, 300):
            response = post(client, {"small": SURE}, user="x" * 300 * length, n=length)
            assert response.json()["choices"][0]["logprobs"] is None
    assert found == [True, True, False, False]


async def test_log_probabilities_of_long_events_keep_nobody_waiting(monkeypatch):
    """Likewise the events of a stream."""
    found = []

    def watched(events):
        found.append(on_loop())
        return events

    async def chunks():
        for n_characters in (1, 100_000):
            yield b'data: {"logprobs":"%b"}\n\n' % (b"x" * n_characters)

    monkeypatch.setattr(logprobs, "hide_logprobs_in_events", watched)
    assert len([event async for event in logprobs.WithoutLogprobs(chunks())]) == 2
    assert found == [True, False]


def test_log_probabilities_that_the_client_asks_for_are_its_own(verifier):
    """They arrive as the upstream sent them, and are read all the same."""
    with serving(verifier=verifier, threshold=0.55) as client:
        response = post(client, {"small": SURE}, logprobs=True, top_logprobs=1)
        assert response.json()["choices"][0]["logprobs"]["content"][0]["token"] == "It "
        assert client.upstream.asked("small-1")[0]["top_logprobs"] == 1
        assert response.headers["x-pointsman-cascade"].startswith("small:accepted(0.")


def test_a_model_that_refuses_log_probabilities_is_not_asked_again(verifier):
    """The first request is repeated without them, and read by its text; the next ones are sent without."""
    upstream = CascadingUpstream(refuses={"small-1"})
    with serving(upstream, verifier=verifier, threshold=0.95) as client:
        for n_asked in (2, 3):
            response = post(client, {"small": SURE})
            assert response.status_code == 200
            assert response.headers["x-pointsman-cascade"].startswith("small:accepted(0.")
            assert len(upstream.asked("small-1")) == n_asked
        assert [bool(document.get("logprobs")) for document in upstream.asked("small-1")] == [True, False, False]


def test_a_wrong_request_is_not_taken_for_a_refusal_of_log_probabilities(verifier):
    """A 400 that stays without them is the client's, and nothing is remembered."""
    with serving(verifier=verifier, threshold=0.95) as client:
        assert post(client, {"small": {"status": 400}}).status_code == 400
        post(client, {"small": SURE})
        assert client.upstream.asked("small-1")[-1]["logprobs"] is True


def test_requests_for_a_stream_are_the_router_s_by_default(verifier):
    """Without `cascade.stream` no stream is held, read or asked log-probabilities for."""
    with serving(verifier=verifier, threshold=0.0) as client:
        response = post(client, {"small": {"text": ""}}, stream=True)
        assert "x-pointsman-cascade" not in response.headers
        assert response.headers["x-pointsman-model"] == "small"
        assert not client.upstream.received[0].get("logprobs")


def test_a_held_stream_is_kept_alive_and_holds_one_answer_only():
    """Comments come while it is read; then the chosen answer's events, and nothing of the other one."""
    upstream = CascadingUpstream(delay_s=0.3)
    with serving(upstream, stream="hold", keep_alive_s=0.05) as client:
        response = post(client, {"small": {"finish": "length"}, "big": {"text": "I am big."}}, stream=True)
        assert response.text.startswith(": ")
        assert ": small:escalated(length) big\n" in response.text
        assert stream_text(response) == "I am big."
        assert response.text.endswith("data: [DONE]\n\n")
        usage = [event["usage"] for event in events(response) if event.get("usage")]
        assert usage == []  # the client did not ask for it
        failed = post(client, {"small": {"status": 500}, "big": {"status": 500}}, stream=True)
        assert "error" in events(failed)[-1] and not failed.text.endswith("[DONE]\n\n")


def test_a_stream_is_decided_on_its_beginning(verifier):
    """With a prefix the rest of an accepted answer is passed on as it comes; tool calls are held to their end."""
    long = {"text": "word " * 200, "sure": 0.995}
    with serving(verifier=verifier, threshold=0.7, stream={"prefix": 5}) as client:
        response = post(client, {"small": long}, stream=True)
        assert response.headers["x-pointsman-cascade"].startswith("small:accepted(0.")
        assert stream_text(response) == long["text"]
        assert '"logprob"' not in response.text
        response = post(client, {"small": {**long, "sure": 0.2}, "big": {"text": "I am big."}}, stream=True)
        assert response.headers["x-pointsman-cascade"].startswith("small:escalated(0.")
        assert stream_text(response) == "I am big."
        response = post(client, {"small": {**long, "sure": 0.2}, "big": {"status": 500}}, stream=True)
        assert stream_text(response) == long["text"]
        tools = [{"type": "function", "function": {"name": "weather"}}]
        response = post(client, {"small": {"tools": {"time": "{}"}}}, stream=True, tools=tools)
        assert response.headers["x-pointsman-cascade"] == "small:escalated(tools) big"


@pytest.mark.parametrize("at_once", [1, 3, 1000])
async def test_a_prefix_is_read_alike_however_the_network_cuts_the_stream(at_once):
    """Of pieces of one or of all events the same beginning is read, and every byte is there to be passed on."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": "word "}}]}] * 50
    written = [f"data: {json.dumps(delta)}\n\n".encode() for delta in deltas] + [b"data: [DONE]\n\n"]
    pieces = [b"".join(written[i : i + at_once]) for i in range(0, len(written), at_once)]
    rest = Replay(pieces, None)
    found = await collect(rest, up_to=5)
    assert read_said(found.reader.document())[0].text == "word " * 5
    assert not found.whole
    replayed = [piece async for piece in Replay(found.events, rest)]
    assert b"".join(replayed) == b"".join(written)


def test_a_cheap_stream_that_breaks_is_asked_on():
    """Nothing of it was shown, so the strong model's whole answer is."""
    with serving(stream="hold") as client:
        response = post(client, {"small": {"cut": True}, "big": {"text": "I am big."}}, stream=True)
        assert response.headers["x-pointsman-cascade"] == "small:escalated(broken) big"
        assert stream_text(response) == "I am big."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hanging", ["small", "big"])
def test_a_client_that_leaves_cancels_what_is_under_way(stream, hanging):
    """Whether the cheap or the strong model is being asked, held streams included: the upstream is hung up on."""
    prompt = {"small": {"text": ""}, "big": {}}
    prompt[hanging]["hang"] = True
    with serving(stream="hold", keep_alive_s=0.05) as client:
        upstream = client.upstream

        def leave():
            with (
                httpx.Client(base_url=client.base_url) as own,
                own.stream(
                    "POST", PATHS[0], json=ask(prompt, stream=stream), timeout=0.5 if not stream else 30.0
                ) as response,
            ):
                for _ in response.iter_raw():
                    if upstream.running[f"{hanging}-1"]:
                        return

        with pytest.raises(httpx.ReadTimeout) if not stream else ExitStack():
            leave()
        deadline = time.monotonic() + 30.0
        while not upstream.left[f"{hanging}-1"] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert upstream.left[f"{hanging}-1"] == 1
        assert post(client, {}).status_code == 200
        assert metric(client, "pointsman_requests_in_flight") <= 1.0


class _Slow:
    """A checker that never answers, one that fails, and one that rejects."""

    started = threading.Event()


def accept_nothing(prompt, answer, request):
    """Rejects every answer."""
    return 0.0


def never(prompt, answer, request):
    """Takes longer than any deadline of these tests."""
    _Slow.started.wait(1.0)
    return 0.0


def raises(prompt, answer, request):
    """Fails."""
    raise ValueError("no")


@pytest.mark.parametrize(
    ("function", "header", "unchecked"),
    [
        ("accept_nothing", "small:escalated(checker) big", 0),
        ("never", "small:accepted(unread)", 1),
        ("raises", "small:accepted(unread)", 1),
    ],
)
def test_a_checker_of_one_s_own_is_asked_within_a_deadline(function, header, unchecked):
    """Its low score asks on; one that hangs or fails counts as absent, and is counted."""
    checker = {"entry_point": f"{__name__}:{function}", "timeout_s": 0.1 if function == "never" else 60.0}
    with serving(checker=checker) as client:
        assert post(client, {}).headers["x-pointsman-cascade"] == header
        assert metric(client, "pointsman_cascade_unchecked_total") == unchecked


def test_the_route_endpoint_says_whether_a_cascade_would_run(verifier):
    """With its models, its threshold and the expected escalation; nothing is asked."""
    with serving(verifier=verifier, threshold=0.55) as client:
        found = client.post("/v1/route", json={"prompt": "What is 2 + 2?", "model": "router-random"}).json()
        cascade = found["cascade"]
        assert cascade["models"] == ["small", "big"] and cascade["threshold"] == 0.55
        assert cascade["look"] in ("cascade", "weak", "strong")
        assert 0.0 <= cascade["expected_escalation"] <= 1.0
        assert client.upstream.received == []


def test_an_explanation_has_the_cascade(verifier):
    """Whether it would run and why, thresholds and expected escalation, the expected bill and what it saves."""
    question = {"prompt": "What is 2 + 2?", "model": "router-random", "explain": True}
    for threshold, look, words in (
        (0.55, "cascade", "the answer of small is read; big is asked if the win rate is then 0.5500 or more"),
        (1.0, "weak", "the prompt is surely easy"),
        (0.0, "strong", "the prompt is surely hard: big is asked at once"),
    ):
        with serving(verifier=verifier, threshold=threshold) as client:
            found = client.post("/v1/route", json=question).json()["explanation"]["cascade"]
            assert (found["look"], found["runs"]) == (look, look != "strong")
            assert found["why"].startswith(words)
            lines = cascade_lines(found)
            assert lines[0] == f"Cascade: {found['why']}."
            if look == "cascade":
                usd = [found["expected_usd"] + found["saving_usd"], found["expected_usd"]]
                assert 0.0 < usd[1] < usd[0] and len(lines) == 3
    with serving(verifier=verifier, threshold=0.55) as client:
        streamed = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "explain": True, "model": "auto"}
        found = client.post("/v1/route", json=streamed).json()["explanation"]["cascade"]
        assert found == {"runs": False, "why": "a stream is asked for, and cascade.stream is off"}
        assert cascade_lines(found) == ["No cascade: a stream is asked for, and cascade.stream is off."]


async def test_a_decision_s_row_has_the_escalation(tmp_path):
    """The store's reason says which answers were read, and what was thought of them."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with serving(store={"url": url}) as client:
        post(client, {"small": {"text": ""}})
        post(client, {})
    async with Store(StoreConfig(url=url)) as store:
        found = sorted((row.reason, row.model) for row in await store.decisions(limit=10))
    assert found == [("cascade: small:escalated(empty) big", "big"), ("win_rate", "small")]


def test_what_is_surely_hard_goes_to_the_strong_model_at_once(verifier):
    """At threshold 0 nothing could keep a cheap answer: the cheap model is not asked."""
    with serving(verifier=verifier, threshold=0.0) as client:
        response = post(client, {})
        assert response.headers["x-pointsman-model"] == "big"
        assert response.headers["x-pointsman-reason"] == "cascade: surely hard"
        assert client.upstream.asked("small-1") == []


@pytest.mark.parametrize("paths", [PATHS[:2], PATHS[2:]])
def test_both_calls_are_billed_to_the_cent(verifier, paths):
    """Over mixed requests on all APIs, plain and streaming, what is booked per model is the upstream's own ledger."""
    rng = random.Random(0)
    acts = [SURE, UNSURE, {"text": ""}, {"finish": "length"}, {"status": 500}, {"text": "{}"}]
    with serving(path=paths[0], verifier=verifier, threshold=0.6, stream="hold") as client:
        seen = Counter()
        for i in range(60):
            small, big = rng.choice(acts), rng.choice([{"text": "I am big."}, {"text": "I am big."}, {"status": 500}])
            small = {**small, "n_tokens": rng.randint(1, 400)} if "text" in small else small
            response = post(client, {"small": small, "big": big, "id": i}, rng.choice(paths), stream=rng.random() < 0.5)
            seen[response.headers.get("x-pointsman-cascade", "").partition("(")[0]] += 1
        assert seen["small:escalated"] > 10 and seen["small:accepted"] > 5
        for model in ("small", "big"):
            booked = Decimal(str(metric(client, f'pointsman_spend_usd_total{{model="{model}"}}')))
            owed = client.upstream.ledger[f"{model}-1"]
            assert abs(booked - owed) < Decimal("1e-9"), model
        assert metric(client, "pointsman_cascade_escalated_usd_total") > 0


@pytest.mark.parametrize(
    ("cascade", "problem"),
    [
        ({"verifier": "./nowhere"}, "there is no directory ./nowhere"),
        ({"threshold": 0.5}, "threshold is given without a verifier"),
        ({"models": ["small", "huge"]}, "cascade names model 'huge'"),
        ({"checker": {}}, "wanted either url or entry_point"),
        ({"checker": {"entry_point": "nowhere:at_all"}}, "nowhere:at_all cannot be imported"),
        ({"checks": ["spelling"]}, "checks"),
        ({"stream": "always"}, "stream"),
    ],
)
def test_a_wrong_configuration_is_refused(cascade, problem):
    """With what is wrong, and what was wanted."""
    with pytest.raises(Exception, match=problem), serving(**cascade):
        pass


def test_a_verifier_of_other_models_is_refused(tmp_path, verifier):
    """Its models and the configured ones must be the same, or be said to be."""
    table = planted(tmp_path / "answers.jsonl", n=100, models=("big", "small", "other"))
    folder = str(tmp_path / "v")
    main(["train", "verifier", table, "-o", folder, "--strong", "big", "--weak", "other"])
    with pytest.raises(Exception, match="is a verifier of 'other' and 'big'"), serving(verifier=folder):
        pass
    with serving(verifier=folder, pair={"strong": "big", "weak": "other"}) as client:
        assert post(client, {}).status_code == 200
    with (
        pytest.raises(Exception, match=r"has no policy for a loss of 0\.01"),
        serving(verifier=verifier, max_loss=0.01),
    ):
        pass


def test_three_models_are_asked_in_their_order():
    """Each answer that fails a check is followed by the next model; the last one's is returned as it is."""
    with serving(CascadingUpstream(), models=["small", "middle", "big"]) as client:
        response = post(client, {"small": {"text": ""}, "middle": {"text": ""}, "big": {"text": ""}})
        assert response.headers["x-pointsman-cascade"] == "small:escalated(empty) middle:escalated(empty) big"
        response = post(client, {"small": {"text": ""}})
        assert response.headers["x-pointsman-cascade"] == "small:escalated(empty) middle:accepted(unread)"


def test_every_verifier_has_its_own_threshold(verifier, tmp_path):
    """Of three models each but the last is read by its own verifier, and kept below its own threshold."""
    table = planted(tmp_path / "answers.jsonl", n=150, models=("big", "small", "other"))
    folder = str(tmp_path / "v")
    main(["train", "verifier", table, "-o", folder, "--strong", "big", "--weak", "other"])
    cascade = {"models": ["small", "middle", "big"], "verifier": {"small": verifier, "middle": folder}}
    with pytest.raises(Exception, match="is a verifier of 'other' and 'big'"), serving(**cascade):
        pass
    shutil.copytree(folder, tmp_path / "middle")
    about = json.loads((tmp_path / "middle" / "pointsman.json").read_text().replace('"other"', '"middle"'))
    (tmp_path / "middle" / "pointsman.json").write_text(json.dumps(about))
    cascade["verifier"]["middle"] = str(tmp_path / "middle")
    unsure = {"small": UNSURE, "middle": UNSURE, "big": {"text": "I am big."}}
    for limits, wanted in (
        ({"small": 0.6, "middle": 0.6}, r"small:escalated\(0\.\d+\) middle:escalated\(0\.\d+\) big"),
        ({"small": 0.6, "middle": 1.0}, r"small:escalated\(0\.\d+\) middle:accepted\(0\.\d+\)"),
        ({"small": 1.0, "middle": 0.6}, r"small:accepted\(0\.\d+\)"),
    ):
        with serving(threshold=limits, **cascade) as client:
            assert re.fullmatch(wanted, post(client, unsure).headers["x-pointsman-cascade"])
    with serving(threshold={"small": 0.0, "middle": 1.0}, **cascade) as client:  # surely hard for the small one alone
        assert re.fullmatch(r"middle:accepted\(0\.\d+\)", post(client, unsure).headers["x-pointsman-cascade"])
        assert client.upstream.asked("small-1") == []
    with pytest.raises(Exception, match="threshold is of small and verifier of middle, small"):
        make_config({"cascade": {**cascade, "threshold": {"small": 0.5}}})


def test_texts_are_one_token_each():
    """The upstream of these tests bills the words that it says."""
    assert texts({"text": "It is 4."}) == ["It ", "is ", "4."]
