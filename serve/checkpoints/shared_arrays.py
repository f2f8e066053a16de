"""One copy of a checkpoint's arrays for all worker processes of a server."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from pointsman.core.mapped import map_arrays

__all__ = ["SHARED_VARIABLE", "read_arrays"]

SHARED_VARIABLE = "POINTSMAN_SHARED_FOLDER"


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, mapped from a copy in the folder that workers share, if there is one.

    The copy is named after its content, so that all workers find the same one, and belongs to the server: whatever is
    done to the original, the mapped arrays stay as they were.

    Raises:
        SafetensorError: it is not a safetensors file.
        OSError: it cannot be read or copied.
    """
    shared = os.environ.get(SHARED_VARIABLE)
    if not shared:
        return load_file(path)
    descriptor, staging = tempfile.mkstemp(dir=shared)
    with os.fdopen(descriptor, "wb") as copy, path.open("rb") as original:
        shutil.copyfileobj(original, copy)
    with Path(staging).open("rb") as copy:
        target = Path(shared, hashlib.file_digest(copy, "sha256").hexdigest())
    if target.exists():
        Path(staging).unlink()
    else:
        Path(staging).replace(target)
    return map_arrays(target)
