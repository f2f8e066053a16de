"""Upstreams that misbehave, down to the TCP connection: what the client sees of it.

Every test scripts what an upstream does with one connection after the other, and names what the client sees.
"""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate

import httpx
import openai
import pytest
from faulty_upstream import (
    Misbehaving,
    answer,
    broken_chunks,
    completion,
    error,
    event,
    garbage,
    half_closed,
    hang_up,
    silence,
    stream,
)

from pointsman.serve import create_app
from pointsman.serve.config_file import make_config

from upstream import LocalServer

HELLO = [{"role": "user", "content": "Hello"}]
WEAK_FIRST = "router-random-1"
GOOD = answer(200, completion())
GOOD_STREAM = stream(event(content="fi"), event(content="ne"), event("stop"), b"data: [DONE]\n\n")


@pytest.fixture
def weak() -> Iterator[Misbehaving]:
    made = Misbehaving()
    yield made
    made.close()


@pytest.fixture
def strong() -> Iterator[Misbehaving]:
    made = Misbehaving()
    made.script = [answer(200, completion("from the strong model"))]
    yield made
    made.close()


@pytest.fixture
def front(weak, strong) -> Iterator[LocalServer]:
    """Pointsman before both, impatient so that the tests are quick."""
    patience = {
        "timeouts": {"connect_s": 1, "first_byte_s": 0.6, "between_chunks_s": 0.4, "total_s": 5},
        "retry": {"attempts": 2, "base_s": 0.02, "max_s": 1.2},
        "breaker": {"failures": 4, "open_s": 0.5},
    }
    values = {
        "strong": "strong",
        "weak": "weak",
        "models": {"weak": {"base_url": weak.url, **patience}, "strong": {"base_url": strong.url, **patience}},
        "routers": {"random": {}},
    }
    with LocalServer(create_app(make_config(values))) as server:
        yield server


@pytest.fixture
def ask(front) -> Iterator[Callable[..., httpx.Response]]:
    with httpx.Client(base_url=front.url, timeout=10) as client:
        yield lambda model=WEAK_FIRST, **more: client.post(
            "/v1/chat/completions", json={"model": model, "messages": HELLO, **more}
        )


def text_of(response: httpx.Response) -> str:
    return response.json()["choices"][0]["message"]["content"]


def events_of(response: httpx.Response) -> list:
    data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def ends_in_error(response: httpx.Response, code: str) -> bool:
    *_, last = events_of(response)
    return last != "[DONE]" and "[DONE]" not in response.text and last["error"]["code"] == code


def test_01_a_429_with_retry_after_is_waited_for(ask, weak):
    """The client sees one good answer, given after the pause that the upstream asked for."""
    weak.script = [error(429, "slow down", "Retry-After: 1"), GOOD]
    response = ask()
    assert text_of(response) == "fine"
    assert 1.0 <= weak.times[1] - weak.times[0] < 1.5
    assert response.headers["x-pointsman-chain"] == "weak 429, weak 200"


def test_02_a_persistent_429_falls_back(ask, weak, strong):
    """The client sees the strong model's answer; asked for by name, the model's own 429 with its Retry-After."""
    weak.script = [error(429, "slow down", "Retry-After: 0")]
    response = ask()
    assert text_of(response) == "from the strong model"
    assert response.headers["x-pointsman-chain"] == "weak 429, weak 429, weak 429, strong 200"
    assert response.headers["x-pointsman-model"] == "strong"
    named = ask("weak")
    assert (named.status_code, named.headers["retry-after"]) == (429, "0")
    assert named.json()["error"]["message"] == "slow down"


def test_02_a_pause_that_is_too_long_is_not_waited_for(ask, weak):
    """Retry-After beyond the limit, in seconds or as a date, means the other model at once."""
    for late in ("60", formatdate(time.time() + 60, usegmt=True)):
        weak.script = [error(429, "slow down", f"Retry-After: {late}")]
        response = ask()
        assert text_of(response) == "from the strong model"
        assert response.headers["x-pointsman-chain"] == "weak 429, strong 200"


def test_03_a_single_500_is_tried_again(ask, weak):
    """The client sees one good answer from the same model."""
    weak.script = [error(500, "oops"), GOOD]
    response = ask()
    assert text_of(response) == "fine"
    assert response.headers["x-pointsman-chain"] == "weak 500, weak 200"


def test_04_a_503_falls_back(ask, weak):
    """The client sees the strong model's answer after three tries."""
    weak.script = [answer(503, b"<html>down</html>", "Content-Type: text/html")]
    response = ask()
    assert text_of(response) == "from the strong model"
    assert len(weak.requests) == 3


def test_05_a_reset_connection_is_tried_again(ask, weak):
    """Before an answer and inside a whole one, the client sees one good answer."""

    def half(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
        hang_up(connection)

    weak.script = [hang_up, half, GOOD]
    response = ask()
    assert text_of(response) == "fine"
    assert response.headers["x-pointsman-chain"] in (
        "weak upstream_unreachable, weak upstream_cut, weak 200",
        "weak upstream_unreachable, weak upstream_unreachable, weak 200",
    )


def test_06_no_response_at_all_falls_back_in_time(ask, weak):
    """The client sees the strong model's answer soon after the limit; asked for by name, a 504."""
    weak.script = [silence]
    started = time.monotonic()
    assert text_of(ask()) == "from the strong model"
    assert time.monotonic() - started < 1.2
    named = ask("weak")
    assert (named.status_code, named.json()["error"]["code"]) == (504, "upstream_timeout")


def test_07_a_slow_first_token_is_waited_for_up_to_the_limit(ask, weak, strong):
    """Within the limit the client sees the stream; beyond it, though headers have come, the strong model's."""
    strong.script = [GOOD_STREAM]
    weak.script = [stream(0.3, event(content="fi"), event("stop"), b"data: [DONE]\n\n")]
    assert ask(stream=True).headers["x-pointsman-model"] == "weak"
    weak.script = [stream(1.5, event(content="late"))]
    late = ask(stream=True)
    assert late.headers["x-pointsman-model"] == "strong"
    assert events_of(late)[-1] == "[DONE]"


@pytest.mark.parametrize("reset", [False, True])
def test_08_a_stream_that_is_cut_ends_in_an_error(ask, front, weak, reset):
    """The client sees what came, then an error event, and no [DONE]; OpenAI's client raises."""
    weak.script = [stream(event(content="fi"), 0.05, b'data: {"choi', end=False, reset=reset)]
    response = ask(stream=True)
    assert events_of(response)[0]["choices"][0]["delta"]["content"] == "fi"
    assert ends_in_error(response, "upstream_cut")
    with (
        openai.OpenAI(base_url=f"{front.url}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.APIError),
    ):
        list(client.chat.completions.create(model=WEAK_FIRST, messages=HELLO, stream=True))


def test_08_a_stream_that_is_cut_before_its_first_event_is_tried_again(ask, weak):
    """Nothing was shown yet, so the client sees one good stream."""
    weak.script = [stream(end=False), stream(end=True), GOOD_STREAM]
    response = ask(stream=True)
    assert events_of(response)[-1] == "[DONE]"
    assert response.headers["x-pointsman-chain"] == "weak upstream_cut, weak upstream_cut, weak 200"


def test_09_a_stalled_stream_ends_in_an_error(ask, weak):
    """The client sees what came and, within the limit, an error event and no [DONE]."""
    weak.script = [stream(event(content="fi"), 1.5, event("stop"))]
    started = time.monotonic()
    assert ends_in_error(ask(stream=True), "upstream_timeout")
    assert time.monotonic() - started < 1.2


def test_10_a_malformed_chunk_ends_in_an_error(ask, weak):
    """The client sees an error event where the garbage was, never the garbage."""
    weak.script = [stream(event(content="fi"), b"data: {oops]\n\n", event("stop"), b"data: [DONE]\n\n")]
    response = ask(stream=True)
    assert ends_in_error(response, "upstream_malformed")
    assert "oops" not in response.text


def test_11_a_stream_without_done_is_judged_by_its_finish_reason(ask, weak):
    """With one the client sees a complete stream with [DONE], without one an error event."""
    weak.script = [stream(event(content="fi"), event("stop"))]
    assert events_of(ask(stream=True))[-1] == "[DONE]"
    weak.script = [stream(event(content="fi"))]
    assert ends_in_error(ask(stream=True), "upstream_cut")


@pytest.mark.parametrize(
    "message",
    [
        "12: This model's maximum context length is 8192 tokens",
        "13: The response was filtered due to the content management policy",
        "14: Prefilling assistant messages is not supported for this model",
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_12_to_14_a_400_is_the_clients(ask, weak, strong, message, streaming):
    """Context length, content filter, prefill: the client sees the upstream's own 400, and nobody is asked again."""
    weak.script = [error(400, message)]
    response = ask(stream=streaming)
    assert (response.status_code, response.json()["error"]["message"]) == (400, message)
    assert (len(weak.requests), len(strong.requests)) == (1, 0)


def test_15_a_flapping_upstream_is_left_alone_and_taken_back(ask, weak, strong):
    """The client never sees the flapping: strong answers while weak is down, and weak again when it is up."""
    weak.script = [error(500, "down")]
    assert text_of(ask()) == text_of(ask()) == "from the strong model"
    n_asked = len(weak.requests)
    assert n_asked == 4
    skipped = ask()
    assert text_of(skipped) == "from the strong model"
    assert (len(weak.requests), skipped.headers["x-pointsman-chain"]) == (n_asked, "weak skipped, strong 200")
    named = ask("weak")
    assert (named.status_code, named.json()["error"]["code"]) == (503, "upstream_unavailable")
    weak.script = [GOOD]
    time.sleep(0.55)
    assert text_of(ask()) == "fine"
    assert "x-pointsman-chain" not in ask().headers


def test_16_usage_is_that_of_the_answer_alone(ask, weak, strong):
    """After failed tries the client sees one usage: that of the answer it got."""
    weak.script = [error(500, "oops"), hang_up, GOOD]
    response = ask()
    assert response.json()["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert len(weak.requests) == 3
    assert not strong.requests


@pytest.mark.parametrize(
    "act",
    [
        garbage,
        broken_chunks,
        half_closed,
        answer(200, b"<html>log in</html>", "Content-Type: text/html"),
        answer(200, b'{"error": {"message": "overloaded"}}'),
        answer(200, b"[]"),
        answer(302, b"", "Location: http://127.0.0.1:9/"),
        answer(200, b"not gzip", "Content-Encoding: gzip"),
        error(401, "bad key"),
    ],
    ids=["garbage", "chunks", "half closed", "HTML", "error as 200", "array", "redirect", "bad gzip", "our key"],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_no_answer_falls_back(ask, weak, strong, act, streaming):
    """Whatever an upstream does that is no answer, the client sees the strong model's."""
    strong.script = [GOOD_STREAM] if streaming else strong.script
    weak.script = [act]
    response = ask(stream=streaming)
    assert response.status_code == 200
    assert response.headers["x-pointsman-model"] == "strong"


def test_a_compressed_answer_is_read(ask, weak):
    """An upstream that compresses although it was not asked to is understood."""
    weak.script = [answer(200, gzip.compress(completion()), "Content-Encoding: gzip")]
    response = ask()
    assert text_of(response) == "fine"
    assert "content-encoding" not in response.headers


def test_without_fallback_the_failure_is_shown(weak, strong):
    """fallback: none passes a model's failure on; strong never falls to weak unless both is said."""
    models = {n: {"base_url": u.url, "retry": {"attempts": 0}} for n, u in (("weak", weak), ("strong", strong))}
    strong_first = "router-random-0"
    cases = [("none", WEAK_FIRST, 500), ("to_strong", strong_first, 500), ("both", strong_first, 200)]
    for fallback, asked, status in cases:
        weak.script, strong.script = [GOOD if status == 200 else error(500, "x")], [error(500, "x")]
        values = {"strong": "strong", "weak": "weak", "models": models, "routers": {"random": {}}, "fallback": fallback}
        with LocalServer(create_app(make_config(values))) as server:
            body = {"model": asked, "messages": HELLO}
            assert httpx.post(f"{server.url}/v1/chat/completions", json=body).status_code == status
