"""How the parts of a process close: side by side, within one deadline."""

import asyncio

import pytest

from pointsman.serve.config.load import make_config
from pointsman.serve.engine import state
from pointsman.serve.engine.state import ServerState


class Part:
    """Closes when it is let, or never."""

    def __init__(self, closed, name, *, until=None, error=None):
        self._closed, self._name, self._until, self._error = closed, name, until, error

    async def start(self):
        return

    async def close(self):
        if self._until is not None:
            await self._until.wait()
        if self._error is not None:
            raise self._error
        self._closed.append(self._name)


async def started(*parts):
    found = ServerState(make_config({}))
    found._components[:] = parts
    await found.start()
    return found


async def test_parts_that_hang_cost_one_deadline_together(monkeypatch):
    """Ten that hang take as long as one; those that do not are closed meanwhile."""
    monkeypatch.setattr(state, "_MARGIN_S", 0.05)
    monkeypatch.setattr(state, "_HAND_OVER_S", 0.01)
    never, closed = asyncio.Event(), []
    found = await started(*(Part(closed, f"hangs {i}", until=never) for i in range(10)), Part(closed, "quick"))
    found._close_s = 0.1
    await asyncio.wait_for(found.close(), 60.0)
    assert closed == ["quick"]


async def test_an_error_of_one_part_does_not_keep_the_others_open():
    """All are closed, and then the error is raised."""
    closed = []
    found = await started(Part(closed, "first"), Part(closed, "x", error=ValueError("broken")), Part(closed, "last"))
    with pytest.raises(ValueError, match="broken"):
        await found.close()
    assert sorted(closed) == ["first", "last"]
    await found.close()  # nothing is left to be closed


async def test_parts_close_at_the_same_time():
    """One that waits for another is no problem."""
    closed, other = [], asyncio.Event()

    class Opens(Part):
        async def close(self):
            other.set()
            await super().close()

    found = await started(Opens(closed, "opens"), Part(closed, "waits", until=other))
    await found.close()
    assert sorted(closed) == ["opens", "waits"]
