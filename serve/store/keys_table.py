"""The access keys in the store."""

import time

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.store.rows import row_values
from pointsman.serve.store.schema import keys
from pointsman.serve.store.status_table import StatusTable

__all__ = ["KeysTable"]

_KEYS_CHANGED = "keys"  # status row whose version counts the changes of the keys


class KeysTable(StatusTable):
    """Access keys, valid and revoked."""

    async def keys(self) -> dict[str, AccessKey]:
        """The keys that are valid, by id."""
        query = select(keys).where(keys.c.revoked_at.is_(None)).order_by(keys.c.created, keys.c.id)
        rows = await self._database.rows(query)
        return {row["id"]: AccessKey(**{name: row[name] for name in row if name != "revoked_at"}) for row in rows}

    async def keys_version(self) -> int:
        """A number that changes with the keys."""
        row = await self.status(_KEYS_CHANGED)
        return row.version if row is not None else 0

    async def add_key(self, key: AccessKey) -> None:
        """Adds a key."""
        async with self._database.writing() as connection:
            await connection.execute(self._database.insert(keys), {**row_values(key), "revoked_at": None})
            await self._bump(connection)

    async def revoke_key(self, key_id: str) -> bool:
        """Revokes a key for good; returns whether it was valid."""
        revoked = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=time.time())
        async with self._database.writing() as connection:
            changed = (await connection.execute(revoked)).rowcount == 1
            if changed:
                await self._bump(connection)
        return changed

    async def _bump(self, connection: AsyncConnection) -> None:
        await self._set_status(connection, _KEYS_CHANGED, True, None)
