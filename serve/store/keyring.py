"""The access keys in a store, cached by a running server."""

import asyncio
import logging

from pointsman.core.errors import StoreError
from pointsman.serve.auth.keys import AccessKey, match_key
from pointsman.serve.store.store import Store

__all__ = ["StoreKeyRing"]

_LOG = logging.getLogger(__name__)
_EVERY_S = 0.5


class StoreKeyRing:
    """Looks for changes in the background: new and revoked keys take effect within a second.

    While the store cannot be reached the keys are unchanged.
    """

    def __init__(self, store: Store) -> None:
        """Has no keys before `start`."""
        self._store = store
        self._keys: dict[str, AccessKey] = {}
        self._version = -1
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads the keys.

        Raises:
            StoreError: they cannot be read.
        """
        await self.refresh()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Stops looking for changes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def find(self, text: str) -> AccessKey | None:
        """The key matching `text`, or None. Takes the same time for every wrong secret."""
        return match_key(text, self._keys)

    async def refresh(self) -> None:
        """Reads the keys again if they have changed.

        Raises:
            StoreError: they cannot be read.
        """
        version = await self._store.keys_version()
        if version != self._version:
            self._keys, self._version = await self._store.keys(), version

    async def _follow(self) -> None:
        failed = False
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.refresh()
                failed = False
            except StoreError as error:
                if not failed:
                    _LOG.error("%s; the access keys are unchanged", error)
                failed = True
