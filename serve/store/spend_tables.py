"""The store's spending: totals of all processes, and the accounts of shared budgets."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, literal, select, update

from pointsman.core.errors import StoreError
from pointsman.serve.store.database import Database
from pointsman.serve.store.rows import SpendRow, row_values
from pointsman.serve.store.schema import budget_accounts, spend

__all__ = ["SpendTables", "put_spend_statement"]


class SpendTables:
    """Totals of spending by quarter of an hour, and the accounts of budgets."""

    _database: Database
    _put_spend: Any

    async def put_spend(self, rows: Sequence[SpendRow]) -> None:
        """Replaces a process's totals of some quarters of an hour, unless newer ones are there."""
        if not rows:
            return
        async with self._database.writing() as connection:
            await connection.execute(self._put_spend, [row_values(row) for row in rows])

    async def spend(
        self, since: float, until: float | None = None, *, except_writer: str | None = None
    ) -> list[SpendRow]:
        """What all processes spent, summed over them (`writer` is "" in the sums), the oldest first.

        Args:
            since, until: since <= beginning of the quarter of an hour < until.
            except_writer: how the names of a process begin that knows its own totals better.
        """
        groups = (spend.c.at, spend.c.key_id, spend.c.model)
        sums = (func.sum(spend.c[name]) for name in ("n_requests", "input_tokens", "output_tokens", "cost_usd"))
        query = select(*groups, *sums).where(*_spent(since, until, except_writer)).group_by(*groups).order_by(*groups)
        return [
            SpendRow(
                writer="", at=at, key_id=key_id, model=model, n_requests=int(n), input_tokens=int(read),
                output_tokens=int(written), cost_usd=cost,
            )
            for at, key_id, model, n, read, written, cost in await self._database.tuples(query)
        ]  # fmt: skip

    async def spent_by_key(
        self, since: float, until: float | None = None, *, except_writer: str | None = None
    ) -> dict[str, float]:
        """Dollars of every key; see `spend`."""
        sums = select(spend.c.key_id, func.sum(spend.c.cost_usd)).group_by(spend.c.key_id)
        return dict(await self._database.tuples(sums.where(*_spent(since, until, except_writer))))

    async def open_account(self, name: str, begin: float, drawn_usd: float) -> bool:
        """Makes the account of a budget's period; whether it was not there yet.

        Args:
            drawn_usd: what was spent of it before.
        """
        values = {"name": name, "begin": begin, "drawn_usd": drawn_usd, "granted_usd": 0.0}
        insert = self._database.insert(budget_accounts).values(values).on_conflict_do_nothing()
        async with self._database.writing() as connection:
            return bool((await connection.execute(insert)).rowcount == 1)

    async def draw(self, name: str, begin: float, usd: float, *, ceiling_usd: float | None) -> tuple[float, float]:
        """Draws from a budget's account, or gives back; dollars granted, and dollars drawn by all now.

        One statement, so that processes that draw at once never get more than there is.

        Args:
            usd: how much; negative gives back.
            ceiling_usd: what all may draw together; None grants `usd` whatever was drawn.
        """
        account = budget_accounts.c
        granted: Any = literal(usd)
        if ceiling_usd is not None:
            left = ceiling_usd - account.drawn_usd
            granted = case((left >= usd, usd), (left > 0.0, left), else_=0.0)
        statement = (
            update(budget_accounts)
            .where(account.name == name, account.begin == begin)
            .values(drawn_usd=account.drawn_usd + granted, granted_usd=granted)
            .returning(account.granted_usd, account.drawn_usd)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(statement)).one_or_none()
        if row is None:
            raise StoreError(f"the account of budget {name} is gone from the store")
        return float(row[0]), float(row[1])

    async def delete_spend_before(self, at: float) -> None:
        """Deletes the spend of the quarters of an hour before a time, and the accounts of budgets of before."""
        async with self._database.writing() as connection:
            await connection.execute(delete(spend).where(spend.c.at < at))
            await connection.execute(delete(budget_accounts).where(budget_accounts.c.begin < at))


def _spent(since: float, until: float | None, except_writer: str | None) -> list[ColumnElement[bool]]:
    """Conditions for totals of a span of time."""
    chosen = [spend.c.at >= since]
    if until is not None:
        chosen.append(spend.c.at < until)
    if except_writer is not None:
        chosen.append(~spend.c.writer.startswith(except_writer, autoescape=True))
    return chosen


def put_spend_statement(database: Database) -> Any:
    """An INSERT of totals that replaces older ones of the same process, quarter of an hour, key and model.

    Two transactions of a process may write them at a time, and end in either order.
    """
    insert = database.insert(spend)
    names = ("n_requests", "input_tokens", "output_tokens", "cost_usd")
    return insert.on_conflict_do_update(
        index_elements=list(spend.primary_key),
        set_={name: insert.excluded[name] for name in names},
        where=insert.excluded.n_requests >= spend.c.n_requests,
    )
