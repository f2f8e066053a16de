"""The dashboard's paths."""

import os
from collections.abc import Callable
from typing import Any

import orjson
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Scope

from pointsman.serve.access import request_key
from pointsman.serve.dashboard.api import Answers, Events, Query
from pointsman.serve.dashboard.decisions import Decisions
from pointsman.serve.dashboard.live import LiveHub
from pointsman.serve.dashboard.origin import OwnPagesOnly
from pointsman.serve.dashboard.page import Files, Page
from pointsman.serve.dashboard.sources import Sources
from pointsman.serve.engine import Engine

__all__ = ["dashboard_routes"]


def dashboard_routes(engine: Engine, guard: Callable[[ASGIApp], ASGIApp]) -> list[BaseRoute]:
    """What answers below `/`, `/dashboard` and `/api`; nothing where the configuration has no dashboard.

    Args:
        guard: asks for a key before an endpoint, where keys are asked for.
    """
    hub: LiveHub | None = engine.memory.live
    config = engine.config.dashboard
    if hub is None or not config.enabled:
        return []
    keys = engine.config.server.asks_for_keys
    sources = Sources(engine.routers, config.reports)
    decisions = Decisions(hub, engine.memory.store)
    about = {"pair": [engine.pair.strong, engine.pair.weak], "routers": _routers(engine), "models": [*engine.upstreams]}
    about |= {"workers": bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR")), "store": engine.memory.store is not None}
    hub.show(lambda: _facts(engine))

    async def read_about(scope: Scope, query: Query) -> bytes:
        key = request_key(scope)
        admin = key is None or key.admin
        return orjson.dumps({**about, "sources": sources.cards(), "keys": keys, "admin": admin})

    async def read_source(scope: Scope, query: Query) -> bytes:
        return await sources.read(scope["path_params"]["id"])

    async def read_decisions(scope: Scope, query: Query) -> bytes:
        return await decisions.read(query)

    def own(endpoint: ASGIApp) -> ASGIApp:
        return OwnPagesOnly(guard(endpoint), hosts=config.hosts, any_host=keys)

    return [
        Route("/", Page(), methods=["GET"]),
        Route("/dashboard/{version}/{path:path}", Files(), methods=["GET"]),
        Route("/api/about", own(Answers(read_about)), methods=["GET"]),
        Route("/api/sources/{id:path}", own(Answers(read_source)), methods=["GET"]),
        Route("/api/events", own(Events(hub)), methods=["GET"]),
        Route("/api/decisions", own(Answers(read_decisions, admin=True)), methods=["GET"]),
    ]


def _routers(engine: Engine) -> list[dict[str, Any]]:
    return [{"name": name, "threshold": router.default_threshold} for name, router in engine.routers.items()]


def _facts(engine: Engine) -> dict[str, Any]:
    """What is not counted but looked up: the models' breakers."""
    return {"models": {name: not service.breaker.is_open for name, service in engine.services.items()}}
