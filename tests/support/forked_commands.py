"""`pointsman` for tests that start it often, and `python -`, without each process importing everything again.

A parent process imports what most commands need, and forks for each. The programs of a folder on PATH pass on their
arguments, environment and open files, forward signals, and end as the command ends. Nothing else differs from a process
of its own: `python` with other arguments is the real one. Tests of the start itself, of memory and of how a process
ends start the real `pointsman`.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["ForkedCommand", "forking_commands"]

_IMPORTED = [
    *("aiosqlite", "fastapi", "sqlalchemy.ext.asyncio", "tokenizers", "uvicorn"),
    *("pointsman.serve.cli", "pointsman.serve.commands.serve", "pointsman.serve.python_api.controller"),
    *("pointsman.serve.server.app", "pointsman.serve.server.launch", "pointsman.serve.server.fastapi_app"),
    *("pointsman.serve.store.store", "pointsman.backends.embedders.static", "pointsman.backends.data.tables"),
]
# What a command is replaced by: it must start quickly, so it imports nothing but sockets, which wait for a connection.
_CLIENT = """#!{python} -SE
import json, os, signal, socket, sys
if {name!r} == "python" and sys.argv[1:] != ["-"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(call).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(call)
    pid = int(server.recv(16))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    status = int(server.recv(16) or 1)
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@contextlib.contextmanager
def forking_commands(environment: dict[str, str]) -> Iterator[str]:
    """A folder for the beginning of PATH with `pointsman` and `python`, for as long as the parent runs."""
    with tempfile.TemporaryDirectory(prefix="pointsman-commands-") as folder:
        address = str(Path(folder) / "socket")
        for name in ("pointsman", "python"):
            program = Path(folder) / name
            program.write_text(_CLIENT.format(python=sys.executable, name=name, address=address))
            program.chmod(0o755)
        command = [sys.executable, "-c", "from support.forked_commands import serve; serve()", address]
        environment = {**environment, "PYTHONPATH": str(Path(__file__).parents[1])}
        parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=folder)
        try:
            assert parent.stdout is not None and parent.stdout.readline() == b"listens\n"
            yield folder
        finally:
            parent.kill()
            parent.communicate()


@functools.cache
def _address() -> str:
    """Where the parent listens that this process keeps to its end."""
    kept = contextlib.ExitStack()
    folder = kept.enter_context(forking_commands(dict(os.environ)))
    atexit.register(kept.close)
    return str(Path(folder) / "socket")


class ForkedCommand:
    """`pointsman` with arguments; like a `subprocess.Popen` whose stderr is a pipe of text.

    Attributes:
        pid: of the command.
        stderr: what it says.
        returncode: None while it runs.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.returncode: int | None = None
        said, said_by_it = os.pipe()
        self.stderr = os.fdopen(said, encoding="utf-8")
        call = json.dumps(["pointsman", arguments, str(Path.cwd()), environment]).encode()
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_address())
        with Path(os.devnull).open("r+b") as nothing:
            files = [nothing.fileno(), nothing.fileno(), said_by_it]
            socket.send_fds(self._connection, [len(call).to_bytes(4, "big")], files)
        os.close(said_by_it)
        self._connection.sendall(call)
        self.pid = int(_read(self._connection, 16))

    def poll(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        with contextlib.suppress(BlockingIOError, subprocess.TimeoutExpired):
            self.wait(timeout=0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it has ended."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(self._connection.recv(16))
            except TimeoutError:
                raise subprocess.TimeoutExpired("pointsman", timeout or 0.0) from None
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signals it; nothing happens where it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self.send_signal(signal.SIGKILL)


def serve() -> None:
    """Forks for every call; returns in the child that runs one, after it has run."""
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # no child looks through what all of them share
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(64)
        sys.stdout.write("listens\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection:
        head, files, *_ = socket.recv_fds(connection, 4, 3)
        call = json.loads(_read(connection, int.from_bytes(head, "big")))
        pid = os.fork()
        if pid:
            connection.sendall(str(pid).encode().ljust(16))
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            connection.sendall(str(status).encode())
            os._exit(0)
    _run(*call, files)


def _reap(*_: object) -> None:
    """Waits for those that have ended, so that their time counts as this process's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def _run(name: str, arguments: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    """Becomes the command."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout = os.fdopen(0, "r", encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments if name == "python" else [name, *arguments]
    main: Any = ModuleType("__main__")
    sys.modules["__main__"] = main
    if name == "python":
        sys.path[:] = ["", *(path for path in sys.path if path != str(Path(__file__).parents[1]))]
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), main.__dict__)
    else:
        from pointsman.serve.cli import main as pointsman

        raise SystemExit(pointsman())
