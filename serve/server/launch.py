"""Turns the options of `pointsman serve` into running processes.

Worker processes build their own application from the same options, which they get in environment variables, including
the key, so that it appears in no argument list.
"""

import ctypes
import gc
import json
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from uvicorn.config import Config as UvicornConfig

from pointsman.core.errors import PointsmanError
from pointsman.serve.checkpoints.shared_arrays import SHARED_VARIABLE
from pointsman.serve.config import Config
from pointsman.serve.config.load import make_config, read_values
from pointsman.serve.config.secret import read_key
from pointsman.serve.engine.engine import Engine
from pointsman.serve.observers.request_log import set_up_logging
from pointsman.serve.request.worker_sessions import SESSIONS_VARIABLE
from pointsman.serve.server.app import create_app
from pointsman.serve.server.connection_limits import limit_heads
from pointsman.serve.server.draining import DrainingServer
from pointsman.serve.server.hot_swap import Application, Companion
from pointsman.serve.server.reload import Reloader, Source

__all__ = ["LaunchOptions", "build_engine", "hand_over_key", "run_server"]

_LOG = logging.getLogger(__name__)
_OPTIONS_VARIABLE = "POINTSMAN_SERVE_OPTIONS"
_KEY_VARIABLE = "POINTSMAN_SERVE_API_KEY"
_SUPERVISOR_VARIABLE = "POINTSMAN_SERVE_SUPERVISOR"
_PARENT_S = 0.5
_FACTORY = "pointsman.serve.server.launch:create_worker_app"
_COLLECTIONS = (50_000, 20, 50)  # a request makes a hundred objects, and hardly ever a cycle
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGE_BUFFER_BYTES = 4 * 1024 * 1024
_TURN_S = 0.0005  # after which a thread passes Python's lock on; the usual 5 ms add up where the loop needs it often
_DOORS = 16  # the loop accepts one connection per listener and turn: with one, a rush of them waits for seconds
_SETTINGS: dict[str, Any] = {
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "timeout_keep_alive": 75,  # longer than clients keep an idle connection: they must not write to a closing one
}


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """The command line's options; None leaves a value to the configuration file."""

    config: str | None = None
    routers: tuple[str, ...] | None = None
    strong: str | None = None
    weak: str | None = None
    base_url: str | None = None
    host: str | None = None
    port: int | None = None
    workers: int = 1
    log: str | None = None

    def read_config(self) -> Config:
        """The configuration file with these options replacing its values.

        Raises:
            ConfigError: it is malformed.
        """
        values = read_values(self.config) if self.config else {}
        named = {"host": self.host, "port": self.port, "log": self.log}
        flags = {name: value for name, value in named.items() if value is not None}
        if flags and isinstance(values.get("server", {}), dict):
            values = {**values, "server": {**values.get("server", {}), **flags}}
        source = f"config file {self.config}" if self.config else "command line"
        return make_config(values, routers=self.routers, strong=self.strong, weak=self.weak, source=source)


def hand_over_key(key: str | None) -> None:
    """Puts a key from the command line into the environment, for this process and its workers."""
    if key:
        os.environ[_KEY_VARIABLE] = read_key(key).value if key.startswith("env:") else key


def build_engine(options: LaunchOptions) -> Engine:
    """The engine for these options.

    Raises:
        ConfigError, CheckpointError, EmbedderMismatchError: something is malformed, missing, or does not fit.
    """
    return _build(options, options.read_config(), None)


def create_worker_app() -> Application:
    """The application of a worker process, which exits if it cannot be built."""
    gc.disable()
    threading.Thread(target=_end_with_supervisor, name="pointsman-supervisor", daemon=True).start()
    values = json.loads(os.environ[_OPTIONS_VARIABLE])
    routers = values.pop("routers")
    options = LaunchOptions(routers=tuple(routers) if routers else None, **values)
    try:
        engine = build_engine(options)
    except (PointsmanError, OSError, ValueError) as error:
        from pointsman.serve.server.supervisor import STARTUP_FAILURE

        set_up_logging(options.log or "auto")
        _LOG.error("this worker cannot start: %s", error)
        raise SystemExit(STARTUP_FAILURE) from error
    set_up_logging(engine.config.server.log)
    return _application(engine, options)


def _end_with_supervisor() -> None:
    """Stops this worker as SIGTERM would once its supervisor is gone; otherwise the port would stay taken.

    The supervisor may be gone before the worker has started.
    """
    supervisor = int(os.environ[_SUPERVISOR_VARIABLE])
    while os.getppid() == supervisor:
        time.sleep(_PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)


def run_server(
    config: Config,
    options: LaunchOptions,
    listener: socket.socket,
    engine: Engine | None,
    companions: Sequence[Companion] = (),
) -> None:
    """Serves on `listener` until SIGINT or SIGTERM.

    Args:
        engine: serves in this process; if None, worker processes make their own.
        companions: run alongside the application in this process; worker processes have none.
    """
    set_up_logging(config.server.log)
    server = config.server
    settings = {
        **_SETTINGS,
        "timeout_graceful_shutdown": math.ceil(server.drain_timeout_s),
        "http": limit_heads(server),
    }
    doors = [listener, *(listener.dup() for _ in range(_DOORS - 1))]
    if engine is not None:
        signal.signal(signal.SIGTERM, _end)
        application = _application(engine, options, companions)
        DrainingServer(UvicornConfig(application, **settings)).run(sockets=doors)
        return
    from pointsman.serve.server.supervisor import Supervisor

    gc.enable()
    gc.collect()  # the engine that was built to see whether it can be: its weights are nobody's here
    os.environ[_OPTIONS_VARIABLE] = json.dumps(asdict(options))
    os.environ[_SUPERVISOR_VARIABLE] = str(os.getpid())
    with tempfile.TemporaryDirectory(prefix="pointsman-") as folder:
        folders = {"PROMETHEUS_MULTIPROC_DIR": "metrics", SHARED_VARIABLE: "weights", SESSIONS_VARIABLE: "sessions"}
        for variable, name in folders.items():
            os.environ[variable] = str(Path(folder, name))
            Path(folder, name).mkdir()
        try:
            Supervisor(UvicornConfig(_FACTORY, factory=True, workers=options.workers, **settings), doors).run()
        finally:
            for variable in folders:  # or what this process does next looks for folders that are gone
                del os.environ[variable]


def _application(engine: Engine, options: LaunchOptions, companions: Sequence[Companion] = ()) -> Application:
    path = Path(options.config) if options.config else None
    sys.setswitchinterval(_TURN_S)
    _keep_large_buffers_apart()
    gc.freeze()  # what is loaded now mostly stays: no need to go through it, now or ever
    gc.set_threshold(*_COLLECTIONS)
    gc.enable()
    reloader = Reloader(Source(options.read_config, partial(_build, options), path))
    return create_app(engine=engine, reloader=reloader, companions=companions)


def _keep_large_buffers_apart() -> None:
    """Gives each large buffer its own memory mapping, so that it grows without a copy and is freed at once.

    glibc does so from the start, but no longer once it has seen a large buffer freed.
    """
    with suppress(OSError, AttributeError):  # another library than glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BUFFER_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BUFFER_BYTES)


def _build(options: LaunchOptions, config: Config, previous: Engine | None) -> Engine:
    if previous is not None:
        gc.unfreeze()  # some of it is going to be replaced
    key = read_key(f"env:{_KEY_VARIABLE}") if os.environ.get(_KEY_VARIABLE) else None
    return Engine(config, base_url=options.base_url, api_key=key, previous=previous)


def _end(_signal: int, _frame: object) -> None:
    """Turns the SIGTERM that the server raises again after draining into success."""
    raise SystemExit(0)
