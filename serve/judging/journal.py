"""A record of paid calls, so that none is paid for twice."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pointsman.core.errors import DataError
from pointsman.core.journal_lines import append_line, check_keeps

__all__ = ["Journal", "Reply", "call_key"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer to one call.

    Attributes:
        text: its text; may be "".
        refused: the service or the model declined to answer.
        input_tokens, output_tokens: as counted by the service, or else estimated.
        logprobs: of the tokens, if the service reports them.
        margin: nats between the first token and its runner-up, likewise.
        finish_reason: why it ended, likewise.
    """

    text: str
    refused: bool
    input_tokens: int
    output_tokens: int
    logprobs: tuple[float, ...] = ()
    margin: float | None = None
    finish_reason: str | None = None


def call_key(model: str, prompt: str, settings: str) -> str:
    """Identity of a call: same model, same prompt, same settings."""
    return hashlib.sha256(json.dumps([model, prompt, settings]).encode()).hexdigest()


class Journal:
    """An append-only file of JSON lines, one per finished call, on disk before the call counts as done.

    A context manager. A last line cut short by a crash is dropped; anything else that is malformed is an error.

    Raises:
        DataError: the file is not a journal, does not keep data, or is in use by another process.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._replies: dict[str, tuple[str, Reply]] = {}

    def __enter__(self) -> Self:
        check_keeps(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b", buffering=0)
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> Reply | None:
        """The reply of an earlier call, if there was one."""
        return self._replies[key][1] if key in self._replies else None

    def replies(self) -> Iterable[tuple[str, Reply]]:
        """Model and reply of every call so far."""
        return self._replies.values()

    def add(self, key: str, model: str, reply: Reply) -> None:
        """Records a reply; on disk when this returns.

        Raises:
            DataError: it cannot be written to disk.
        """
        line = json.dumps({"key": key, "model": model, **asdict(reply)}).encode() + b"\n"
        append_line(self._file, self.path, line)
        os.fsync(self._file.fileno())
        self._replies[key] = (model, reply)

    def _load(self) -> None:
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"{self.path} is in use by another run: wait for it or end it") from error
        self._file.seek(0)
        content = self._file.read()
        complete = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(complete.splitlines(), 1):
            self._read(line, number)
        self._file.truncate(len(complete))

    def _read(self, line: bytes, number: int) -> None:
        try:
            row = json.loads(line)
            told = (tuple(row.get("logprobs") or ()), row.get("margin"), row.get("finish_reason"))
            reply = Reply(row["text"], row["refused"], row["input_tokens"], row["output_tokens"], *told)
            self._replies[row["key"]] = (row["model"], reply)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}, line {number}: not a line of a journal; move the file away") from error
