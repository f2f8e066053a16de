"""The FastAPI application: all paths except completions, health and metrics."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from pointsman.serve.dashboard.routes import dashboard_routes
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.errors import error_body
from pointsman.serve.protocols.anthropic_errors import reshape_error
from pointsman.serve.protocols.surfaces import COUNT_TOKENS, MESSAGES
from pointsman.serve.server.endpoints.autopilot import AutopilotEndpoint
from pointsman.serve.server.endpoints.autopilot_labels import AutopilotLabels
from pointsman.serve.server.endpoints.drift import DriftReset, DriftStatus
from pointsman.serve.server.endpoints.feedback import FeedbackEndpoint
from pointsman.serve.server.endpoints.models import Models
from pointsman.serve.server.endpoints.policy import PolicyEndpoint
from pointsman.serve.server.endpoints.route import RouteOnly
from pointsman.serve.server.openapi.document import Document

__all__ = ["make_framework_app"]

_PATHS = (
    "POST /v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings, /v1/feedback and /v1/route, "
    "GET /v1/models, /health, /ready, /metrics and /openapi.json"
)
_MESSAGES_PATHS = (f"/v1{MESSAGES.path}", f"/v1{COUNT_TOKENS.path}")


def make_framework_app(
    engine: Engine,
    endpoints: Mapping[tuple[str, str], ASGIApp],
    *,
    guard: Callable[[ASGIApp], ASGIApp],
    own: Callable[[ASGIApp], ASGIApp],
    asks_for_keys: bool,
) -> ASGIApp:
    """The application of all paths.

    Args:
        endpoints: by method and path, those that need no framework.
        guard: wraps endpoints for everyone who may request completions.
        own: wraps endpoints that show or change the server's own data.
    """
    server, drift = engine.config.server, engine.state.drift
    models = guard(Models(engine))
    routes: list[BaseRoute] = [
        *(Route(path, endpoint, methods=[method]) for (method, path), endpoint in endpoints.items()),
        Route("/v1/route", guard(RouteOnly(engine, limits=server)), methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{name:path}", models, methods=["GET"]),
        Route("/v1/policy", own(PolicyEndpoint(engine, limits=server)), methods=["GET", "POST"]),
        Route("/v1/feedback", guard(FeedbackEndpoint(engine, limits=server)), methods=["POST"]),
        Route("/v1/drift", guard(DriftStatus(drift)), methods=["GET"]),
        Route("/v1/drift/reset", own(DriftReset(drift, limits=server)), methods=["POST"]),
        Route("/v1/autopilot", own(AutopilotEndpoint(engine.state.autopilot, limits=server)), methods=["GET", "POST"]),
        Route("/v1/autopilot/labels", own(AutopilotLabels(engine.state.store, limits=server)), methods=["GET", "POST"]),
        *dashboard_routes(engine, own, keys=asks_for_keys),
    ]
    document = Document(routes, asks_for_keys=asks_for_keys)
    routes.append(Route("/openapi.json", document, methods=["GET"]))
    app = FastAPI(title="Pointsman", routes=routes, redirect_slashes=False, openapi_url=None)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_own_error)
    return app


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    message = f"{request.method} {request.url.path}: {phrase}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        message += f"; the paths are {_PATHS}"
    if allowed := (error.headers or {}).get("Allow"):
        message += f"; wanted {allowed}"
    body = error_body(message, "invalid_request_error", code=phrase.lower().replace(" ", "_"))
    if request.url.path in _MESSAGES_PATHS:
        body = reshape_error(error.status_code, body)
    return Response(body, error.status_code, dict(error.headers or {}), "application/json")


async def _answer_own_error(request: Request, error: Exception) -> Response:
    body = error_body("Pointsman failed to answer this; its log says why", "server_error", code="internal_error")
    return Response(body, 500, media_type="application/json")
