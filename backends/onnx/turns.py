"""A limit on how many threads compute at a time, fair to those that wait."""

from collections import deque
from threading import Lock

__all__ = ["Turns"]


class Turns:
    """A `with` block that so many threads are in at a time; the others follow in the order in which they came.

    A semaphore lets the thread that has just left in again before those that it woke, so that some wait for long.

    Attributes:
        n_free: threads that may come in without waiting.
    """

    def __init__(self, n_at_a_time: int) -> None:
        self._guard = Lock()
        self.n_free = n_at_a_time
        self._waiting: deque[Lock] = deque()

    @property
    def n_waiting(self) -> int:
        """Threads that wait for their turn."""
        return len(self._waiting)

    def __enter__(self) -> None:
        mine = Lock()
        with self._guard:
            if self.n_free:
                self.n_free -= 1
                return
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()  # released by the thread whose turn it follows
        except BaseException:  # Ctrl-C
            self._give_up(mine)
            raise

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._pass_on()

    def _give_up(self, mine: Lock) -> None:
        with self._guard:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:
                self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self.n_free += 1
