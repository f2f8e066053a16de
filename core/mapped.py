"""Arrays of a safetensors file mapped into memory, which processes that use the same file then share."""

import json
import math
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

__all__ = ["map_arrays"]

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


def map_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The named arrays of a file, read-only. A page is read when it is first used, and only once for all processes.

    The file must not be written to while it is mapped; replacing it by another is safe.

    Raises:
        SafetensorError: it is not a safetensors file, or holds an array that NumPy has no type for.
        OSError: it cannot be read.
    """
    with safe_open(path, framework="np"):  # checks that the header fits the file
        pass
    data = np.asarray(np.memmap(path, np.uint8, mode="r"))
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    return {name: _view(name, entry, data[start:], Path(path)) for name, entry in header.items()}


def _view(name: str, entry: dict[str, object], data: np.ndarray, path: Path) -> np.ndarray:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _DTYPES:
        raise SafetensorError(f"{path}: array {name!r} has type {dtype}, wanted one of {', '.join(_DTYPES)}")
    assert isinstance(shape, list)
    assert isinstance(offsets, list)
    return np.frombuffer(data, _DTYPES[dtype], math.prod(shape), offsets[0]).reshape(shape)
