"""Builds the document from the served routes and the types of their requests and answers."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import orjson
from pydantic import TypeAdapter
from starlette.routing import BaseRoute, Route, compile_path
from starlette.types import Receive, Scope, Send

from pointsman.serve.http.asgi import send_body
from pointsman.serve.server.openapi.answers import Error
from pointsman.serve.server.openapi.operations import OPERATIONS, UNDOCUMENTED, Operation

__all__ = ["Document"]

_REF = "#/components/schemas/{model}"
_UNKNOWN = Operation("Not described", Any)
_JSON, _EVENTS, _TEXT = "application/json", "text/event-stream", "text/plain"


class Document:
    """GET /openapi.json."""

    def __init__(self, routes: Iterable[BaseRoute], *, asks_for_keys: bool) -> None:
        self._routes = routes
        self._asks_for_keys = asks_for_keys
        self._body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._body:  # building it takes some hundredths of a second, which no start should pay
            self._body = orjson.dumps(openapi_document(self._routes, asks_for_keys=self._asks_for_keys))
        await send_body(send, 200, self._body, ((b"content-type", b"application/json"),))


def openapi_document(routes: Iterable[BaseRoute], *, asks_for_keys: bool) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the routes that are served.

    Args:
        asks_for_keys: whether a bearer key is required.
    """
    types = {key: OPERATIONS.get(key, _UNKNOWN) for key in _served(routes)}
    wanted = [Error, *(t for operation in types.values() for t in (operation.request, operation.answer) if t)]
    adapters = {repr(t): TypeAdapter(t) for t in wanted}
    schemas, definitions = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items()], ref_template=_REF
    )
    by_type = {name: schema for (name, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in types.items():
        paths.setdefault(path, {})[method.lower()] = _describe(path, operation, by_type, asks_for_keys)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Pointsman", "version": version("pointsman")},
        "paths": paths,
        "components": {"schemas": definitions.get("$defs", {})},
    }
    if asks_for_keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _served(routes: Iterable[BaseRoute]) -> list[tuple[str, str]]:
    """Method and path of every documented route, in order."""
    found = []
    for route in routes:
        if isinstance(route, Route) and not (route.path == "/" or route.path.startswith(UNDOCUMENTED)):
            path = compile_path(route.path)[1]
            found += [(method, path) for method in sorted((route.methods or set()) - {"HEAD"})]
    return list(dict.fromkeys(found))


def _describe(path: str, operation: Operation, schemas: dict[str, Any], asks_for_keys: bool) -> dict[str, Any]:
    answer = {_TEXT: {"schema": {"type": "string"}}}
    if operation.answer is not None:
        answer = {_JSON: {"schema": schemas[repr(operation.answer)]}}
    if operation.streams:
        answer[_EVENTS] = {}
    failure = {"description": "What was wrong", "content": {_JSON: {"schema": schemas[repr(Error)]}}}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {"200": {"description": operation.summary, "content": answer}, "4XX": failure, "5XX": failure},
    }
    if operation.unready:
        described["responses"]["503"] = {"description": "Not now", "content": answer}
    if operation.request is not None:
        content = {_JSON: {"schema": schemas[repr(operation.request)]}}
        described["requestBody"] = {"required": not operation.body_optional, "content": content}
    if names := _parameters(path):
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if asks_for_keys and not operation.public:
        described["security"] = [{"key": []}]
    return described


def _parameters(path: str) -> list[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:]]
