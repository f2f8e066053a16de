"""Prompts that come to a router at the same time are read together, and none knows of the others."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from pointsman.core.router import Reading, Router
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.engine.steps.score_prompt import RouterThreads, ScorePrompt
from pointsman.serve.request.in_step import InStep


class _Panic(BaseException):
    pass


class _Counting(Router):
    """Reads a prompt's length, and remembers how many it was asked for at a time."""

    kind = "counting"
    blocking = False

    def __init__(self, error=ZeroDivisionError):
        self.error = error
        self.asked = []

    def win_rates(self, prompts):
        return np.array([self.read(prompt).win_rate for prompt in prompts])

    def read(self, prompt):
        if prompt == "broken":
            raise self.error
        return Reading(1.0 / len(prompt))

    def read_many(self, prompts):
        self.asked.append(len(prompts))
        return super().read_many(prompts)


async def _score(router, prompts, *, cancel=()):
    """The contexts of prompts that come at once, scored."""
    in_step = InStep()
    step = ScorePrompt({"r": SimpleNamespace(router=router, checkpoint=None)}, RouterThreads(), in_step, timeout_s=1.0)
    contexts = [
        SimpleNamespace(
            parsed=SimpleNamespace(router="r"), win_rate=None, reason=None, request=SimpleNamespace(prompt=prompt)
        )
        for prompt in prompts
    ]

    async def serve(context):
        with in_step:
            await asyncio.sleep(0)  # all have come in
            await step(context)

    tasks = [asyncio.create_task(serve(context)) for context in contexts]
    for place in cancel:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, tasks[place].cancel)
    await asyncio.gather(*tasks, return_exceptions=True)
    return contexts


async def test_together_they_read_as_alone():
    """The bundled router's win rates and embeddings are bit for bit those of each prompt by itself."""
    router = load_router(load_checkpoint("mf"))
    prompts = [f"question {'why ' * n}" for n in range(40)]
    for prompt, context in zip(prompts, await _score(router, prompts), strict=True):
        alone = router.read(prompt)
        assert (context.win_rate, context.reason) == (alone.win_rate, "win_rate")
        assert (context.embedding == alone.embedding).all()


@pytest.mark.parametrize(("n_prompts", "asked"), [(1, []), (2, []), (3, [3]), (40, [40])])
async def test_few_are_read_at_once(n_prompts, asked):
    """Two do not wait for each other; more are read in one go."""
    router = _Counting()
    await _score(router, ["x"] * n_prompts)
    assert router.asked == asked


async def test_long_ones_are_read_apart():
    """A go reads 20,000 characters at most, so that it holds up nobody for long."""
    router = _Counting()
    contexts = await _score(router, ["x" * 9_000] * 5)
    assert router.asked == [2, 2, 1]
    assert all(context.win_rate == 1.0 / 9_000 for context in contexts)


@pytest.mark.parametrize(("error", "told"), [(ZeroDivisionError, "ZeroDivisionError"), (StopIteration, "RuntimeError")])
async def test_one_that_fails_takes_no_others_with_it(error, told):
    """The others have their win rate, and the broken one its reason."""
    contexts = await _score(_Counting(error), ["x", "broken", "xx", "xxx"])
    assert [context.win_rate for context in contexts] == [1.0, None, 0.5, 1.0 / 3.0]
    assert contexts[1].reason == f"router failed: {told}"


async def test_one_that_panics_leaves_nobody_waiting():
    """What is no Exception, such as a panic of native code, fails its own request; the others are scored."""
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    contexts = await asyncio.wait_for(_score(_Counting(_Panic), ["x", "broken", "xx", "xxx"]), 30.0)
    assert [context.win_rate for context in contexts] == [1.0, None, 0.5, 1.0 / 3.0]
    assert [type(each) for each in told] == [_Panic]


async def test_a_router_without_a_hash_is_read_too(monkeypatch):
    """A plug-in that is a dataclass has none."""
    monkeypatch.setattr(_Counting, "__hash__", None)
    contexts = await _score(_Counting(), ["x", "xx", "xxx"])
    assert [context.win_rate for context in contexts] == [1.0, 0.5, 1.0 / 3.0]


async def test_a_router_that_gives_too_few_readings_is_asked_for_each(monkeypatch):
    """Nobody waits for a reading that a plug-in forgot."""
    monkeypatch.setattr(_Counting, "read_many", lambda self, prompts: [])
    contexts = await _score(_Counting(), ["x", "xx", "xxx"])
    assert [context.win_rate for context in contexts] == [1.0, 0.5, 1.0 / 3.0]


async def test_one_whose_client_has_gone_is_not_waited_for():
    """Its request ends, and the others are scored."""
    contexts = await _score(_Counting(), ["x", "xx", "xxx", "xxxx"], cancel=[1])
    assert [context.win_rate for context in contexts] == [1.0, None, 1.0 / 3.0, 0.25]
