"""Several worker processes on one listening socket."""

import logging
import os
import pickle
import signal
import time
from contextlib import suppress

from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from pointsman.serve.server.draining import DrainingServer

__all__ = ["STARTUP_FAILURE", "Supervisor"]

STARTUP_FAILURE = 3  # the status that uvicorn gives a worker which could not start

_LOG = logging.getLogger(__name__)
_RETRY_S = 2.0
_ANSWER_S = 0.2
_SILENT_S = 60.0  # on a machine that is too busy a start alone takes many seconds


class _Worker(Process):
    """A worker process."""

    _heard_at = 0.0

    def start(self) -> None:
        """Starts the process."""
        self._heard_at = time.monotonic()
        super().start()

    def is_alive(self, timeout: float = _SILENT_S) -> bool:
        """Whether it runs, and has responded within `timeout` seconds.

        Never blocks for long: a worker that is slow to start or respond is not killed for that, and does not
        delay the replacement of another.
        """
        if not self.process.is_alive():
            return False
        return self.ping(_ANSWER_S) or time.monotonic() - self._heard_at < timeout

    def _healthcheck(self, timeout: float) -> bool | None:
        """Answers to earlier pings count as responses, too, but say nothing about now."""
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            while self.parent_conn.poll():
                self.parent_conn.recv()
                self._heard_at = time.monotonic()
        started = super()._healthcheck(timeout)
        if started is not None:
            self._heard_at = time.monotonic()
        return started

    @property
    def server(self) -> DrainingServer:
        if self._server is None:
            self._server = DrainingServer(self.config)
        assert isinstance(self._server, DrainingServer)
        return self._server


class Supervisor(Multiprocess):
    """Keeps its workers alive until SIGINT or SIGTERM, and passes SIGHUP on to them.

    A worker that dies is replaced. If the new one cannot start, because the configuration or a checkpoint has become
    invalid, the others keep serving and the start is retried; if none has ever started, the server exits.
    """

    _next_try = 0.0
    _has_served = False

    def init_processes(self) -> None:
        """Starts the workers."""
        self.processes = [_Worker(self.config, self.sockets) for _ in range(self.processes_num)]
        for process in self.processes:
            process.start()

    def terminate_all(self) -> None:
        """Stops the workers. The port must not stay open here, so that it closes when they close it."""
        for door in self.sockets:
            door.close()
        super().terminate_all()

    def handle_hup(self) -> None:
        """Tells every worker to reload; one that is still starting will look for changes itself."""
        for process in self.processes:
            if process.pid is not None and process.is_ready():
                with suppress(ProcessLookupError):  # it has just died, and its successor will read what is new
                    os.kill(process.pid, signal.SIGHUP)

    def keep_subprocess_alive(self) -> None:
        """Replaces workers that have died or hang."""
        for i, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if process.is_alive(timeout=_SILENT_S):
                self._has_served = self._has_served or process.is_ready(_ANSWER_S)
                continue
            failed = process.process.exitcode == STARTUP_FAILURE
            if failed and not self._has_served:
                _LOG.error("worker %s could not start", process.pid)
                self.should_exit.set()
                return
            if failed and time.monotonic() < self._next_try:
                continue
            process.kill()
            process.join()
            mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
            _LOG.error("worker %s %s; starting another", process.pid, "could not start" if failed else "died")
            self._next_try = time.monotonic() + _RETRY_S
            self.processes[i] = _Worker(self.config, self.sockets)
            self.processes[i].start()
