"""Modules that are imported when they are first used: every worker collects every test file, but runs only some."""

import importlib
from typing import Any

import pytest

__all__ = ["LazyModule"]


class LazyModule:
    """Stands for the module `name`; a test that uses it is skipped where the module, or what it needs, is missing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """An attribute of the module, or a module inside it; pytest asks every object for some with underscores."""
        if attribute.startswith("_"):
            raise AttributeError(f"{self._name} is not asked for {attribute}, which starts with an underscore")
        module = pytest.importorskip(self._name, reason=f"{self._name} cannot be imported")
        try:
            return getattr(module, attribute)
        except AttributeError:
            return importlib.import_module(f"{self._name}.{attribute}")
