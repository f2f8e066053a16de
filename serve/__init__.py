"""The application: command line, controller, HTTP server, upstreams.

`Controller` and `create_app` are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pointsman.serve.python_api.controller import Controller
    from pointsman.serve.server.app import create_app

__all__ = ["Controller", "create_app"]

_HOMES = {"Controller": "pointsman.serve.python_api.controller", "create_app": "pointsman.serve.server.app"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
