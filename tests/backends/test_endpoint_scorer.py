"""The endpoint router: probabilities of one token, read from an OpenAI-compatible service."""

import json
import math
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.endpoint.logprobs import TokenProbabilities, read_answer, read_scores
from pointsman.backends.endpoint.scorer import EndpointRouter, EndpointSettings, load
from pointsman.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pointsman.core.errors import CheckpointError, ConfigError, UpstreamError
from pointsman.core.pair import ModelPair
from pointsman.core.registry import build_router

_PAIR = ModelPair("big", "small")
_DIGITS = ("1", "2", "3", "4", "5")


def _logits(prompt: str) -> np.ndarray:
    """Logits over a vocabulary of ten tokens, a fixed function of the prompt."""
    return np.random.default_rng(len(prompt)).standard_normal(10) * 2 + np.array([6.0] * 5 + [0.0] * 5)


_VOCABULARY = ("1", "2", "3", "4", "5", " 4", "The", "I", "\n", "-")


def _probabilities(prompt: str) -> np.ndarray:
    weights = np.exp(_logits(prompt))
    return weights / weights.sum()


class _Engine(BaseHTTPRequestHandler):
    """A language model of ten tokens behind both completion interfaces; its logprobs are computed, not canned."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body, self.headers.get("Authorization")))
        status = self.server.failures.pop(0) if self.server.failures else 200
        chat = "messages" in body
        text = body["messages"][0]["content"] if chat else body["prompt"]
        p = _probabilities(text)
        n_top = body["top_logprobs"] if chat else body["logprobs"]
        top = [(_VOCABULARY[i], math.log(p[i])) for i in np.argsort(-p)[:n_top]]
        if chat:
            content = [{"token": top[0][0], "top_logprobs": [{"token": t, "logprob": v} for t, v in top]}]
            choice = {"logprobs": {"content": content}}
        else:
            choice = {"logprobs": {"top_logprobs": [dict(top)]}}
        if self.server.silent:
            choice = {"logprobs": None, "text": "4"}
        answer = json.dumps({"choices": [choice]} if status == 200 else {"error": {"message": "no"}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@contextmanager
def _engine(*, silent: bool = False, failures: tuple[int, ...] = ()):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Engine)
    server.seen, server.silent, server.failures = [], silent, list(failures)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _router(url: str, **options):
    router = EndpointRouter(EndpointSettings(base_url=url, model="small", template="{prompt}", **options))
    try:
        yield router
    finally:
        router.close()


def _wanted(prompt: str) -> float:
    p = _probabilities(prompt)
    return p[:3].sum() / p[:6].sum()


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_it_reads_the_models_own_probabilities(api):
    """With every token listed the win rate is exact, in both interfaces, one by one and together."""
    prompts = ["x" * n for n in range(1, 30)]
    with _engine() as (server, url), _router(url, api=api) as router:
        wanted = np.array([_wanted(prompt) for prompt in prompts])
        assert router.win_rates(prompts) == pytest.approx(wanted, abs=1e-9)
        assert router.calculate_strong_win_rate(prompts[3]) == pytest.approx(wanted[3], abs=1e-9)
        assert server.seen[0][1]["max_tokens"] == 1


@given(
    st.lists(st.floats(-6, 6), min_size=10, max_size=10),
    st.integers(1, 10),
    st.integers(1, 5),
)
def test_a_short_list_brackets_the_true_win_rate(logits, n_top, score_threshold):
    """Whatever the list leaves out, the true win rate is between `low` and `win_rate`, or there is a reason."""
    p = np.exp(logits) / np.exp(logits).sum()
    top = np.argsort(-p)[:n_top]
    found = TokenProbabilities(tuple(_VOCABULARY[i].strip() for i in top), tuple(float(p[i]) for i in top))
    reading = read_scores(found, _DIGITS, score_threshold=score_threshold)
    # Token " 4" reads as "4": where one of the two is not listed, what it adds is more than the bound allows for.
    scores = p[:5].copy()
    scores[3] += p[5] if 5 in top else 0.0
    if 5 in top and 3 not in top:
        scores[3] = p[5]
    true = scores[: score_threshold - 1].sum() / scores.sum()
    if reading.reason is None:
        assert reading.low - 1e-9 <= true <= reading.win_rate + 1e-9
    else:
        assert reading.win_rate == 1.0


def test_a_model_that_says_no_score_means_strong():
    """Where words take the probability, the win rate is 1 and the reason quotes the likeliest."""
    reading = read_scores(TokenProbabilities(("The", "4"), (0.8, 0.1)), _DIGITS, score_threshold=4)
    assert reading.win_rate == 1.0
    assert reading.reason == "invalid output: scores have 10% of the probability, the likeliest token is 'The'"
    short = read_scores(TokenProbabilities(("4",), (0.6,)), _DIGITS, score_threshold=4)
    assert short.win_rate == 1.0
    assert "between 0.00 and 0.40" in str(short.reason)


def test_an_endpoint_without_logprobs_is_an_error_and_routes_to_strong():
    """An engine that gives no logprobs is named; a single decision falls back to strong with that reason."""
    with _engine(silent=True) as (_, url), _router(url) as router:
        with pytest.raises(UpstreamError, match="without logprobs"):
            router.win_rates(["a"])
        decision = router.route("a", 0.3, _PAIR)
    assert (decision.model, decision.win_rate) == ("big", None)
    assert "without logprobs" in decision.reason


def test_a_fault_that_passes_is_repeated_and_another_is_not():
    """A 503 is asked again; a 400 is not, and neither gives a number."""
    with _engine(failures=(503,)) as (server, url), _router(url) as router:
        assert router.win_rates(["abc"])[0] == pytest.approx(_wanted("abc"))
        assert len(server.seen) == 2
    with _engine(failures=(400,)) as (server, url), _router(url) as router:
        with pytest.raises(UpstreamError, match="status 400 for model 'small'; gave up after attempt 1"):
            router.win_rates(["abc"])
        assert len(server.seen) == 1


def test_nobody_listening_is_an_error():
    """A service that is not there is an upstream error with its address."""
    with _engine() as (_, url):
        pass
    with _router(url, n_retries=0) as router, pytest.raises(UpstreamError, match="gave no answer"):
        router.win_rates(["a"])


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"{}", b'{"choices": []}', b'{"choices": [3]}', b'{"choices": [{"logprobs": {"content": [{}]}}]}']
    + [b'{"choices": [{"logprobs": {"top_logprobs": [{"4": %s}]}}]}' % v for v in (b"1.5", b'"x"', b"null", b"true")]
    + [b'{"choices": [{"logprobs": {"top_logprobs": [{"4": -0.1, "5": -0.1}]}}]}'],
)
def test_answers_that_are_none_are_errors(body):
    """Whatever an endpoint sends in place of logprobs is an upstream error, never a number."""
    with pytest.raises(UpstreamError):
        read_answer(body, "http://x")


@pytest.mark.parametrize("prompt", ["", " \n ", "😀😀", "\ud800", "prove " * 170_000])
def test_any_prompt_is_sent_within_bounds(prompt):
    """Empty, blank, emoji-only, ill-formed and megabyte prompts are sent, the long one by its ends."""
    with _engine() as (server, url), _router(url, max_chars=100) as router:
        assert 0.0 <= router.calculate_strong_win_rate(prompt) <= 1.0
        assert len(server.seen[0][1]["messages"][0]["content"]) <= 101


def test_it_comes_from_a_checkpoint_and_its_key_from_the_environment(tmp_path, monkeypatch):
    """Options make the router; the key is read from the variable that they name, and never written."""
    with _engine() as (server, url):
        options = EndpointSettings(base_url=url, model="small", template="{prompt}", api_key_env="SCORER_KEY")
        checkpoint = Checkpoint("endpoint", ("big", "small"), _PAIR, options=options.to_options())
        write_checkpoint(checkpoint, tmp_path / "endpoint")
        with pytest.raises(ConfigError, match="SCORER_KEY is not set"):
            build_router(read_checkpoint(tmp_path / "endpoint"))
        monkeypatch.setenv("SCORER_KEY", "secret")
        router = build_router(read_checkpoint(tmp_path / "endpoint"))
        router.win_rates(["a"])
        router.close()
        assert server.seen[0][2] == "Bearer secret"
        assert "secret" not in (tmp_path / "endpoint" / "pointsman.json").read_text()


def test_options_that_do_not_fit_are_refused():
    """An unknown option, interface, threshold or a template without a place for the prompt is a checkpoint error."""
    good = {"base_url": "http://x", "model": "small"}
    for bad in ({"apy": "chat"}, {"api": "sms"}, {"score_threshold": 6}, {"template": "?"}, {"top_logprobs": 0}):
        with pytest.raises(CheckpointError, match="options of the endpoint checkpoint do not fit"):
            load(Checkpoint("endpoint", ("big", "small"), _PAIR, options={**good, **bad}), None, _PAIR)
