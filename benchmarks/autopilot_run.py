"""The autopilot for real: three processes, PostgreSQL, two models of planted quality, a judge that knows the answers.

    python -m benchmarks.autopilot_run [--requests 20000] [--cascade] [--no-kill] [--pictures FOLDER]

Into it fall, while clients ask: a process that is killed (SIGKILL), prices that change, and a drift half-way, after
which prompts are of other topics and the weak model is wrong on others. Topics are planted so that the bundled router
ranks the hard one as the easiest: what is certified before the drift takes a learned generation, or with `--cascade`
the weak model's own log-probabilities. Printed: what was certified when and what it lost in truth; at the end each call
of the mock beside its row and its bill (`autopilot_ledger`): those without a row must be of the killed process. With
`--pictures`, the dashboard at six moments, to be looked at (needs playwright and chromium).
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from pointsman.serve.config import StoreConfig
from pointsman.serve.store.store import Store

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the mock, the database and the process are the tests' own
from benchmarks.autopilot_ledger import KEYS, CallLog, explain, local_ports

from support.databases import Postgres, _binaries
from support.processes import ServerProcess
from support.upstream import LocalServer

_FIRST = {"big": (10.0, 30.0), "small": (1.0, 2.0), "judge": (2.0, 6.0)}
_THEN = {"big": (11.0, 31.0), "small": (2.0, 4.0), "judge": (3.0, 8.0)}
_PRICES = dict(zip(KEYS.values(), (_FIRST, _THEN), strict=True))
_BOUND = 0.05
_CLIENTS = 24
_TOPICS = {  # share of prompts on which the weak model is wrong, before and after the drift
    "How long do I boil {} eggs with rice, and which cheese goes with it?": (0.4, None),
    "Prove that the integral of x^{} converges and derive the theorem.": (0.01, None),
    "Which train goes from Berlin to Rome on day {}, and what is there to see?": (0.01, 0.01),
    "Write a Python function that sorts {} lists and explain its complexity.": (0.01, 0.3),
    "Which court decides about contract number {} under the treaty?": (None, 0.2),
}


class _Topics(CallLog):
    """Models whose quality depends on the topic."""

    def is_wrong(self, prompt: str) -> bool:
        """Whether `small` is."""
        words = prompt.split("{")[0].split(" ")[:2]
        before, after = next(value for topic, value in _TOPICS.items() if topic.split(" ")[:2] == words)
        share = after if before is None or prompt.endswith("~") else before
        return self.luck(prompt) < (share or 0.0)


def main() -> int:
    """Runs it, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--cascade", action="store_true", help="let the weak model's answer decide")
    parser.add_argument("--no-kill", action="store_true", help="kill no process")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="where pictures of the dashboard go")
    args = parser.parse_args()
    models, postgres = _Topics(tells_doubt=args.cascade), Postgres(_binaries())
    try:
        postgres.start()
        url = postgres.new_database()
        with tempfile.TemporaryDirectory() as folder, LocalServer(models.app()) as upstream:
            config = _Config(Path(folder) / "config.yaml", f"{upstream.url}/v1", url, cascade=args.cascade)
            config.write(next(iter(KEYS)))
            with ServerProcess("--config", str(config.path), "--workers", "3", **KEYS) as server:
                run = _Run(server, models, config, args.requests, kill=not args.no_kill, pictures=args.pictures)
                facts = asyncio.run(run.all())
            print(*(line for line in server.lines if "WARNING" in line or "ERROR" in line), sep="", file=sys.stderr)
            facts |= asyncio.run(_explained(url, models, run.killed))
    finally:
        postgres.remove()
    print(json.dumps({"bench": "autopilot_run", **facts}))
    return 0


@dataclass(frozen=True)
class _Config:
    """The server's configuration."""

    path: Path
    upstream: str
    store: str
    cascade: bool

    def write(self, variable: str) -> None:
        """Writes it, at once, with the key that a variable holds, and its prices."""
        models = {
            name: {
                "base_url": self.upstream,
                "api_key": f"env:{variable}",
                "price": {"input_usd_per_million": dear, "output_usd_per_million": out},
                "timeouts": {"first_byte_s": 120},
            }
            for name, (dear, out) in _PRICES[KEYS[variable]].items()
        }
        autopilot = {"max_loss": _BOUND, "judge": "judge", "compare": 0.2, "max_usd_per_day": 1000, "concurrency": 8}
        values = {
            "strong": "big", "weak": "small", "models": models, "autopilot": autopilot,
            "store": {"url": self.store, "prompts": "text"},
            "drift": {"reference": "traffic", "warm_up": 500}, **({"cascade": {}} if self.cascade else {}),
        }  # fmt: skip
        temporary = self.path.with_suffix(".new")
        temporary.write_text(yaml.safe_dump(values))
        temporary.replace(self.path)


@dataclass
class _Run:
    """The traffic, and what happens to the server meanwhile.

    Attributes:
        killed: ports of the killed process's connections.
    """

    server: ServerProcess
    models: _Topics
    config: _Config
    n: int
    kill: bool
    pictures: Path | None
    killed: frozenset[int] = frozenset()
    _seen: set[str] = field(default_factory=set)

    async def all(self) -> dict[str, Any]:
        """Asks everything; what was certified when, and lost in truth."""
        rows, lost, step = [], 0, self.n // 20
        begun = time.perf_counter()
        print(f"{'requests':>9}{'state':>12}{'certified':>11}{'to weak':>9}{'true loss':>11}{'score':>10}"
              f"{'compared':>10}{'saved $':>9}{'net $':>9}  event")  # fmt: skip
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CLIENTS)) as session:
            await self._see("start")
            for first in range(0, self.n, step):
                drifted = first >= 10 * step
                happens = {4: self._kill, 6: self._change_prices}.get(first // step)
                answered = await self._ask(session, first, step, drifted=drifted, happens=happens)
                await asyncio.sleep(2.5)
                facts = await self._status(session)
                weak = [i for i, model in answered if model == "small"]
                lost += (now := sum(self.models.is_wrong(_prompt(i, drifted=drifted)) for i in weak))
                told = {4: "SIGKILL of one process, half-way", 6: "other prices, half-way", 10: "drift"}
                row = {
                    "requests": first + step, "state": facts["state"], "certified": facts["certified_share"],
                    "weak": len(weak) / step, "loss": now / step,
                    "generation": (facts["generation"] or {}).get("number"),
                    "score": (facts["generation"] or {}).get("score"), "compared": facts["comparisons"]["n"],
                    "saved_usd": facts["saved_usd"], "net_usd": facts["net_saved_usd"],
                    "event": told.get(first // step, ""),
                }  # fmt: skip
                rows.append(row)
                print(f"{row['requests']:>9,}{row['state']:>12}{row['certified']:>11.1%}{row['weak']:>9.1%}"
                      f"{row['loss']:>11.4f}{row['score'] or '':>10}{row['compared']:>10,}{row['saved_usd']:>9.2f}"
                      f"{row['net_usd']:>9.2f}  {row['event']}", flush=True)  # fmt: skip
                again = "again " if drifted and facts["phase"] == "certified" else ""
                await self._see(f"{again}{facts['phase']}")
            n_calls = -1
            while n_calls != (n_calls := len(self.models.log)):  # until nothing is compared any more
                await asyncio.sleep(3.0)
            facts = await self._status(session)
            await session.post(f"{self.server.url}/v1/autopilot", json={"action": "pause"})
            await self._see("paused")
        for event in facts["events"]:
            if event["what"] != "opened":
                print(time.strftime("%H:%M:%S", time.localtime(event["at"])), event)
        return {
            "rows": rows, "mean_loss": lost / self.n, "seconds": round(time.perf_counter() - begun, 1),
            "status_comparisons": facts["comparisons"], "status_saved_usd": facts["saved_usd"],
            "closed": [g["closed"] for g in facts["generations"]],
        }  # fmt: skip

    async def _status(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        async with session.get(f"{self.server.url}/v1/autopilot") as answer:
            facts: dict[str, Any] = await answer.json()
            return facts

    def _kill(self) -> None:
        """Kills the process that is busiest; stopped first, so that its connections can be read."""
        if self.kill:
            busiest = max(self.server.pids, key=_cpu_ticks)
            os.kill(busiest, signal.SIGSTOP)
            self.killed = local_ports(busiest)
            os.kill(busiest, signal.SIGKILL)

    def _change_prices(self) -> None:
        self.config.write(list(KEYS)[1])

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        first: int,
        n: int,
        *,
        drifted: bool,
        happens: Callable[[], None] | None,
    ) -> list[tuple[int, str | None]]:
        """Who answered each prompt; a request whose process is killed is asked again, as a client would.

        Args:
            happens: called when half of them have been asked.
        """
        numbers, answered = iter(range(first, first + n)), list[tuple[int, str | None]]()

        async def client() -> None:
            for i in numbers:
                if happens is not None and i == first + n // 2:
                    happens()
                document = {"model": "auto", "messages": [{"role": "user", "content": _prompt(i, drifted=drifted)}]}
                for _ in range(20):
                    try:
                        async with session.post(f"{self.server.url}/v1/chat/completions", json=document) as answer:
                            await answer.read()
                            if answer.status == 200:
                                answered.append((i, answer.headers["x-pointsman-model"]))
                                break
                    except aiohttp.ClientError:
                        await asyncio.sleep(0.2)
                else:
                    answered.append((i, None))

        await asyncio.gather(*(client() for _ in range(_CLIENTS)))
        return answered

    async def _see(self, moment: str) -> None:
        """A picture of the dashboard's first view, the first time that a moment comes."""
        if self.pictures is None or moment in self._seen:
            return
        self._seen.add(moment)
        from playwright.async_api import async_playwright

        self.pictures.mkdir(parents=True, exist_ok=True)
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
            await page.goto(self.server.url)
            await page.locator("#overview-body").wait_for(timeout=60_000)
            await page.wait_for_timeout(1500)  # charts are drawn
            name = f"{len(self._seen)}-{moment.replace(' ', '-')}"
            await page.screenshot(path=self.pictures / f"{name}.png")
            await page.screenshot(path=self.pictures / f"{name}-whole.png", full_page=True)
            await browser.close()


async def _explained(url: str, models: _Topics, killed: frozenset[int]) -> dict[str, Any]:
    async with Store(StoreConfig(url=url)) as store:
        found = await explain(store, models, killed=killed, prices=_PRICES)
    for name, value in found.items():
        print(f"{name}: {value}")
    return found


def _prompt(i: int, *, drifted: bool) -> str:
    """Of a random topic; after the drift of other ones, and marked by a tilde. No two are alike."""
    topics = [topic for topic, shares in _TOPICS.items() if shares[drifted] is not None]
    return random.Random(i).choice(topics).format(random.Random(i).getrandbits(40)) + ("~" if drifted else "")


def _cpu_ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


if __name__ == "__main__":
    sys.exit(main())
