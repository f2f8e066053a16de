"""Requests that are served at the same time stay in step."""

import asyncio

import pytest

from pointsman.serve.request.in_step import InStep
from pointsman.serve.server.app import create_app

from support.autopilot_server import lifespan


async def _stages(n_requests):
    """The stages of so many requests, in the order in which they are worked on."""
    in_step, seen = InStep(), []

    async def serve():
        with in_step:
            await asyncio.sleep(0)  # all have come in
            for stage in "abc":
                seen.append(stage)
                await in_step.next_stage()

    await asyncio.gather(*(serve() for _ in range(n_requests)))
    assert in_step.n_serving == 0
    return "".join(seen)


async def test_many_go_from_stage_to_stage_together():
    """Each stage of all of them comes before the next one's."""
    assert await _stages(5) == "aaaaabbbbbccccc"


async def test_few_do_not_wait_for_each_other():
    """One or two go through all stages at once."""
    assert await _stages(1) == "abc"
    assert await _stages(2) == "abcabc"


async def test_what_fails_or_is_cancelled_is_no_longer_counted():
    """The number of requests comes back to zero however they end."""
    in_step = InStep()
    with pytest.raises(ValueError), in_step:
        raise ValueError
    assert in_step.n_serving == 0


async def test_who_is_cancelled_after_the_answer_was_answered():
    """A request that only waits for others to come as far has had its answer: nobody has left before it."""
    app = create_app()
    body = b'{"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}'
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [(b"host", b"localhost")]}
    task = None

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        if message["type"] == "http.response.body" and not message.get("more_body"):
            asyncio.get_running_loop().call_soon(task.cancel)

    async with lifespan(app):
        app.engine.in_step.n_serving = 10
        task = asyncio.create_task(app(scope, receive, send))
        await asyncio.wait([task])
    (row,) = app.engine.state.live.recent()
    assert row["outcome"] == "answered"
