"""A load generator for OpenAI's protocol: keep-alive connections that ask as soon as they are answered.

Their prompts differ, so that what is kept of a prompt is not all there is to it; every server gets the same ones. What
comes back is checked: every answer is a 200, every stream complete and in order.
"""

import asyncio
import itertools
import json
import re
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.prompts import make_prompts

__all__ = ["Load", "Target", "read_answer", "run_load", "run_streams"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LONGEST_S = 60.0


@dataclass(frozen=True)
class Target:
    """Where to send, and what."""

    port: int
    model: str
    path: str = "/v1/chat/completions"
    headers: tuple[tuple[str, str], ...] = ()

    def requests(self, *, stream: bool) -> list[bytes]:
        """The bytes of some hundred requests, each with another prompt."""
        return [self._request(prompt, stream=stream) for prompt in make_prompts()]

    def _request(self, prompt: str, *, stream: bool) -> bytes:
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": prompt}]}
        text = json.dumps({**body, "stream": True} if stream else body).encode()
        headers = {"Host": "127.0.0.1", "Content-Type": "application/json", "Authorization": "Bearer bench"}
        lines = [f"{name}: {value}" for name, value in {**headers, **dict(self.headers)}.items()]
        head = [f"POST {self.path} HTTP/1.1", *lines, f"Content-Length: {len(text)}", "", ""]
        return "\r\n".join(head).encode() + text


@dataclass(frozen=True)
class Load:
    """What a load was answered with: latencies in seconds, how long it all took, how many answers were no good."""

    latencies_s: Any
    elapsed_s: float
    n_failed: int = 0

    @property
    def requests_per_s(self) -> float:
        return len(self.latencies_s) / self.elapsed_s

    def ms(self, percentile: float) -> float:
        """A percentile of the latencies."""
        return float(np.percentile(self.latencies_s, percentile)) * 1e3


async def run_load(target: Target, *, clients: int, seconds: float, n_requests: int | None = None) -> Load:
    """Plain requests from `clients` connections for some seconds, or until `n_requests` were answered."""
    latencies: list[float] = []
    requests = itertools.cycle(target.requests(stream=False))
    started = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        while time.perf_counter() - started < seconds and (n_requests is None or len(latencies) < n_requests):
            request = next(requests)
            asked = time.perf_counter()
            writer.write(request)
            await read_answer(reader)
            latencies.append(time.perf_counter() - asked)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(np.array(latencies), time.perf_counter() - started)


async def run_streams(target: Target, *, streams: int, words: int, in_turn: bool = False) -> Load:
    """`streams` event streams, at once or in turn; the latencies are the times to the first chunk.

    A stream that is refused, cut, late, incomplete or out of order counts as failed.
    """
    requests = itertools.cycle(target.requests(stream=True))
    wanted = "".join(f"{i} " for i in range(words))

    async def client() -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1 << 20)
        request = next(requests)
        asked = time.perf_counter()
        writer.write(request)
        async with asyncio.timeout(_LONGEST_S):
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise AssertionError(f"{target}: {head.decode()}")
            body = await reader.readuntil(b"\n\n")
            first = time.perf_counter() - asked
            while not body.endswith(b"0\r\n\r\n"):
                piece = await reader.read(1 << 16)
                if not piece:
                    raise AssertionError(f"{target}: a stream was cut")
                body += piece
        writer.close()
        if (got := _text(body)) != wanted:
            raise AssertionError(f"{target}: a stream reads {got!r}, wanted {wanted!r}")
        return first

    started = time.perf_counter()
    at_once = 1 if in_turn else streams
    firsts: list[Any] = []
    for _ in range(0, streams, at_once):
        firsts += await asyncio.gather(*(client() for _ in range(at_once)), return_exceptions=True)
    good = [first for first in firsts if isinstance(first, float)]
    return Load(np.array(good or [np.nan]), time.perf_counter() - started, streams - len(good))


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Reads one whole answer, which has to be a 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(head.decode() + (await reader.read(2000)).decode("utf-8", "replace"))
    if length := _LENGTH.search(head):
        await reader.readexactly(int(length[1]))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


def _text(chunked: bytes) -> str:
    """The content of all deltas of a chunked event stream."""
    pieces, place = [], 0
    while place < len(chunked):
        end = chunked.index(b"\r\n", place)
        size = int(chunked[place:end], 16)
        pieces.append(chunked[end + 2 : end + 2 + size])
        place = end + 2 + size + 2
    text = []
    for line in b"".join(pieces).split(b"\n"):
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:]).get("choices") or [{}]
            text.append((choices[0].get("delta") or {}).get("content") or "")
    return "".join(text)
