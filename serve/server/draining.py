"""The server that ends without resetting anyone: who has connected by then is served."""

import asyncio
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

from uvicorn.server import Server

__all__ = ["DrainingServer"]

_SETTLE_S = 0.05  # for connections that the loop has accepted meanwhile


class DrainingServer(Server):
    """uvicorn's, which would close its port over connections that are established and not accepted yet."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if sockets:
            await self._accept_waiting(sockets[0])  # they are doors to one queue
        await super().shutdown(sockets)

    async def _accept_waiting(self, listener: socket.socket) -> None:
        """Takes over every connection that waits; other workers may do the same at this moment."""
        loop = asyncio.get_running_loop()
        protocol: Any = self.config.http_protocol_class
        make = partial(
            protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        listener.listen(0)  # from now on no more than one waits
        waiting = list(_accepted(listener))
        while True:
            for connection in waiting:
                await loop.connect_accepted_socket(make, connection)
            await asyncio.sleep(_SETTLE_S)
            if not (waiting := list(_accepted(listener))):
                return


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait at this moment."""
    listener.setblocking(False)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # BlockingIOError: none is left; or one that has gone, or too many files
            return
        connection.setblocking(False)
        yield connection
