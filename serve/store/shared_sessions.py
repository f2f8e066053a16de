"""Models of conversations that other processes could not tell from the request: written once, read when needed."""

import asyncio
import logging
import time
from contextlib import suppress

from pointsman.core.errors import StoreError
from pointsman.serve.store.store import Store

__all__ = ["SharedSessions"]

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.05
_PATIENCE_S = 0.25
_MOST = 10_000
_CLEAN_S = 600.0


class SharedSessions:
    """Conversations whose model is not the one that their first turn tells: after an upgrade, for example.

    A component. While the store is away conversations are as if there were none, and the newest are kept to be written.
    """

    def __init__(self, store: Store, *, ttl_s: float) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._waiting: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._cleaned_at = time.monotonic()

    async def find(self, session: str) -> str | None:
        """The model of a conversation; None if it is not stored, or the store does not answer at once."""
        if session in self._waiting:
            return self._waiting[session]
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._store.session(session, since=time.time() - self._ttl_s)
        except (StoreError, TimeoutError) as error:
            _LOG.debug("a conversation's model could not be read: %s", error)
            return None

    def put(self, session: str, model: str, *, is_told: bool = False) -> None:
        """Starts writing the model of a conversation at once, before an answer that a next turn could follow.

        Args:
            is_told: others can tell it from the request: then it needs no row.
        """
        if is_told:
            return
        self._waiting[session] = model
        self._changed.set()
        while len(self._waiting) > _MOST:
            self._waiting.pop(next(iter(self._waiting)))

    async def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.get_running_loop().create_task(self._keep_writing())

    async def close(self) -> None:
        """Writes what is waiting."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await self._write()

    async def _keep_writing(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await self._changed.wait()
            self._changed.clear()
            await self._write()

    async def _write(self) -> None:
        clean = time.monotonic() - self._cleaned_at > _CLEAN_S
        if not self._waiting and not clean:
            return
        writing, self._waiting = self._waiting, {}
        try:
            await self._store.put_sessions(writing, delete_before=time.time() - self._ttl_s if clean else None)
            self._cleaned_at = time.monotonic() if clean else self._cleaned_at
        except StoreError as error:
            _LOG.debug("conversations could not be shared; retrying: %s", error)
            self._waiting = {**writing, **self._waiting}
