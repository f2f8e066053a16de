"""One ceiling for the bytes of all request bodies that a process holds, those still arriving included."""

import sys

from starlette.types import Scope

from pointsman.serve.http.errors import RequestError

__all__ = ["BodyRoom", "HeldBody", "held_body"]

_RETRY_AFTER_S = 2.0
_SCOPE_KEY = "pointsman.body"


class BodyRoom:
    """The room for bodies.

    Attributes:
        max_bytes: of all bodies together.
        held_bytes: of those that are held now.
    """

    __slots__ = ("held_bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0

    def enter(self, scope: Scope) -> "HeldBody":
        """What a request will hold, to be released when it has ended."""
        held = scope[_SCOPE_KEY] = HeldBody(self)
        return held


class HeldBody:
    """What one request holds."""

    __slots__ = ("_room", "n_bytes")

    def __init__(self, room: BodyRoom) -> None:
        self._room, self.n_bytes = room, 0

    def add(self, n_bytes: int) -> None:
        """Takes room for more.

        Raises:
            RequestError: 503, there is none.
        """
        room = self._room
        if room.held_bytes + n_bytes > room.max_bytes:
            message = (
                f"the server holds {room.held_bytes} bytes of requests, of {room.max_bytes} that all may take together "
                "(server.max_total_body_bytes): send this one again later"
            )
            raise RequestError(
                message, status=503, type="server_error", code="server_busy", retry_after_s=_RETRY_AFTER_S
            )
        room.held_bytes += n_bytes
        self.n_bytes += n_bytes

    def release(self) -> None:
        """Gives all of it back."""
        self._room.held_bytes -= self.n_bytes
        self.n_bytes = 0


def held_body(scope: Scope) -> HeldBody:
    """What the request of a scope holds; without limit where nobody counts."""
    held: HeldBody | None = scope.get(_SCOPE_KEY)
    return HeldBody(BodyRoom(sys.maxsize)) if held is None else held
