"""Upstreams that misbehave, down to the TCP connection: what the client sees of it.

Every test scripts what an upstream does with one connection after the other, and names what the client sees: a client
of OpenAI's chat completions or of Anthropic's Messages API, before an upstream that speaks one or the other.
"""

import gzip
import itertools
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from importlib import import_module

import anthropic
import httpx
import openai
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.faulty_upstream import (
    Act,
    Misbehaving,
    answer,
    broken_chunks,
    garbage,
    half_closed,
    hang_up,
    silence,
    stream,
)
from support.upstream import LocalServer
from support.wires import CHAT, MESSAGES, USAGE, Wire

HELLO = [{"role": "user", "content": "Hello"}]
WEAK_FIRST = "router-random-1"
CASES = {
    "chat": (CHAT, CHAT),
    "messages": (MESSAGES, MESSAGES),
    "chat of a messages model": (CHAT, MESSAGES),
    "messages of a chat model": (MESSAGES, CHAT),
}
pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own


@pytest.fixture(params=CASES.values(), ids=CASES.keys(), scope="module")
def wires(request) -> tuple[Wire, Wire]:
    """What the client speaks, and what the upstreams speak."""
    return request.param


@pytest.fixture(scope="module")
def client_wire(wires) -> Wire:
    return wires[0]


@pytest.fixture(scope="module")
def wire(wires) -> Wire:
    return wires[1]


@pytest.fixture(scope="module", autouse=True)
def sdk_is_loaded() -> None:
    """So that no test waits for it: it imports most of itself at the first call."""
    import_module("openai.resources")


@pytest.fixture
def weak() -> Iterator[Misbehaving]:
    made = Misbehaving()
    yield made
    made.close()


@pytest.fixture
def strong(wire) -> Iterator[Misbehaving]:
    made = Misbehaving()
    made.script = [answer(200, wire.completion("from the strong model"))]
    yield made
    made.close()


@pytest.fixture
def timeouts() -> dict[str, float]:
    """Of the weak model; tests in which it is late parametrize them."""
    return {}


@pytest.fixture
def front(weak, strong, wire, timeouts) -> Iterator[LocalServer]:
    """Pointsman before both."""
    patience = {
        "provider": wire.provider,
        "retry": {"attempts": 2, "base_s": 0.02, "max_s": 1.2},
        "breaker": {"failures": 4, "open_s": 30},
    }
    values = {
        "strong": "strong",
        "weak": "weak",
        "models": {
            "weak": {"base_url": weak.url, **patience, "timeouts": timeouts},
            "strong": {"base_url": strong.url, **patience},
        },
        "routers": {"random": {}},
    }
    app = create_app(make_config(values))
    with LocalServer(app) as server:
        server.engine = app.engine
        yield server


def _hello(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Hello {number}"}]


@pytest.fixture
def ask(front, client_wire) -> Iterator[Callable[..., httpx.Response]]:
    numbers = itertools.count()  # so that no two requests are the same one
    with httpx.Client(base_url=front.url, timeout=60) as client:
        yield lambda model=WEAK_FIRST, **more: client.post(
            f"/v1{client_wire.path}",
            json={"model": model, "messages": _hello(next(numbers)), "max_tokens": 9, **more},
        )


def good_stream(wire: Wire) -> Act:
    return stream(wire.first, wire.piece("fi"), wire.piece("ne"), wire.finish, wire.done)


def test_01_a_429_with_retry_after_is_waited_for(ask, weak, client_wire, wire):
    """The client sees one good answer, given after the pause that the upstream asked for."""
    weak.script = [wire.error(429, "slow down", "Retry-After: 1"), wire.good]
    response = ask()
    assert client_wire.text_of(response) == "fine"
    assert weak.times[1] - weak.times[0] > 0.95
    assert response.headers["x-pointsman-chain"] == "weak 429, weak 200"


def test_02_a_persistent_429_falls_back(ask, weak, strong, client_wire, wire):
    """The client sees the strong model's answer; asked for by name, the model's own 429 with its Retry-After."""
    weak.script = [wire.error(429, "slow down", "Retry-After: 0")]
    response = ask()
    assert client_wire.text_of(response) == "from the strong model"
    assert response.headers["x-pointsman-chain"] == "weak 429, weak 429, weak 429, strong 200"
    assert response.headers["x-pointsman-model"] == "strong"
    named = ask("weak")
    assert (named.status_code, named.headers["retry-after"]) == (429, "0")
    assert named.json()["error"]["message"] == "slow down"


def test_02_a_pause_that_is_too_long_is_not_waited_for(ask, weak, client_wire, wire):
    """Retry-After beyond the limit, in seconds or as a date, means the other model at once."""
    for late in ("600", formatdate(time.time() + 600, usegmt=True)):
        weak.script = [wire.error(429, "slow down", f"Retry-After: {late}")]
        response = ask()
        assert client_wire.text_of(response) == "from the strong model"
        assert response.headers["x-pointsman-chain"] == "weak 429, strong 200"


def test_03_a_single_500_is_tried_again(ask, weak, client_wire, wire):
    """The client sees one good answer from the same model."""
    weak.script = [wire.error(500, "oops"), wire.good]
    response = ask()
    assert client_wire.text_of(response) == "fine"
    assert response.headers["x-pointsman-chain"] == "weak 500, weak 200"


def test_04_a_503_falls_back(ask, weak, client_wire):
    """The client sees the strong model's answer after three tries."""
    weak.script = [answer(503, b"<html>down</html>", "Content-Type: text/html")]
    response = ask()
    assert client_wire.text_of(response) == "from the strong model"
    assert len(weak.requests) == 3


def test_05_a_reset_connection_is_tried_again(ask, weak, client_wire, wire):
    """Before an answer and inside a whole one, the client sees one good answer."""

    def half(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
        hang_up(connection)

    weak.script = [hang_up, half, wire.good]
    response = ask()
    assert client_wire.text_of(response) == "fine"
    assert response.headers["x-pointsman-chain"] in (
        "weak upstream_unreachable, weak upstream_cut, weak 200",
        "weak upstream_unreachable, weak upstream_unreachable, weak 200",
    )


@pytest.mark.parametrize("timeouts", [{"first_byte_s": 0.3}])
def test_06_no_response_at_all_falls_back_in_time(ask, weak, client_wire):
    """The client sees the strong model's answer after the limit, though weak never ends; asked for by name, a 504."""
    weak.script = [silence]
    assert client_wire.text_of(ask()) == "from the strong model"
    named = ask("weak")
    assert client_wire.refused(named, 504, "upstream_timeout")


def test_07_a_slow_first_token_is_waited_for(ask, weak, client_wire, wire):
    """Within the limit the client sees the stream."""
    weak.script = [stream(0.3, wire.first, wire.piece("fi"), wire.finish, wire.done)]
    assert ask(stream=True).headers["x-pointsman-model"] == "weak"


@pytest.mark.parametrize("timeouts", [{"first_byte_s": 0.3}])
def test_07_a_first_token_that_is_too_slow_falls_back(ask, weak, strong, client_wire, wire):
    """Beyond the limit, though headers have come, the client sees the strong model's stream."""
    strong.script = [good_stream(wire)]
    weak.script = [stream(silence)]
    late = ask(stream=True)
    assert late.headers["x-pointsman-model"] == "strong"
    assert client_wire.ended(late)


@pytest.mark.parametrize("reset", [False, True])
def test_08_a_stream_that_is_cut_ends_in_an_error(ask, front, weak, reset, client_wire, wire):
    """The client sees what came, then an error event, and no proper end; the protocol's own SDK raises."""
    weak.script = [stream(wire.first, wire.piece("fi"), 0.05, b'data: {"choi', end=False, reset=reset)]
    response = ask(stream=True)
    assert client_wire.streamed_text(response) == "fi"
    assert client_wire.broke(response, "upstream_cut")
    with pytest.raises((openai.APIError, anthropic.APIError)):
        client_wire.ask_with_sdk(front.url, WEAK_FIRST)


def test_08_a_stream_that_is_cut_before_its_first_event_is_tried_again(ask, weak, client_wire, wire):
    """Nothing was shown yet, so the client sees one good stream."""
    weak.script = [stream(end=False), stream(end=True), good_stream(wire)]
    response = ask(stream=True)
    assert client_wire.ended(response)
    assert response.headers["x-pointsman-chain"] == "weak upstream_cut, weak upstream_cut, weak 200"


@pytest.mark.parametrize("timeouts", [{"between_chunks_s": 0.3}])
def test_09_a_stalled_stream_ends_in_an_error(ask, weak, client_wire, wire):
    """The client sees what came and, though weak never ends, an error event and no proper end."""
    weak.script = [stream(wire.first + wire.piece("fi"), silence)]
    response = ask(stream=True)
    assert client_wire.streamed_text(response) == "fi"
    assert client_wire.broke(response, "upstream_timeout")


def test_10_a_malformed_chunk_ends_in_an_error(ask, weak, client_wire, wire):
    """The client sees an error event where the garbage was, never the garbage."""
    weak.script = [stream(wire.first, wire.piece("fi"), b"data: {oops]\n\n", wire.finish, wire.done)]
    response = ask(stream=True)
    assert client_wire.broke(response, "upstream_malformed")
    assert "oops" not in response.text


def test_11_a_stream_without_its_end_is_judged_by_its_finish_reason(ask, weak, client_wire, wire):
    """With one the client sees a complete stream with its [DONE] or message_stop, without one an error event."""
    weak.script = [stream(wire.first, wire.piece("fi"), wire.finish)]
    assert client_wire.ended(ask(stream=True))
    weak.script = [stream(wire.first, wire.piece("fi"))]
    assert client_wire.broke(ask(stream=True), "upstream_cut")


@pytest.mark.parametrize(
    "message",
    [
        "12: This model's maximum context length is 8192 tokens",
        "13: The response was filtered due to the content management policy",
        "14: Prefilling assistant messages is not supported for this model",
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_12_to_14_a_400_is_the_clients(ask, weak, strong, message, streaming, wire):
    """Context length, content filter, prefill: the client sees the upstream's own 400, and nobody is asked again."""
    weak.script = [wire.error(400, message)]
    response = ask(stream=streaming)
    told = response.json()["error"]["message"].removeprefix("prompt is too long: ")  # by which Anthropic's clients know
    assert (response.status_code, told) == (400, message)
    assert (len(weak.requests), len(strong.requests)) == (1, 0)


def test_15_a_flapping_upstream_is_left_alone_and_taken_back(ask, front, weak, client_wire, wire):
    """The client never sees the flapping: strong answers while weak is down, and weak again when it is up."""
    weak.script = [wire.error(500, "down")]
    assert {client_wire.text_of(ask()) for _ in range(4)} == {"from the strong model"}
    n_asked = len(weak.requests)
    assert n_asked == 12
    skipped = ask()
    assert client_wire.text_of(skipped) == "from the strong model"
    assert (len(weak.requests), skipped.headers["x-pointsman-chain"]) == (n_asked, "weak skipped, strong 200")
    named = ask("weak")
    assert client_wire.refused(named, 503, "upstream_unavailable")
    weak.script = [wire.good]
    front.engine.services["weak"].breaker._open_s = 0.0
    assert client_wire.text_of(ask()) == "fine"
    assert "x-pointsman-chain" not in ask().headers


def test_15_a_model_whose_every_stream_breaks_is_left_alone(ask, weak, strong, client_wire, wire):
    """However well each begins: after four that broke in a row the client sees the strong model's."""
    weak.script, strong.script = [stream(wire.first, wire.piece("fi"), end=False)], [good_stream(wire)]
    for _ in range(4):
        assert client_wire.broke(ask(stream=True), "upstream_cut")
    response = ask(stream=True)
    assert client_wire.ended(response)
    assert response.headers["x-pointsman-chain"] == "weak skipped, strong 200"


def test_15_a_stream_that_ends_well_forgets_those_that_broke(ask, weak, client_wire, wire):
    """Only failures in a row count."""
    broken = stream(wire.first, wire.piece("fi"), end=False)
    for act in (broken, broken, broken, good_stream(wire)) * 2:
        weak.script = [act]
        response = ask(stream=True)
        assert response.headers["x-pointsman-model"] == "weak"
        assert client_wire.ended(response) is (act is not broken)


def test_15_a_stream_that_says_that_it_is_done_is_a_success(ask, weak, client_wire, wire):
    """Services that tell no reason for the end are not left alone for failures far apart."""
    cut = stream(wire.first, wire.piece("fi"), end=False)
    done = stream(wire.first, wire.piece("fine"), wire.done)
    for act in (cut, cut, cut, done) * 2:
        weak.script = [act]
        assert ask(stream=True).status_code == 200


def test_16_usage_is_that_of_the_answer_alone(ask, weak, strong, client_wire, wire):
    """After failed tries the client sees one usage: that of the answer it got."""
    weak.script = [wire.error(500, "oops"), hang_up, wire.good]
    response = ask()
    assert client_wire.usage_of(response) == USAGE
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
        answer(200, b"what nobody asked for", "Content-Encoding: br"),
        answer(204, b""),
        answer(999),
        answer(401, b'{"error": {"message": "bad key", "type": "authentication_error"}}'),
    ],
    ids=[
        *("garbage", "chunks", "half closed", "HTML", "error as 200", "array", "redirect", "bad gzip", "brotli"),
        *("no content", "no status", "our key"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("wires", [(CHAT, CHAT), (MESSAGES, MESSAGES)], ids=["chat", "messages"], indirect=True)
def test_what_is_no_answer_falls_back(ask, weak, strong, act, streaming, wire):
    """Whatever an upstream does that is no answer, the client sees the strong model's."""
    strong.script = [good_stream(wire)] if streaming else strong.script
    weak.script = [act]
    response = ask(stream=streaming)
    assert response.status_code == 200
    assert response.headers["x-pointsman-model"] == "strong"


@pytest.mark.parametrize("status", [401, 402])
def test_a_model_that_refuses_the_servers_own_key_is_no_fault_of_the_clients(ask, weak, client_wire, wire, status):
    """The client, whose key is good, sees a 502, and nothing of what the service says of the key; nobody asks twice."""
    weak.script = [wire.error(status, "Incorrect API key provided: sk-********wxyz")]
    response = ask("weak")
    assert client_wire.refused(response, 502, "upstream_refused")
    assert "wxyz" not in response.text
    assert len(weak.requests) == 1


def test_a_status_that_is_none_is_a_failure(ask, weak, client_wire):
    """An upstream that answers 999 is a 502."""
    weak.script = [answer(999)]
    assert client_wire.refused(ask("weak"), 502, "upstream_malformed")


@pytest.mark.parametrize("encoding", ["utf-8", "none", ""])
def test_an_encoding_that_is_none_is_passed_over(ask, weak, client_wire, wire, encoding):
    """Some services write a character set where a compression belongs; the client sees the answer."""
    weak.script = [answer(200, wire.completion(), f"Content-Encoding: {encoding}")]
    assert client_wire.text_of(ask()) == "fine"


def test_an_answer_that_never_ends_fills_no_memory(ask, weak, strong, client_wire, wire, monkeypatch):
    """Beyond the limit the upstream is hung up on, and the client sees the strong model's answer."""
    monkeypatch.setattr("pointsman.serve.upstreams.openai._MAX_ANSWER_BYTES", 1 << 20)
    weak.script = [answer(200, b" " * (2 << 20) + wire.completion())]
    response = ask()
    assert client_wire.text_of(response) == "from the strong model"
    assert response.headers["x-pointsman-chain"] == "weak upstream_too_large, strong 200"


def test_who_is_left_alone_says_for_how_long(ask, weak, wire):
    """A client that is refused because a model failed too often knows when to ask again."""
    weak.script = [wire.error(500, "down")]
    for _ in range(4):
        ask("weak")
    refused = ask("weak")
    assert refused.status_code == 503
    assert 0 < int(refused.headers["retry-after"]) <= 30


def test_a_compressed_answer_is_read(ask, weak, client_wire, wire):
    """An upstream that compresses although it was not asked to is understood."""
    weak.script = [answer(200, gzip.compress(wire.completion()), "Content-Encoding: gzip")]
    response = ask()
    assert client_wire.text_of(response) == "fine"
    assert "content-encoding" not in response.headers


def test_without_fallback_the_failure_is_shown(weak, strong, client_wire, wire):
    """fallback: none passes a model's failure on; strong never falls to weak unless both is said."""
    once = {"provider": wire.provider, "retry": {"attempts": 0}}
    models = {"weak": {"base_url": weak.url, **once}, "strong": {"base_url": strong.url, **once}}
    strong_first = "router-random-0"
    cases = [("none", WEAK_FIRST, 500), ("to_strong", strong_first, 500), ("both", strong_first, 200)]
    for fallback, asked, status in cases:
        weak.script, strong.script = [wire.good if status == 200 else wire.error(500, "x")], [wire.error(500, "x")]
        values = {"strong": "strong", "weak": "weak", "models": models, "routers": {"random": {}}, "fallback": fallback}
        with LocalServer(create_app(make_config(values))) as server:
            body = {"model": asked, "messages": HELLO, "max_tokens": 9}
            assert httpx.post(f"{server.url}/v1{client_wire.path}", json=body).status_code == status
