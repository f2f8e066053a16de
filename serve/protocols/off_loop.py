"""Runs work on a body on the event loop if the body is short, else in a thread, so that no request waits for it."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pointsman.serve.protocols.large_json import LARGE_BYTES

__all__ = ["off_loop"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def off_loop(n_bytes: int, work: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
    """The result of `work` for a body of this many bytes."""
    if n_bytes <= LARGE_BYTES:
        return work(*args, **options)
    return await asyncio.to_thread(work, *args, **options)
