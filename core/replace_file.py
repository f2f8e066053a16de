"""Replaces a file atomically: readers see the old one or the new one, even after a crash."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointsman.core.journal_lines import check_keeps

__all__ = ["replacing"]


@contextmanager
def replacing(path: Path, *, mode: int = 0o600) -> Iterator[Path]:
    """Opens a file beside `path` for writing, which replaces it if the block ends without an error.

    Args:
        mode: permissions of the new file.

    Raises:
        OSError: it cannot be written; the existing file is unchanged.
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
