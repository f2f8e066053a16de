"""Replacing a file: the old one or the new one, never half of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.replace_file import replacing


@given(old=st.none() | st.binary(max_size=20), new=st.binary(max_size=20), fails=st.booleans())
def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path_factory, old, new, fails):
    """After an error what was there is unchanged, otherwise it is the new one; nothing else is left in the folder."""
    path = tmp_path_factory.mktemp("folder") / "below" / "file"
    if old is not None:
        path.parent.mkdir()
        path.write_bytes(old)
    try:
        with replacing(path, mode=0o644) as staging:
            staging.write_bytes(new)
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert [file.name for file in path.parent.iterdir()] == (["file"] if old is not None or not fails else [])
    if path.exists():
        assert path.read_bytes() == (old if fails else new)
        assert fails or path.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    """Where a file stands in the way of the folder, nothing is written."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError), replacing(tmp_path / "file" / "below"):
        pass
