"""Embeddings from OpenAI, or from any service that speaks its `/embeddings` protocol."""

import asyncio
import atexit
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import aiohttp
import numpy as np

from pointsman.backends.embedders.background import BackgroundLoop
from pointsman.backends.embedders.cache import EmbeddingCache
from pointsman.backends.embedders.service import BatchRefusedError, EmbeddingService
from pointsman.core.arrays import Float32Array
from pointsman.core.embedding import CANARIES, EmbedderIdentity
from pointsman.core.errors import ConfigError, UpstreamError

__all__ = ["OpenAIEmbedder", "OpenAIOptions", "cut_to_bytes"]

OPENAI_URL = "https://api.openai.com/v1"
_DIMS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_MAX_REQUEST_TOKENS = 300_000


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """Settings of an `OpenAIEmbedder`.

    Attributes:
        base_url: address of the service, e.g. "http://localhost:11434/v1" for Ollama; by default OPENAI_BASE_URL of the
            environment, or OpenAI's own.
        api_key: "env:NAME" for the value of an environment variable, or the key itself. None takes OPENAI_API_KEY for
            the default address and no key for another.
        dim: shortens embeddings to this length (the protocol's `dimensions`); None keeps the model's own.
        cache: SQLite file that keeps every embedding for later calls and runs; None keeps none.
        max_tokens: the model's limit for one text. A token is at least one byte of UTF-8, so a text's first
            `max_tokens` bytes always fit; what follows them is cut off. This needs no tokenizer, and the same text has
            the same embedding on every machine.
        batch_size: texts in one call, at most; where a service refuses so many, calls become smaller.
        concurrency: most concurrent calls, over all threads.
        n_retries: how often a call is repeated when the service is busy or fails.
        timeout_s: longest wait for one answer.
    """

    base_url: str = field(default_factory=lambda: _default_url())
    api_key: str | None = None
    dim: int | None = None
    cache: str | os.PathLike[str] | None = None
    max_tokens: int = 8192
    batch_size: int = 100
    concurrency: int = 8
    n_retries: int = 6
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("dim", "max_tokens", "batch_size", "concurrency"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"embedder option {name} is {value!r}, wanted a positive integer")
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"embedder option base_url is {self.base_url!r}, wanted an http:// or https:// address")
        if any(mark in self.base_url for mark in "@?#"):  # the address appears in messages, its secrets must not
            raise ConfigError("embedder option base_url holds credentials or a query; give the key as option api_key")


class OpenAIEmbedder:
    """Embeddings by an OpenAI-compatible service, scaled to unit norm; a blank text has the zero vector.

    Calls block; `aembed` does not. Both may be used from any thread and event loop: one background loop keeps one
    pooled session for all. Close it, or use it as a context manager.
    """

    blocking = True

    def __init__(self, model: str, options: OpenAIOptions | None = None) -> None:
        """
        Args:
            model: the service's name of the model; "<model>@<dim>" is the same as option `dim`.

        Raises:
            ConfigError: OpenAI's own service is meant and there is no key, an option is out of range, or the cache is
                unusable.
        """
        self._options = options or OpenAIOptions()
        self._model, dim = _split_dim(model)
        if dim and self._options.dim not in (None, dim):
            raise ConfigError(
                f"embedder openai/{model} has option dim {self._options.dim}, wanted {dim} as in its name"
            )
        asked = dim or self._options.dim
        self._dimensions = asked if asked != _DIMS.get(self._model) else None
        self._dim = asked or _DIMS.get(self._model)
        base_url = self._options.base_url.rstrip("/")
        self._service = EmbeddingService(
            url=f"{base_url}/embeddings",
            model=self._model,
            api_key=_api_key(self._options.api_key, base_url),
            dimensions=self._dimensions,
            n_retries=self._options.n_retries,
            timeout_s=self._options.timeout_s,
        )
        scope = f"{self._service.url} {self._name} {self._options.max_tokens}"
        self._cache = EmbeddingCache(self._options.cache, scope=scope) if self._options.cache else None
        self._background = BackgroundLoop("pointsman-embeddings")
        self._most_texts = self._options.batch_size
        self._session: aiohttp.ClientSession | None = None
        self._slots: asyncio.Semaphore | None = None

    @property
    def identity(self) -> EmbedderIdentity:
        """The embedder's identity. The dimension of a model that is not OpenAI's is found by embedding one text."""
        dim = self._dim or self(CANARIES[:1]).shape[1]
        return EmbedderIdentity(self._name, "", dim, normalized=True)

    def __call__(self, texts: Sequence[str]) -> Float32Array:
        """Embeddings of `texts` in their order, shape (n_texts, dim).

        Raises:
            ValueError: `texts` is a single string, or holds something else than strings.
            UpstreamError: the service refused, did not recover, or answered something else than embeddings.
        """
        return self._background.submit(self._embed(_checked(texts))).result()

    async def aembed(self, texts: Sequence[str]) -> Float32Array:
        """The same as a call, without blocking the caller's event loop."""
        return await asyncio.wrap_future(self._background.submit(self._embed(_checked(texts))))

    def close(self) -> None:
        """Closes the connections, the background thread and the cache. Done at the end of the process in any case."""
        atexit.unregister(self.close)
        self._background.close(self._session.close() if self._session is not None else None)
        self._session = self._slots = None
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> "OpenAIEmbedder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _name(self) -> str:
        return f"openai/{self._model}" + (f"@{self._dimensions}" if self._dimensions else "")

    async def _embed(self, texts: list[str]) -> Float32Array:
        """Vectors of all texts: equal ones are requested once, blank ones never, cached ones not again."""
        short = [cut_to_bytes(text, self._options.max_tokens) for text in texts]
        wanted = list(dict.fromkeys(text for text in short if text.strip()))
        vectors = self._cache.get(wanted) if self._cache else {}
        failed = asyncio.Event()
        batches = self._batches([text for text in wanted if text not in vectors])
        answers = await asyncio.gather(*(self._call(batch, failed) for batch in batches), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            vectors.update(answer)
        if self._dim is None and not vectors:
            await self._call(list(CANARIES[:1]), failed)
        for vector in vectors.values():
            self._check_dim(len(vector))
        out = np.zeros((len(texts), self._dim or 0), dtype=np.float32)
        for row, text in enumerate(short):
            if text in vectors:
                out[row] = vectors[text]
        return out

    async def _call(self, texts: list[str], failed: asyncio.Event) -> dict[str, Float32Array]:
        """Vectors of a batch. After a failure no call is begun, but those under way are waited for: they are paid.

        A batch that the service rejects is split: into parts of the size that the error names, else into halves.
        """
        session, slots = self._connect()
        found: dict[str, Float32Array] = {}
        waiting = [texts]
        while waiting and not failed.is_set():
            part = waiting.pop(0)
            if len(part) > self._most_texts:
                waiting[:0] = _parts(part, self._most_texts)
                continue
            async with slots:
                if failed.is_set():
                    break
                try:
                    vectors = await self._service.embed(session, part)
                except BatchRefusedError as refusal:
                    self._most_texts = min(self._most_texts, refusal.limit or self._most_texts)
                    waiting[:0] = _parts(part, refusal.limit or len(part) // 2)
                    continue
                except UpstreamError:
                    failed.set()
                    raise
            found.update(self._kept(part, vectors))
        return found

    def _kept(self, texts: list[str], vectors: Float32Array) -> dict[str, Float32Array]:
        """The vectors scaled to unit norm, in the cache before they count as had."""
        self._check_dim(vectors.shape[1])
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(norms > 0, norms, 1.0)
        if self._cache:
            self._cache.put(texts, vectors)
        return dict(zip(texts, vectors, strict=True))

    def _connect(self) -> tuple[aiohttp.ClientSession, asyncio.Semaphore]:
        if self._session is None or self._slots is None:
            self._session = aiohttp.ClientSession()
            atexit.register(self.close)  # aiohttp complains about sessions that the end of the process takes unawares
            self._slots = asyncio.Semaphore(self._options.concurrency)
        return self._session, self._slots

    def _batches(self, texts: list[str]) -> Iterator[list[str]]:
        """Runs of texts that one call may hold, by their number and by their bytes."""
        batch: list[str] = []
        n_bytes = 0
        for text in texts:
            size = len(text.encode())
            if batch and (len(batch) == self._options.batch_size or n_bytes + size > _MAX_REQUEST_TOKENS):
                yield batch
                batch, n_bytes = [], 0
            batch.append(text)
            n_bytes += size
        if batch:
            yield batch

    def _check_dim(self, dim: int) -> None:
        if self._dim is None:
            self._dim = dim
        if dim != self._dim:
            raise UpstreamError(
                f"{self._service.url} gives embeddings of dimension {dim} for model {self._model!r}, "
                f"wanted {self._dim}; check the model, or name its dimension with option dim"
            )


def cut_to_bytes(text: str, max_bytes: int) -> str:
    """The longest start of `text` of at most `max_bytes` bytes of UTF-8, lone surrogates left out."""
    return text[:max_bytes].encode("utf-8", "ignore")[:max_bytes].decode("utf-8", "ignore")


def _parts(texts: list[str], size: int) -> list[list[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise ValueError("texts is a single string, wanted a sequence of strings")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"a text is of type {type(text).__name__}, wanted a string")
    return list(texts)


def _split_dim(model: str) -> tuple[str, int | None]:
    name, at, dim = model.rpartition("@")
    return (name, int(dim)) if at and name and dim.isdecimal() and int(dim) > 0 else (model, None)


def _default_url() -> str:
    return (os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")


def _api_key(option: str | None, base_url: str) -> str | None:
    """The key itself. OPENAI_API_KEY is never sent to another address unless `option` says so."""
    if option is None:
        if base_url not in (OPENAI_URL, _default_url()):
            return None
        option = "env:OPENAI_API_KEY"
    if not option.startswith("env:"):
        return option
    name = option.removeprefix("env:")
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(f"environment variable {name} is not set; it must hold the key of {base_url}")
    return key
