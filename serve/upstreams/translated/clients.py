"""LiteLLM's HTTP clients: one set per event loop, shared by all models of a loop, including an older engine's."""

import asyncio
import inspect
import logging
from typing import Any

__all__ = ["SharedClients", "use_clients"]

_LOG = logging.getLogger(__name__)
_all_loops: dict[asyncio.AbstractEventLoop, "SharedClients"] = {}


class SharedClients:
    """The clients of one event loop; the last of their users closes them."""

    def __init__(self, litellm: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.n_users = 0
        self._litellm = litellm
        self._loop = loop

    def bind(self) -> None:
        """Makes the next stream use this loop's client: otherwise LiteLLM uses its first client on every loop."""
        vars(self._litellm).pop("module_level_aclient", None)

    async def release(self) -> None:
        """Closes and forgets the clients if no other model uses them.

        Clients left in LiteLLM's cache would be used by a later loop that happens to have the same id.
        """
        self.n_users -= 1
        if self.n_users:
            return
        del _all_loops[self._loop]
        cache = self._litellm.in_memory_llm_clients_cache
        clients, mark = [], cache.update_cache_key_with_event_loop("")
        for key in [key for key in list(cache.cache_dict) if key.endswith(mark)]:
            clients.append(cache.cache_dict[key])
            cache.delete_cache(key)
        if not _all_loops:
            clients.append(self._litellm.base_llm_aiohttp_handler)  # one for all loops
        for error in await asyncio.gather(*map(_close, clients), return_exceptions=True):
            if error is not None:
                _LOG.warning("a client of LiteLLM was not closed: %s", type(error).__name__)


def use_clients(litellm: Any) -> SharedClients:
    """The clients of the running loop, which stay open until each of their users has released them."""
    loop = asyncio.get_running_loop()
    clients = _all_loops.setdefault(loop, SharedClients(litellm, loop))
    clients.n_users += 1
    return clients


async def _close(client: Any) -> None:
    closing = client.close()
    if inspect.isawaitable(closing):
        await closing
