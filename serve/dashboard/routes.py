"""The dashboard's paths."""

import os
from collections.abc import Callable

import orjson
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Scope

from pointsman.serve.auth.require_key import request_key, require_admin
from pointsman.serve.config import RouterConfig
from pointsman.serve.dashboard.about import facts_about, typical_prices
from pointsman.serve.dashboard.api import Answers, Events, Query
from pointsman.serve.dashboard.decisions import Decisions
from pointsman.serve.dashboard.overview import Overview
from pointsman.serve.dashboard.page import Files, Page
from pointsman.serve.dashboard.sources import Sources
from pointsman.serve.engine.engine import Engine
from pointsman.serve.observers.live import LiveHub

__all__ = ["dashboard_routes"]


def dashboard_routes(engine: Engine, own: Callable[[ASGIApp], ASGIApp], *, keys: bool) -> list[BaseRoute]:
    """What answers below `/`, `/dashboard` and `/api`; nothing where the configuration has no dashboard.

    Args:
        own: keeps an endpoint for those who have a key, and from the pages of other sites.
        keys: whether keys are asked for.
    """
    hub: LiveHub | None = engine.state.live
    config = engine.config.dashboard
    if hub is None or not config.enabled:
        return []
    bundled = next((name for name, router in engine.config.routers.items() if _is_bundled(name, router)), None)
    store = engine.state.store.for_searches() if engine.state.store is not None else None
    sources = Sources(
        engine.routers,
        config.reports,
        store,
        bundled=bundled is not None,
        bills=engine.bills,
        candidates=engine.candidates,
    )
    decisions = Decisions(hub, store)
    overview = Overview(engine, hub, bundled=bundled == next(iter(engine.routers)))
    about = facts_about(engine) | {"keys": keys, "store": engine.state.store is not None, "bundled": bundled}
    about["workers"] = bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))

    async def read_about(scope: Scope, query: Query) -> bytes:
        key = request_key(scope)
        admin = key is None or key.admin
        cards = [card for card in sources.cards() if admin or card["kind"] != "traffic"]
        return orjson.dumps({**about, "prices": typical_prices(engine), "sources": cards, "admin": admin})

    async def read_source(scope: Scope, query: Query) -> bytes:
        wanted = scope["path_params"]["id"]
        if wanted.startswith("traffic/"):
            require_admin(scope)
        return await sources.read(wanted)

    async def read_decisions(scope: Scope, query: Query) -> bytes:
        return await decisions.read(query)

    async def read_overview(scope: Scope, query: Query) -> bytes:
        return orjson.dumps(await overview.read(query))

    return [
        Route("/", Page(), methods=["GET"]),
        Route("/dashboard/{version}/{path:path}", Files(), methods=["GET"]),
        Route("/api/about", own(Answers(read_about)), methods=["GET"]),
        Route("/api/sources/{id:path}", own(Answers(read_source)), methods=["GET"]),
        Route("/api/overview", own(Answers(read_overview, admin=True)), methods=["GET"]),
        Route("/api/events", own(Events(hub)), methods=["GET"]),
        Route("/api/decisions", own(Answers(read_decisions, admin=True)), methods=["GET"]),
    ]


def _is_bundled(name: str, router: RouterConfig) -> bool:
    """Whether it is the router whose benchmarks come with the package."""
    return router.checkpoint is None and (router.kind or name) == "mf"
