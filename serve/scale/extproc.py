"""Envoy's external processor: decides which model should answer each request; Envoy does the rest.

Envoy sends a request's headers and, when it has buffered it, its body. The answer to the body names the model in a
header, which Envoy's routes match, and writes it into the body. Answers of the models never come here, streamed or not.

No error here stops a request: one that cannot be decided in time passes unchanged.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram

from pointsman.core.decision import Decision
from pointsman.core.errors import ConfigError
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.edit_json import replace_model
from pointsman.serve.protocols.surfaces import CHAT, COUNT_TOKENS, MESSAGES, RESPONSES, Surface
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import naming_headers
from pointsman.serve.scale.extproc_messages import load_messages
from pointsman.serve.server.endpoints.headers import decision_headers
from pointsman.serve.upstreams.providers import resolve_target

__all__ = ["ExternalProcessor", "ProcessorOptions"]

_LOG = logging.getLogger(__name__)
_SURFACES = (CHAT, RESPONSES, MESSAGES, COUNT_TOKENS)
_OVERWRITE = 2  # HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0)


@dataclass(frozen=True, slots=True)
class ProcessorOptions:
    """How a processor passes its decisions to Envoy.

    Attributes:
        model_headers: names of the headers that carry the chosen model; those of clients are removed.
        rewrite_body: whether the model is written into the body as well.
        routed_models: model names that mean `auto`. While no processor answers, such a request still names a model.
        deadline_s: time after which a request passes unchanged.
    """

    model_headers: tuple[str, ...] = ("x-pointsman-model",)
    rewrite_body: bool = True
    routed_models: frozenset[str] = frozenset()
    deadline_s: float = 0.15


class Serving(Protocol):
    """Provides the current engine."""

    @property
    def engine(self) -> Engine: ...


class ExternalProcessor:
    """Decides the requests of Envoy's streams, one request per stream."""

    def __init__(self, serving: Serving, options: ProcessorOptions, registry: CollectorRegistry) -> None:
        """Decides with the current engine of `serving`; counts in `registry`."""
        self._serving = serving
        self._options = options
        self._messages = load_messages()
        self._upstream_models: dict[tuple[str, str], str] = {}  # by digest of the configuration and name
        self._requests = Counter(
            "pointsman_extproc_requests", "Requests from Envoy by result.", ["result"], registry=registry
        )
        self._decisions = Counter(
            "pointsman_extproc_decisions", "Decisions for Envoy by router and model.", ["router", "model"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "pointsman_extproc_seconds",
            "Time from a request's body to its decision.",
            buckets=_BUCKETS_S,
            registry=registry,
        )

    async def process(self, requests: AsyncIterator[Any], _context: object = None) -> AsyncIterator[Any]:
        """One answer to each message of a stream: ProcessingRequest to ProcessingResponse."""
        headers: dict[str, str] = {}
        surface: Surface | None = None
        async for request in requests:
            kind = request.WhichOneof("kind")
            if kind == "request_headers":
                headers = _read_headers(request.request_headers)
                surface = _find_surface(headers.get(":path", ""))
                yield self._without_model_headers()
            elif kind == "request_body" and surface is not None:
                yield await self._decide(request.request_body, surface, headers)
            elif kind is not None:
                yield self._messages["ProcessingResponse"](**{kind: {}})

    async def _decide(self, body: Any, surface: Surface, headers: Mapping[str, str]) -> Any:
        started = perf_counter()
        try:
            if not body.end_of_stream:
                return self._unchanged("partial", "the body is larger than Envoy's buffer")
            async with asyncio.timeout(self._options.deadline_s):
                context = await self._decision(surface, body.body, headers)
            if context.decision is None or context.decision.router is None:
                return self._changed("named", context, headers)
            return self._changed("decided", context, headers)
        except RequestError as error:
            if error.code == "model_not_found":
                return self._unchanged("unknown", "a model that is not configured")
            return self._refused(error)
        except TimeoutError:
            return self._unchanged("late", f"no decision within {self._options.deadline_s:g} s")
        except Exception:  # noqa: BLE001  (a defect of ours must not stop Envoy's request)
            _LOG.exception("a decision for Envoy failed; the request passes unchanged")
            return self._unchanged("failed", "the decision failed")
        finally:
            self._seconds.observe(perf_counter() - started)

    async def _decision(self, surface: Surface, body: bytes, headers: Mapping[str, str]) -> RequestContext:
        """The request with its decision, which counts as a request of unknown cost."""
        engine = self._serving.engine
        request = surface.read(body)
        if request.model in self._options.routed_models:
            request = surface.read(replace_model(body, "auto"))
        context = RequestContext(request, surface=surface, client=_naming(headers))
        if engine.rules is not None:
            context.rule_headers = {name: value for name, value in headers.items() if name in engine.rules.headers}
        await engine.decide(context)
        engine.state.policies.settle(context.reservations, None, strong=False)
        for held in context.held:
            held.release()
        return context

    def _changed(self, result: str, context: RequestContext, headers: Mapping[str, str]) -> Any:
        decision = context.decision
        assert decision is not None
        self._requests.labels(result).inc()
        self._decisions.labels(decision.router or "", decision.model).inc()
        mutation: dict[str, Any] = {"header_mutation": self._headers(decision), "clear_route_cache": True}
        if self._options.rewrite_body:
            name = self._upstream_model(decision.model)
            body = replace_model(context.request.body, name)
            mutation["body_mutation"] = {"body": body}
            if "content-length" in headers:  # Envoy refuses a body of another length
                mutation["header_mutation"]["set_headers"].append(_header("content-length", b"%d" % len(body)))
        return self._messages["ProcessingResponse"](request_body={"response": mutation})

    def _unchanged(self, result: str, reason: str) -> Any:
        self._requests.labels(result).inc()
        told = {"header_mutation": {"set_headers": [_header("x-pointsman-reason", reason.encode())]}}
        return self._messages["ProcessingResponse"](request_body={"response": told})

    def _refused(self, error: RequestError) -> Any:
        """Rejects what the server would reject, too, in the same words: no model could handle it."""
        self._requests.labels("refused").inc()
        return self._messages["ProcessingResponse"](
            immediate_response={
                "status": {"code": error.status},
                "headers": {"set_headers": [_header("content-type", b"application/json")]},
                "body": error.body(),
                "details": "pointsman",
            }
        )

    def _upstream_model(self, name: str) -> str:
        """The service's name of the model; for the stand-ins the name here."""
        engine = self._serving.engine
        known = self._upstream_models.get((engine.digest, name))
        if known is None:
            try:
                known = resolve_target(name, engine.config.settings_of(name)).upstream_model
            except ConfigError:
                known = name
            self._upstream_models[engine.digest, name] = known
        return known

    def _headers(self, decision: Decision) -> dict[str, Any]:
        told = [_header(name, decision.model.encode()) for name in self._options.model_headers]
        told += [_header(name.decode(), value) for name, value in decision_headers(decision)[1:]]
        return {"set_headers": told}

    def _without_model_headers(self) -> Any:
        removed = {"remove_headers": list(self._options.model_headers)}
        return self._messages["ProcessingResponse"](request_headers={"response": {"header_mutation": removed}})


def _header(name: str, value: bytes) -> dict[str, Any]:
    return {"header": {"key": name, "raw_value": value}, "append_action": _OVERWRITE}


def _read_headers(message: Any) -> dict[str, str]:
    """Envoy's names are lower-case; its values come in either field."""
    return {h.key: h.value or h.raw_value.decode("latin-1") for h in message.headers.headers}


def _find_surface(path: str) -> Surface | None:
    path = path.partition("?")[0]
    return next((surface for surface in _SURFACES if path.endswith(f"/v1{surface.path}")), None)


def _naming(headers: Mapping[str, str]) -> Mapping[str, str]:
    return naming_headers(
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()
    )
