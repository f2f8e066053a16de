"""Frozen dataclasses that are quick to make, for those that every request makes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

__all__ = ["quick_dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass as quick_dataclass
else:

    def quick_dataclass(*, frozen: bool, slots: bool, eq: bool = True) -> Any:
        """As `dataclass`, but frozen to type checkers alone: a frozen one takes six times as long to make."""
        return dataclass(slots=slots, eq=eq, unsafe_hash=frozen and eq)
