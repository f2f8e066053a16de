"""Embeddings by a sentence-transformers model, run with transformers."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pointsman.backends.language.sentence_settings import SentenceSettings, read_sentence_settings
from pointsman.core.arrays import Float32Array
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import ConfigError, MissingExtraError

try:
    import torch
    import transformers
except ImportError as error:
    raise MissingExtraError("torch (with transformers)", "torch") from error

from pointsman.backends.torch.pooling import Dense, pool
from pointsman.backends.torch.positions import position_limit

__all__ = ["SentenceEmbedder"]

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "*/*.json", "*/*.safetensors", "*/*.txt"]


class SentenceEmbedder:
    """Embedding of a text = its tokens' last hidden states, pooled, through dense layers if any, scaled to unit norm.

    Pooling, dense layers, the prompt put before every text (`default_prompt_name`), the longest input and lower-casing
    are the model's own, as its sentence-transformers files say, those of version 5.4 and later included. Calls are safe
    from several threads.
    """

    blocking = True

    def __init__(
        self,
        name: str,
        *,
        folder: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        batch_size: int = 32,
    ) -> None:
        """Loads a model.

        Args:
            name: a folder, a name on the Hugging Face hub ("BAAI/bge-small-en"), or one without owner for the
                sentence-transformers organisation ("all-MiniLM-L6-v2").
            folder: where the files of `name` lie here; None takes `name` itself or the hub's files.
            device: where torch computes, e.g. "cpu" or "cuda".
            batch_size: texts in one forward pass.

        Raises:
            ConfigError: there is no such model, it has no safetensors weights, or modules that are not supported.
        """
        path = Path(folder) if folder is not None else _locate(name)
        settings = read_sentence_settings(path)
        self._batch_size = batch_size
        self._dense = {folder: Dense(folder).eval() for folder in settings.after if folder is not None}
        revision = _weights_hash(settings.folder, *self._dense)
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(settings.folder, local_files_only=True)
            model = transformers.AutoModel.from_pretrained(settings.folder, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise ConfigError(f"sentence-transformers model {path} cannot be loaded: {error}") from error
        self._lock = Lock()
        try:
            self._device = torch.device(device)
            self._model = model.eval().to(self._device)
            for layer in self._dense.values():
                layer.to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"torch cannot compute on {device!r}: {error}; try 'cpu'") from error
        self._settings = settings
        self._max_tokens = _longest(settings, self._tokenizer, model)
        self._n_prompt_tokens = 0 if settings.include_prompt else self._count_prompt_tokens(settings.prompt)
        dim = int(model.config.hidden_size)
        for layer in self._dense.values():
            dim = layer.linear.out_features
        self.identity = EmbedderIdentity(f"sentence-transformers/{name}", revision, dim, normalized=True)

    def __call__(self, texts: Sequence[str]) -> Float32Array:
        """Embeddings of `texts` in their order, shape (n_texts, dim), of unit norm.

        Raises:
            ValueError: `texts` is a single string.
        """
        if isinstance(texts, str):
            raise ValueError("texts is a single string, wanted a sequence of strings")
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        out = np.empty((len(texts), self.identity.dim), dtype=np.float32)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            out[rows] = self._forward([_encodable(texts[row]) for row in rows])
        return out

    def _forward(self, texts: list[str]) -> Float32Array:
        texts = [self._settings.prompt + text for text in texts]
        if self._settings.lower:
            texts = [text.lower() for text in texts]
        with self._lock:  # a fast tokenizer is set up anew by every call and refuses to be while another thread uses it
            inputs = self._tokenizer(
                texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
            ).to(self._device)
        with torch.inference_mode():
            hidden = self._model(**inputs).last_hidden_state
            pooled = pool(
                hidden, inputs["attention_mask"], self._settings.pooling, n_prompt_tokens=self._n_prompt_tokens
            )
            for folder in self._settings.after:
                pooled = torch.nn.functional.normalize(pooled) if folder is None else self._dense[folder](pooled)
            return np.asarray(torch.nn.functional.normalize(pooled).float().cpu().numpy())

    def _count_prompt_tokens(self, prompt: str) -> int:
        """Tokens that stand before the text itself, special ones included."""
        if not prompt:
            return 0
        ids = self._tokenizer(prompt.lower() if self._settings.lower else prompt)["input_ids"]
        return len(ids) - (ids[-1] in self._tokenizer.all_special_ids)


def _longest(settings: SentenceSettings, tokenizer: Any, model: Any) -> int:
    """The longest input in tokens: what the files say, else the tokenizer's limit, and never more than positions."""
    limits = (settings.max_tokens or int(tokenizer.model_max_length), position_limit(model))
    return min(limit for limit in limits if limit is not None)


def _locate(name: str) -> Path:
    """Folder of the model's files, fetched from the hub where they are not here yet."""
    if Path(name).is_dir():
        return Path(name)
    import huggingface_hub

    repository = name if "/" in name else f"sentence-transformers/{name}"
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=_FILES))
    except (OSError, ValueError) as error:  # the hub's errors derive from these
        raise ConfigError(
            f"sentence-transformers model {name!r} is not a folder, and {repository} is not on the hub: {error}"
        ) from error


def _weights_hash(folder: Path, *dense: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of all safetensors files, by name, those of dense layers last."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConfigError(
            f"sentence-transformers model {folder} has no *.safetensors weights; pickled ones are not read"
        )
    digest = hashlib.sha256()
    for file in [*files, *(layer / "model.safetensors" for layer in dense)]:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "ignore").decode("utf-8")
