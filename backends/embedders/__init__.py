"""Embedders by name."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from pointsman.core.embedding import Embedder
from pointsman.core.errors import ConfigError

__all__ = ["resolve_embedder"]


def resolve_embedder(name: str, **options: Any) -> Embedder:
    """The embedder of that name.

    Args:
        name: "static" (bundled, offline); "static+length" (the same, and how long the text is);
            "static+length+common-sense" (that, and how hard the text looks at a glance); "static+surface" (the first,
            and what the text looks like: digits, code, lines); "openai/<model>" (OpenAI or, with
            `base_url`, any compatible service); "sentence-transformers/<model>" (a folder, or a name on the Hugging
            Face hub).
        options: settings of the embedder: `folder` of the static ones; those of `OpenAIOptions`, of `SentenceEmbedder`.

    Raises:
        ConfigError: the name or an option is unknown, or a setting points at nothing.
        MissingExtraError: the embedder needs an extra that is not installed.
    """
    family, slash, model = name.partition("/")
    if family not in _FAMILIES or bool(model) != (family not in _STATIC) or (slash and not model):
        raise ConfigError(f"embedder {name!r} is unknown; possible are {', '.join(_FORMS)}")
    return _FAMILIES[family](model, options)


def _static(_model: str, options: dict[str, Any]) -> Embedder:
    from pointsman.backends.embedders.static import StaticEmbedder

    _check_options("static", options, ["folder"])
    return StaticEmbedder(**options)


def _static_and_length(model: str, options: dict[str, Any]) -> Embedder:
    from pointsman.backends.embedders.lengthened import LengthenedEmbedder

    return LengthenedEmbedder(_static(model, options))


def _common_sense(model: str, options: dict[str, Any]) -> Embedder:
    from pointsman.backends.embedders.common_sense import CommonSenseEmbedder

    _check_options("static+length+common-sense", options, [])
    return CommonSenseEmbedder(_static_and_length(model, options))


def _static_and_surface(model: str, options: dict[str, Any]) -> Embedder:
    from pointsman.backends.embedders.surfaced import SurfacedEmbedder

    return SurfacedEmbedder(_static(model, options))


def _openai(model: str, options: dict[str, Any]) -> Embedder:
    from pointsman.backends.embedders.openai import OpenAIEmbedder, OpenAIOptions

    _check_options(f"openai/{model}", options, [field.name for field in fields(OpenAIOptions)])
    return OpenAIEmbedder(model, OpenAIOptions(**options))


def _sentence_transformers(model: str, options: dict[str, Any]) -> Embedder:
    from pointsman.backends.torch.sentence_embedder import SentenceEmbedder

    _check_options(f"sentence-transformers/{model}", options, ["batch_size", "device", "folder"])
    return SentenceEmbedder(model, **options)


def _check_options(name: str, options: dict[str, Any], allowed: list[str]) -> None:
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ConfigError(f"embedder {name!r} has no option {unknown[0]!r}; it takes {', '.join(sorted(allowed))}")


_FAMILIES: dict[str, Callable[[str, dict[str, Any]], Embedder]] = {
    "static": _static,
    "static+length": _static_and_length,
    "static+length+common-sense": _common_sense,
    "static+surface": _static_and_surface,
    "openai": _openai,
    "sentence-transformers": _sentence_transformers,
}
_STATIC = ("static", "static+length", "static+length+common-sense", "static+surface")
_FORMS = (*_STATIC, "openai/<model>", "sentence-transformers/<name or folder>")
