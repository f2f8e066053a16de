"""Facts that the processes share, by name."""

import secrets
import time
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pointsman.serve.store.database import Database
from pointsman.serve.store.rows import StatusRow
from pointsman.serve.store.schema import status

__all__ = ["StatusTable"]


class StatusTable:
    """Facts, each with a version that counts its changes."""

    _database: Database

    async def status(self, name: str) -> StatusRow | None:
        """A fact that the processes share; None where it was never set."""
        rows = await self._database.rows(select(status).where(status.c.name == name))
        return StatusRow(**rows[0]) if rows else None

    async def set_status(self, name: str, value: Any, *, version: int | None = None) -> bool:
        """Sets a fact, at once for all processes; whether it was set.

        Args:
            value: of JSON types.
            version: set it only if this is its version still, 0 if it was never set; always if None.
        """
        async with self._database.writing() as connection:
            return await self._set_status(connection, name, value, version)

    async def secret(self, name: str) -> bytes:
        """32 random bytes of this database: made by whoever asks first, the same for all."""
        await self.set_status(name, secrets.token_hex(32), version=0)
        row = await self.status(name)
        assert row is not None
        return bytes.fromhex(row.value)

    async def _set_status(self, connection: AsyncConnection, name: str, value: Any, version: int | None) -> bool:
        insert = self._database.insert(status).values(name=name, value=value, version=1, at=time.time())
        changed = {"value": insert.excluded.value, "version": status.c.version + 1, "at": insert.excluded.at}
        if version == 0:
            statement: Any = insert.on_conflict_do_nothing()
        elif version is None:
            statement = insert.on_conflict_do_update(index_elements=[status.c.name], set_=changed)
        else:
            now = {"value": value, "version": version + 1, "at": time.time()}
            statement = update(status).where(status.c.name == name, status.c.version == version).values(now)
        return bool((await connection.execute(statement)).rowcount == 1)
