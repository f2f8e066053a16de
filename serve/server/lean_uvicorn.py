"""Lets parts of uvicorn be imported without its command line, its reloader and click, which take long to load."""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

__all__ = ["leave_out_command_line"]


def leave_out_command_line() -> None:
    """Puts uvicorn's package where its modules find it; the package itself loads when somebody asks it for a name."""
    spec = find_spec("uvicorn") if "uvicorn" not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    package, loader = module_from_spec(spec), spec.loader

    def load(name: str) -> Any:
        if name == "Config":  # uvicorn's own modules import this one from the package
            return import_module("uvicorn.config").Config
        del package.__dict__["__getattr__"]
        loader.exec_module(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = load
    sys.modules["uvicorn"] = package
