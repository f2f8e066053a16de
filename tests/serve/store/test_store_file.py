"""A SQLite store whose file goes away, and searches that others do not wait for."""

import asyncio
import shutil
import sqlite3
import threading

import pytest
from prometheus_client import CollectorRegistry

from pointsman.core.errors import StoreError
from pointsman.serve.config import StoreConfig
from pointsman.serve.store import database
from pointsman.serve.store.metrics import StoreMetrics
from pointsman.serve.store.queries import DecisionFilter
from pointsman.serve.store.rows import DecisionRow
from pointsman.serve.store.store import Store
from pointsman.serve.store.writer import Writer


def row(number):
    return DecisionRow(
        id=f"{number:028x}", request_id=f"r{number}", at=1.0, path="/", model="m", cost_usd=None, strong_usd=None,
        weak_usd=None, outcome="answered", status=200, stream=False, trail=(), routing_ms=None, upstream_ms=None,
        total_ms=1.0, prompt="word " * 10 + str(number),
    )  # fmt: skip


@pytest.fixture
async def store(tmp_path):
    async with Store(StoreConfig(url=f"sqlite:///{tmp_path}/p.db", batch_s=0.01)) as opened:
        yield opened


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
async def test_a_file_that_goes_away_is_noticed(store, tmp_path, how):
    """Nothing is written into a file that has no name any more, and no empty one is begun in its place."""
    await store.add([row(1)])
    path = tmp_path / "p.db"
    if how == "deleted":
        path.unlink()
    else:
        path.replace(tmp_path / "moved.db")
    if how == "replaced":
        sqlite3.connect(path).close()
        path.touch()
    with pytest.raises(StoreError, match="its file was moved, deleted or replaced"):
        await store.add([row(2)])
    with pytest.raises(StoreError, match="its file is gone" if how != "replaced" else "no such table"):
        await store.add([row(2)])
    assert path.exists() is (how == "replaced")


async def test_rows_wait_until_the_file_is_back(store, tmp_path):
    """`pointsman_store_up` is 0 meanwhile, and no row is lost."""
    registry = CollectorRegistry()
    writer = Writer(store, metrics=StoreMetrics(registry))
    await writer.start()
    await store.add([row(1)])
    shutil.move(tmp_path / "p.db", tmp_path / "elsewhere.db")
    writer.put(row(2))
    async with asyncio.timeout(60):
        while registry.get_sample_value("pointsman_store_up") != 0.0:
            await asyncio.sleep(0.01)
        shutil.move(tmp_path / "elsewhere.db", tmp_path / "p.db")
        while registry.get_sample_value("pointsman_store_up") != 1.0:
            await asyncio.sleep(0.01)
    await writer.close()
    assert [found.request_id for found in await store.decisions()] == ["r2", "r1"]
    assert writer.n_lost == 0


async def test_searches_leave_the_writer_its_connections(store, monkeypatch):
    """However many search at once, writing goes on; those that find no connection are told to come later."""
    monkeypatch.setitem(database._SEARCHES, "pool_timeout", 0.01)
    searches = store.for_searches()
    async with searches._database.reading(), searches._database.reading():
        with pytest.raises(StoreError, match="all connections are busy: try again later"):
            await searches.decisions()
        await asyncio.gather(*(store.add([row(i)]) for i in range(8)))
    assert len(await searches.decisions()) == 8


async def test_a_search_ends_at_its_deadline(store, monkeypatch):
    """It is interrupted in the middle, says what to do, and its connection serves the next."""
    await store.add([row(i) for i in range(200)])
    monkeypatch.setattr(database, "_CHECK_EVERY", 1)
    searches = store.for_searches()
    with monkeypatch.context() as patch:
        patch.setattr(database, "_SEARCH_S", -1.0)
        with pytest.raises(StoreError, match=r"the search took longer than .*: narrow it"):
            await searches.decisions(DecisionFilter(text="nowhere"))
    assert len(await searches.decisions(DecisionFilter(text="word"), limit=500)) == 200


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "statement", ["SELECT wait()", "INSERT INTO status VALUES ('b', 'null', 1, wait()) RETURNING at"]
)
async def test_a_write_that_is_cancelled_leaves_no_lock(tmp_path, statement, times):
    """Whoever writes next may, however a client or a server that stops has cut the transaction before it short."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> float:
        begun.set()
        go_on.wait(60)
        return 1.0

    async with Store(StoreConfig(url=f"sqlite:///{tmp_path}/l.db")) as store:
        database = store._database

        async def cut_short() -> None:
            async with database.writing() as connection:
                raw = await connection.get_raw_connection()
                await raw.driver_connection.create_function("wait", 0, wait)
                await connection.exec_driver_sql("INSERT INTO status VALUES ('a', 'null', 1, 1.0)")
                await connection.exec_driver_sql(statement)

        task = asyncio.create_task(cut_short())
        await asyncio.to_thread(begun.wait, 60)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.set_status("c", 1)
        assert (await store.status("a"), (await store.status("c")).value) == (None, 1)
