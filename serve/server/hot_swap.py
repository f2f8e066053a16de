"""The ASGI application around the engines: each request is served by the engine that is current when it arrives."""

import asyncio
import gc
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.body_room import BodyRoom
from pointsman.serve.protocols.token_count import load_in_background

__all__ = ["Application", "Companion"]

_LOG = logging.getLogger(__name__)
_COLLECT_AFTER_S = 0.5


class Companion(Protocol):
    """Runs alongside an application, from before its first request until after its last."""

    async def start(self, application: "Application") -> None: ...

    async def close(self) -> None: ...


class _Serving:
    """One engine with its routes, and the number of requests that it is serving."""

    def __init__(self, engine: Engine, app: ASGIApp) -> None:
        self.engine = engine
        self.app = app
        self.n_requests = 0
        self.retired: asyncio.Event | None = None

    async def finish(self) -> None:
        """Closes the engine after the last request that it is serving."""
        self.retired = asyncio.Event()
        try:
            if self.n_requests:
                await self.retired.wait()
        finally:
            await self.engine.close()


class Application:
    """Passes requests to the current engine, and replaces it without losing any."""

    def __init__(self, engine: Engine, routes: Callable[[Engine], ASGIApp], *companions: Companion) -> None:
        """Serves nothing before its lifespan has started.

        Args:
            routes: makes the application that answers with one engine.
            companions: started in order, and closed in reverse order, with this.
        """
        self._routes = routes
        self._companions = companions
        self._current = _Serving(engine, routes(engine))
        self._room = BodyRoom(engine.config.server.max_total_body_bytes)
        self._finishing: set[asyncio.Task[None]] = set()

    @property
    def engine(self) -> Engine:
        """The engine that serves the next request."""
        return self._current.engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live_by(receive, send)
            return
        serving, held = self._current, self._room.enter(scope)
        serving.n_requests += 1
        try:
            await serving.app(scope, receive, send)
        finally:
            held.release()
            serving.n_requests -= 1
            if serving.retired is not None and not serving.n_requests:
                serving.retired.set()

    async def replace(self, engine: Engine) -> None:
        """Makes `engine` the current one; the previous one closes when its requests are done.

        Raises:
            Exception: `engine` could not be started; the previous one stays.
        """
        await engine.start()
        try:
            successor = _Serving(engine, self._routes(engine))
        except BaseException:
            await engine.close()
            raise
        before, self._current = self._current, successor
        self._room.max_bytes = engine.config.server.max_total_body_bytes
        task = asyncio.get_running_loop().create_task(before.finish())
        self._finishing.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._finishing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _LOG.error("a replaced engine did not close: %s", error)
        # Its parts refer to each other: without a collection their memory and their mapped files would stay.
        asyncio.get_running_loop().call_later(_COLLECT_AFTER_S, gc.collect)

    async def _live_by(self, receive: Receive, send: Send) -> None:
        """Starts and closes by ASGI's lifespan protocol."""
        stage = "startup"
        await receive()
        try:
            async with self._live():
                await send({"type": "lifespan.startup.complete"})
                stage = "shutdown"
                await receive()
        except BaseException:
            await send({"type": f"lifespan.{stage}.failed", "message": traceback.format_exc()})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:
            memory = self.engine.state
            await memory.start()
            closing.push_async_callback(memory.close)
            await self.engine.start()
            closing.push_async_callback(self._close_engines)
            for companion in self._companions:
                await companion.start(self)
                closing.push_async_callback(companion.close)
            load_in_background()
            yield

    async def _close_engines(self) -> None:
        for task in self._finishing:
            task.cancel()
        await asyncio.gather(*self._finishing, return_exceptions=True)
        await self.engine.close()
