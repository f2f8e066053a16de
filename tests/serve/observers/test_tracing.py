"""OpenTelemetry spans of what is served."""

import os
import re
import subprocess
import sys

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.processes import ServerProcess, wait_until
from support.upstream import LocalServer, Upstream

HELLO = [{"role": "user", "content": "A secret prompt"}]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def exporter():
    """Keeps the spans of this process's provider, which the server finds and takes."""
    made = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    trace.set_tracer_provider(provider)
    return made


@pytest.fixture(scope="module")
def upstream():
    return Upstream()


@pytest.fixture(scope="module")
def server(exporter, upstream):
    with LocalServer(upstream.app()) as up:
        model = {"base_url": f"{up.url}/v1", "retry": {"attempts": 0}}
        values = {
            "strong": "big",
            "weak": "status-500",
            "models": {"big": {**model, "model": "big-1"}, "status-500": model},
            "routers": {"random": {}},
            "telemetry": {"traces": True},
        }
        with LocalServer(create_app(make_config(values))) as front:
            yield front


def ask(server, exporter, model, **more):
    """The spans of one request by name, ended ones all of them."""
    exporter.clear()
    body = {"model": model, "messages": HELLO, **more}
    httpx.post(f"{server.url}/v1/chat/completions", json=body, headers={"traceparent": PARENT})
    wait_until(lambda: [span for span in exporter.get_finished_spans() if span.name.startswith("POST")])
    return {span.name: span for span in exporter.get_finished_spans()}


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_one_trace_from_client_to_upstream(server, exporter, upstream, stream):
    """The client's trace goes on here and upstream, with the decision, the model, its tokens, and no text."""
    spans = ask(server, exporter, "router-random-0", stream=stream)
    request, decision, tried = spans["POST /v1/chat/completions"], spans["pointsman.decide"], spans["chat big"]
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {PARENT[3:35]}
    assert f"{request.parent.span_id:016x}" == PARENT[36:52]
    assert decision.parent.span_id == tried.parent.span_id == request.context.span_id
    sent = upstream.last.headers["traceparent"]
    assert sent == f"00-{PARENT[3:35]}-{tried.context.span_id:016x}-01"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["pointsman.router"] == "random"
    assert request.attributes["pointsman.outcome"] == "answered"
    assert tried.attributes["gen_ai.operation.name"] == "chat"
    assert tried.attributes["gen_ai.provider.name"] == "openai"
    assert tried.attributes["gen_ai.request.model"] == "big"
    assert tried.attributes["gen_ai.usage.output_tokens"] == 5
    assert request.start_time <= decision.start_time <= decision.end_time <= tried.start_time
    assert tried.end_time <= request.end_time
    assert "secret" not in repr([span.to_json() for span in spans.values()])


def test_a_fallback_shows_both_tries(server, exporter):
    """The try that failed is an error with its status; the request is none."""
    spans = ask(server, exporter, "router-random-1")
    assert spans["chat status-500"].attributes["error.type"] == "500"
    assert not spans["chat status-500"].status.is_ok
    assert spans["chat big"].attributes["http.response.status_code"] == 200
    assert spans["POST /v1/chat/completions"].status.status_code is trace.StatusCode.UNSET


def test_a_request_that_fails_is_an_error(server, exporter):
    """So that it is found in the traces."""
    request = ask(server, exporter, "status-500")["POST /v1/chat/completions"]
    assert request.attributes["http.response.status_code"] == 500
    assert not request.status.is_ok


def test_spans_arrive_at_the_collector_that_the_environment_names(tmp_path):
    """OTEL_* variables say where to and under which name; the rest is sent when the server ends."""
    received = []

    async def collect(request):
        received.append(ExportTraceServiceRequest.FromString(await request.body()))
        return Response(b"", media_type="application/x-protobuf")

    (tmp_path / "config.yaml").write_text("telemetry: {traces: true}")
    with LocalServer(Starlette(routes=[Route("/v1/traces", collect, methods=["POST"])])) as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "gateway"}
        with ServerProcess("--config", str(tmp_path / "config.yaml"), **variables) as server:
            httpx.post(f"{server.url}/v1/chat/completions", json={"model": "auto", "messages": HELLO})
        wait_until(lambda: received)
    (resource,) = [spans for message in received for spans in message.resource_spans]
    assert 'string_value: "gateway"' in str(resource.resource)
    names = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert {"POST /v1/chat/completions", "pointsman.decide"} < names


def test_an_unknown_exporter_is_refused():
    """The message names those that are installed."""
    code = "from pointsman.serve.observers.tracing.provider import make_provider; make_provider()"
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "nowhere"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert re.search(r"ConfigError: OTEL_TRACES_EXPORTER names 'nowhere', wanted one of .*otlp", done.stderr)


def test_nothing_is_imported_where_nothing_is_traced():
    """A server without traces does not load OpenTelemetry's SDK."""
    code = "import sys; from pointsman.serve import create_app; create_app(); print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
