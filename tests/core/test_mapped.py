"""Arrays that are mapped into memory."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pointsman.core.mapped import map_arrays

DTYPES = st.sampled_from([np.bool_, np.int8, np.uint8, np.int64, np.uint32, np.float16, np.float32, np.float64])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)))


@given(st.dictionaries(st.text("ab_é.", min_size=1, max_size=5), ARRAYS, min_size=1, max_size=4))
def test_what_is_mapped_is_what_is_loaded(tmp_path_factory, named):
    """Names, types, shapes and every bit are those that safetensors itself reads; nothing can be written."""
    path = tmp_path_factory.mktemp("mapped") / "arrays.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in named.items()}, path)
    mapped, loaded = map_arrays(path), load_file(path)
    assert mapped.keys() == loaded.keys()
    for name, array in mapped.items():
        assert array.dtype == loaded[name].dtype
        assert array.shape == loaded[name].shape
        assert array.tobytes() == loaded[name].tobytes()
        assert not array.flags.writeable


@pytest.mark.parametrize("cut", [0, 7, 30, -1])
def test_a_damaged_file_is_refused(tmp_path, cut):
    """A file that ends early is no file of arrays, wherever it ends."""
    path = tmp_path / "arrays.safetensors"
    save_file({"a": np.arange(10.0)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SafetensorError):
        map_arrays(path)


def test_processes_share_what_they_map(tmp_path):
    """The pages belong to the file: using them adds nothing to a process's own memory."""
    path = tmp_path / "arrays.safetensors"
    save_file({"a": np.ones((4, 1 << 20))}, path)
    before = _own_kib()
    mapped = map_arrays(path)["a"]
    assert mapped.sum() == 4 << 20
    assert _own_kib() - before < 8 * 1024


def _own_kib() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
