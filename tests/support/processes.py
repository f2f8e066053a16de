"""`pointsman serve` as a process of its own, for tests that signal it, change its files or look at what it holds."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from support.forked_commands import ForkedCommand

__all__ = ["ForkedServer", "ServerProcess", "wait_until"]

_RUN = "from pointsman.serve.cli import main; raise SystemExit(main())"


class ServerProcess:
    """Serves from the `with` block's begin to its end, on a free loopback port.

    Attributes:
        url: without /v1.
        process: the process; with several workers their parent.
        lines: what it has said on stderr so far.
    """

    def __init__(self, *flags: str, **variables: str) -> None:
        self.lines: list[str] = []
        self.process = self._start(["serve", "--port", "0", *flags], {**os.environ, **variables})
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._reader.start()
        try:
            self.url = wait_until(self._announced).split()[2].removesuffix("/v1")
            wait_until(self._answers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _start(self, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str] | ForkedCommand:
        command = [sys.executable, "-c", _RUN, *arguments]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that serve: its own, or those of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        workers = [int(pid) for pid in children if b"spawn_main" in _command(pid)]
        return tuple(workers) or (self.process.pid,)

    def ready(self) -> dict[str, Any]:
        """What GET /ready says."""
        return httpx.get(f"{self.url}/ready").json()

    def samples(self, name: str) -> Iterator[tuple[str, float]]:
        """The samples of one metric, as (labels, value)."""
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name:
                yield sample.partition("{")[2], float(value)

    def metric(self, name: str, label: str = "") -> float:
        """Sum of the samples of one metric whose labels contain `label`."""
        return sum(value for labels, value in self.samples(name) if label in labels)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def _announced(self) -> str | None:
        assert self.process.poll() is None, f"the server ended: {''.join(self.lines)}"
        return next((line for line in self.lines if line.startswith("Pointsman serves")), None)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False


class ForkedServer(ServerProcess):
    """The same without the imports of its start, for tests of what happens after it."""

    def _start(self, arguments: list[str], environment: dict[str, str]) -> ForkedCommand:
        return ForkedCommand(arguments, environment)


def _command(pid: str) -> bytes:
    """What a process runs; nothing where it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_until(is_so: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true value of `is_so`, asked again and again, more and more slowly."""
    deadline, pause_s = time.monotonic() + timeout_s, 0.01
    while not (value := is_so()):
        assert time.monotonic() < deadline, f"not so within {timeout_s} s"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.1)
    return value
