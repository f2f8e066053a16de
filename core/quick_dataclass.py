"""Frozen dataclasses that are quick to construct, for objects that every request needs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

__all__ = ["quick_dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass as quick_dataclass
else:

    def quick_dataclass(*, frozen: bool, slots: bool, eq: bool = True) -> Any:
        """Like `dataclass`, but frozen only for type checkers: constructing a frozen one takes six times as long."""
        return dataclass(slots=slots, eq=eq, unsafe_hash=frozen and eq)
