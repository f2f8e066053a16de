"""Reloads in any order, good and bad, between requests that are under way: a model says what must be in force."""

import asyncio
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pointsman.backends.assets import asset_path
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.errors import CheckpointError
from pointsman.serve.checkpoints.promotion import promote, rollback
from pointsman.serve.config import SettingConfig
from pointsman.serve.engine.engine import Engine
from pointsman.serve.protocols.surfaces import CHAT
from pointsman.serve.request.context import RequestContext
from pointsman.serve.server.app import create_app
from pointsman.serve.server.launch import LaunchOptions
from pointsman.serve.server.reload import Reloader, Source

from support.autopilot_server import lifespan
from support.held_models import DOLLAR_A_TOKEN, FREE, TOKENS, Gates, held_models

CHECKPOINTS = ("first", "second")


class Watched(Engine):
    """An engine of which it is known whether it is closed."""

    n_closed = 0

    async def close(self):
        self.n_closed += 1
        await super().close()


@pytest.fixture(scope="module", autouse=True)
def _held_models():
    with held_models(lambda: Reloads.gates):
        yield


class Reloads(RuleBasedStateMachine):
    """A server whose configuration changes while it is asked.

    The model: `file` is what the configuration file holds and `active` what was accepted last, as far as it shows;
    None stands for a file that cannot be accepted.
    """

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        here = Path(self.folder.name)
        self.path, self.checkpoints = here / "config.yaml", here / "checkpoints"
        bundled = read_checkpoint(asset_path("mf"))
        for sign, name in zip((1, -1), CHECKPOINTS, strict=True):
            parts = {part: (sign * np.asarray(bundled.arrays[part])) for part in ("classifier", "linear")}
            write_checkpoint(replace(bundled, arrays={**bundled.arrays, **parts}), self.checkpoints / name)
        promote(self.checkpoints, "first")
        self.stack = ["first"]
        Reloads.gates, self.under_way, self.results = Gates(), [], []
        self.spent, self.reserved, self.n_asked = 0.0, 0.0, 0
        self.override = ("", 0.5)
        self.is_damaged = self.is_open = False
        self.file = {"router": "random", "version": 1, "third": False, "usd": 1000.0, "spare": 1}
        self.write()
        self.active = {**self.file, "checkpoint": "first"}
        self.engines = []
        self.loop = asyncio.new_event_loop()
        self.run(self.start())

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def start(self):
        options = LaunchOptions(config=str(self.path))

        def build(config, previous):
            self.engines.append(Watched(config, previous=previous))
            return self.engines[-1]

        self.reloader = Reloader(Source(options.read_config, build, None))
        self.reloader.observe(self.results.append)
        self.first = options.read_config()
        self.app = create_app(engine=build(self.first, None))
        self.life = lifespan(self.app)
        await self.life.__aenter__()
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    def write(self):
        kept = self.file
        models = {"big": {"model": f"big-{kept['version']}", "price": DOLLAR_A_TOKEN}}
        models["small"] = {"model": "small-1", "price": FREE}
        models["spare"] = {"model": f"spare-{kept['spare']}", "breaker": {"failures": 1, "open_s": 86400}}
        models |= {"third": {"model": "third-1", "price": DOLLAR_A_TOKEN}} if kept["third"] else {}
        mine = {"checkpoint": str(self.checkpoints)} if kept["router"] == "mine" else {"kind": "random"}
        values = {
            "strong": "big", "weak": "small", "fallback": "none", "models": models,
            "routers": {"mine": mine}, "server": {"watch": False, "log_requests": False},
            "policy": {"threshold": 0.5, "budgets": [{"usd": kept["usd"], "per": "month", "hard": True}]},
        }  # fmt: skip
        self.path.write_text(json.dumps(values))

    @rule(change=st.sampled_from(["router", "version", "third", "usd", "spare"]), bit=st.booleans())
    def edit(self, change, bit):
        """Somebody writes a configuration that is well."""
        values = {
            "router": ("random", "mine"),
            "version": (1, 2),
            "third": (False, True),
            "usd": (1000.0, 30.0),
            "spare": (1, 2),
        }
        self.file = {**(self.file or self.active), change: values[change][bit]}
        self.file.pop("checkpoint", None)
        self.write()

    @rule(
        broken=st.sampled_from(
            [
                "strong: [",
                "",
                "nonsense: 1",
                "strong: big\nweak: big",
                '{"models": {"big": {"api_key": "env:NOT_SET_AT_ALL"}}}',
                '{"strong": "big", "weak": "small", "routers": {"mine": {"checkpoint": "/nowhere/at/all"}}}',
                "a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]",
                "\x00",
                '{"strong": "big", "weak": "small", "models": {"big": {"price": {"input_usd_per_million": -1}}}}',
            ]
        )
    )
    def spoil(self, broken):
        """Somebody writes one that is not."""
        self.file = None
        self.path.write_text(broken)

    @rule(name=st.sampled_from(CHECKPOINTS))
    def promote(self, name):
        """A checkpoint is to be served from the next reload on."""
        if self.stack[-1] != name:
            promote(self.checkpoints, name)
            self.stack.append(name)
        else:
            with pytest.raises(CheckpointError, match="already promoted"):
                promote(self.checkpoints, name)

    @rule()
    def roll_back(self):
        """The one before is to be served again."""
        if len(self.stack) > 1:
            self.stack.pop()
            assert rollback(self.checkpoints) == self.stack[-1]
        else:
            with pytest.raises(CheckpointError, match="nothing to roll back to"):
                rollback(self.checkpoints)

    @rule()
    def damage(self):
        """A weight of the second checkpoint is changed on the disk, or back."""
        path = self.checkpoints / "second" / "weights.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        staging = path.with_suffix(".new")  # the file is mapped
        staging.write_bytes(data)
        staging.replace(path)
        self.is_damaged = not self.is_damaged

    @rule()
    def reload(self):
        """What is on the disk takes over if it is well, and is refused otherwise."""
        self.run(
            self.reloader._reload(self.app, self.first)
        )  # without its own looks at the files, whose time is theirs
        self.run(self.idle())
        serves_mine = self.file is not None and self.file["router"] == "mine"
        bad = self.file is None or (serves_mine and self.stack[-1] == "second" and self.is_damaged)
        assert self.results == ["refused" if bad else "accepted"]
        self.results.clear()
        if not bad:
            assert self.file is not None
            self.is_open &= self.file["spare"] == self.active["spare"]
            self.active = {**self.file, "checkpoint": self.stack[-1]}

    async def idle(self):
        """Lets engines close that serve nothing any more."""
        for _ in range(100):
            await asyncio.sleep(0)

    @rule(model=st.sampled_from(["big", "small", "third", "router-mine-0"]), stream=st.booleans())
    def ask(self, model, stream):
        """A request begins, which goes on when it is told to."""
        serves = model != "third" or self.active["third"]
        self.n_asked += 1
        text = f"question {self.n_asked}"
        self.gates.hold(text)
        (budget,) = self.app.engine.policies.hard_limits(None)
        is_spent = budget.is_spent()  # by what is expected of requests under way
        task = self.run(self.begin_request(model, text, stream))
        left = self.active["usd"] - self.spent - self.reserved
        dear = model != "small"
        alone = self.reserved == 0.0 < left and self.active["usd"] / 8 < TOKENS
        fits = not is_spent and (left >= TOKENS or alone)
        if not serves or (dear and model != "router-mine-0" and not fits):
            assert task.done()
            assert task.result().status_code == (429 if serves else 404)
            return
        asked = "small" if dear and not fits else model
        name = {"router-mine-0": "big", "small": "small-1", "third": "third-1"}.get(asked, "big")
        name = f"big-{self.active['version']}" if name == "big" else name
        usd = 0.0 if asked == "small" else float(TOKENS)
        self.reserved += usd
        self.under_way.append(SimpleNamespace(text=text, task=task, name=name, usd=usd, engine=self.app.engine))

    async def begin_request(self, model, text, stream):
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, "max_tokens": TOKENS}
        task = asyncio.create_task(self.client.post("/v1/chat/completions", json=body))
        while not task.done() and text not in self.gates.arrived:
            await asyncio.sleep(0)
        return task

    @rule(i=st.integers(0, 99), leaves=st.booleans())
    def go_on(self, i, leaves):
        """A request that is under way comes to its end, or its client leaves before it had anything."""
        if not self.under_way:
            return
        request = self.under_way.pop(i % len(self.under_way))
        self.reserved -= request.usd
        if leaves:
            request.task.cancel()
            self.run(asyncio.wait([request.task]))
        else:
            self.gates.let_go(request.text)
            answer = self.run(request.task)
            assert answer.status_code == 200
            assert request.name in answer.text
            self.spent += request.usd
        self.run(self.idle())
        request.engine = None

    @rule(threshold=st.sampled_from([0.25, 0.75, None]))
    def put_override(self, threshold):
        """An administrator changes the threshold until the configuration changes."""
        setting = SettingConfig(threshold=threshold) if threshold is not None else None
        self.run(self.app.engine.state.policies.set_override(self.app.engine.digest, setting))
        self.override = (self.app.engine.digest, threshold or 0.5)

    @rule()
    def fail(self):
        """A model that nobody asks fails, which opens its circuit."""
        self.app.engine.services["spare"].breaker.fail()
        self.is_open = True

    @invariant()
    def what_was_accepted_last_is_in_force(self):
        if hasattr(self, "app"):
            self.run(self.check())

    async def check(self):
        engine, active = self.app.engine, self.active
        assert set(engine.services) == {"big", "small", "spare", *(["third"] if active["third"] else [])}
        body = b'{"model": "router-mine", "messages": [{"role": "user", "content": "Prove it."}]}'
        decided = await engine.decide(RequestContext(CHAT.read(body), surface=CHAT, dry_run=True))
        digest, threshold = self.override
        assert engine.policies.describe()["setting"]["threshold"] == (threshold if digest == engine.digest else 0.5)
        if active["router"] == "mine":
            assert (decided.win_rate > 0.5) is (active["checkpoint"] == "first")
        ledger = engine.state.ledger
        assert ledger.spent_usd("month") == pytest.approx(self.spent)
        (budget,) = engine.policies.hard_limits(None)
        assert budget._lease._set_aside_usd == pytest.approx(self.reserved)
        assert math.isclose(budget.pacer.usd, active["usd"])
        assert engine.services["spare"].breaker.is_open is self.is_open
        used = {id(each.engine) for each in self.under_way} | {id(engine)}
        built = [each for each in self.engines if hasattr(each, "pipeline")]
        assert [each.n_closed for each in built] == [int(id(each) not in used) for each in built]

    def teardown(self):
        if hasattr(self, "app"):
            for request in self.under_way:
                request.task.cancel()
            self.run(self.end())
            self.loop.close()
            self.folder.cleanup()

    async def end(self):
        await asyncio.gather(*(each.task for each in self.under_way), return_exceptions=True)
        await self.life.__aexit__(None, None, None)
        await self.client.aclose()
        assert all(each.n_closed == 1 for each in self.engines)


TestReloads = Reloads.TestCase
TestReloads.settings = settings(max_examples=4, stateful_step_count=15, deadline=None)
