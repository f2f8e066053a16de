"""A PostgreSQL that answers and lets nobody in: each use raises `StoreError`; and the writer, which no error stops."""

import asyncio
import itertools
import struct
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pointsman.core.errors import StoreError
from pointsman.serve.config import StoreConfig
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.metrics import StoreMetrics
from pointsman.serve.store.rows import DecisionRow
from pointsman.serve.store.store import Store
from pointsman.serve.store.writer import Writer

pytest.importorskip("asyncpg", reason='no asyncpg here: pip install "pointsman[postgres]"')


def refusal(state, words):
    """What PostgreSQL answers to whom it does not let in."""
    fields = b"".join(name + text.encode() + b"\0" for name, text in ((b"S", "FATAL"), (b"C", state), (b"M", words)))
    return b"E" + struct.pack(">I", len(fields) + 5) + fields + b"\0"


ANSWERS = {
    "starting": (refusal("57P03", "the database system is starting up"), "the database system is starting up"),
    "stopping": (refusal("57P03", "the database system is shutting down"), "the database system is shutting down"),
    "full": (refusal("53300", "sorry, too many clients already"), "sorry, too many clients already"),
    "password": (refusal("28P01", "password authentication failed"), "password authentication failed"),
    "no database": (refusal("3D000", 'database "rows" does not exist'), 'database "rows" does not exist'),
    "administrator": (refusal("57P01", "terminating connection"), "terminating connection"),
    "unknown state": (refusal("XX999", "something new"), "something new"),
    "hangs up": (b"", ""),
    "not PostgreSQL": (b"R" + struct.pack(">II", 8, 99), ""),
}


@asynccontextmanager
async def answering(data):
    """The URL of a database whose server answers so to everyone."""

    async def answer(reader, writer):
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        writer.write(data)
        await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        server = await asyncio.start_unix_server(answer, Path(folder, ".s.PGSQL.5432"))
        async with server:
            yield f"postgresql://someone@/rows?host={folder}"


@pytest.mark.parametrize(("data", "words"), ANSWERS.values(), ids=ANSWERS)
async def test_a_server_that_lets_nobody_in_is_a_store_error(data, words):
    """Whatever it answers, with every version of SQLAlchemy; its own words are passed on."""
    async with answering(data) as url:
        store = Store(StoreConfig(url=url))
        for use in (store.start(patience_s=0.0), store.decisions(limit=1), store.add([], [])):
            with pytest.raises(StoreError, match=r"store postgresql://someone@/rows: .") as caught:
                await use
            assert words in str(caught.value)
        await store.close()


@pytest.mark.parametrize("error", [StoreError("away"), RuntimeError("Pa55word")], ids=["store", "unforeseen"])
async def test_no_error_stops_the_writer(monkeypatch, caplog, tmp_path, error):
    """Rows are written once the store works again, whatever it raised; of what was not foreseen the kind is logged."""
    store = Store(StoreConfig(url=f"sqlite:///{tmp_path}/store.db", batch_s=0.001))
    await store.start()
    registry = CollectorRegistry()
    writer = Writer(store, metrics=StoreMetrics(registry))
    add, calls = store.add, itertools.count()

    async def failing(*arguments):
        if next(calls) < 2:
            raise error
        await add(*arguments)

    monkeypatch.setattr(store, "add", failing)
    monkeypatch.setattr("pointsman.serve.store.writer._FIRST_PAUSE_S", 0.001)
    await writer.start()
    row = DecisionRow(id=new_row_id(1.8e9), at=1.8e9, request_id="r", path="/")
    writer.put(row)
    while await store.decisions() != [row]:
        await asyncio.sleep(0.001)
    await writer.close()
    await store.close()
    assert registry.get_sample_value("pointsman_store_up") == 1
    assert type(error).__name__ in caplog.text or "away" in caplog.text
    assert "Pa55word" not in caplog.text
