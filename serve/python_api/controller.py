"""The same routing in Python, without a server.

controller = Controller(["mf"], "gpt-4o", "ollama/llama3.1")
answer = controller.chat.completions.create(model="router-mf-0.5", messages=[{"role": "user", "content": "Hello"}])
print(answer.choices[0].message.content)
"""

import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self

from pointsman.core.arrays import FloatArray
from pointsman.core.decision import Decision
from pointsman.core.errors import ConfigError, UnknownRouterError
from pointsman.serve.config import Config
from pointsman.serve.config.load import make_config, read_values
from pointsman.serve.config.secret import Secret
from pointsman.serve.engine.engine import Engine
from pointsman.serve.engine.lifecycle import Lifecycle
from pointsman.serve.http.streams import ByteStream
from pointsman.serve.protocols.model_field import AUTO, ROUTER_PREFIX
from pointsman.serve.protocols.requests import make_question, read_chat
from pointsman.serve.protocols.surfaces import CHAT
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.python_api.loop_thread import BackgroundLoop
from pointsman.serve.python_api.response import Answer, read_answer, read_events
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.ids import request_id
from pointsman.serve.request.record import Record
from pointsman.serve.upstreams.attempts import Answered
from pointsman.serve.upstreams.base import Reply

__all__ = ["Controller"]


class Controller:
    """Routes prompts and calls the chosen model.

    It runs its upstream calls on an event loop of its own, so that it can be used from any thread and any loop. Close
    it when it is no longer needed, or use it in a `with` block. The configured budgets, conversations,
    drift monitoring, shadow comparisons and store apply to its requests, too.
    """

    def __init__(
        self,
        routers: Sequence[str] | None = None,
        strong_model: str | None = None,
        weak_model: str | None = None,
        config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        candidates: Sequence[str] | None = None,
        api_base: str | None = None,
        api_key: str | None = None,
    ) -> None:
        """Loads the routers and resolves the models.

        Args:
            routers: names, the default first; those of `config`, or "mf", if None.
            strong_model, weak_model: model strings or names under `models` of the config; those of `config` if None,
                the built-in stand-ins if it names none.
            candidates: any number of models instead of two; the first is the reference.
            config: a configuration, its values, or the path of its YAML file.
            api_base, api_key: for the models that name none themselves.

        Raises:
            ConfigError: a value is unknown or malformed, or a model or router cannot be resolved.
            CheckpointError, EmbedderMismatchError: a router's checkpoint is damaged or does not fit.
        """
        if isinstance(routers, str):
            raise ConfigError(f"routers is the single string {routers!r}, wanted a list of names: [{routers!r}]")
        values = config.model_dump(exclude_unset=True) if isinstance(config, Config) else config
        if isinstance(values, (str, os.PathLike)):
            values = read_values(values)
        made = make_config(values, routers=routers, strong=strong_model, weak=weak_model, candidates=candidates)
        key = Secret("api_key argument", api_key) if api_key else None
        self.engine = Engine(made, base_url=api_base, api_key=key)
        self.chat = _Chat(self)
        self._loop: BackgroundLoop | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    def win_rates(self, prompts: Sequence[str], router: str | None = None) -> FloatArray:
        """Strong model's win rates of many prompts, in [0, 1], shape (n_prompts,).

        With more than two candidates, the first one's over each, shape (n_prompts, n_candidates).

        Raises:
            UnknownRouterError: no such router was loaded.
        """
        name = next(iter(self.engine.routers)) if router is None else router
        if name not in self.engine.routers:
            raise UnknownRouterError(f"router {name!r} is not loaded; loaded routers: {', '.join(self.engine.routers)}")
        return self.engine.routers[name].router.win_rates(prompts)

    def route(
        self,
        prompt: str,
        router: str | None = None,
        threshold: float | None = None,
        *,
        strong_share: float | None = None,
        model: str | None = None,
    ) -> Decision:
        """Which model would answer a request with this prompt, and why; no model is called.

        Args:
            router: name; the first one if None.
            threshold: strong iff win_rate >= threshold; the router's default if None.
            strong_share: share of prompts for the strong model, instead of a threshold.
            model: a whole model field such as "router-mf-30pct", instead of the three.

        Raises:
            RequestError: the router, threshold or model is unknown or malformed.
        """
        field = self._field(model, router, threshold, strong_share)
        context = RequestContext(make_question(prompt, field), dry_run=True)
        return self._background().run(self.engine.decide(context))

    def completion(
        self,
        *,
        model: str | None = None,
        router: str | None = None,
        threshold: float | None = None,
        strong_share: float | None = None,
        **parameters: Any,
    ) -> Any:
        """A chat completion: an `Answer`, or with stream=True an iterator of the stream's chunks.

        Args:
            model, router, threshold, strong_share: as for `route`.
            parameters: messages and all other parameters of OpenAI's API, passed on unchanged.

        Raises:
            RequestError: a parameter is malformed.
            UpstreamFailure: the model gave no usable answer; `status` is the one a client of the server would see.
        """
        context = self._context(parameters, self._field(model, router, threshold, strong_share))
        reply = self._background().run(self._ask(context))
        return read_answer(reply) if reply.chunks is None else self._iterate(reply.chunks)

    async def acompletion(
        self,
        *,
        model: str | None = None,
        router: str | None = None,
        threshold: float | None = None,
        strong_share: float | None = None,
        **parameters: Any,
    ) -> Any:
        """`completion` without blocking; a stream is an asynchronous iterator."""
        context = self._context(parameters, self._field(model, router, threshold, strong_share))
        reply = await self._background().hand_over(self._ask(context))
        return read_answer(reply) if reply.chunks is None else self._aiterate(reply.chunks)

    def close(self) -> None:
        """Closes the connections; the controller may be used again, and then opens new ones."""
        if self._finalizer is not None:
            self._finalizer()
            self._loop = self._finalizer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _background(self) -> BackgroundLoop:
        if self._loop is None:
            self._loop = BackgroundLoop()
            self._loop.run(_start(self.engine))
            self._finalizer = weakref.finalize(self, _shut_down, self._loop, self.engine)
        return self._loop

    def _field(self, model: str | None, router: str | None, threshold: float | None, strong_share: float | None) -> str:
        if model is not None:
            if any(value is not None for value in (router, threshold, strong_share)):
                raise ValueError(
                    f"model {model!r} is given with router, threshold or strong_share, wanted only one of them"
                )
            return model
        if threshold is not None and strong_share is not None:
            raise ValueError("threshold and strong_share are both given, wanted one of them")
        if router is None and threshold is None and strong_share is None:
            return AUTO
        field = ROUTER_PREFIX + (router or next(iter(self.engine.routers)))
        if threshold is not None:
            return f"{field}-{threshold}"
        if strong_share is not None and not 0.0 <= strong_share <= 1.0:
            meant = f"; {strong_share:g} % is {strong_share / 100.0:g}" if 1.0 < strong_share <= 100.0 else ""
            raise ValueError(f"strong_share is {strong_share:g}, wanted a share in [0, 1]{meant}")
        return field if strong_share is None else f"{field}-{100.0 * strong_share:.10g}pct"

    def _context(self, parameters: Mapping[str, Any], field: str) -> RequestContext:
        try:
            body = write_json({"model": field, **parameters}, default=_plain)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a parameter cannot be written as JSON: {error}") from error
        return RequestContext(read_chat(body))

    async def _ask(self, context: RequestContext) -> Reply:
        record = Record(request_id({"headers": ()}), f"/v1{CHAT.path}", context=context)
        record.received_at = record.started_at
        with ExitStack() as stack:
            life = stack.enter_context(Lifecycle(record, self.engine.billing, self.engine.state.observers))
            answered = await self.engine.serve(record, context)
            record.outcome = answered.outcome
            if answered.reply.chunks is None:
                return answered.reply
            stack.pop_all()  # the life of a streamed answer ends with the stream
        return replace(answered.reply, chunks=_watched(answered.reply.chunks, answered, life))

    def _iterate(self, chunks: ByteStream) -> Iterator[Answer]:
        loop = self._background()
        try:
            while (events := loop.run(_next(chunks))) is not None:
                yield from read_events(events)
        finally:
            loop.run(_close(chunks))

    async def _aiterate(self, chunks: ByteStream) -> AsyncIterator[Answer]:
        loop = self._background()
        try:
            while (events := await loop.hand_over(_next(chunks))) is not None:
                for answer in read_events(events):
                    yield answer
        finally:
            await loop.hand_over(_close(chunks))


class _Chat:
    """`controller.chat.completions`, as in OpenAI's client."""

    def __init__(self, controller: Controller) -> None:
        self.completions = _Completions(controller)


class _Completions:
    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def create(self, **parameters: Any) -> Any:
        """`Controller.completion`."""
        return self._controller.completion(**parameters)

    async def acreate(self, **parameters: Any) -> Any:
        """`Controller.acompletion`."""
        return await self._controller.acompletion(**parameters)


async def _next(chunks: ByteStream) -> bytes | None:
    return await anext(chunks, None)


async def _close(chunks: ByteStream) -> None:
    await chunks.aclose()


async def _watched(chunks: ByteStream, answered: Answered, life: Lifecycle) -> AsyncGenerator[bytes, None]:
    """The pieces of a streamed answer."""
    with life:
        try:
            async for chunk in chunks:
                yield chunk
            life.record.outcome = answered.outcome
        finally:
            await chunks.aclose()


async def _start(engine: Engine) -> None:
    await engine.state.start()
    await engine.start()


def _shut_down(loop: BackgroundLoop, engine: Engine) -> None:
    loop.run(engine.close())
    loop.run(engine.state.close())
    loop.stop()


def _plain(value: Any) -> Any:
    """Messages may be objects of OpenAI's client, which are Pydantic models."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} is not JSON serializable")
    return dump(exclude_none=True)
