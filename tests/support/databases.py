"""Databases for tests: a file, and a real PostgreSQL server that the tests start themselves.

`store_url` gives each test that uses it both kinds, one after the other; `postgres_url` gives a database of its own on
the server, and `postgres_server` one that may be stopped and started.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["Postgres", "own_postgres", "postgres_server", "postgres_url", "store_url"]

_USER = "pointsman"
_SETTINGS = ("listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=60", "log_statement=none")


class Postgres:
    """A server in a folder of its own, reached by a Unix socket in it."""

    def __init__(self, binaries: Path) -> None:
        """Makes the folder; it belongs to whom the server runs as, which must not be root."""
        self._binaries = binaries
        self._as = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="pointsman-pg-", dir="/tmp"))
        if self._as:
            shutil.chown(self.folder, **self._as)
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(self.folder / "data"), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        settings = [f"-c{setting}" for setting in (*_SETTINGS, f"unix_socket_directories={self.folder}")]
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *settings]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", **self._as)
        deadline = time.monotonic() + 30
        while self._run("pg_isready", "-h", str(self.folder), "-q", check=False) != 0:
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops it at once, as a power failure would; it recovers when it is started again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)
            self._process = None

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"test{next(self._numbers)}"
        self._run("createdb", "-h", str(self.folder), "-U", _USER, name)
        return f"postgresql://{_USER}@/{name}?host={self.folder}"

    def remove(self) -> None:
        """Stops it and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str, check: bool = True) -> int:
        command = [str(self._binaries / name), *arguments]
        return subprocess.run(command, check=check, capture_output=True, cwd="/", **self._as).returncode


def _binaries() -> Path:
    """Folder of PostgreSQL's programs; skips where there is none."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    found = next((place for place in places if (place / "initdb").exists()), None)
    if found is None:
        pytest.skip("no PostgreSQL here: apt-get install -y postgresql")
    return found


def _started() -> Iterator[Postgres]:
    pytest.importorskip("asyncpg", reason='no asyncpg here: pip install "pointsman[postgres]"')
    server = Postgres(_binaries())
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A server that all tests share; none may stop it."""
    yield from _started()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that the test may stop and start."""
    yield from _started()


@pytest.fixture
def postgres_url(postgres_server) -> str:
    """URL of an empty database."""
    return postgres_server.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path) -> str:
    """URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("postgres_url")
