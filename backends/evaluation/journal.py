"""Win rates kept on disk as they are computed, so that an interrupted run continues where it stopped."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import DataError
from pointsman.core.journal_lines import append_line, check_keeps
from pointsman.core.pair import ModelPair
from pointsman.core.router import Router

__all__ = ["AsksEach", "WinRateJournal", "router_key"]

_CHUNK = 512


class WinRateJournal:
    """Win rates of prompts, each on disk as soon as it is known, and identified by what it was computed from.

    A line per prompt: a hash of the router and the prompt, and the win rate. A line that a crash cut off is computed
    again; a changed router or prompt has another hash, so nothing stale is ever used.

    Args:
        path: the file; it is created where it does not exist.

    Raises:
        DataError: the file exists and is something else, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._rates: dict[bytes, float] = {}
        self.n_reused = self.n_computed = 0
        check_keeps(self.path)
        if self.path.exists():
            self._read()

    def win_rates(self, router: Router, prompts: Sequence[str], *, key: str) -> FloatArray:
        """Win rates of prompts, from the file or else computed, once for equal prompts.

        A router that asks a service for each prompt (`each_win_rate`) has every answer recorded as it comes; another
        computes 512 at a time.

        Args:
            key: `router_key` of the router.
        """
        names = [_name(key, prompt) for prompt in prompts]
        missing = {name: prompt for name, prompt in zip(names, prompts, strict=True) if name not in self._rates}
        self.n_reused += sum(name not in missing for name in names)
        self.n_computed += len(missing)
        if missing:
            self._compute(router, list(missing), list(missing.values()))
        return np.array([self._rates[name] for name in names], dtype=np.float64)

    def _compute(self, router: Router, names: Sequence[bytes], prompts: Sequence[str]) -> None:
        with self._appending() as file:

            def record(row: int, rate: float) -> None:
                line = json.dumps({"prompt": names[row].hex(), "win_rate": rate}).encode() + b"\n"
                append_line(file, self.path, line)
                self._rates[names[row]] = rate

            if isinstance(router, AsksEach):
                router.each_win_rate(prompts, record)
                return
            for start in range(0, len(prompts), _CHUNK):
                for i, rate in enumerate(router.win_rates(prompts[start : start + _CHUNK]).tolist()):
                    record(start + i, rate)

    @contextmanager
    def _appending(self) -> Iterator[BinaryIO]:
        """The file, written without a buffer: what was recorded outlives the process."""
        try:
            with self.path.open("ab", buffering=0) as file:
                yield file  # type: ignore[misc]
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error}") from error

    def _read(self) -> None:
        end = 0
        with self.path.open("rb") as file:
            for raw in file:
                line = _parsed(raw)
                if line is None and raw.endswith(b"\n"):
                    raise DataError(f"{self.path} is not a file of win rates that Pointsman wrote: name another file")
                if line is None or not raw.endswith(b"\n"):
                    break
                if "prompt" in line:  # earlier versions wrote a line per batch, which no single prompt can use
                    self._rates[bytes.fromhex(line["prompt"])] = float(line["win_rate"])
                end += len(raw)
        if end < self.path.stat().st_size:  # the last line was cut off
            os.truncate(self.path, end)


@runtime_checkable
class AsksEach(Protocol):
    """A router that pays for every prompt, and reports each win rate as soon as it is known."""

    def each_win_rate(self, prompts: Sequence[str], on_rate: Callable[[int, float], None]) -> None:
        """Calls `on_rate` with the row and the win rate of each prompt, in any order."""


def router_key(checkpoint: Checkpoint, pair: ModelPair) -> str:
    """Identifies what a router's win rates depend on: the content of its checkpoint and the pair of models."""
    meta = checkpoint.path / "pointsman.json" if checkpoint.path else None
    content = meta.read_bytes() if meta else json.dumps([checkpoint.kind, dict(checkpoint.options)]).encode()
    return json.dumps([checkpoint.kind, hashlib.sha256(content).hexdigest(), pair.strong, pair.weak])


def _name(key: str, prompt: str) -> bytes:
    content = prompt.encode("utf-8", "surrogatepass")
    return hashlib.sha256(len(key).to_bytes(8, "little") + key.encode() + content).digest()[:16]


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    known = isinstance(line, dict) and ({"prompt", "win_rate"} <= set(line) or {"batch", "win_rates"} <= set(line))
    return line if known else None
