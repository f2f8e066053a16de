"""The store: the same promises on SQLite and on a real PostgreSQL."""

import asyncio
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, inspect, text

from pointsman.core.errors import ConfigError, MissingExtraError, StoreError
from pointsman.serve.auth.keys import new_key
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store import migrations
from pointsman.serve.store.database import RowError
from pointsman.serve.store.queries import DecisionFilter
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow, SpendRow
from pointsman.serve.store.schema import TABLES
from pointsman.serve.store.store import Store
from pointsman.serve.store.url import read_url

ROOT = Path(__file__).parents[3]
NOW = 1_800_000_000.0  # a whole hour


def decision(at=NOW, **values) -> DecisionRow:
    made = {"request_id": "r", "path": "/v1/chat/completions", **values}
    return DecisionRow(id=new_row_id(at), at=at, **made)


@pytest.fixture
async def store(store_url):
    async with Store(StoreConfig(url=store_url)) as opened:
        yield opened


async def test_a_row_comes_back_as_it_was_written(store):
    """Every field of every type survives, whatever text and bytes are in it."""
    row = decision(
        at=NOW + 0.125, request_id="abc", requested="router-mf-0.5", model="big", decided="small", router="mf",
        checkpoint="c", win_rate=0.1 + 0.2, threshold=1e-300, policy="budget", reason="win_rate", key_id="k", tier="t",
        session="s", prompt_hash="ff", prompt="Привет 🚂 'quoted' \\ %_", embedding=bytes(range(256)),
        input_tokens=2**40, output_tokens=0, cached_tokens=1, usage_estimated=True, cost_usd=1e-9, strong_usd=3.0,
        weak_usd=0.1, outcome="broken", status=502, stream=True, trail=("big 500", "small 200"), routing_ms=0.05,
        upstream_ms=12.5, total_ms=99.0, reference="big", share=0.25, expected_usd=2e-9, rule="legal",
        weighed=[{"model": "small", "win_rate": 0.6, "usd": 2e-9}, {"model": "big", "win_rate": 0.5, "usd": None}],
    )  # fmt: skip
    bare = decision(request_id="bare")
    said = FeedbackRow(
        id=new_row_id(NOW), request_id="abc", at=NOW, kind="rating", value=0.5, key_id="k", comment="é",
        decision_id="d",
    )  # fmt: skip
    judged = ComparisonRow(
        id=new_row_id(NOW),
        request_id="abc",
        at=NOW,
        model_a="a",
        model_b="b",
        outcome=0.5,
        judge="j",
        cost_usd=0.1,
        tokens_a=1,
        tokens_b=2**40,
        decision_id="d",
    )
    await store.add([row, said, bare, judged])
    assert await store.decision("abc") == row
    assert await store.decision("bare") == bare
    assert await store.decision("none") is await store.decision("\x00\ud800") is None
    assert (await store.feedback(), await store.comparisons(request_id="abc")) == ([said], [judged])
    assert await store.feedback(request_id="none") == await store.comparisons(since=NOW + 1) == []


async def test_a_row_written_twice_is_there_once_and_a_repeated_request_id_loses_nothing(store):
    """Rows have ids of their own: a repeated batch adds nothing, a client that repeats its request id adds a row."""
    rows = [decision(NOW + i, request_id="same", model=str(i)) for i in range(3)]
    await store.add(rows)
    await store.add(rows)
    assert await store.decisions() == rows[::-1]
    assert (await store.decision("same")).model == "2"


async def test_pages_hold_every_row_once(store):
    """Page by page, newest first or oldest first, every row comes once, also where many share their time."""
    rows = [decision(NOW + i // 10, request_id=str(i)) for i in range(95)]
    await store.add(rows)
    seen, before = [], None
    while page := await store.decisions(limit=10, before=before):
        seen += page
        before = page[-1].id
    assert [row.id for row in seen] == sorted((row.id for row in rows), reverse=True)
    scanned = [row async for page in store.scan(page=7) for row in page]
    assert scanned == seen[::-1]


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({"since": NOW + 1}, {1, 2, 3}),
        ({"until": NOW + 2}, {0, 1}),
        ({"since": NOW + 1, "until": NOW + 3}, {1, 2}),
        ({"model": "big"}, {0, 2}),
        ({"key_id": "k1", "model": "big"}, {2}),
        ({"policy": "budget"}, {3}),
        ({"outcome": "answered"}, {0, 1, 2}),
        ({"outcome": "failed"}, {3}),
        ({"outcome": "gone"}, set()),
        ({"router": "mf"}, {1}),
        ({"session": "s"}, {1}),
        ({"text": "100%"}, {0}),
        ({"text": "PRIME"}, {1}),
        ({"text": "REQ-2"}, {2}),
        ({"text": "_"}, {3}),
        ({"text": "\x00", "session": "\udfff"}, set()),
    ],
)
async def test_decisions_are_found(store, chosen, wanted):
    """Each filter finds its rows and no other; text is found as it stands, in upper and lower case."""
    await store.add(
        [
            decision(NOW, request_id="0", model="big", prompt="100% sure"),
            decision(NOW + 1, request_id="1", model="small", router="mf", session="s", prompt="A prime?"),
            decision(NOW + 2, request_id="req-2", model="big", key_id="k1"),
            decision(
                NOW + 3, request_id="3", model="small", key_id="k1", policy="budget", outcome="failed", prompt="_"
            ),
        ]
    )
    found = await store.decisions(DecisionFilter(**chosen))
    assert {round(row.at - NOW) for row in found} == wanted


async def test_totals_are_sums(store):
    """Counts and sums per group, over what is known, with time in quarters of an hour; empty sums are zero."""
    assert [total.n_requests for total in await store.totals()] == [0]
    priced = {"cost_usd": 1.0, "strong_usd": 3.0, "weak_usd": 0.5, "input_tokens": 10, "output_tokens": 5}
    await store.add(
        [
            decision(NOW, model="big", cost_usd=2.0, total_ms=4.0, usage_estimated=True),
            decision(NOW + 899.999, model="small", **priced),
            decision(NOW + 900, model="small", **priced),
            decision(NOW + 900, model=None, outcome="refused"),
        ]
    )
    by_model = {total.group[0]: total for total in await store.totals(["model"])}
    assert set(by_model) == {"big", "small", None}
    small = by_model["small"]
    assert (small.n_requests, small.input_tokens, small.output_tokens, small.cost_usd) == (2, 20, 10, 2.0)
    assert (small.n_compared, small.compared_usd, small.strong_usd, small.weak_usd) == (2, 2.0, 6.0, 1.0)
    assert small.saved_usd2 == 8.0
    big = by_model["big"]
    assert (big.n_estimated, big.n_compared, big.total_ms, big.input_tokens) == (1, 0, 4.0, 0)
    assert type(big.input_tokens) is int
    assert by_model[None].n_answered == 0
    slots = await store.totals(["slot"], DecisionFilter(model="small"))
    assert [(total.group, total.n_requests) for total in slots] == [((NOW,), 1), ((NOW + 900,), 1)]
    (both,) = await store.totals(["model", "outcome"], DecisionFilter(outcome="refused"))
    assert both.group == (None, "refused")


async def test_win_rates_of_a_window(store):
    """The newest first, without those of requests that no router saw."""
    rows = [decision(NOW + i, win_rate=None if i == 1 else i / 4) for i in range(4)]
    await store.add(rows)
    assert await store.win_rates() == [(NOW + 3, 0.75, "answered"), (NOW + 2, 0.5, "answered"), (NOW, 0.0, "answered")]
    assert await store.win_rates(DecisionFilter(until=NOW + 3), limit=1) == [(NOW + 2, 0.5, "answered")]


async def test_spend_is_the_sum_over_processes_however_often_each_writes(store):
    """Totals replace those of the same process and add to those of others."""
    mine = SpendRow(
        writer="a", at=NOW, key_id="", model="m", n_requests=1, input_tokens=2, output_tokens=3, cost_usd=0.25
    )
    await store.put_spend([])
    await store.put_spend([mine])
    await store.put_spend([replace(mine, cost_usd=0.5, n_requests=2), replace(mine, key_id="k", at=NOW + 900)])
    await store.put_spend([replace(mine, writer="b")])
    everything = await store.spend(NOW)
    assert [(row.at, row.key_id, row.n_requests, row.cost_usd) for row in everything] == [
        (NOW, "", 3, 0.75),
        (NOW + 900, "k", 1, 0.25),
    ]
    assert [row.cost_usd for row in await store.spend(NOW, NOW + 900, except_writer="a")] == [0.25]
    await store.delete_spend_before(NOW + 900)
    assert [row.at for row in await store.spend(0.0)] == [NOW + 900]


async def test_a_status_is_set_by_one_of_those_who_try_at_once(store):
    """Compare and swap: of many who saw the same version, one wins; the value is JSON."""
    assert await store.status("promoted") is None
    won = await asyncio.gather(*(store.set_status("promoted", {"checkpoint": i}, version=0) for i in range(8)))
    assert sum(won) == 1
    assert (await store.status("promoted")).value == {"checkpoint": won.index(True)}
    won = await asyncio.gather(*(store.set_status("promoted", [i], version=1) for i in range(8)))
    assert sum(won) == 1
    await store.set_status("promoted", None)
    last = await store.status("promoted")
    assert (last.value, last.version) == (None, 3)
    assert not await store.set_status("promoted", 5, version=2)


async def test_a_secret_is_the_same_for_all(store, store_url):
    """Whoever asks first makes it; everyone sees that one, now and later."""
    made = await asyncio.gather(*(store.secret("salt") for _ in range(5)))
    assert len(set(made)) == 1
    assert len(made[0]) == 32
    async with Store(StoreConfig(url=store_url)) as again:
        assert await again.secret("salt") == made[0]


async def test_keys_are_made_and_revoked(store):
    """A revoked key is gone, stays gone, and each change shows in the version."""
    assert (await store.keys(), await store.keys_version()) == ({}, 0)
    first, _ = new_key("first", models=("auto", "router-*"), requests_per_minute=5, tier="paid", admin=True)
    second, _ = new_key("second")
    await store.add_key(first)
    await store.add_key(second)
    assert await store.keys() == {first.id: first, second.id: second}
    assert [await store.revoke_key(first.id), await store.revoke_key(first.id)] == [True, False]
    assert await store.keys() == {second.id: second}
    assert await store.keys_version() == 3
    with pytest.raises(RowError):
        await store.add_key(first)


async def test_old_rows_go_in_small_batches(store):
    """At most so many of each table at once, the oldest first, until none is old enough."""
    rows = [decision(NOW + i) for i in range(10)]
    said = [FeedbackRow(id=new_row_id(NOW), request_id="r", at=NOW, kind="k", value=1.0)]
    await store.add([*rows, *said])
    assert await store.delete_before(NOW + 7, limit=5) == 6
    assert await store.decisions() == rows[:4:-1]
    assert [await store.delete_before(NOW + 7), await store.delete_before(NOW + 7)] == [2, 0]
    assert await store.decisions() == rows[:6:-1]


async def test_a_row_that_does_not_fit_is_told_from_a_database_that_fails(store):
    """So that such a row is given up, and rows before a failing database are not."""
    for wrong in ({"input_tokens": 2**63}, {"outcome": None}):
        with pytest.raises(RowError):
            await store.add([decision(), decision(**wrong)])
    assert await store.decisions() == []


async def test_tables_are_as_the_code_says(store):
    """The migrations make the very columns, keys and indexes that the queries are written for."""

    def look(connection):
        inspector = inspect(connection)
        assert set(inspector.get_table_names()) == {*TABLES.tables, "schema_version"}
        for table in TABLES.tables.values():
            found = {column["name"]: column for column in inspector.get_columns(table.name)}
            assert list(found) == [column.name for column in table.columns]
            for column in table.columns:
                assert found[column.name]["nullable"] == column.nullable
                assert found[column.name]["type"].python_type is _plain(column.type).python_type
            primary = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert primary == [column.name for column in table.primary_key]
            indexes = {index["name"]: index["column_names"] for index in inspector.get_indexes(table.name)}
            assert indexes == {index.name: [column.name for column in index.columns] for index in table.indexes}

    async with store._database.reading() as connection:
        await connection.run_sync(look)


def _plain(kind):
    return getattr(kind, "impl", kind)


async def test_many_who_start_at_once_migrate_once(store_url):
    """Replicas may start together before an empty database; later steps are taken once, too, and keep what is there."""
    stores = [Store(StoreConfig(url=store_url)) for _ in range(6)]
    try:
        await asyncio.gather(*(store.start() for store in stores))
        await stores[0].add([decision()])
        steps = (*migrations.MIGRATIONS, ("CREATE TABLE more (id TEXT)", "INSERT INTO more VALUES ('x')"))

        async def upgrade(store):
            async with store._database.writing() as connection:
                await migrations.migrate(connection, steps)

        await asyncio.gather(*(upgrade(store) for store in stores))
        async with stores[1]._database.reading() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM more"))).scalar() == 1
            assert (await connection.execute(text("SELECT max(version) FROM schema_version"))).scalar() == len(steps)
        assert len(await stores[2].decisions()) == 1
    finally:
        for store in stores:
            await store.close()


async def test_what_was_said_before_rows_were_named_is_joined_by_key_and_request(store):
    """The second step finds the answer that was meant: the last one before, of the same key, or of the same model."""
    rows = [decision(NOW + i, request_id="r", key_id=f"k{i % 2}", model=("big", "small")[i // 2]) for i in range(4)]

    def said(at, key):
        return FeedbackRow(id=new_row_id(at), at=at, request_id="r", kind="rating", value=1.0, key_id=key)

    judged = ComparisonRow(
        id=new_row_id(NOW + 9), at=NOW + 9, request_id="r", model_a="big", model_b="small", outcome=1.0, judge="j"
    )
    late = [said(NOW + 9 + i, key) for i, key in enumerate(("k0", "k1", None, "admin"))]
    await store.add([*rows, said(NOW + 1.5, "k0"), *late, judged])
    async with store._database.writing() as connection:
        for statement in migrations.MIGRATIONS[1][2:]:
            await connection.execute(text(statement))
    found = [row.decision_id for row in await store.feedback()]
    assert found == [rows[0].id, rows[2].id, rows[3].id, rows[3].id, None]
    assert [row.decision_id for row in await store.comparisons()] == [rows[1].id]


async def test_rows_of_two_models_stay_where_columns_of_many_come(store_url):
    """A database from before any number of models keeps its rows; what they do not know is None."""
    async with Store(StoreConfig(url=store_url)) as store:
        await store.add([decision(request_id="old", win_rate=0.5, strong_usd=2.0)])
        async with store._database.writing() as connection:
            for statement in reversed([statement for step in migrations.MIGRATIONS[6:] for statement in step]):
                table, column = statement.removeprefix("ALTER TABLE ").split(" ADD COLUMN ")
                await connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}"))
            await connection.execute(text("DELETE FROM schema_version WHERE version > 6"))
    async with Store(StoreConfig(url=store_url)) as store:
        row = await store.decision("old")
        assert (row.win_rate, row.strong_usd, row.reference, row.weighed, row.share) == (0.5, 2.0, None, None, None)
        await store.add([decision(request_id="new", weighed=[], reference="big")])
        assert (await store.decision("new")).reference == "big"


async def test_a_step_that_fails_changes_nothing(store):
    """A migration is one transaction."""
    steps = (*migrations.MIGRATIONS, ("CREATE TABLE more (id TEXT)", "INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(StoreError, match="nowhere"):
        async with store._database.writing() as connection:
            await migrations.migrate(connection, steps)
    async with store._database.reading() as connection:
        assert "more" not in await connection.run_sync(lambda sync: inspect(sync).get_table_names())


async def test_a_database_of_a_later_version_is_refused(store, store_url):
    """The message says what to do, and nothing is changed."""
    async with store._database.writing() as connection:
        await connection.execute(text("INSERT INTO schema_version VALUES (99)"))
    with pytest.raises(StoreError, match=r"version 99, but this Pointsman knows \d+.*upgrade Pointsman"):
        await Store(StoreConfig(url=store_url)).start()


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        ({}, "sqlite_autoindex_decisions_1"),
        ({"model": "m1"}, "decisions_model"),
        ({"key_id": "none"}, "decisions_key_id"),
        ({"outcome": "failed"}, "decisions_unanswered"),
    ],
)
async def test_a_page_is_found_by_an_index(store, chosen, index):
    """The database's plans for a page, a single decision and the sum of a day read no table whole."""
    rows = [decision(NOW + i, request_id=f"r{i}", model=f"m{i % 3}") for i in range(300)]
    await store.add(rows)
    async with _plans(store) as plans:
        await store.decisions(DecisionFilter(**chosen), limit=50, before=rows[150].id)
        await store.decision("r7")
        (total,) = await store.totals([], DecisionFilter(since=NOW + 100, until=NOW + 200))
    assert total.n_requests == 100
    page, one, sums = plans
    if store._database.dialect.name == "sqlite":  # the other chooses among its indexes by how full they are
        assert index in page and "decisions_request_id" in one and "sqlite_autoindex_decisions_1" in sums
    for plan in plans:
        assert re.search(r"using (?:primary|index|covering)|index (?:only )?scan|bitmap index", plan, re.IGNORECASE), (
            plan
        )
        assert not re.search(r"SCAN decisions(?! USING)|Seq Scan", plan), plan


@asynccontextmanager
async def _plans(store):
    """How the database goes about each query made inside; filled when it is left."""
    asked, plans = [], []

    def note(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    engine = store._database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield plans
    event.remove(engine, "before_cursor_execute", note)
    is_sqlite = engine.dialect.name == "sqlite"
    async with store._database.reading() as connection:
        if not is_sqlite:  # a table this small would be read whole, index or not
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in asked:
            explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
            found = await connection.exec_driver_sql(explain + statement, parameters)
            plans.append("\n".join(str(row[-1]) for row in found))


def test_the_page_on_the_store_has_its_tables():
    """Every table and column is described, in its order, and no other."""
    sections = re.split("^### ", (ROOT / "docs" / "store.md").read_text(), flags=re.MULTILINE)[1:]
    described = {}
    for section in sections:
        name, _, body = section.partition("\n")
        cells = re.findall(r"^\| (`[^|]*) \|", body, flags=re.MULTILINE)
        described[name] = re.findall("`(.*?)`", " ".join(cells))
    assert described == {table.name: table.columns.keys() for table in TABLES.tables.values()}


def test_without_a_store_its_libraries_are_not_loaded():
    """A server that keeps nothing pays nothing for the store."""
    code = "import sys; from pointsman.serve import create_app; create_app(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in done.stdout.split()}.isdisjoint({"sqlalchemy", "aiosqlite", "asyncpg"})


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite:///a.db"),
        ("postgresql://u@h:5/d", "postgresql+asyncpg://u@h:5/d"),
        ("postgres://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql://u@/d?host=/tmp", "postgresql+asyncpg://u@/d?host=%2Ftmp"),
    ],
)
def test_urls_as_everyone_writes_them(url, wanted):
    """The driver is ours to name, and libpq's sslmode is understood."""
    assert make_config({"store": {"url": url}}).store.url == url
    assert str(read_url(url)) == wanted


@pytest.mark.parametrize("url", ["mysql://h/d", "a.db", "postgresql://u:pw@h/d", "postgresql://h/d?password=pw"])
def test_a_url_that_cannot_be_or_holds_a_password_is_refused(url):
    """And the message shows no password."""
    with pytest.raises(ConfigError, match=r"store\.url: .*env:NAME") as refused:
        make_config({"store": {"url": url}})
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://u:pw@h/d", "sqlite://", "sqlite:///:memory:", "postgresql://u:pw@h/d?x=1", ""]
)
def test_a_variable_without_a_url_is_refused(monkeypatch, url):
    """By its name; its value, which may hold a password, is not shown."""
    monkeypatch.setenv("MY_URL", url)
    with pytest.raises(ConfigError, match="MY_URL") as refused:
        read_url("env:MY_URL")
    assert "pw" not in str(refused.value)


async def test_a_password_shows_nowhere(monkeypatch):
    """Neither a failing store nor its repr tells the password of its URL."""
    monkeypatch.setenv("MY_URL", "postgresql://someone:s3cret@127.0.0.1:1/d?sslmode=disable")
    store = Store(make_config({"store": {"url": "env:MY_URL"}}).store)
    with pytest.raises(StoreError, match=r"store postgresql://someone:\*\*\*@127.0.0.1:1/d: ") as failed:
        await store.start(patience_s=0.0)
    assert "s3cret" not in f"{failed.value} {store.config!r} {read_url('env:MY_URL')!r}"


def test_a_missing_driver_is_named(monkeypatch):
    """PostgreSQL's driver is an extra; the error gives the line that installs it."""
    monkeypatch.setattr("pointsman.serve.store.database.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r'pip install "pointsman\[postgres\]"'):
        Store(StoreConfig(url="postgresql://h/d"))
