"""Workers of one server that start, die and end in any order: what they hold together, they hold at every moment."""

import asyncio
import tempfile
from contextvars import ContextVar
from types import SimpleNamespace
from weakref import WeakSet

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pointsman.serve.auth.keys import new_key
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.request.worker_sessions import SESSIONS_VARIABLE
from pointsman.serve.server.app import create_app
from pointsman.serve.store.store import Store

from support.held_models import DOLLAR_A_TOKEN, FREE, TOKENS, Gates, held_models

BUDGET_USD = 30.0 * TOKENS
N_CONVERSATIONS = 3


@pytest.fixture(scope="module", autouse=True)
def _held_models():
    with held_models(lambda: Workers.gates):
        yield


OWNER: ContextVar["Worker | None"] = ContextVar("worker whose code runs", default=None)


def tasks_of_workers(loop, coroutine, **more):
    """A task factory by which each worker knows its own tasks."""
    task = asyncio.Task(coroutine, loop=loop, **more)
    if (owner := OWNER.get()) is not None:
        owner.tasks.add(task)
    return task


class Worker:
    """The application of one worker process, which can stop at any moment."""

    def __init__(self, values):
        self.tasks = WeakSet()
        self.app = create_app(make_config(values))
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    async def start(self):
        OWNER.set(self)
        await self.app.engine.state.start()
        await self.app.engine.start()

    async def ask(self, key, model, messages, prompt=None):
        """A request, until it has ended or has come to its model."""
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": model, "messages": messages, "max_tokens": TOKENS}
        OWNER.set(self)
        task = asyncio.create_task(self.client.post("/v1/chat/completions", json=body, headers=headers))
        while not task.done() and prompt not in Workers.gates.arrived:
            await asyncio.sleep(0)
        return task

    async def kill(self):
        """Nothing that it has in mind is written any more."""
        pool = self.app.engine.state.store._database._engine.pool
        while pool.checkedout():  # a database ends the transactions of a process that is gone; ours are not killed
            await asyncio.sleep(0.001)
        for task in (dying := list(self.tasks)):
            task.cancel()
        await asyncio.gather(*dying, return_exceptions=True)
        await self.app.engine.state.store.close()
        await self.app.engine.close()

    async def end(self):
        """It ends as SIGTERM has it end."""
        await self.app.engine.close()
        await self.app.engine.state.close()


class Workers(RuleBasedStateMachine):
    """Two workers over one store and one table of conversations; requests, keys and budgets go to any of them."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{self.folder.name}/store.db"
        models = {"big": {"model": "big", "price": DOLLAR_A_TOKEN}, "small": {"model": "small", "price": FREE}}
        self.values = {
            "strong": "big", "weak": "small", "models": models, "fallback": "none", "routers": {"random": {}},
            "sessions": {"margin": 0.0}, "server": {"keys": "store", "log_requests": False}, "store": {"url": url},
            "policy": {"budgets": [{"usd": BUDGET_USD, "per": "month", "hard": True}]},
        }  # fmt: skip
        Workers.gates = Gates(self.asked)
        self.charged = 0.0  # by the strong model, from when it was asked
        self.n_killed = self.n_asked = 0
        self.keys, self.under_way = {}, []
        self.conversations = [{} for _ in range(N_CONVERSATIONS)]
        self.loop = asyncio.new_event_loop()
        self.loop.set_task_factory(tasks_of_workers)
        self.store = Store(StoreConfig(url=url))
        self.run(self.store.start())
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv(SESSIONS_VARIABLE, self.folder.name)
        self.make_key()
        self.workers = [self.start(), self.start()]

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def start(self):
        worker = Worker(self.values)
        self.run(worker.start())
        return worker

    def asked(self, name):
        self.charged += TOKENS if name == "big" else 0.0

    @rule()
    def make_key(self):
        """An administrator makes a key."""
        key, text = new_key(f"k{len(self.keys)}")
        self.run(self.store.add_key(key))
        self.keys[text] = SimpleNamespace(id=key.id, is_valid=True)

    @rule(i=st.integers(0, 9))
    def revoke(self, i):
        """An administrator revokes one."""
        key = list(self.keys.values())[i % len(self.keys)]
        assert self.run(self.store.revoke_key(key.id)) is key.is_valid
        key.is_valid = False

    @rule(i=st.integers(0, 1))
    def look(self, i):
        """Half a second goes by for a worker: it knows who has access."""
        worker = self.workers[i]
        self.run(worker.app.engine.state.keys.refresh())
        for text, key in self.keys.items():
            status = self.run(self.models(worker, text))
            assert status == (200 if key.is_valid else 401)

    async def models(self, worker, text):
        headers = {"Authorization": f"Bearer {text}"}
        answer = await worker.client.post("/v1/embeddings", json={"model": "none", "input": "x"}, headers=headers)
        return 200 if answer.status_code == 404 else answer.status_code

    @rule(i=st.integers(0, 1))
    def sync(self, i):
        """A second goes by for a worker: budgets draw ahead and give back, and rows are written."""
        self.run(self.workers[i].app.engine.state.leases.sync())

    @rule(i=st.integers(0, 1))
    def kill(self, i):
        """Kills a worker with what it has under way; the supervisor starts another."""
        self.n_killed += 1
        self.under_way = [each for each in self.under_way if each.worker is not self.workers[i]]
        self.run(self.workers[i].kill())
        self.workers[i] = self.start()

    @rule(i=st.integers(0, 1))
    def restart(self, i):
        """A worker ends when what it has under way has been answered; another takes its place."""
        while mine := [each for each in self.under_way if each.worker is self.workers[i]]:
            self.finish(mine[0])
        self.run(self.workers[i].end())
        self.workers[i] = self.start()

    @rule(i=st.integers(0, 1), n=st.integers(1, 4))
    def ask(self, i, n):
        """Requests for the strong model begin at one worker and wait there."""
        worker, key = self.workers[i], self.valid_key(self.workers[i])
        for _ in range(n):
            self.n_asked += 1
            prompt = f"question {self.n_asked}"
            self.gates.hold(prompt)
            task = self.run(worker.ask(key, "big", [{"role": "user", "content": prompt}], prompt))
            if task.done():
                assert task.result().status_code == 429
            else:
                self.under_way.append(SimpleNamespace(worker=worker, task=task, prompt=prompt))

    @rule(i=st.integers(0, 99))
    def answer(self, i):
        """One of them is answered, if any is under way: what may come next must not depend on how fast things go."""
        if self.under_way:
            self.finish(self.under_way[i % len(self.under_way)])

    def finish(self, request):
        self.under_way.remove(request)
        self.gates.let_go(request.prompt)
        assert self.run(request.task).status_code == 200

    @rule(c=st.integers(0, N_CONVERSATIONS - 1), at=st.lists(st.integers(0, 1), min_size=1, max_size=6))
    def converse(self, c, at):
        """The next turns of a conversation, at any workers: one that is with the strong model stays there."""
        for i in at:
            key = self.valid_key(self.workers[i])  # whose the conversation is: with another one it starts again
            self.turn(self.conversations[c].setdefault(key, []), key, f"conversation {c}", self.workers[i])

    def turn(self, turns, key, name, worker):
        messages = []
        for k, model in enumerate([*turns, None]):
            messages += [{"role": "user", "content": f"{name}, turn {k}"}]
            messages += [{"role": "assistant", "content": model}] if model is not None else []
        task = self.run(worker.ask(key, "router-random-0.6", messages))
        answer = self.run(task)
        assert answer.status_code == 200
        model = answer.headers["x-pointsman-model"]
        if turns[-1:] == ["big"] and "budget" not in answer.headers["x-pointsman-policy"]:
            assert model == "big"
        turns.append(model)  # an exhausted budget moves a conversation, and then it is with the weak model

    def valid_key(self, worker):
        """A key that a worker knows; one is made where none is left."""
        if not any(key.is_valid for key in self.keys.values()):
            self.make_key()
        self.run(worker.app.engine.state.keys.refresh())
        return next(text for text, key in self.keys.items() if key.is_valid)

    @invariant()
    def no_more_is_spent_than_the_budget(self):
        if hasattr(self, "workers"):
            assert self.charged <= BUDGET_USD

    def teardown(self):
        if not hasattr(self, "workers"):
            return
        for i in (0, 1):
            self.restart(i)
        if not self.n_killed:  # nothing is lost: what is left can be spent to the last answer
            self.ask(0, 31)
            assert self.charged == BUDGET_USD
        for worker in self.workers:
            self.run(worker.kill())
        self.run(self.store.close())
        self.loop.close()
        self.patch.undo()
        self.folder.cleanup()


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=2, stateful_step_count=12, deadline=None)
