"""The store of real server processes, whatever happens to them, to their disk and to their database."""

import asyncio
import json
import resource
import signal
import sqlite3
import threading

import httpx
import pytest

from pointsman.serve.cli import main
from pointsman.serve.config import StoreConfig
from pointsman.serve.store.store import Store

from support.processes import ForkedServer, wait_until

BODY = {"model": "router-random-0.5", "messages": [{"role": "user", "content": "Hello"}]}
BATCH_S = 0.25


def write_config(folder, url, *, server=None, **store):
    path = folder / "config.json"
    store = {"url": url, "batch_s": BATCH_S, **store}
    path.write_text(json.dumps({"routers": {"random": {}}, "store": store, "server": server or {}}))
    return str(path)


class Load:
    """Asks from several threads, each some hundred times a second at most, until it is told to stop.

    Attributes:
        answered: the request ids of all answers.
        statuses: of all answers.
    """

    def __init__(self, url, n_clients=3):
        self.answered = []
        self.statuses = set()
        self._url = f"{url}/v1/chat/completions"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(n_clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number):
        with httpx.Client(timeout=60) as client:
            for i in range(1_000_000):
                if self._stop.is_set():
                    return
                name = f"{number}-{i}"
                try:
                    response = client.post(self._url, json=BODY, headers={"X-Request-Id": name})
                except httpx.TransportError:
                    return
                self.statuses.add(response.status_code)
                self.answered.append(name)
                self._stop.wait(0.01)


def stored(url):
    """The request ids in a store."""

    async def read():
        async with Store(StoreConfig(url=url)) as store:
            return [row.request_id async for page in store.scan() for row in page]

    return asyncio.run(read())


def written(server):
    return server.metric("pointsman_store_rows_written_total")


def test_nothing_is_lost_on_sigterm(tmp_path, store_url):
    """Every request that was answered is in the store after the server was told to stop under load, once."""
    with (
        ForkedServer("--config", write_config(tmp_path, store_url, batch_rows=20)) as server,
        Load(server.url) as load,
    ):
        wait_until(lambda: len(load.answered) > 50)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
    ids = stored(store_url)
    assert len(ids) == len(set(ids))
    assert set(ids) >= set(load.answered)


def test_kill_loses_the_unflushed_batch_at_most_and_corrupts_nothing(tmp_path, store_url):
    """After kill -9 under load all rows are there that the server had written, and the next server goes on."""
    config, n_before = write_config(tmp_path, store_url), 0
    for _ in range(2):
        with ForkedServer("--config", config) as server, Load(server.url):
            n_written = wait_until(lambda: n if (n := written(server)) > 50 else None)
            server.process.kill()
        names = stored(store_url)
        assert len(names) >= n_before + n_written
        n_before = len(names)
        if store_url.startswith("sqlite"):
            with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()


def test_a_full_disk_holds_up_no_request(tmp_path):
    """While the file cannot grow requests are answered and rows wait; with room again all are written."""
    url = f"sqlite:///{tmp_path}/store.db"
    with ForkedServer("--config", write_config(tmp_path, url)) as server:
        _, most = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        with Load(server.url) as load:
            wait_until(lambda: server.metric("pointsman_store_rows_written_total") > 20)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (100_000, most))
            wait_until(lambda: server.metric("pointsman_store_up") == 0)
            n_before = len(load.answered)
            wait_until(lambda: len(load.answered) > n_before + 100)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, most))
            wait_until(lambda: server.metric("pointsman_store_up") == 1)
        assert server.metric("pointsman_store_rows_lost_total") == 0
    assert load.statuses == {200}
    assert sorted(stored(url)) == sorted(load.answered)
    assert any("store sqlite" in line and "rows are queued" in line for line in server.lines)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_database_that_goes_away_and_returns_costs_no_request_and_no_row(tmp_path, own_postgres):
    """PostgreSQL is stopped hard and started again under load; what is lost beyond the queue's bound is counted."""
    url = own_postgres.new_database()
    with ForkedServer("--config", write_config(tmp_path, url)) as server:
        with Load(server.url) as load:
            wait_until(lambda: server.metric("pointsman_store_rows_written_total") > 20)
            own_postgres.stop()
            wait_until(lambda: server.metric("pointsman_store_up") == 0)
            n_before = len(load.answered)
            wait_until(lambda: len(load.answered) > n_before + 100)
            own_postgres.start()
            wait_until(lambda: server.metric("pointsman_store_up") == 1)
        assert server.metric("pointsman_store_rows_lost_total") == 0
    assert load.statuses == {200}
    assert sorted(stored(url)) == sorted(load.answered)


def test_what_is_lost_is_counted_and_seen(tmp_path, own_postgres):
    """A database that stays away: the queue fills, the server serves on, and metrics and log tell of every row."""
    url = own_postgres.new_database()
    config = write_config(tmp_path, url, queue_rows=20, drain_s=0.5)
    with ForkedServer("--config", config) as server:
        own_postgres.stop()
        with Load(server.url) as load:
            wait_until(lambda: server.metric("pointsman_store_rows_lost_total", 'reason="full"') > 50)
        assert load.statuses == {200}
        names = ("pointsman_store_rows_lost_total", "pointsman_store_rows_written_total")
        wait_until(lambda: sum(map(server.metric, names)) + 20 == len(load.answered))
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0
    assert any("20 rows were not written to the store within 0.5 s" in line for line in server.lines)


def test_two_servers_follow_the_keys_of_one_store(tmp_path, store_url, capsys):
    """A key that is made is let in by both within a second or so, and one that is revoked by neither."""
    config = write_config(tmp_path, store_url, server={"keys": "store"})
    with ForkedServer("--config", config) as one, ForkedServer("--config", config) as other:

        def statuses(text):
            headers = {"Authorization": f"Bearer {text}"}
            return {httpx.get(f"{server.url}/v1/models", headers=headers).status_code for server in (one, other)}

        assert statuses("pm-x-y") == {401}
        assert main(["keys", "create", "alice", "--admin", "--tier", "paid", "--store", store_url]) == 0
        text = capsys.readouterr().out.strip()
        wait_until(lambda: statuses(text) == {200})
        assert main(["keys", "list", "--json", "--store", store_url]) == 0
        (listed,) = json.loads(capsys.readouterr().out)
        assert (listed["name"], listed["tier"], listed["admin"]) == ("alice", "paid", True)
        assert main(["keys", "revoke", listed["id"], "--store", store_url]) == 0
        wait_until(lambda: statuses(text) == {401})
        assert main(["keys", "revoke", listed["id"], "--store", store_url]) == 1
        assert "there is no key" in capsys.readouterr().err


def test_workers_share_a_store(tmp_path, store_url):
    """Several processes of one server write to one database at once; nothing is lost."""
    with ForkedServer("--config", write_config(tmp_path, store_url), "--workers", "2") as server:
        with Load(server.url) as load:
            wait_until(lambda: len(load.answered) > 50)
        wait_until(lambda: server.metric("pointsman_store_rows_written_total") >= len(load.answered))
        assert server.metric("pointsman_store_rows_lost_total") == 0
    assert sorted(stored(store_url)) == sorted(load.answered)


@pytest.mark.parametrize("flags", [["--check"], []])
def test_a_store_that_cannot_be_opened_ends_the_start(tmp_path, capsys, flags):
    """Before anything is served, with one line that names it."""
    (tmp_path / "file").write_text("")
    config = write_config(tmp_path, f"sqlite:///{tmp_path}/file/store.db")
    assert main(["serve", "--config", config, *flags]) == 1
    errors = capsys.readouterr().err
    assert "store.db cannot be" in errors or "pointsman serve: store sqlite:///" in errors
    assert "Pointsman serves" not in errors
