"""A server that stops without resetting connections: clients that have connected by then are served."""

import asyncio
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

from uvicorn.server import Server

__all__ = ["DrainingServer"]

_SETTLE_S = 0.05  # for connections that the loop has accepted meanwhile


class DrainingServer(Server):
    """uvicorn's server, which alone would reset established connections that it has not accepted yet."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if sockets:
            await self._accept_waiting(sockets[0])  # they are doors to one queue
        await super().shutdown(sockets)

    async def _accept_waiting(self, listener: socket.socket) -> None:
        """Accepts every waiting connection; other workers may do the same at the same time."""
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
    """The connections waiting now."""
    listener.setblocking(False)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # BlockingIOError: none is left; or one that has gone, or too many files
            return
        connection.setblocking(False)
        yield connection
