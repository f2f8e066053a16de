"""The models of conversations that processes share."""

import time
from collections.abc import Mapping

from sqlalchemy import delete, select

from pointsman.serve.store.database import Database
from pointsman.serve.store.schema import sessions

__all__ = ["SessionsTable"]


class SessionsTable:
    """Models of conversations."""

    _database: Database

    async def put_sessions(self, models: Mapping[str, str], *, delete_before: float | None = None) -> None:
        """Sets the models of conversations, and deletes those that have been silent since a time."""
        now = time.time()
        insert = self._database.insert(sessions)
        changed = {name: insert.excluded[name] for name in ("model", "at")}
        statement = insert.on_conflict_do_update(index_elements=[sessions.c.session], set_=changed)
        async with self._database.writing() as connection:
            if models:
                rows = [{"session": session, "model": model, "at": now} for session, model in sorted(models.items())]
                await connection.execute(statement, rows)
            if delete_before is not None:
                await connection.execute(delete(sessions).where(sessions.c.at < delete_before))

    async def session(self, session: str, *, since: float) -> str | None:
        """The model of a conversation that was set since a time; None if it was not."""
        rows = await self._database.tuples(
            select(sessions.c.model).where(sessions.c.session == session, sessions.c.at >= since)
        )
        return rows[0][0] if rows else None
