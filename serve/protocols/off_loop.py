"""Runs work on a body on the event loop if the body is short, else in a thread, so that no request waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from pointsman.serve.protocols.large_json import LARGE_BYTES

__all__ = ["off_loop"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_HUGE_BYTES = 1_000_000
# Huge bodies one after the other: several threads would only take Python's lock from each other, and from the loop.
_ONE = ThreadPoolExecutor(1, "pointsman-huge")


async def off_loop(n_bytes: int, work: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
    """The result of `work` for a body of this many bytes."""
    if n_bytes <= LARGE_BYTES:
        return work(*args, **options)
    called = partial(copy_context().run, work, *args, **options)
    return await asyncio.get_running_loop().run_in_executor(_ONE if n_bytes > _HUGE_BYTES else None, called)
