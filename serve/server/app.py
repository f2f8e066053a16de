"""The HTTP server as an ASGI application."""

from collections.abc import Callable, Sequence
from functools import partial

from starlette.types import ASGIApp

from pointsman.serve.auth.keys import KeyRing, Keys
from pointsman.serve.auth.rate_limits import RateLimits
from pointsman.serve.auth.require_key import RequireKey
from pointsman.serve.auth.same_origin import KnownHostsOnly, ListedPagesOnly, OwnPagesOnly
from pointsman.serve.config import Config
from pointsman.serve.config.load import make_config
from pointsman.serve.dashboard.about import facts_now
from pointsman.serve.engine.engine import Engine
from pointsman.serve.observers.prometheus import Metrics
from pointsman.serve.observers.refusals import Refusals
from pointsman.serve.observers.request_log import log_request
from pointsman.serve.protocols.anthropic_errors import MessagesErrors
from pointsman.serve.protocols.surfaces import CHAT, COMPACT, COUNT_TOKENS, EMBEDDINGS, MESSAGES, RESPONSES
from pointsman.serve.request.record import Observer
from pointsman.serve.request.together import Together
from pointsman.serve.server.endpoints.completions import Completions
from pointsman.serve.server.endpoints.health import Health, MetricsText, Ready
from pointsman.serve.server.fast_path import Dispatch
from pointsman.serve.server.hot_swap import Application, Companion
from pointsman.serve.server.reload import Reloader

__all__ = ["create_app"]

_SURFACES = (CHAT, RESPONSES, COMPACT, EMBEDDINGS, MESSAGES, COUNT_TOKENS)
_ANTHROPIC = (MESSAGES, COUNT_TOKENS)
_KEYED_PATHS = (*(f"/v1{surface.path}" for surface in _SURFACES), "/v1/route", "/v1/models", "/v1/feedback")
_HEADERS = ("model", "router", "win-rate", "threshold", "policy", "reason", "chain", "request-id")


def create_app(
    config: Config | None = None,
    *,
    engine: Engine | None = None,
    reloader: Reloader | None = None,
    companions: Sequence[Companion] = (),
) -> Application:
    """The ASGI application; its engine starts and closes with it.

    Args:
        config: what to serve; the bundled router and the stand-ins if None.
        engine: an existing engine, instead of one made from `config`.
        reloader: replaces the engine later; never replaced if None.
        companions: run alongside, from before the first request until after the last.

    Raises:
        ConfigError: a model or router cannot be resolved.
        CheckpointError, EmbedderMismatchError: a router's checkpoint is damaged or does not fit.
    """
    engine = engine or Engine(config or make_config())
    metrics = Metrics(engine.services, parts=engine.state.registry)
    together = Together(engine.state.in_step)
    guard = _guard(engine, metrics, together)
    if reloader is not None:
        reloader.observe(metrics.reloaded)
    every = (together, *((reloader,) if reloader is not None else ()), *companions)
    return Application(engine, lambda current: _routes(current, metrics, together, guard), *every)


def _routes(
    engine: Engine, metrics: Metrics, together: Together, ask_for_key: Callable[[ASGIApp], ASGIApp] | None
) -> ASGIApp:
    """The routes of one engine.

    Args:
        together: passes requests to the observers that can wait.
        ask_for_key: wraps an endpoint; None if no keys are required, which only a restart changes.
    """
    server = engine.config.server
    hosts = (*engine.config.dashboard.hosts, server.host)
    guard = ask_for_key or partial(ListedPagesOnly, origins=server.cors_origins, hosts=hosts)
    metrics.reconfigure(engine.services, digest=engine.digest)
    waiting: list[Observer] = [metrics, log_request] if server.log_requests else [metrics]
    if (live := engine.state.live) is not None:
        live.reconfigure(partial(facts_now, engine))
        waiting.append(live)
    together.flush()
    together.observers = tuple(waiting)
    at_once: list[Observer] = [observe for observe in engine.state.observers if observe is not live]
    endpoints: dict[tuple[str, str], ASGIApp] = {
        ("GET", "/health"): Health(),
        ("GET", "/ready"): Ready(engine),
        ("GET", "/metrics"): MetricsText(metrics, together),
    }
    for surface in _SURFACES:
        answer = guard(Completions(engine, surface, limits=server, metrics=metrics, observers=(*at_once, together)))
        endpoints["POST", f"/v1{surface.path}"] = MessagesErrors(answer) if surface in _ANTHROPIC else answer

    def make_rest() -> ASGIApp:
        from pointsman.serve.server.fastapi_app import make_framework_app

        own = ask_for_key or partial(OwnPagesOnly, hosts=hosts)
        return make_framework_app(engine, endpoints, guard=guard, own=own, asks_for_keys=ask_for_key is not None)

    served: ASGIApp = Dispatch(endpoints, make_rest, before=together.flush)
    if ask_for_key is None:
        served = KnownHostsOnly(served, hosts=hosts)
    if server.cors_origins:
        from starlette.middleware.cors import CORSMiddleware

        served = CORSMiddleware(
            served,
            allow_origins=list(server.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[f"x-pointsman-{name}" for name in _HEADERS],
        )
    return served if engine.state.tracing is None else engine.state.tracing.app(served)


def _guard(engine: Engine, metrics: Metrics, together: Together) -> Callable[[ASGIApp], ASGIApp] | None:
    """Wraps endpoints so that they require a key; None if no keys are configured."""
    keys_file = engine.config.server.keys_file
    keys: Keys | None = KeyRing(keys_file) if keys_file is not None else engine.state.keys
    if keys is None:
        return None
    refused = Refusals(metrics, together, paths=_KEYED_PATHS, log=engine.config.server.log_requests)
    rates = RateLimits()
    return lambda app: RequireKey(app, keys, rates=rates, refused=refused)
