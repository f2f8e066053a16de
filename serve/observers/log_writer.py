"""Writes log lines from a thread, so that a slow reader of stderr never blocks a request."""

import logging
import os
import threading
import time
from collections import deque

__all__ = ["LogWriter", "lost_lines"]

_GATHER_S = 0.02  # lines of so long are written at once
_MAX_LINES = 10_000
_LAST_S = 2.0  # at the end of the process


class LogWriter(logging.Handler):
    """A handler that formats immediately and writes later.

    At most 10,000 lines are queued; further lines are dropped.

    Attributes:
        n_lost: lines dropped because stderr was not read in time.
    """

    def __init__(self, descriptor: int) -> None:
        """Starts writing.

        Args:
            descriptor: file descriptor.
        """
        super().__init__()
        self.n_lost = 0
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._some = threading.Event()
        threading.Thread(target=self._run, name="pointsman-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a record."""
        try:
            self.put(self.format(record).encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001  (as every handler: a line that cannot be formatted fails no request)
            self.handleError(record)

    def put(self, line: bytes) -> None:
        """Queues a line, without its newline."""
        if len(self._lines) >= _MAX_LINES:
            self.n_lost += 1
            return
        self._lines.append(line)
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Waits until the queued lines are written, for at most two seconds."""
        until = time.monotonic() + _LAST_S
        while self._some.is_set() and time.monotonic() < until:
            time.sleep(_GATHER_S / 2)

    def _run(self) -> None:
        while self._some.wait():
            time.sleep(_GATHER_S)
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            try:
                self._write(b"\n".join([*lines, b""]))
            except OSError:  # nobody can read them any more
                self.n_lost += len(lines)
            if not self._lines:
                self._some.clear()
                if self._lines:
                    self._some.set()

    def _write(self, text: bytes) -> None:
        while text:
            try:
                text = text[os.write(self._descriptor, text) :]
            except BlockingIOError:
                time.sleep(_GATHER_S)


def lost_lines() -> int:
    """Lines that this process dropped."""
    return sum(handler.n_lost for handler in logging.getLogger().handlers if isinstance(handler, LogWriter))
