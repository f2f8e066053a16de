"""Packages whose parts are loaded without what else they bring: a twentieth of a start.

uvicorn brings its command line, its reloader and click, prometheus_client a web server of its own.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

__all__ = ["load_parts", "load_parts_alone"]

_PARTS = {
    "uvicorn": ("server", "protocols.http.httptools_impl", "lifespan.on"),
    "prometheus_client": ("registry", "metrics"),
}


def load_parts_alone() -> None:
    """Loads the parts that serving needs of each package that is not loaded yet."""
    for package, parts in _PARTS.items():
        load_parts(package, parts)


def load_parts(name: str, parts: Iterable[str]) -> None:
    """Loads modules of a package, which itself loads when it is first asked for a name.

    A package whose modules cannot do without it loads as a whole when it is imported.
    """
    spec = find_spec(name) if name not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    package, loader = module_from_spec(spec), spec.loader

    def find(wanted: str) -> Any:
        """What a module of the package asks of it: a name of the module that is called like it, e.g. config.Config."""
        if wanted != wanted.lower() and find_spec(f"{name}.{wanted.lower()}") is not None:
            return getattr(import_module(f"{name}.{wanted.lower()}"), wanted)
        raise AttributeError(f"module {name!r} has no attribute {wanted!r}")  # the import looks for a module then

    def load(wanted: str) -> Any:
        del package.__dict__["__getattr__"]
        loader.exec_module(package)
        return getattr(package, wanted)

    sys.modules[name] = package
    package.__dict__["__getattr__"] = find
    try:
        for part in parts:
            import_module(f"{name}.{part}")
    except ImportError:
        for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
            del sys.modules[loaded]
    else:
        package.__dict__["__getattr__"] = load
