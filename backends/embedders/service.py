"""One call to an OpenAI-compatible `/embeddings` service: sent, repeated where that may help, and checked."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import numpy as np
import orjson

from pointsman.core.arrays import Float32Array
from pointsman.core.counted import counted
from pointsman.core.errors import UpstreamError

__all__ = ["BatchRefusedError", "EmbeddingService", "retry_after_s", "vectors_of"]

_TOO_MUCH = (400, 413, 422)
_SIZE = re.compile(r"batch|too many|at most|larger|maximum|exceed|limit|inputs|texts", re.IGNORECASE)
_FIRST_DELAY_S, _LONGEST_DELAY_S, _LONGEST_RETRY_AFTER_S = 0.5, 30.0, 120.0


class BatchRefusedError(UpstreamError):
    """The service refused a call as malformed or too large: fewer texts in it may do.

    Attributes:
        limit: the number of texts that the service accepts, if it names one.
    """

    def __init__(self, message: str, limit: int | None) -> None:
        super().__init__(message)
        self.limit = limit


@dataclass(frozen=True, slots=True)
class EmbeddingService:
    """Where embeddings come from.

    Attributes:
        url: address of the `/embeddings` endpoint.
        model: the service's name of the model.
        api_key: bearer token; never shown.
        dimensions: length asked of the service; None leaves it to the service.
        n_retries: how often a call is repeated after 408, 425, 429, 5xx or a lost connection.
        timeout_s: longest wait for one answer.
        jitter: source of the random part of waits.
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    dimensions: int | None = None
    n_retries: int = 6
    timeout_s: float = 60.0
    jitter: np.random.Generator = field(default_factory=np.random.default_rng, repr=False)

    async def embed(self, session: aiohttp.ClientSession, texts: Sequence[str]) -> Float32Array:
        """Vectors of `texts` as the service gives them, in the order of `texts`, shape (n_texts, dim).

        The wait before try k + 1 is Retry-After where the service names one, else a random half to whole of
        min(0.5 * 2^k, 30) seconds.

        Raises:
            BatchRefusedError: the service refused this many texts in a call, or one of them.
            UpstreamError: the service refused, did not recover within the retries, or answered something else.
        """
        body = orjson.dumps(self._payload(texts))
        attempt = 0
        while True:
            wait_s = None
            try:
                status, retry_after, answer = await self._post(session, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                failure = f"{self.url} gave no answer: {type(error).__name__}"
            else:
                if status == 200:
                    return vectors_of(answer, len(texts), self.url)
                failure = self._describe(status, answer)
                if status in _TOO_MUCH and len(texts) > 1:
                    raise BatchRefusedError(failure, _named_limit(_message(answer, self.api_key), len(texts)))
                if not _may_pass(status) or _error(answer).get("code") == "insufficient_quota":
                    raise UpstreamError(failure)
                wait_s = retry_after_s(retry_after, now=time.time())
            if attempt == self.n_retries or (wait_s or 0.0) > _LONGEST_RETRY_AFTER_S:
                raise UpstreamError(f"{failure}; gave up after attempt {attempt + 1}; run again later to continue")
            await asyncio.sleep(self._backoff_s(attempt) if wait_s is None else wait_s)
            attempt += 1

    def _backoff_s(self, attempt: int) -> float:
        return min(_FIRST_DELAY_S * 2.0**attempt, _LONGEST_DELAY_S) * float(self.jitter.uniform(0.5, 1.0))

    def _payload(self, texts: Sequence[str]) -> dict[str, Any]:
        payload: dict[str, Any] = {"model": self.model, "input": list(texts)}
        return payload if self.dimensions is None else {**payload, "dimensions": self.dimensions}

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> tuple[int, str | None, bytes]:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        async with session.post(
            self.url, data=body, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            return response.status, response.headers.get("Retry-After"), await response.read()

    def _describe(self, status: int, answer: bytes) -> str:
        """The failure in words; nothing of the answer where it may quote the key."""
        if status in (401, 403):
            return f"{self.url}: status {status}: the service refuses the key; set OPENAI_API_KEY or option api_key"
        return f"{self.url}: status {status} for model {self.model!r}: {_message(answer, self.api_key)}"


def retry_after_s(value: str | None, *, now: float) -> float | None:
    """Seconds of a Retry-After header, a number or an HTTP date; None if it is absent or malformed."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except ValueError:
            return None
    return max(0.0, seconds) if np.isfinite(seconds) else None


def vectors_of(answer: bytes, n_texts: int, url: str) -> Float32Array:
    """Vectors of an answer, put in order by their `index`, shape (n_texts, dim).

    Raises:
        UpstreamError: the answer is not JSON, lacks a text, gives one twice, or holds no finite numbers.
    """
    try:
        data = orjson.loads(answer)["data"]
        by_index = {item.get("index", position): item["embedding"] for position, item in enumerate(data)}
        if len(data) != n_texts or set(by_index) != set(range(n_texts)):
            raise UpstreamError(
                f"{url} answered {len(data)} embeddings for {counted(n_texts, 'text')}, wanted one each by index"
            )
        vectors = np.array([by_index[index] for index in range(n_texts)], dtype=np.float32)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise UpstreamError(f"{url} answered something that is not a list of embeddings: {error!r:.200}") from error
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise UpstreamError(f"{url} answered embeddings of shape {vectors.shape}, wanted finite rows of one length")
    return vectors


def _named_limit(message: str, n_texts: int) -> int | None:
    """The most texts that a refusal names: its largest number below that of the call's texts."""
    numbers = [int(digits) for digits in re.findall(r"(?<![\w.])\d{1,4}(?![\w]|\.\d)", message)]
    return max((number for number in numbers if 0 < number < n_texts), default=None) if _SIZE.search(message) else None


def _may_pass(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _error(answer: bytes) -> dict[str, Any]:
    try:
        error = orjson.loads(answer)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _message(answer: bytes, api_key: str | None) -> str:
    message = str(_error(answer).get("message") or answer[:300].decode("utf-8", "replace"))[:300]
    return message.replace(api_key, "[key]") if api_key else message
