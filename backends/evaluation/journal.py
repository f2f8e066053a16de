"""Win rates kept on disk as they come, so that a run that was cut short goes on where it stopped."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair

__all__ = ["WinRateJournal", "router_key"]


class WinRateJournal:
    """Win rates of batches of prompts, each found again by what it was computed from.

    A line per batch: a hash of the router and the prompts, and the win rates. Lines that a crash cut off are computed
    again; a changed router or changed prompts have another hash, so nothing stale is ever used.

    Args:
        path: the file; it is created where it does not exist.

    Raises:
        DataError: the file exists and is something else, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._places: dict[str, int] = {}
        self.n_reused = 0
        if self.path.exists():
            self._read()

    def win_rates(
        self, compute: Callable[[Sequence[str]], FloatArray], prompts: Sequence[str], *, key: str
    ) -> FloatArray:
        """Win rates of a batch, from the file if they are there, else computed.

        Args:
            compute: a router's `win_rates`.
            key: `router_key` of the router.
        """
        digest = hashlib.sha256(key.encode())
        for prompt in prompts:
            digest.update(len(prompt).to_bytes(8, "little") + prompt.encode("utf-8", "surrogatepass"))
        name = digest.hexdigest()
        if name in self._places:
            self.n_reused += len(prompts)
            return np.array(self._line_at(self._places[name])["win_rates"], dtype=np.float64)
        rates = compute(prompts)
        self._append({"batch": name, "win_rates": rates.tolist()})
        return rates

    def _read(self) -> None:
        end = 0
        with self.path.open("rb") as file:
            for raw in file:
                line = _parsed(raw)
                if line is None and raw.endswith(b"\n"):
                    raise DataError(f"{self.path} is no file of win rates that Pointsman wrote: name another file")
                if line is None:
                    break
                self._places[line["batch"]] = end
                end += len(raw)
        if end < self.path.stat().st_size:  # the last line was cut off
            os.truncate(self.path, end)

    def _line_at(self, place: int) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(place)
            line = _parsed(file.readline())
        if line is None:
            raise DataError(f"{self.path} changed while it was in use")
        return line

    def _append(self, line: dict[str, Any]) -> None:
        try:
            with self.path.open("ab") as file:
                self._places[line["batch"]] = file.tell()
                file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error}") from error


def router_key(checkpoint: Checkpoint, pair: ModelPair) -> str:
    """What a router's win rates depend on: the content of its checkpoint and the pair of models."""
    meta = checkpoint.path / "pointsman.json" if checkpoint.path else None
    content = meta.read_bytes() if meta else json.dumps([checkpoint.kind, dict(checkpoint.options)]).encode()
    return json.dumps([checkpoint.kind, hashlib.sha256(content).hexdigest(), pair.strong, pair.weak])


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and {"batch", "win_rates"} <= set(line) else None
