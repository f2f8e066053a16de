"""The weak model itself as the scorer: one token, requested through its OpenAI-compatible endpoint."""

import asyncio
import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import aiohttp
import numpy as np
import orjson

from pointsman.backends.embedders.background import BackgroundLoop
from pointsman.backends.endpoint.logprobs import ScoreReading, read_answer, read_scores
from pointsman.backends.language.scores import Readings, ScoreRouter, split_template
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.errors import CheckpointError, ConfigError, PointsmanError, UpstreamError
from pointsman.core.pair import ModelPair

__all__ = ["EndpointRouter", "EndpointSettings", "load"]

ZERO_SHOT = (
    "Below is a request. Do not answer it. Judge how good your answer to it would be, on this scale:\n"
    "1 wrong or useless\n2 poor\n3 mixed\n4 good\n5 as good as an expert's\n\n"
    "Request:\n{prompt}\n\nReply with the digit alone."
)
_DIGITS = ("1", "2", "3", "4", "5")
_RETRY_DELAY_S = 0.2
_PATHS = {"chat": "/chat/completions", "completions": "/completions"}


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """The options of an `endpoint` checkpoint.

    Attributes:
        base_url: address of the service, e.g. "http://127.0.0.1:8000/v1".
        model: the service's name of the scoring model.
        api: "chat" sends the template as a user message; "completions" as text, for a model trained on it.
        template: text with "{prompt}" once.
        score_tokens: texts of the scores, lowest first, each one token of the model.
        score_threshold: lowest score at which the weak model suffices.
        top_logprobs: length of the requested list; OpenAI and vLLM allow 20.
        max_chars: of a longer prompt the first and last half of this many characters are sent.
        api_key_env: environment variable with the bearer token; None sends none.
        timeout_s: longest wait for one answer.
        n_retries: how often a call is repeated after 408, 429, 5xx or a lost connection.
        concurrency: calls at a time.

    Raises:
        ValueError: a value leaves its range, or the template has no place for the prompt.
    """

    base_url: str
    model: str
    api: str = "chat"
    template: str = ZERO_SHOT
    score_tokens: tuple[str, ...] = _DIGITS
    score_threshold: int = 4
    top_logprobs: int = 20
    max_chars: int = 8192
    api_key_env: str | None = None
    timeout_s: float = 10.0
    n_retries: int = 1
    concurrency: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "score_tokens", tuple(self.score_tokens))
        if self.api not in _PATHS:
            raise ValueError(f"api is {self.api!r}, wanted one of {', '.join(_PATHS)}")
        if not 1 <= self.score_threshold <= len(self.score_tokens):
            raise ValueError(f"score_threshold is {self.score_threshold}, wanted 1 to {len(self.score_tokens)}")
        for name, low in (("top_logprobs", 1), ("max_chars", 16), ("n_retries", 0), ("concurrency", 1)):
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted at least {low}")
        split_template(self.template)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "EndpointSettings":
        """Settings from a checkpoint's options.

        Raises:
            CheckpointError: one is missing, unknown or leaves its range.
        """
        try:
            return cls(**options)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"options of the endpoint checkpoint do not fit: {error}") from error

    def to_options(self) -> dict[str, Any]:
        """The settings as JSON-ready types."""
        return asdict(self)

    @property
    def url(self) -> str:
        """Where calls go."""
        return self.base_url.rstrip("/") + _PATHS[self.api]


class EndpointRouter(ScoreRouter):
    """Win rates from the probabilities of one token, so that the router itself needs no GPU and no framework."""

    kind: ClassVar[str] = "endpoint"

    def __init__(self, settings: EndpointSettings, *, api_key: str | None = None) -> None:
        """
        Args:
            api_key: bearer token; never shown.
        """
        self.settings = settings
        self._before, self._after = split_template(settings.template)
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._background = BackgroundLoop("pointsman-endpoint")
        self._session: aiohttp.ClientSession | None = None

    def readings(self, prompts: Sequence[str]) -> Readings:
        """See `ScoreRouter.readings`.

        Raises:
            UpstreamError: the service refused, gave no answer or no logprobs.
        """
        found: list[ScoreReading | None] = [None] * len(prompts)
        self._background.submit(self._read_all(prompts, found.__setitem__)).result()
        readings = [reading for reading in found if reading is not None]
        return Readings(np.array([each.win_rate for each in readings]), tuple(each.reason for each in readings))

    def each_win_rate(self, prompts: Sequence[str], on_rate: Callable[[int, float], None]) -> None:
        """Calls `on_rate` with row and win rate of each prompt as its answer comes, those under way at a failure too.

        Raises:
            UpstreamError: see `readings`.
        """
        told = self._read_all(prompts, lambda row, reading: on_rate(row, reading.win_rate))
        self._background.submit(told).result()

    def close(self) -> None:
        """Closes the connections; a later call opens new ones. Done at the end of the process in any case."""
        atexit.unregister(self.close)
        self._background.close(self._session.close() if self._session is not None else None)
        self._session = None

    async def _read_all(self, prompts: Sequence[str], on_reading: Callable[[int, ScoreReading], None]) -> None:
        """Reads every prompt. After a failure no call is begun, but those under way are waited for: they are paid."""
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, trust_env=True)
            atexit.register(self.close)  # aiohttp complains about sessions that the end of the process takes unawares
        session, rows = self._session, iter(range(len(prompts)))
        failures: list[BaseException] = []

        async def work() -> None:
            for row in rows:
                if failures:
                    return
                try:
                    on_reading(row, await self._read(session, prompts[row]))
                except (PointsmanError, ValueError, OSError) as error:
                    failures.append(error)

        await asyncio.gather(*(work() for _ in range(min(self.settings.concurrency, len(prompts)))))
        if failures:
            raise failures[0]

    async def _read(self, session: aiohttp.ClientSession, prompt: str) -> ScoreReading:
        answer = await self._ask(session, orjson.dumps(self._payload(prompt)))
        found = read_answer(answer, self.settings.url)
        return read_scores(found, self.settings.score_tokens, score_threshold=self.settings.score_threshold)

    async def _ask(self, session: aiohttp.ClientSession, body: bytes) -> bytes:
        """The answer to one call, repeated where that may help."""
        url, attempt = self.settings.url, 0
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout_s)
        while True:
            try:
                async with session.post(url, data=body, timeout=timeout, allow_redirects=False) as response:
                    answer, status = await response.read(), response.status
            except (aiohttp.ClientError, TimeoutError) as error:
                failure, may_pass = f"{url} gave no answer: {type(error).__name__}", True
            else:
                if status == 200:
                    return answer
                failure = f"{url}: status {status} for model {self.settings.model!r}"
                may_pass = status in (408, 425, 429) or status >= 500
            if attempt == self.settings.n_retries or not may_pass:
                raise UpstreamError(f"{failure}; gave up after attempt {attempt + 1}")
            attempt += 1
            await asyncio.sleep(_RETRY_DELAY_S * attempt)

    def _payload(self, prompt: str) -> dict[str, Any]:
        # A lone surrogate has no UTF-8 form, and JSON none but that.
        text = self._before + self._ends(prompt.encode("utf-8", "ignore").decode("utf-8")) + self._after
        common = {"model": self.settings.model, "max_tokens": 1, "temperature": 0}
        if self.settings.api == "completions":
            return {**common, "prompt": text, "logprobs": self.settings.top_logprobs}
        message = {"role": "user", "content": text}
        return {**common, "messages": [message], "logprobs": True, "top_logprobs": self.settings.top_logprobs}

    def _ends(self, prompt: str) -> str:
        limit = self.settings.max_chars
        return prompt if len(prompt) <= limit else f"{prompt[: limit // 2]} {prompt[-(limit // 2) :]}"


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> EndpointRouter:
    """The router of an `endpoint` checkpoint.

    Raises:
        CheckpointError: its options do not fit.
        ConfigError: the environment variable with the key is not set.
    """
    settings = EndpointSettings.from_options(checkpoint.options)
    if settings.api_key_env is None:
        return EndpointRouter(settings)
    api_key = os.environ.get(settings.api_key_env)
    if not api_key:
        raise ConfigError(
            f"environment variable {settings.api_key_env} is not set: it holds the key for {settings.url}"
        )
    return EndpointRouter(settings, api_key=api_key)
