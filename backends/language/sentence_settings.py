"""Settings from the files of a sentence-transformers model, of any version."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.core.errors import ConfigError

__all__ = ["SentenceSettings", "read_sentence_settings"]

_MODULES = ("Transformer", "Pooling", "Dense", "Dropout", "Normalize")
# pooling_mode_<key>: true, before version 5.4
_LEGACY = {
    "cls_token": "cls",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean_tokens": "weightedmean",
}


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """How a model makes an embedding of a text.

    Attributes:
        folder: of the transformer's own files.
        pooling: "cls", "mean", "mean_sqrt_len_tokens" or "weightedmean".
        after: what follows the pooling, in order: the folder of a dense layer, or None for scaling to unit norm.
        prompt: put before every text; "" for none.
        include_prompt: whether the prompt's tokens count in the pooling.
        max_tokens: longest input; None leaves it to the tokenizer.
        lower: whether texts are lower-cased.
    """

    folder: Path
    pooling: str = "mean"
    after: tuple[Path | None, ...] = ()
    prompt: str = ""
    include_prompt: bool = True
    max_tokens: int | None = None
    lower: bool = False


def read_sentence_settings(folder: Path) -> SentenceSettings:
    """Settings of a model in a folder; a plain transformer without such files is mean-pooled.

    Raises:
        ConfigError: a file is malformed, or asks for a module, a pooling or an input that is not supported.
    """
    paths: dict[str, Path] = {}
    after: list[Path | None] = []
    for module in _read_json(folder / "modules.json", []):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _MODULES:
            raise ConfigError(f"sentence-transformers model {folder} has module {kind!r}, wanted {', '.join(_MODULES)}")
        path = folder / str(module.get("path", ""))
        if kind in ("Dense", "Normalize"):
            after.append(path if kind == "Dense" else None)
        paths[kind] = path
    transformer = paths.get("Transformer", folder)
    pooling = _read_json(paths.get("Pooling", folder / "1_Pooling") / "config.json", {})
    own = _read_json(transformer / "sentence_bert_config.json", {})
    task = own.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise ConfigError(f"sentence-transformers model {folder} has task {task!r}, wanted 'feature-extraction'")
    tokenizer = next((own[name] for name in ("processor_kwargs", "tokenizer_args") if own.get(name)), {})
    limit = own.get("max_seq_length") or tokenizer.get("model_max_length")
    return SentenceSettings(
        folder=transformer,
        pooling=_pooling(folder, pooling),
        after=tuple(after),
        prompt=_default_prompt(folder),
        include_prompt=bool(pooling.get("include_prompt", True)),
        max_tokens=int(limit) if limit else None,
        lower=bool(own.get("do_lower_case")),
    )


def _pooling(folder: Path, config: Mapping[str, Any]) -> str:
    mode = config.get("pooling_mode")
    if mode is None:
        named = {
            key.removeprefix("pooling_mode_") for key, on in config.items() if on is True and "pooling_mode_" in key
        }
        modes = [_LEGACY.get(key, key) for key in sorted(named)] or ["mean"]
    else:
        modes = [str(each) for each in mode] if isinstance(mode, list) else [str(mode)]
    if len(modes) != 1 or modes[0] not in _LEGACY.values():
        wanted = ", ".join(_LEGACY.values())
        raise ConfigError(
            f"sentence-transformers model {folder} pools by {' and '.join(modes)}, wanted one of {wanted}: choose "
            "another model, or embed with a service"
        )
    return modes[0]


def _default_prompt(folder: Path) -> str:
    config = _read_json(folder / "config_sentence_transformers.json", {})
    name, prompts = config.get("default_prompt_name"), config.get("prompts") or {}
    if name is None:
        return ""
    if name not in prompts:
        known = ", ".join(prompts) or "none"
        raise ConfigError(f"sentence-transformers model {folder} has default prompt {name!r}; its prompts are {known}")
    return str(prompts[name] or "")


def _read_json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    if type(content) is not type(default):
        raise ConfigError(f"{path} holds a JSON {type(content).__name__}, wanted a {type(default).__name__}")
    return content
