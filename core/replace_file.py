"""Replacing a file at once: whoever reads it sees the old one or the new one, also after a crash."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointsman.core.journal_lines import check_keeps

__all__ = ["replacing"]


@contextmanager
def replacing(path: Path, *, mode: int = 0o600) -> Iterator[Path]:
    """Gives a file beside `path` to write, which takes its place if the block ends without an error.

    Args:
        mode: permissions of the new file.

    Raises:
        OSError: it cannot be written; what was there is unchanged.
        DataError: a device, a pipe or a folder is there.
    """
    check_keeps(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    staging = Path(name)
    try:
        yield staging
        with staging.open("rb") as file:
            os.fsync(file.fileno())
        staging.chmod(mode)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
