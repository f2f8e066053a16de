"""What does the autopilot add to a request?

    python -m benchmarks.autopilot_path [--rounds 60] [--requests 96]

Two servers in one process, one with `autopilot:` and one without, are asked in turns, eight requests in a row, by the
same prompts: both with a store and the same router, whose upstream answers at once. Half of the traffic is certified;
one request in two hundred is compared, in the background. Time is the processor time of the event loop's thread: from a
request to the last byte of its answer, which is what a client waits for; and all that it takes, with what observers do
afterwards, some requests at a time: an eighth of a row with the 30 ms after it. A round's figure is its median, what is
printed the median over rounds of the difference, with a 95 % bootstrap interval.
"""

import argparse
import asyncio
import json
import logging
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prompts import make_prompts
from pointsman.serve import create_app
from pointsman.serve.autopilot import draw
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.config.load import make_config
from pointsman.serve.upstreams.http_client import pool

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the server in this loop is the tests' own
from support.autopilot_server import lifespan

_ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}  # fmt: skip
_BODY, _GOAL_US = json.dumps(_ANSWER).encode(), 20.0
_ROW, _AFTER_S = 8, 0.03
_Ask = Callable[[bytes], Awaitable[float]]


class _Answered:
    """An upstream's answer that is there at once."""

    status, reusable = 200, True
    headers = ((b"content-type", b"application/json"),)

    def __init__(self) -> None:
        self._parts = [_BODY]

    async def read(self, deadline: float) -> bytes:
        return self._parts.pop() if self._parts else b""

    def whole(self) -> bytes | None:
        return self._parts.pop() if self._parts else None

    def hang_up(self) -> None:
        """Nothing is open."""


async def _post(*args: Any, **options: Any) -> _Answered:
    return _Answered()


def main() -> int:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--router", default="mf")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    pool.ConnectionPool.post = _post  # type: ignore[method-assign, assignment]
    pool.ConnectionPool.release = lambda *_: None  # type: ignore[method-assign, assignment]
    draw._WARM_UP = 100
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_in_turns(Path(folder), args.router, args.rounds, args.requests))
    rows, rng = [], np.random.default_rng(0)
    for i, until in enumerate(("the last byte", "all is done")):
        on, off = np.array(found["on"])[:, i], np.array(found["off"])[:, i]
        drawn = [np.median(rng.choice(on - off, len(on))) for _ in range(2000)]
        low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
        added, without = float(np.median(on - off)), float(np.median(off))
        rows.append({"until": until, "off_us": without, "added_us": added, "interval": [low, high]})
        print(f"{args.router}, until {until}: {without:.1f} us without, added {added:.1f} [{low:.1f}, {high:.1f}] us")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    added = rows[0]["added_us"]
    targets = {"added_us": {"value": added, "goal": _GOAL_US, "met": added <= _GOAL_US}}
    facts = {"bench": "autopilot_path", "router": args.router, "rows": rows, "targets": targets}
    print(json.dumps({**facts, "machine": platform.platform(), "commit": commit.stdout.strip()}))
    return 0


async def _in_turns(folder: Path, router: str, n_rounds: int, n_requests: int) -> dict[str, list[list[float]]]:
    """Microseconds of each round's median request, with and without: until its last byte, and until all is done."""
    bodies = [
        json.dumps({"model": "auto", "messages": [{"role": "user", "content": prompt}]}).encode()
        for prompt in make_prompts()
    ]
    async with AsyncExitStack() as stack:
        asks: dict[str, _Ask] = {}
        for name in ("on", "off"):
            app = create_app(make_config(_settings(folder / f"{name}.db", router, autopilot=name == "on")))
            await stack.enter_async_context(lifespan(app))
            asks[name] = _asker(app)
            if name == "on":
                await _certify_half(app, asks[name], bodies)
        found: dict[str, list[list[float]]] = {name: [] for name in asks}
        for number in range(n_rounds + 2):
            answered: dict[str, list[float]] = {name: [] for name in asks}
            whole: dict[str, list[float]] = {name: [] for name in asks}
            for first in range(0, n_requests, _ROW):
                for name in ("on", "off") if first % (2 * _ROW) else ("off", "on"):
                    began = time.thread_time()
                    for i in range(first, first + _ROW):
                        answered[name].append(await asks[name](bodies[(number * n_requests + i) % len(bodies)]))
                    await asyncio.sleep(_AFTER_S)
                    whole[name].append((time.thread_time() - began) / _ROW)
            if number >= 2:
                for name, times in found.items():
                    times.append([1e6 * statistics.median(each[name]) for each in (answered, whole)])
        return found


def _settings(store: Path, router: str, *, autopilot: bool) -> dict[str, Any]:
    prices = {"big": (10.0, 30.0), "small": (1.0, 2.0), "judge": (5.0, 15.0)}
    models = {
        name: {
            "base_url": "http://127.0.0.1:9/v1",
            "price": {"input_usd_per_million": dear, "output_usd_per_million": out},
        }
        for name, (dear, out) in prices.items()
    }
    steered = {"max_loss": 0.1, "judge": "judge", "compare": 0.005, "max_usd_per_day": 1000}
    return {
        "strong": "big", "weak": "small", "models": models, "routers": {router: {}},
        "store": {"url": f"sqlite:///{store}"}, **({"autopilot": steered} if autopilot else {}),
    }  # fmt: skip


async def _certify_half(app: Any, ask: _Ask, bodies: list[bytes]) -> None:
    """Has the chain made by the first requests, and half of its steps opened."""
    for body in bodies[: draw._WARM_UP + 1]:
        await ask(body)
    state = app.engine.state
    await state.autopilot._turn()

    def open_half(kept: Any, rows: Any) -> Any:
        found = AutopilotState.from_dict(kept)
        assert found.current is not None and found.current.certificate is not None, "there is no chain yet"
        certificate = found.current.certificate
        certificate._most[: len(certificate.chain) // 2] = 99.0
        return found.to_dict()

    await state.store.fold_autopilot("autopilot", open_half, limit=0)
    await state.autopilot._turn()
    assert state.autopilot.status()["certified_share"] > 0.2


def _asker(app: Any) -> _Ask:
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions", "query_string": b"", "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip

    async def ask(body: bytes) -> float:
        sent: list[Any] = []
        answered = [0.0]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)
            answered[0] = time.thread_time()

        began = time.thread_time()
        await app({**scope, "state": {}}, receive, send)
        assert sent[0]["status"] == 200, sent
        return answered[0] - began

    return ask


if __name__ == "__main__":
    sys.exit(main())
