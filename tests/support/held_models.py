"""Models of one process that answer when they are told to, and know whether they may be asked."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from pointsman.serve.config import Config
from pointsman.serve.upstreams.base import Call, Reply, Upstream

__all__ = ["DOLLAR_A_TOKEN", "FREE", "TOKENS", "Gates", "HeldModel", "held_models"]

TOKENS = 10  # of each answer
FREE = {"input_usd_per_million": 0.0, "output_usd_per_million": 0.0}
DOLLAR_A_TOKEN = {"input_usd_per_million": 0.0, "output_usd_per_million": 1_000_000.0}


class Gates:
    """Where requests wait, by their prompts; those that are not held pass.

    Attributes:
        arrived: prompts that have reached a model.
        asked: called with the model's name for each request that reaches one.
    """

    def __init__(self, asked: Callable[[str], None] = lambda name: None) -> None:
        self.arrived: set[str] = set()
        self.asked = asked
        self._gates: dict[str, asyncio.Event] = {}

    def hold(self, prompt: str) -> None:
        """Has a request with this prompt wait at its model."""
        self._gates[prompt] = asyncio.Event()

    def let_go(self, prompt: str) -> None:
        """Has it go on."""
        self._gates[prompt].set()

    async def pass_through(self, prompt: str) -> None:
        """Waits where the prompt is held."""
        self.arrived.add(prompt)
        if prompt in self._gates:
            await self._gates[prompt].wait()


class HeldModel(Upstream):
    """Answers with its name, whole or as a stream, and charges `TOKENS`."""

    provider = "held"

    def __init__(self, name: str, gates: Gates) -> None:
        self.name = name
        self._gates = gates
        self._is_open = False

    async def start(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def send(self, call: Call) -> Reply:
        prompt = call.document["messages"][-1]["content"]
        self._gates.asked(self.name)
        await self._wait(prompt)
        usage = {"prompt_tokens": 1, "completion_tokens": TOKENS, "total_tokens": TOKENS + 1}
        if call.stream:
            return Reply(200, ((b"content-type", b"text/event-stream"),), chunks=self._stream(prompt, usage))
        choice = {"index": 0, "message": {"role": "assistant", "content": self.name}, "finish_reason": "stop"}
        body = {"id": "1", "object": "chat.completion", "model": self.name, "choices": [choice], "usage": usage}
        return Reply(200, ((b"content-type", b"application/json"),), json.dumps(body).encode())

    async def _stream(self, prompt: str, usage: dict[str, int]) -> AsyncIterator[bytes]:
        for more in ({"delta": {"content": self.name}}, {"delta": {}, "finish_reason": "stop"}):
            yield b"data: " + json.dumps({"choices": [{"index": 0, **more}]}).encode() + b"\n\n"
            await self._wait(prompt)
        yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n"

    async def _wait(self, prompt: str) -> None:
        assert self._is_open, f"{self.name} was asked before it was started, or after it was closed"
        await self._gates.pass_through(prompt)
        assert self._is_open, f"{self.name} was closed under a request"


@contextmanager
def held_models(gates: Callable[[], Gates]) -> Iterator[None]:
    """Has engines built meanwhile ask such models, each known by its name at the upstream; failures are not logged."""

    def build(config: Config, candidates: tuple[str, ...], **_: object) -> dict[str, Upstream]:
        names = dict.fromkeys((*candidates, *config.models))
        return {name: HeldModel(config.models[name].model or name, gates()) for name in names}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pointsman.serve.engine.engine.build_upstreams", build)
        logging.disable(logging.ERROR)
        yield
    logging.disable(logging.NOTSET)
