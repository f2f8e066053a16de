"""What becomes of a request's record: a row that is written off the request path, or a loss that is counted."""

import asyncio
import logging
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from pointsman.core.decision import Decision
from pointsman.core.errors import ConfigError, StoreError
from pointsman.serve.auth.keys import new_key
from pointsman.serve.config import StoreConfig
from pointsman.serve.protocols.requests import ChatRequest
from pointsman.serve.protocols.usage import Usage
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.request.in_step import InStep
from pointsman.serve.request.record import Record
from pointsman.serve.store.keyring import StoreKeyRing
from pointsman.serve.store.metrics import StoreMetrics
from pointsman.serve.store.recorder import Recorder, prompt_hash
from pointsman.serve.store.retention import Retention
from pointsman.serve.store.rows import DecisionRow, FeedbackRow, SpendRow
from pointsman.serve.store.store import Store
from pointsman.serve.store.writer import Writer
from pointsman.serve.upstreams.tries import Attempt

NOW = 1_800_000_000.0


def decision(at=NOW, **values) -> DecisionRow:
    return DecisionRow(id=new_row_id(at), at=at, **{"request_id": "r", "path": "/", **values})


class Writing:
    """A writer before a store, with what its metrics say."""

    def __init__(self, url, **options):
        self.registry = CollectorRegistry()
        self.config = StoreConfig(url=url, batch_s=0.01, **options)
        self.store = Store(self.config)
        self.writer = Writer(self.store, metrics=StoreMetrics(self.registry))

    async def __aenter__(self):
        await self.store.start()
        await self.writer.start()
        return self

    async def __aexit__(self, *_):
        await self.writer.close()
        await self.store.close()

    def lost(self, reason):
        return self.registry.get_sample_value("pointsman_store_rows_lost_total", {"reason": reason})

    def metric(self, name):
        return self.registry.get_sample_value(f"pointsman_store_{name}")


async def soon(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_rows_are_written_soon_and_all_of_them(store_url):
    """Rows of all kinds are written a moment later, in batches of bounded size, without the writer being asked."""
    async with Writing(store_url, batch_rows=7) as writing:
        rows = [decision(NOW + i) for i in range(100)]
        for row in rows:
            writing.writer.put(row)
        said = FeedbackRow(id=new_row_id(NOW), request_id="r", at=NOW, kind="k", value=1.0)
        writing.writer.put(said)

        async def written():
            return writing.metric("rows_written_total") == 101

        await soon(written)
        assert await writing.store.decisions(limit=200) == rows[::-1]
        assert await writing.store.feedback() == [said]
        assert writing.metric("rows_queued") == 0


async def test_what_is_queued_is_written_when_the_server_stops(store_url):
    """Closing right after a burst loses nothing; the writer may be started again."""
    writing = Writing(store_url, batch_rows=50)
    async with writing:
        for i in range(1000):
            writing.writer.put(decision(NOW + i))
        await writing.writer.close()
        assert writing.metric("rows_written_total") == 1000
        await writing.writer.start()
        writing.writer.put(decision())
    assert writing.metric("rows_written_total") == 1001
    assert writing.writer.n_lost == 0


async def test_beyond_its_bounds_the_queue_loses_the_newest_and_counts_them(store_url):
    """Neither the number of rows nor the bytes of their prompts grow without bound."""
    async with Writing(store_url, queue_rows=5, queue_bytes=1000) as writing:
        for i in range(8):  # the writer gets no turn in between
            writing.writer.put(decision(NOW + i))
        assert (writing.lost("full"), writing.writer.n_lost) == (3, 3)

        async def written():
            return writing.metric("rows_written_total") == 5

        await soon(written)
        for row in (decision(prompt="x" * 900), decision(prompt="x" * 101), decision(embedding=b"x" * 100)):
            writing.writer.put(row)
        assert writing.lost("full") == 4
    assert writing.metric("rows_written_total") == 7
    assert writing.lost("stopped") == 0


async def test_a_row_that_does_not_fit_takes_no_other_with_it(store_url, caplog):
    """The database refuses one row of a batch: that one is lost, counted and logged, without its content."""
    async with Writing(store_url) as writing:
        for row in (
            decision(model="a"),
            decision(model="b", input_tokens=2**70, prompt="private"),
            decision(model="c"),
        ):
            writing.writer.put(row)
    assert (writing.lost("refused"), writing.metric("rows_written_total")) == (1, 2)
    assert "1 row was rejected" in caplog.text
    assert "private" not in caplog.text


async def test_a_store_that_fails_for_a_while_loses_nothing(store_url, caplog, monkeypatch):
    """Rows wait and are tried again; the failure is said once, and that it is over."""
    async with Writing(store_url, batch_rows=3) as writing:
        works, add = False, writing.store.add

        async def fail_at_times(rows, spent=()):
            if not works:
                raise StoreError("the store is away")
            await add(rows, spent)

        monkeypatch.setattr(writing.store, "add", fail_at_times)
        for i in range(10):
            writing.writer.put(decision(NOW + i))

        async def failed():
            return writing.metric("up") == 0

        await soon(failed)
        await asyncio.sleep(0.3)
        works = True

        async def recovered():
            return writing.metric("up") == 1

        await soon(recovered)
    assert (writing.metric("rows_written_total"), writing.writer.n_lost) == (10, 0)
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(messages) == 2
    assert "the store is away; 10 rows are queued" in messages[0]
    assert "accepts rows again" in messages[1]


async def test_a_store_that_stays_away_ends_the_wait(store_url, caplog, monkeypatch):
    """Stopping takes no longer than drain_s; what could not be written is counted and logged."""
    async with Writing(store_url, drain_s=0.3) as writing:

        async def fail(rows, spent=()):
            raise StoreError("gone")

        monkeypatch.setattr(writing.store, "add", fail)
        for _ in range(4):
            writing.writer.put(decision())
        before = time.monotonic()
    assert time.monotonic() - before > 0.25
    assert (writing.lost("stopped"), writing.writer.n_lost) == (4, 4)
    assert "4 rows were not written to the store within 0.3 s" in caplog.text


async def test_a_locked_file_is_waited_for(tmp_path, monkeypatch):
    """Another program that holds the file's lock for longer than SQLite waits costs no row."""
    monkeypatch.setattr("pointsman.serve.store.database._BUSY_S", 0.05)
    path = tmp_path / "store.db"
    async with Writing(f"sqlite:///{path}") as writing:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing.writer.put(decision())

        async def failed():
            return writing.metric("up") == 0

        await soon(failed)
        other.execute("ROLLBACK")
        other.close()
    assert (writing.metric("rows_written_total"), writing.writer.n_lost) == (1, 0)


def record(prompt="Hello", model="auto", stream=False, **values):
    made = Record("req-1", "/v1/chat/completions", **{"outcome": "answered", "status": 200, **values})
    made.context = RequestContext(ChatRequest(b"", {}, model, stream, prompt))
    return made


async def recorded(url, *records, **options):
    """The rows of records, as they come back from a store."""
    rows = []
    async with Store(StoreConfig(url=url, **options)) as store:
        recorder = Recorder(store, rows.append, in_step=InStep(), clock=lambda: NOW)
        await recorder.start()
        for each in records:
            recorder(each)
        await recorder.close()
        await store.add(rows)
        found = {row.id: row for row in await store.decisions()}
    return [found[row.id] for row in rows]


async def test_a_row_follows_its_request_soon(store_url):
    """Rows are put in the requests' order without being asked for: some at once, and the last within moments."""
    rows, times = [], iter(range(100))
    async with Store(StoreConfig(url=store_url)) as store:
        recorder = Recorder(store, rows.append, in_step=InStep(), clock=lambda: NOW + next(times))
        await recorder.start()
        for _ in range(40):
            recorder(record())
        assert len(rows) >= 20
        for _ in range(6000):
            if len(rows) == 40:
                break
            await asyncio.sleep(0.01)
        await recorder.close()
    assert [row.at - NOW for row in rows] == list(range(40))


async def test_a_row_tells_all_of_a_record(store_url):
    """Decision, key, usage, dollars, tries and times are there; the prompt only as its hash, by default."""
    key, _ = new_key("someone", tier="paid")
    full = record(model="router-mf-0.5", stream=True)
    full.context.attempts = [Attempt("small", "500"), Attempt("big", "200")]
    full.context.decision = Decision("small", 0.4, 0.5, "mf", "win_rate", ("big", "small"), "budget")
    full.model, full.routing_s, full.cost_usd, full.strong_usd, full.weak_usd = "big", 5e-5, 0.3, 0.3, 0.1
    full.usage = Usage(10, 20, 5, estimated=True)
    full.context.key, full.context.session, full.context.checkpoint = key, "talk", "second"
    full.context.embedding = np.ones(4, dtype=np.float32)
    full.decided_at, full.answered_at, full.ended_at = 1.0, 1.5, full.started_at + 2.0
    (row,) = await recorded(store_url, full)
    assert row == DecisionRow(
        id=row.id, request_id="req-1", at=NOW, path="/v1/chat/completions", requested="router-mf-0.5", model="big",
        decided="small", router="mf", checkpoint="second", win_rate=0.4, threshold=0.5, policy="budget",
        reason="win_rate", key_id=key.id, tier="paid", session="talk", prompt_hash=row.prompt_hash, input_tokens=10,
        output_tokens=20, cached_tokens=5,
        usage_estimated=True, cost_usd=0.3, strong_usd=0.3, weak_usd=0.1, trail=("small 500", "big 200"), stream=True,
        routing_ms=row.routing_ms, upstream_ms=500.0, total_ms=row.total_ms,
    )  # fmt: skip
    assert (round(row.routing_ms, 6), round(row.total_ms, 3)) == (0.05, 2000.0)
    assert len(row.prompt_hash) == 64


async def test_a_request_that_could_not_be_read_has_a_row_too(store_url):
    """Whatever is not known of it is None."""
    (row,) = await recorded(store_url, Record("x", "/v1/responses", outcome="refused", status=400))
    assert (row.requested, row.model, row.prompt_hash, row.status) == (None, None, None, 400)


async def test_prompts_are_kept_as_the_configuration_says(store_url, monkeypatch):
    """Nothing, their keyed hash, or their text up to a length; embeddings only where asked for."""

    def asked():
        made = record("Hello")
        made.context.embedding = np.arange(3, dtype=np.float32)
        return made

    (row,) = await recorded(store_url, asked(), prompts="none")
    assert (row.prompt, row.prompt_hash, row.embedding) == (None, None, None)
    first, same, other = await recorded(store_url, asked(), record("Hello"), record("Hello "))
    assert first.prompt_hash == same.prompt_hash != other.prompt_hash
    assert first.prompt is None
    (text,) = await recorded(store_url, asked(), prompts="text", prompt_characters=4, embeddings=True)
    assert (text.prompt, text.prompt_hash) == ("Hell", first.prompt_hash)
    assert np.frombuffer(text.embedding, "<f4").tolist() == [0.0, 1.0, 2.0]
    monkeypatch.setenv("HASH_KEY", "pepper")
    (keyed,) = await recorded(store_url, asked(), hash_key="env:HASH_KEY")
    assert keyed.prompt_hash == prompt_hash("Hello", b"pepper") != first.prompt_hash
    monkeypatch.delenv("HASH_KEY")
    with pytest.raises(ConfigError, match="HASH_KEY is not set"):
        await recorded(store_url, hash_key="env:HASH_KEY")


async def test_text_that_no_database_takes_is_mended(store_url):
    """NUL characters and lone surrogates, which JSON may carry, and overlong names do not lose a row."""
    odd = record("a\x00b\ud800", model="m\x00\udfff" * 1000)
    odd.context.session = "\x00"
    (row,) = await recorded(store_url, odd, prompts="text")
    assert (row.prompt, row.session) == ("a�b?", "�")
    assert row.requested == "m�?" * 100


async def test_old_rows_are_deleted_and_young_ones_are_not(store_url):
    """After so many days, however many rows there are; spend is kept for its own, longer time."""
    registry = CollectorRegistry()
    store = Store(StoreConfig(url=store_url, retention_days=2.0))
    await store.start()
    old = [decision(NOW - 3 * 86400 + i) for i in range(1200)]
    young = [decision(NOW - 86400), decision(NOW)]
    spent = [
        SpendRow(writer="w", at=NOW - days * 86400, key_id="", model="m", n_requests=1, input_tokens=0,
                 output_tokens=0, cost_usd=1.0)
        for days in (3, 500)
    ]  # fmt: skip
    await store.add([*old, *young])
    await store.put_spend(spent)
    retention = Retention(store, metrics=StoreMetrics(registry))
    assert await retention.delete_old(NOW) == 1200
    assert await store.decisions() == young[::-1]
    assert [row.at for row in await store.spend(0.0)] == [NOW - 3 * 86400]
    assert registry.get_sample_value("pointsman_store_rows_deleted_total") == 1200
    await store.close()


async def test_without_a_retention_nothing_is_deleted(store_url):
    """Null keeps everything."""
    store = Store(StoreConfig(url=store_url, retention_days=None))
    await store.start()
    await store.add([decision(0.0)])
    assert await Retention(store, metrics=StoreMetrics(CollectorRegistry())).delete_old(NOW) == 0
    assert len(await store.decisions()) == 1
    await store.close()


async def _until(holds):
    while not holds():
        await asyncio.sleep(0.01)


async def test_keys_follow_the_store(store_url, monkeypatch):
    """A key counts, and no longer counts, a moment later; a store that is away changes nothing."""
    store = Store(StoreConfig(url=store_url))
    await store.start()
    key, text = new_key("someone", admin=True)
    ring = StoreKeyRing(store)
    await ring.start()
    assert ring.find(text) is None
    await store.add_key(key)
    await asyncio.wait_for(_until(lambda: ring.find(text) == key), 60)
    assert ring.find(text + "x") is None
    versions = store.keys_version

    async def fail():
        raise StoreError("gone")

    monkeypatch.setattr(store, "keys_version", fail)
    await store.revoke_key(key.id)
    await asyncio.sleep(0.6)
    assert ring.find(text) == key
    monkeypatch.setattr(store, "keys_version", versions)
    await asyncio.wait_for(_until(lambda: ring.find(text) is None), 60)
    await ring.close()
    await store.close()


async def test_only_its_owner_may_read_the_file(tmp_path):
    """Prompts may be in it, so group and others get nothing, of the file and of its log."""
    folder = tmp_path / "new" / "folder"
    async with Store(StoreConfig(url=f"sqlite:///{folder}/store.db")) as store:
        await store.add([decision()])
        assert {path.stat().st_mode & 0o077 for path in Path(folder).iterdir()} == {0}
