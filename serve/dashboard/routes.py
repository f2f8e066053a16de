"""The dashboard's paths."""

import os
from collections.abc import Callable

import orjson
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Scope

from pointsman.serve.access import request_key, require_admin
from pointsman.serve.dashboard.api import Answers, Events, Query
from pointsman.serve.dashboard.decisions import Decisions
from pointsman.serve.dashboard.facts import facts_about, facts_now
from pointsman.serve.dashboard.live import LiveHub
from pointsman.serve.dashboard.origin import OwnPagesOnly
from pointsman.serve.dashboard.page import Files, Page
from pointsman.serve.dashboard.sources import Sources
from pointsman.serve.engine import Engine

__all__ = ["dashboard_routes", "own_pages_only"]


def own_pages_only(engine: Engine, endpoint: ASGIApp) -> ASGIApp:
    """`endpoint`, kept from the pages of other sites: where keys are asked for, those pages have none."""
    config = engine.config
    return endpoint if config.server.asks_for_keys else OwnPagesOnly(endpoint, hosts=config.dashboard.hosts)


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
    sources = Sources(engine.routers, config.reports, engine.memory.store)
    decisions = Decisions(hub, engine.memory.store)
    about = facts_about(engine) | {"keys": keys, "store": engine.memory.store is not None}
    about["workers"] = bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
    hub.show(lambda: facts_now(engine))

    async def read_about(scope: Scope, query: Query) -> bytes:
        key = request_key(scope)
        admin = key is None or key.admin
        cards = [card for card in sources.cards() if admin or card["kind"] != "traffic"]
        return orjson.dumps({**about, "sources": cards, "admin": admin})

    async def read_source(scope: Scope, query: Query) -> bytes:
        wanted = scope["path_params"]["id"]
        if wanted.startswith("traffic/"):
            require_admin(scope)
        return await sources.read(wanted)

    async def read_decisions(scope: Scope, query: Query) -> bytes:
        return await decisions.read(query)

    def own(endpoint: ASGIApp) -> ASGIApp:
        return own_pages_only(engine, guard(endpoint))

    return [
        Route("/", Page(), methods=["GET"]),
        Route("/dashboard/{version}/{path:path}", Files(), methods=["GET"]),
        Route("/api/about", own(Answers(read_about)), methods=["GET"]),
        Route("/api/sources/{id:path}", own(Answers(read_source)), methods=["GET"]),
        Route("/api/events", own(Events(hub)), methods=["GET"]),
        Route("/api/decisions", own(Answers(read_decisions, admin=True)), methods=["GET"]),
    ]
