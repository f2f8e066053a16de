"""What a server remembers from one request to the next, and across reloads of its configuration."""

from collections.abc import Sequence
from typing import Protocol

from pointsman.serve.record import Observer

__all__ = ["Keeper", "Memory"]


class Keeper(Protocol):
    """Something that is kept: it is started before the first request and closed after the last."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class Memory:
    """The keepers of a process.

    Attributes:
        observers: shown the record of every request that has ended, in this order; they must return at once.
    """

    def __init__(self, keepers: Sequence[Keeper] = (), observers: Sequence[Observer] = ()) -> None:
        self._keepers = tuple(keepers)
        self.observers = tuple(observers)

    async def start(self) -> None:
        """Starts the keepers, in their order."""
        for keeper in self._keepers:
            await keeper.start()

    async def close(self) -> None:
        """Closes them, the last first."""
        for keeper in reversed(self._keepers):
            await keeper.close()
