"""The models of conversations, shared by the worker processes of one server without a store.

A table in a file that all of them map: what one writes, the others see with their next request. It holds the
conversations whose models changed last.
"""

import hashlib
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

__all__ = ["SESSIONS_VARIABLE", "SharedModels", "WorkerSessions"]

SESSIONS_VARIABLE = "POINTSMAN_SHARED_SESSIONS"  # names the folder that workers share
_FILE = "conversations"
_SLOT = struct.Struct("<I16sdB99s")  # checksum of the rest; conversation, when, length of the name, name
_SLOTS = 8  # of a bucket, the oldest of which gives way
_BUCKETS = 8192
_CHECKED = struct.calcsize("<I")


class SharedModels(Protocol):
    """A shared table of the models of conversations."""

    async def find(self, session: str) -> str | None: ...

    def put(self, session: str, model: str, *, is_told: bool = False) -> None: ...


class WorkerSessions:
    """The table of one server's workers, in front of one shared with other servers."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        ttl_s: float,
        behind: SharedModels | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens the table; creates it if missing.

        Args:
            ttl_s: how long a conversation is remembered after its model changed.
            behind: the shared table that is read if this one lacks a conversation, and gets all writes.
            clock: seconds since 1970.

        Raises:
            OSError: the file cannot be opened.
        """
        self._ttl_s, self._behind, self._clock = ttl_s, behind, clock
        size = _BUCKETS * _SLOTS * _SLOT.size
        with Path(folder, _FILE).open("a+b") as file:
            os.ftruncate(file.fileno(), size)
            self._table = mmap.mmap(file.fileno(), size)

    async def find(self, session: str) -> str | None:
        """The model of a conversation; None if it was not set recently."""
        key, now = _key(session), self._clock()
        for _, other, at, name in self._bucket(key):
            if other == key and now - at <= self._ttl_s:
                return name
        return await self._behind.find(session) if self._behind is not None else None

    def put(self, session: str, model: str, *, is_told: bool = False) -> None:
        """Sets the model of a conversation for all workers; a model with a very long name only behind.

        Args:
            is_told: others could tell it from the request.
        """
        key, name = _key(session), model.encode()
        slots = list(self._bucket(key))
        slot = next((slot for slot in slots if slot[1] == key), None) or min(slots, key=lambda slot: slot[2])
        if len(name) < 100:
            written = _SLOT.pack(0, key, self._clock(), len(name), name)
            written = struct.pack("<I", zlib.crc32(written[_CHECKED:])) + written[_CHECKED:]
            self._table[slot[0] : slot[0] + _SLOT.size] = written
        if self._behind is not None:
            self._behind.put(session, model, is_told=is_told)

    def _bucket(self, key: bytes) -> Iterator[tuple[int, bytes, float, str]]:
        """Places and contents of the slots where a conversation may be; a half-written slot counts as empty."""
        first = int.from_bytes(key[:4]) % _BUCKETS * _SLOTS * _SLOT.size
        for place in range(first, first + _SLOTS * _SLOT.size, _SLOT.size):
            slot = self._table[place : place + _SLOT.size]
            checksum, other, at, length, name = _SLOT.unpack(slot)
            if zlib.crc32(slot[_CHECKED:]) == checksum:
                yield place, other, at, name[:length].decode()
            else:
                yield place, b"", 0.0, ""


def _key(session: str) -> bytes:
    return hashlib.blake2b(session.encode("utf-8", "surrogatepass"), digest_size=16).digest()
