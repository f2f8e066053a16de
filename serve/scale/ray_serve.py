"""The server on Ray Serve: as many replicas as the traffic needs, on any number of machines.

    serve run pointsman.serve.scale.ray_serve:build_app config=pointsman.yaml max_replicas=8

Each replica runs the application of `pointsman serve`. Replicas share state through the store. `build_controller`
makes the Python API a deployment whose handle other deployments call.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from pointsman.core.errors import ConfigError, MissingExtraError
from pointsman.serve.checkpoints.shared_arrays import SHARED_VARIABLE
from pointsman.serve.config import Config
from pointsman.serve.config.load import make_config, read_values

if TYPE_CHECKING:
    from pointsman.serve.server.hot_swap import Application

__all__ = ["ReplicaApp", "ReplicaController", "ScaleOptions", "build_app", "build_controller"]

_LOG = logging.getLogger(__name__)
_DRAIN_MARGIN_S = 5.0
_WIN_RATES_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """Arguments of the builders, all optional; on a command line as NAME=VALUE.

    Attributes:
        config: path of the configuration file, read when the application is built; replicas get its values.
        min_replicas, max_replicas: number of replicas.
        target_requests: open requests per replica that scaling aims at.
        max_requests: most open requests of a replica.
        num_cpus: cores of a replica.
        upscale_delay_s, downscale_delay_s: how long scaling must have a reason.
    """

    config: str | None = None
    min_replicas: int = 1
    max_replicas: int = 4
    target_requests: int = 64
    max_requests: int = 1000
    num_cpus: float = 1.0
    upscale_delay_s: float = 5.0
    downscale_delay_s: float = 120.0

    @classmethod
    def read(cls, args: Mapping[str, Any]) -> "ScaleOptions":
        """The options in a builder's arguments.

        Raises:
            ConfigError: one is unknown, or has the wrong type.
        """
        defaults: dict[str, Any] = {field.name: field.default for field in fields(cls)}
        types = {name: str if default is None else type(default) for name, default in defaults.items()}
        if unknown := sorted(set(args) - set(types)):
            raise ConfigError(f"unknown argument {unknown[0]!r}, wanted one of {', '.join(types)}")
        found: dict[str, Any] = {}
        for name, value in args.items():
            try:
                found[name] = types[name](value)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{name} is {value!r}, wanted a {types[name].__name__}") from error
        options = cls(**found)
        if not 0 < options.min_replicas <= options.max_replicas:
            counts = f"min_replicas is {options.min_replicas} and max_replicas {options.max_replicas}"
            raise ConfigError(f"{counts}, wanted at least 1 and no more than max_replicas")
        return options

    def values(self) -> dict[str, Any]:
        """The configuration's validated values.

        Raises:
            ConfigError: it is malformed, or replicas could not share its store.
        """
        values = read_values(self.config) if self.config else {}
        config = make_config(values, source=self.config or "configuration")
        url = config.store.url if config.store is not None else ""
        url = os.environ.get(url[4:], "") if url.startswith("env:") else url
        if url.startswith("sqlite") and self.max_replicas > 1:
            raise ConfigError(
                f"store.url is a SQLite file and max_replicas {self.max_replicas}: replicas on several machines cannot "
                "share a file; name a PostgreSQL database, or set max_replicas=1"
            )
        if not config.server.asks_for_keys:
            _LOG.warning(
                "no access keys are configured: everyone who can reach Ray Serve's proxies could spend your money"
            )
        return values


class ReplicaApp:
    """The ASGI application of a replica, made from the configuration's values when the replica starts."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._app: Application | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            self._app = await asyncio.to_thread(self._make)
        await self._app(scope, receive, send)

    def __getstate__(self) -> dict[str, Any]:
        return {"_values": self._values, "_app": None}

    def _make(self) -> "Application":
        from pointsman.serve.observers.request_log import set_up_logging
        from pointsman.serve.server.app import create_app

        config = _prepare(self._values)
        set_up_logging(config.server.log)
        return create_app(config)


class ReplicaController:
    """The Python API in a replica: the methods of a handle."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        from pointsman.serve.python_api.controller import Controller

        self._controller: Controller = Controller(config=_prepare(values))

    async def route(self, prompt: str, **options: Any) -> dict[str, Any]:
        """The decision on a prompt; see `Controller.route`."""
        decision = await asyncio.to_thread(self._controller.route, prompt, **options)
        return decision.to_dict()

    async def win_rates(self, prompts: Sequence[str], router: str | None = None) -> list[float]:
        """Win rates of many prompts; see `Controller.win_rates`."""
        found: list[float] = []
        for i in range(0, len(prompts), _WIN_RATES_AT_ONCE):
            part = prompts[i : i + _WIN_RATES_AT_ONCE]
            found += (await asyncio.to_thread(self._controller.win_rates, part, router)).tolist()
        return found

    async def completion(self, **parameters: Any) -> Any:
        """A chat completion as plain JSON types; see `Controller.acompletion`. It cannot be streamed.

        Raises:
            ValueError: `stream` is set.
        """
        if parameters.get("stream"):
            raise ValueError(
                "stream is set, wanted a whole answer: stream over HTTP from the application of `build_app`"
            )
        return dict(await self._controller.acompletion(**parameters))


def build_app(args: Mapping[str, Any]) -> Any:
    """The Ray Serve application of the HTTP server; see `ScaleOptions` for the arguments.

    Raises:
        ConfigError: an argument or the configuration is wrong, or replicas could not share its store.
        MissingExtraError: Ray Serve is not installed.
    """
    options = ScaleOptions.read(args)
    values = options.values()
    serve = _ray_serve()
    ingress = serve.ingress(ReplicaApp(values))(type("Pointsman", (), {}))
    return serve.deployment(name="Pointsman", **_settings(options, make_config(values)))(ingress).bind()


def build_controller(args: Mapping[str, Any]) -> Any:
    """The Python API as a deployment: bind it into another application, and call its handle.

    Raises:
        ConfigError, MissingExtraError: as for `build_app`.
    """
    options = ScaleOptions.read(args)
    values = options.values()
    serve = _ray_serve()
    settings = _settings(options, make_config(values))
    return serve.deployment(name="PointsmanController", **settings)(ReplicaController).bind(values)


def _prepare(values: Mapping[str, Any]) -> Config:
    """The configuration of this replica, whose checkpoints all replicas of a machine map from one copy."""
    folder = Path(tempfile.gettempdir(), f"pointsman-weights-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        os.environ.setdefault(SHARED_VARIABLE, str(folder))
    return make_config(values)


def _settings(options: ScaleOptions, config: Config) -> dict[str, Any]:
    """Of a deployment."""
    return {
        "autoscaling_config": {
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target_requests,
            "upscale_delay_s": options.upscale_delay_s,
            "downscale_delay_s": options.downscale_delay_s,
        },
        "max_ongoing_requests": options.max_requests,
        "graceful_shutdown_timeout_s": config.server.drain_timeout_s + _DRAIN_MARGIN_S,
        "health_check_period_s": 10.0,
        "health_check_timeout_s": 30.0,
        "ray_actor_options": {"num_cpus": options.num_cpus},
    }


def _ray_serve() -> Any:
    from pointsman.backends.ray.cluster import import_ray

    import_ray()
    try:
        return import_module("ray.serve")
    except ImportError as error:
        raise MissingExtraError("ray[serve]", "ray") from error
