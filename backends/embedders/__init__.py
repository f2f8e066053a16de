"""Embedders by name."""

from collections.abc import Callable
from typing import Any

from pointsman.core.embedding import Embedder
from pointsman.core.errors import ConfigError

__all__ = ["resolve_embedder"]


def resolve_embedder(name: str, **options: Any) -> Embedder:
    """The embedder of that name.

    Args:
        name: "static" (bundled, offline).
        options: settings of the embedder, by keyword; "static" takes `folder`.

    Raises:
        ConfigError: the name or an option is unknown.
        MissingExtraError: the embedder needs an extra that is not installed.
    """
    if name not in _FAMILIES:
        raise ConfigError(f"embedder {name!r} is unknown; possible are {', '.join(_FAMILIES)}")
    return _FAMILIES[name](name, options)


def _static(name: str, options: dict[str, Any]) -> Embedder:
    from pointsman.backends.embedders.static import StaticEmbedder

    _only(name, options, {"folder"})
    return StaticEmbedder(**options)


def _only(name: str, options: dict[str, Any], allowed: set[str]) -> None:
    unknown = sorted(set(options) - allowed)
    if unknown:
        raise ConfigError(f"embedder {name!r} has no option {unknown[0]!r}; it takes {', '.join(sorted(allowed))}")


_FAMILIES: dict[str, Callable[[str, dict[str, Any]], Embedder]] = {"static": _static}
