"""Conversations whose turns go to several processes."""

import itertools
import json
from contextlib import AsyncExitStack

import pytest

from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.protocols.surfaces import CHAT
from pointsman.serve.request.context import RequestContext

HARD = "Prove that there are infinitely many primes of the form 4k+3, in full, and compare three proofs."
EASY = "Hi"


def values(store_url=None, **policy):
    usd = {"big": 10.0, "small": 1.0}
    prices = {name: {"input_usd_per_million": each, "output_usd_per_million": each} for name, each in usd.items()}
    models = {name: {"base_url": "http://127.0.0.1:1/v1", "price": price} for name, price in prices.items()}
    found = {"strong": "big", "weak": "small", "models": models, "routers": {"mf": {}}, "sessions": {"margin": 1.0}}
    if store_url is not None:
        found["store"] = {"url": store_url}
    return {**found, "policy": policy} if policy else found


class Replicas:
    """Engines as in processes of their own."""

    def __init__(self, n, configured):
        self.engines = [Engine(make_config(configured)) for _ in range(n)]

    async def __aenter__(self):
        self._closing = AsyncExitStack()
        for engine in self.engines:
            await engine.state.start()
            self._closing.push_async_callback(engine.state.close)
            await engine.start()
            self._closing.push_async_callback(engine.close)
        self._turns = itertools.cycle(self.engines)
        return self

    async def __aexit__(self, *_):
        await self._closing.aclose()

    async def turn(self, messages, model="auto"):
        """The decision on the next turn, by the next replica."""
        body = {"model": model, "messages": messages}
        engine = next(self._turns)
        decision = await engine.decide(RequestContext(CHAT.read(json.dumps(body).encode()), surface=CHAT))
        if engine.state.sessions is not None:
            await engine.state.sessions._write()  # which it does within 50 ms, before an answer is there
        return decision


async def converse(replicas, first, *, n_turns=30, model="auto"):
    """The models of a conversation, turn by turn; its later turns are as easy as they get."""
    messages, models = [{"role": "user", "content": first}], []
    for i in range(n_turns):
        models.append((await replicas.turn(messages, model)).model)
        later = HARD if i % 2 else EASY
        messages = [*messages, {"role": "assistant", "content": "Well."}, {"role": "user", "content": f"{later} {i}"}]
    return models


@pytest.mark.parametrize("first", [EASY, HARD, "Hi \ud83d"])
async def test_replicas_agree_without_a_store(first):
    """At a fixed threshold four processes that share nothing keep thirty turns with the model of the first."""
    async with Replicas(4, values(threshold=0.6)) as replicas:
        models = await converse(replicas, first)
    assert len(set(models)) == 1
    assert await first_model(first) == models[0]


async def first_model(first):
    async with Replicas(1, values(threshold=0.6)) as one:
        return (await one.turn([{"role": "user", "content": first}])).model


async def test_a_moving_threshold_changes_no_conversation(store_url):
    """Held shares move the threshold from request to request; with a store thirty turns stay with one model each."""
    async with Replicas(4, values(store_url, strong_share=0.5)) as replicas:
        for i in range(6):
            assert len(set(await converse(replicas, f"{HARD if i % 2 else EASY} ({i})", n_turns=12))) == 1
        assert len(set(await converse(replicas, EASY))) == 1


async def test_an_exception_is_known_to_all(store_url):
    """A conversation that was moved to the strong model stays there in every process; the others have no row."""
    async with Replicas(4, values(store_url, threshold=0.6)) as replicas:
        plain = await converse(replicas, EASY, n_turns=8)
        store = replicas.engines[0].state.store
        assert set(plain) == {await first_model(EASY)}
        rows = await count(store)
        assert rows == 0
    free = values(store_url, threshold=0.6)
    free["models"]["big"]["price"] = free["models"]["small"]["price"]  # then an upgrade costs nothing
    free["sessions"] = {"margin": 0.0}
    async with Replicas(4, free) as replicas:
        said = {"role": "assistant", "content": "Well."}
        messages = [{"role": "user", "content": EASY}]
        models = []
        for i, prompt in enumerate([EASY, HARD, *[EASY] * 8]):
            messages = [*messages, said, {"role": "user", "content": f"{prompt} {i}"}]
            models.append((await replicas.turn(messages)).model)
        assert models == ["small", *["big"] * 9]
        assert await count(replicas.engines[0].state.store) == 1


async def count(store):
    from sqlalchemy import func, select

    from pointsman.serve.store.schema import sessions

    return (await store._database.tuples(select(func.count()).select_from(sessions)))[0][0]
