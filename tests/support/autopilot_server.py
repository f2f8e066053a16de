"""A server with an autopilot in this loop, whose models are planted."""

import asyncio
from contextlib import asynccontextmanager

import httpx

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

__all__ = ["ask", "compared", "lifespan", "prompt", "serving", "settings", "settled"]

PRICES = {"big": (10.0, 30.0), "small": (1.0, 2.0), "judge": (5.0, 15.0)}


def settings(url: str, store: str, **more) -> dict:
    models = {
        name: {
            "base_url": url,
            "price": {"input_usd_per_million": dear, "output_usd_per_million": out},
            "timeouts": {"connect_s": 60.0},  # no test is about a machine that is slow
        }
        for name, (dear, out) in PRICES.items()
    }
    autopilot = {"max_loss": 0.2, "judge": "judge", "compare": 1.0, "max_usd_per_day": 1000, "concurrency": 16}
    return {
        "strong": "big", "weak": "small", "models": models, "store": {"url": store},
        "autopilot": {**autopilot, "queue": 10_000, **more.pop("autopilot", {})}, **more,
    }  # fmt: skip


@asynccontextmanager
async def serving(values: dict):
    """A server in this loop, with a client; its autopilot turns when told to, not by the clock."""
    app = create_app(make_config(values))
    async with lifespan(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client, app


@asynccontextmanager
async def lifespan(app):
    received, sent = asyncio.Queue(), asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan"}, received.get, sent.put))
    await received.put({"type": "lifespan.startup"})
    message = await sent.get()
    assert message["type"] == "lifespan.startup.complete", message
    try:
        yield
    finally:
        await received.put({"type": "lifespan.shutdown"})
        await sent.get()
        await task


def prompt(i: int) -> str:
    return f"Question {i}: " + "why " * (i % 97)


async def ask(client, first: int, n: int, **more) -> list[str]:
    """Asks, sixteen at a time; who answered, in the order of the prompts."""
    slots = asyncio.Semaphore(16)

    async def one(i: int) -> str:
        async with slots:
            document = {"model": "auto", "messages": [{"role": "user", "content": prompt(i)}], **more}
            answer = await client.post("/v1/chat/completions", json=document)
            assert answer.status_code == 200, answer.text
            return answer.headers["x-pointsman-model"]

    return list(await asyncio.gather(*(one(i) for i in range(first, first + n))))


async def compared(autopilot) -> None:
    """Waits until everything that was drawn has been compared."""
    autopilot._flush()
    while pending := [task for _, task in autopilot._draws._pending]:
        await asyncio.wait(pending)
        autopilot._flush()


async def settled(app, *, counted: bool = True) -> dict:
    """Waits until everything that was drawn has been written and, unless told otherwise, counted; the status then."""
    autopilot, state = app.engine.state.autopilot, app.engine.state
    for _ in range(600):  # turns, however long each of them takes
        await compared(autopilot)
        while state.writer._queue:
            await asyncio.sleep(0.01)
        await autopilot._turn()
        if not counted or all(row.counted for row in await state.store.autopilot()):
            return autopilot.status()
        await asyncio.sleep(0.05)
    raise AssertionError(f"comparisons were not counted: {autopilot.status()}")
