"""The external processor: by itself, and behind a real Envoy."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client import CollectorRegistry

from pointsman.core.errors import MissingExtraError
from pointsman.serve.config.load import make_config
from pointsman.serve.scale import extproc_messages
from pointsman.serve.scale.extproc import ExternalProcessor, ProcessorOptions
from pointsman.serve.scale.extproc_messages import load_messages
from pointsman.serve.scale.extproc_server import ExternalProcessorServer
from pointsman.serve.server.app import create_app

from support.envoy import EXAMPLE, envoy_binary, running_envoy
from support.messages_upstream import MessagesUpstream
from support.upstream import LocalServer, Upstream

EASY, HARD = "Hi", "Prove that the square root of 2 is irrational, in full, and compare three proofs of it."
PATHS = {"/v1/chat/completions": "messages", "/v1/messages": "messages", "/v1/responses": "input"}


def config(**more):
    """Big before small; the small one answers greetings."""
    models = {name: {"base_url": "http://127.0.0.1:1/v1", "model": f"{name}-2026"} for name in ("big", "small")}
    threshold = {"mf": {"threshold": _threshold()}}
    return make_config({"strong": "big", "weak": "small", "models": models, "routers": threshold, **more})


def _threshold():
    """Between the win rates of the two prompts."""
    from pointsman.serve.checkpoints.load import load_checkpoint, load_router

    easy, hard = load_router(load_checkpoint("mf")).win_rates([EASY, HARD])
    assert easy != hard
    return float(easy + hard) / 2


def chosen():
    """Which model each prompt is for."""
    from pointsman.serve.checkpoints.load import load_checkpoint, load_router

    easy, hard = load_router(load_checkpoint("mf")).win_rates([EASY, HARD])
    return {EASY: "big" if easy > hard else "small", HARD: "big" if hard > easy else "small"}


def document(path, prompt, **more):
    turns = prompt if PATHS[path] == "input" else [{"role": "user", "content": prompt}]
    return {"model": "big", PATHS[path]: turns, "max_tokens": 16, **more}


class Both:
    """An upstream with all three APIs."""

    def __init__(self):
        self.chat, self.messages = Upstream(), MessagesUpstream()
        self.received = self.messages.received = self.chat.received

    def app(self):
        made = self.chat.app()
        made.router.routes += self.messages.app().router.routes
        return made


class Processing:
    """An application with a processor beside it, in a thread of its own."""

    def __init__(self, made, options):
        self.server = ExternalProcessorServer("127.0.0.1:0", options)
        self.local = LocalServer(create_app(made, companions=(self.server,)))

    def __enter__(self):
        self.local.__enter__()
        while self.server.address is None:
            threading.Event().wait(0.01)
        self.port = int(self.server.address.rpartition(":")[2])
        return self

    def __exit__(self, *error):
        self.local.__exit__(*error)

    def metric(self, sample):
        text = httpx.get(f"{self.local.url}/metrics").text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(sample))


@contextmanager
def gateway(folder, options, **replaced) -> Iterator[SimpleNamespace]:
    """Envoy before two upstreams, and a processor beside it."""
    envoy_binary()
    big, small = Both(), Both()
    with (
        LocalServer(big.app()) as strong,
        LocalServer(small.app()) as weak,
        Processing(config(), options) as processing,
        running_envoy(folder, {50051: processing.port, 9001: strong.port, 9002: weak.port}, **replaced) as url,
    ):
        yield SimpleNamespace(url=url, upstreams={"big": big, "small": small}, processing=processing)


def received(at):
    """The models that were asked since the last time, and what they were sent."""
    found = [(name, each) for name, upstream in at.upstreams.items() for each in upstream.received]
    for upstream in at.upstreams.values():
        upstream.received.clear()
    return found


def test_envoy_sends_each_request_to_its_model(tmp_path):
    """Plain and streamed requests of all three APIs reach the chosen model's cluster, with its own name in the body."""
    with gateway(tmp_path, ProcessorOptions(routed_models=frozenset({"big"}))) as at:
        for path in PATHS:
            for prompt in (EASY, HARD):
                for stream in (False, True):
                    sent = document(path, prompt, stream=stream)
                    answer = httpx.post(at.url + path, json=sent, headers={"x-pointsman-model": "small"})
                    assert answer.status_code == 200, answer.text
                    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/")
                    ((name, request),) = received(at)
                    assert name == chosen()[prompt]
                    assert request.document == {**sent, "model": f"{name}-2026"}
                    assert request.headers["x-pointsman-model"] == name
                    assert request.headers["x-pointsman-router"] == "mf"
                    assert "x-pointsman-win-rate" in request.headers
        assert at.processing.metric('pointsman_extproc_requests_total{result="decided"}') == 12
        assert at.processing.metric("pointsman_extproc_seconds_count") == 12


def test_envoy_goes_on_without_the_processor(tmp_path):
    """Where no processor answers, or none in time, requests take the default route as they are."""
    with gateway(tmp_path, ProcessorOptions(routed_models=frozenset({"big"}))) as at:
        sent = document("/v1/chat/completions", EASY)
        assert httpx.post(f"{at.url}/v1/chat/completions", json=sent).status_code == 200
        received(at)
        at.processing.local.__exit__(None, None, None)
        for _ in range(5):
            assert httpx.post(f"{at.url}/v1/chat/completions", json=sent).status_code == 200
        assert [(name, request.document) for name, request in received(at)] == [("big", sent)] * 5


def test_what_envoy_cannot_buffer_is_not_decided_on(tmp_path):
    """Beyond Envoy's buffer a body is refused by Envoy, or passes undecided where it sends what it has of it."""
    large = document("/v1/chat/completions", "x" * 1_000_000)
    small_buffer = {"limit_bytes: 16777216": "limit_bytes: 16384"}
    with gateway(tmp_path, ProcessorOptions(), **small_buffer) as at:
        assert httpx.post(f"{at.url}/v1/chat/completions", json=large).status_code == 413
        assert received(at) == []
    with gateway(tmp_path, ProcessorOptions(), **small_buffer, BUFFERED="BUFFERED_PARTIAL") as at:
        assert httpx.post(f"{at.url}/v1/chat/completions", json=large).status_code == 200
        ((name, request),) = received(at)
        assert (name, request.document) == ("big", large)
        assert request.headers["x-pointsman-reason"] == "the body is larger than Envoy's buffer"


def answers(processor, path, body, *, end=True, headers=()):
    """What a processor says to one request."""
    message = load_messages()["ProcessingRequest"]

    async def requests():
        pairs = [(":path", path), *headers]
        yield message(request_headers={"headers": {"headers": [{"key": k, "raw_value": v.encode()} for k, v in pairs]}})
        yield message(request_body={"body": body, "end_of_stream": end})
        yield message(response_headers={})

    async def collect():
        return [answer async for answer in processor.process(requests())]

    return asyncio.run(collect())


def processor(options=None, engine=None):
    app = create_app(config())
    serving = SimpleNamespace(engine=engine) if engine is not None else app
    return ExternalProcessor(serving, options or ProcessorOptions(), CollectorRegistry())


def changes(answer):
    """The headers that an answer sets."""
    set_headers = answer.request_body.response.header_mutation.set_headers
    return {option.header.key: option.header.raw_value.decode() for option in set_headers}


def test_the_body_can_be_left_as_it_is():
    """Without rewriting only headers are set, under the names that are wanted, and the route is chosen anew."""
    options = ProcessorOptions(model_headers=("x-gateway-model-name", "x-ai-eg-model"), rewrite_body=False)
    body = json.dumps({**document("/v1/chat/completions", EASY), "model": "auto"}).encode()
    begun, decided, ended = answers(processor(options), "/openai/v1/chat/completions?x=1", body)
    removed = begun.request_headers.response.header_mutation.remove_headers
    assert list(removed) == ["x-gateway-model-name", "x-ai-eg-model"]
    name = chosen()[EASY]
    assert changes(decided).items() >= {"x-gateway-model-name": name, "x-ai-eg-model": name}.items()
    assert "content-length" not in changes(decided)
    assert decided.request_body.response.clear_route_cache
    assert not decided.request_body.response.HasField("body_mutation")
    assert ended.WhichOneof("kind") == "response_headers"


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b'{"model": "router-mf-2", "messages": [{"role": "user"}]}', 400)]
)
def test_what_no_model_could_read_is_refused(body, status):
    """A malformed request is answered at once, as the server would."""
    refused = answers(processor(), "/v1/chat/completions", body)[1].immediate_response
    assert refused.status.code == status
    assert json.loads(refused.body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/healthz", ""])
def test_other_paths_pass(path):
    """Requests that no router decides on go on as they came."""
    passed = answers(processor(), path, b"\x00 anything")[1]
    assert passed.request_body.response.ByteSize() == 0


def test_a_model_that_is_not_configured_passes():
    """Envoy may serve more models than the processor knows."""
    body = json.dumps({**document("/v1/chat/completions", EASY), "model": "else"}).encode()
    passed = answers(processor(), "/v1/chat/completions", body)[1]
    assert changes(passed) == {"x-pointsman-reason": "a model that is not configured"}
    assert not passed.request_body.response.clear_route_cache


class Failing:
    """An engine that takes too long, or has a defect."""

    rules = None

    def __init__(self, error=None):
        self.error = error

    async def decide(self, _):
        if self.error is not None:
            raise self.error
        await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("error", "reason"), [(None, "no decision within 0.01 s"), (KeyError("bug"), "the decision failed")]
)
def test_nothing_that_goes_wrong_stops_a_request(error, reason):
    """A late or failed decision leaves the request as it came, and says why in a header."""
    failing = processor(ProcessorOptions(deadline_s=0.01), Failing(error))
    body = json.dumps(document("/v1/chat/completions", EASY)).encode()
    passed = answers(failing, "/v1/chat/completions", body)[1]
    assert changes(passed) == {"x-pointsman-reason": reason}
    assert not passed.request_body.response.HasField("body_mutation")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    """A missing protobuf is named with its extra."""
    monkeypatch.setattr(extproc_messages, "_PROTOBUF", ("google.no_such_protobuf",) * 3)
    with pytest.raises(MissingExtraError, match=r"pointsman\[envoy\]"):
        load_messages()


def test_the_health_service_answers():
    """gRPC's own health protocol, which Kubernetes and Envoy ask, says that it serves."""
    import grpc

    messages = load_messages()
    with Processing(config(), ProcessorOptions()) as at, grpc.insecure_channel(f"127.0.0.1:{at.port}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=messages["HealthCheckRequest"].SerializeToString,
            response_deserializer=messages["HealthCheckResponse"].FromString,
        )
        assert check(messages["HealthCheckRequest"](), timeout=30).status == 1


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLE.parent.glob("envoy*.yaml")))
def test_the_examples_are_valid(name):
    """Envoy accepts the configurations that are shipped for it."""
    import subprocess

    command = [envoy_binary(), "--mode", "validate", "-c", str(EXAMPLE.parent / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
