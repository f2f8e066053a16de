"""Journals: files of JSON lines, each written to disk before the work it records counts as done."""

import errno
import os
from pathlib import Path
from typing import IO

from pointsman.core.errors import DataError

__all__ = ["append_line", "check_keeps"]


def check_keeps(path: Path) -> None:
    """Rejects paths that do not keep what is written to them: a device, a pipe, a folder.

    Raises:
        DataError: `path` is there, and no regular file.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a regular file, so it would not keep what is written to it: name another file")


def append_line(file: IO[bytes], path: Path, line: bytes) -> None:
    """Writes a line to the end of a file that was opened without a buffer, all of it or nothing.

    Raises:
        DataError: the disk did not take all of it. What was written before is kept.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        file.truncate(end)
        remedy = "its contents are kept: run the same command again"
        raise DataError(f"{path} cannot be written to: {error.strerror or error}; {remedy}") from error
