"""Reloads the configuration and its checkpoints: on SIGHUP, and when one of their files has changed.

The new configuration is loaded beside the old one and replaces it when ready. An invalid one is rejected, and the old
one stays in use.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pointsman.core.errors import ConfigError, PointsmanError
from pointsman.serve.config import Config
from pointsman.serve.config.digest import checkpoint_files, config_digest
from pointsman.serve.engine.engine import Engine
from pointsman.serve.server.hot_swap import Application

__all__ = ["Reloader", "Source"]

_LOG = logging.getLogger(__name__)
_LOOK_S = 1.0
_SETTLE_S = 0.2  # a file that is being written is not read before it rests
_SETTLE_TIMES = 10
_FIXED = (
    "server.host",
    "server.port",
    "server.keys_file",
    "server.keys",
    "server.log",
    "server.drain_timeout_s",
    "server.header_timeout_s",
    "server.max_header_bytes",
    "server.stall_timeout_s",
    "server.watch",
    "store",
    "drift",
    "dashboard.watchers",
    "telemetry",
)
_PARTS = ("dashboard.enabled", "shadow", "autopilot", "sessions")  # a reload can turn them off, but not on
_FIXED_WHILE_ON = ("shadow.concurrency", "shadow.queue", "autopilot.concurrency", "autopilot.queue")
_Stamps: TypeAlias = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Makes the engines of a server.

    Attributes:
        read: reads the current configuration; raises `ConfigError`.
        build: makes an engine with it, which replaces another.
        path: the configuration file, or None.
    """

    read: Callable[[], Config]
    build: Callable[[Config, Engine], Engine]
    path: Path | None


class Reloader:
    """Replaces the engine when something has changed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._asked = asyncio.Event()
        self._observers: list[Callable[[str], None]] = []
        self._task: asyncio.Task[None] | None = None

    def observe(self, observer: Callable[[str], None]) -> None:
        """Calls `observer` with the result of every reload: "accepted" or "refused"."""
        self._observers.append(observer)

    def ask(self) -> None:
        """Requests a reload, whether or not anything has changed."""
        self._asked.set()

    async def start(self, application: Application) -> None:
        """Starts watching; in the main thread SIGHUP requests reloads from now on."""
        loop = asyncio.get_running_loop()
        with suppress(ValueError, RuntimeError):  # another thread than the main one
            loop.add_signal_handler(signal.SIGHUP, self.ask)
        self._task = loop.create_task(self._run(application))

    async def close(self) -> None:
        """Stops watching; abandons a reload in progress."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, application: Application) -> None:
        first = application.engine.config
        stamps: _Stamps | None = None  # of files that may have changed while they were loaded
        while True:
            with suppress(TimeoutError):
                pause_s = _LOOK_S if first.server.watch else None
                await asyncio.wait_for(self._asked.wait(), 0.0 if stamps is None else pause_s)
            asked = self._asked.is_set()
            self._asked.clear()
            now = await asyncio.to_thread(self._stamps, application.engine.config)
            if now == stamps and not asked:
                continue
            stamps = await self._settled(application.engine.config, now)
            if (asked or await asyncio.to_thread(self._differs, application.engine)) and await self._reload(
                application, first
            ):
                stamps = None

    async def _settled(self, config: Config, now: _Stamps) -> _Stamps:
        """Waits until nothing changes any more, but not forever: some volumes change all the time."""
        for _ in range(_SETTLE_TIMES):
            before = now
            await asyncio.sleep(_SETTLE_S)
            now = await asyncio.to_thread(self._stamps, config)
            if now == before:
                break
        return now

    async def _reload(self, application: Application, first: Config) -> bool:
        try:
            config = await asyncio.to_thread(self._source.read)
            if not config.routed and application.engine.config.routed:
                raise ConfigError(
                    "the configuration no longer names models, and the stand-ins can replace them only at a restart"
                )
            engine = await asyncio.to_thread(self._source.build, config, application.engine)
            await application.replace(engine)
        except Exception as error:  # noqa: BLE001  (whatever is wrong with what is new, what serves goes on)
            known = isinstance(error, (PointsmanError, OSError, ValueError))
            _LOG.error("reload rejected, the old configuration stays in use: %s", error, exc_info=not known)
            self._tell("refused")
            return False
        _LOG.info("reloaded: configuration %s is active", engine.digest)
        for name in _changed(first, config):
            _LOG.warning("%s has changed: restart the server to apply it", name)
        self._tell("accepted")
        return True

    def _tell(self, result: str) -> None:
        for observe in self._observers:
            observe(result)

    def _differs(self, engine: Engine) -> bool:
        try:
            return config_digest(self._source.read()) != engine.digest
        except (PointsmanError, OSError, ValueError):
            return True  # which is what the reload will say

    def _stamps(self, config: Config) -> _Stamps:
        paths = (*((self._source.path,) if self._source.path else ()), *checkpoint_files(config))
        return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _changed(before: Config, after: Config) -> Iterator[str]:
    """The settings that a reload cannot change and that differ."""
    for name in _FIXED:
        if _setting(before, name) != _setting(after, name):
            yield name
    for name in _PARTS:
        if _setting(after, name) and not _setting(before, name):
            yield name
    for name in _FIXED_WHILE_ON:
        if None not in (was := _setting(before, name), now := _setting(after, name)) and now != was:
            yield name


def _setting(config: object, name: str) -> object:
    for part in name.split("."):
        config = getattr(config, part, None)
    return config
