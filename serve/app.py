"""The HTTP server as an ASGI application."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from pointsman.serve.access import RequireKey
from pointsman.serve.application import Application
from pointsman.serve.config import Config
from pointsman.serve.config_file import make_config
from pointsman.serve.dashboard.origin import ListedPagesOnly, OwnPagesOnly
from pointsman.serve.dashboard.routes import dashboard_routes
from pointsman.serve.dispatch import Dispatch
from pointsman.serve.drift.endpoints import DriftReset, DriftStatus
from pointsman.serve.endpoints import Completions, Health, MetricsText, Models, Ready, RouteOnly
from pointsman.serve.engine import Engine
from pointsman.serve.errors import error_body
from pointsman.serve.feedback.endpoint import FeedbackEndpoint
from pointsman.serve.keys import KeyRing, Keys
from pointsman.serve.logs import log_request
from pointsman.serve.messages_errors import MessagesErrors, reshape_error
from pointsman.serve.metrics import Metrics
from pointsman.serve.openapi.document import Document
from pointsman.serve.policy.endpoint import PolicyEndpoint
from pointsman.serve.rate_limits import RateLimits
from pointsman.serve.refusals import Refusals
from pointsman.serve.reload import Reloader
from pointsman.serve.surfaces import CHAT, COUNT_TOKENS, EMBEDDINGS, MESSAGES, RESPONSES

__all__ = ["create_app"]

_PATHS = (
    "POST /v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings, /v1/feedback and "
    "/v1/route, "
    "GET /v1/models, /health, /ready, /metrics and /openapi.json"
)
_MESSAGES_PATHS = (f"/v1{MESSAGES.path}", f"/v1{COUNT_TOKENS.path}")
_SURFACES = (CHAT, RESPONSES, EMBEDDINGS, MESSAGES, COUNT_TOKENS)
_KEYED_PATHS = (*(f"/v1{surface.path}" for surface in _SURFACES), "/v1/route", "/v1/models", "/v1/feedback")
_HEADERS = ("model", "router", "win-rate", "threshold", "policy", "reason", "chain", "request-id")


def create_app(
    config: Config | None = None, *, engine: Engine | None = None, reloader: Reloader | None = None
) -> Application:
    """The ASGI application; its engine starts and closes with it.

    Args:
        config: what to serve; the bundled router before the stand-ins if None.
        engine: an engine that was made already, instead of one made from `config`.
        reloader: has further engines take over; this one stays if None.

    Raises:
        ConfigError: a model or router cannot be resolved.
        CheckpointError, EmbedderMismatchError: a router's checkpoint is damaged or does not fit.
    """
    engine = engine or Engine(config or make_config())
    metrics = Metrics(engine.services, parts=engine.memory.registry)
    guard = _guard(engine, metrics)
    if reloader is not None:
        reloader.observe(metrics.reloaded)
    return Application(engine, lambda current: _routes(current, metrics, guard), reloader)


def _routes(engine: Engine, metrics: Metrics, ask_for_key: Callable[[ASGIApp], ASGIApp] | None) -> ASGIApp:
    """What answers with one engine.

    Args:
        ask_for_key: before an endpoint; None where no keys are asked for, which only a restart changes.
    """
    server, hosts = engine.config.server, engine.config.dashboard.hosts
    guard = ask_for_key or partial(ListedPagesOnly, origins=server.cors_origins, hosts=hosts)
    metrics.show(engine.services, digest=engine.digest)
    observers = (*engine.memory.observers, *((log_request,) if server.log_requests else ()))
    models = guard(Models(engine))
    completions = {
        f"/v1{surface.path}": guard(Completions(engine, surface, limits=server, metrics=metrics, observers=observers))
        for surface in _SURFACES
    }
    for path in _MESSAGES_PATHS:
        completions[path] = MessagesErrors(completions[path])

    def own(endpoint: ASGIApp) -> ASGIApp:
        return OwnPagesOnly(endpoint, hosts=hosts) if ask_for_key is None else ask_for_key(endpoint)

    routes: list[BaseRoute] = [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in completions.items()),
        Route("/v1/route", guard(RouteOnly(engine, limits=server)), methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{name:path}", models, methods=["GET"]),
        Route("/health", Health(), methods=["GET"]),
        Route("/ready", Ready(engine), methods=["GET"]),
        Route("/metrics", MetricsText(metrics), methods=["GET"]),
        Route("/v1/policy", own(PolicyEndpoint(engine, limits=server)), methods=["GET", "POST"]),
        Route("/v1/feedback", guard(FeedbackEndpoint(engine, limits=server)), methods=["POST"]),
        Route("/v1/drift", guard(DriftStatus(engine.memory.drift)), methods=["GET"]),
        Route("/v1/drift/reset", own(DriftReset(engine.memory.drift, limits=server)), methods=["POST"]),
        *dashboard_routes(engine, own, keys=ask_for_key is not None),
    ]
    document = Document(routes, asks_for_keys=ask_for_key is not None)
    routes.append(Route("/openapi.json", document, methods=["GET"]))
    app = FastAPI(title="Pointsman", routes=routes, redirect_slashes=False, openapi_url=None)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_own_error)
    served: ASGIApp = Dispatch(completions, app)
    if server.cors_origins:
        served = CORSMiddleware(
            served,
            allow_origins=list(server.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[f"x-pointsman-{name}" for name in _HEADERS],
        )
    return served if engine.memory.tracing is None else engine.memory.tracing.app(served)


def _guard(engine: Engine, metrics: Metrics) -> Callable[[ASGIApp], ASGIApp] | None:
    """What asks for a key before an endpoint; None where no keys are configured."""
    keys_file = engine.config.server.keys_file
    keys: Keys | None = KeyRing(keys_file) if keys_file is not None else engine.memory.keys
    if keys is None:
        return None
    refused = Refusals(metrics, paths=_KEYED_PATHS, log=engine.config.server.log_requests)
    rates = RateLimits()
    return lambda app: RequireKey(app, keys, rates=rates, refused=refused)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    message = f"{request.method} {request.url.path}: {phrase}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        message += f"; there are {_PATHS}"
    if allowed := (error.headers or {}).get("Allow"):
        message += f"; wanted {allowed}"
    body = error_body(message, "invalid_request_error", code=phrase.lower().replace(" ", "_"))
    if request.url.path in _MESSAGES_PATHS:
        body = reshape_error(error.status_code, body)
    return Response(body, error.status_code, dict(error.headers or {}), "application/json")


async def _answer_own_error(request: Request, error: Exception) -> Response:
    body = error_body("Pointsman failed to answer this; its log says why", "server_error", code="internal_error")
    return Response(body, 500, media_type="application/json")
