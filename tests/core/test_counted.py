"""Counts in words."""

from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.counted import counted


@given(st.integers(0, 10**9))
def test_one_is_told_from_many(n):
    """Only one is singular, verbs too; thousands are set apart."""
    assert counted(n, "row") == f"{n:,} " + ("row" if n == 1 else "rows")
    assert counted(n, "row is", "rows are").endswith("row is" if n == 1 else "rows are")
