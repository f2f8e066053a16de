"""The autopilot for real: three processes, PostgreSQL, two models of planted quality, a judge that knows the answers.

    python -m benchmarks.autopilot_run [--requests 20000] [--cascade] [--no-kill] [--pictures FOLDER]

Into it fall: a process that is killed (SIGKILL), a price that changes while the server runs, and a drift half-way,
after which prompts are of other topics and the weak model is wrong on others. Topics are planted so that the bundled
router ranks the hard one as the easiest: what is certified before the drift takes a learned generation, or with
`--cascade` the weak model's own log-probabilities. The mock keeps its own ledger and counts what was judged for which
prompt. Printed: what was certified when and what it lost in truth; at the end calls and dollars beside the mock's, by
model (those of the killed process that it had not written yet are missing), and whether any comparison was counted
twice or lost. With `--pictures`, the dashboard at six moments, to be looked at (needs playwright and chromium).
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
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from pointsman.serve.config import StoreConfig
from pointsman.serve.store.store import Store

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the mock, the database and the process are the tests' own
from support.databases import Postgres, _binaries
from support.planted_models import PlantedModels
from support.processes import ServerProcess
from support.upstream import LocalServer

_PRICES = {"big": (10.0, 30.0), "small": (1.0, 2.0), "judge": (2.0, 6.0)}
_NEW_PRICES = {**_PRICES, "small": (2.0, 4.0)}
_BOUND = 0.05
_CLIENTS = 24
_TOKENS = (100, 50)
_PICTURES = (1, 5, 7, 11, 12, 20)  # twentieths of the requests: young, a process killed, a new price, drift twice, end
_TOPICS = {  # share of prompts on which the weak model is wrong, before and after the drift
    "How long do I boil {} eggs with rice, and which cheese goes with it?": (0.4, None),
    "Prove that the integral of x^{} converges and derive the theorem.": (0.01, None),
    "Which train goes from Berlin to Rome on day {}, and what is there to see?": (0.01, 0.01),
    "Write a Python function that sorts {} lists and explain its complexity.": (0.01, 0.3),
    "Which court decides about contract number {} under the treaty?": (None, 0.2),
}


class _Topics(PlantedModels):
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
            path = Path(folder) / "config.yaml"
            config = _Config(path, f"{upstream.url}/v1", url, cascade=args.cascade)
            config.write(_PRICES)
            with ServerProcess("--config", str(path), "--workers", "3") as server:
                facts = asyncio.run(
                    _run(server, models, config, args.requests, kill=not args.no_kill, pictures=args.pictures)
                )
            facts |= asyncio.run(_check(url, models))
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

    def write(self, prices: dict[str, tuple[float, float]]) -> None:
        """Writes it, at once."""
        models = {
            name: {
                "base_url": self.upstream,
                "price": {"input_usd_per_million": dear, "output_usd_per_million": out},
                "timeouts": {"first_byte_s": 120},
            }
            for name, (dear, out) in prices.items()
        }
        autopilot = {"max_loss": _BOUND, "judge": "judge", "compare": 0.2, "max_usd_per_day": 1000, "concurrency": 8}
        values = {
            "strong": "big", "weak": "small", "models": models, "store": {"url": self.store}, "autopilot": autopilot,
            "drift": {"reference": "traffic", "warm_up": 500}, **({"cascade": {}} if self.cascade else {}),
        }  # fmt: skip
        temporary = self.path.with_suffix(".new")
        temporary.write_text(yaml.safe_dump(values))
        temporary.replace(self.path)


async def _run(
    server: ServerProcess, models: _Topics, config: _Config, n: int, *, kill: bool, pictures: Path | None
) -> dict[str, Any]:
    rows, usd, weak_loss = [], 0.0, 0
    before: Counter[str] = Counter()
    print(f"{'requests':>9}{'state':>12}{'certified':>11}{'to weak':>9}{'true loss':>11}{'score':>10}{'compared':>10}"
          f"{'saved $':>9}{'net $':>9}  event")  # fmt: skip
    prices, killed = _PRICES, False
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CLIENTS)) as session:
        step = n // 20
        for first in range(0, n, step):
            event = ""
            if first == 4 * step and kill:
                event, killed = "SIGKILL of one process, half-way", True
            if first == 6 * step:
                event = "price of small doubled"
                await asyncio.sleep(3.0)
                usd, before = usd + _usd(models.calls - before, prices), models.calls.copy()
                prices = _NEW_PRICES
                config.write(prices)
                await asyncio.sleep(4.0)
            if first == 10 * step:
                event = "drift: other topics, the weak model is wrong on others"
            kill_at = first + step // 2 if event.startswith("SIGKILL") else -1
            answered = await _ask(session, server, first, step, drifted=first >= 10 * step, kill_at=kill_at)
            await asyncio.sleep(2.5)
            async with session.get(f"{server.url}/v1/autopilot") as answer:
                facts = await answer.json()
            weak = [i for i, model in answered if model == "small"]
            lost = sum(models.is_wrong(_prompt(i, drifted=first >= 10 * step)) for i in weak)
            weak_loss += lost
            row = {
                "requests": first + step, "state": facts["state"], "certified": facts["certified_share"],
                "weak": len(weak) / step, "loss": lost / step, "generation": (facts["generation"] or {}).get("number"),
                "score": (facts["generation"] or {}).get("score"), "compared": facts["comparisons"]["n"],
                "saved_usd": facts["saved_usd"], "net_usd": facts["net_saved_usd"], "event": event,
            }  # fmt: skip
            rows.append(row)
            print(f"{row['requests']:>9,}{row['state']:>12}{row['certified']:>11.1%}{row['weak']:>9.1%}"
                  f"{row['loss']:>11.4f}{row['score'] or '':>10}{row['compared']:>10,}{row['saved_usd']:>9.2f}"
                  f"{row['net_usd']:>9.2f}  {event}", flush=True)  # fmt: skip
            if pictures is not None and (twentieth := first // step + 1) in _PICTURES:
                await _picture(server.url, pictures / f"{twentieth:02}-of-20.png")
        await asyncio.sleep(5.0)
        async with session.get(f"{server.url}/v1/autopilot") as answer:
            facts = await answer.json()
    usd += _usd(models.calls - before, prices)
    events = [event for event in facts["events"] if event["what"] != "opened"]
    for event in events:
        print(time.strftime("%H:%M:%S", time.localtime(event["at"])), event)
    return {
        "rows": rows, "mean_loss": weak_loss / n, "killed": killed, "mock_usd": round(usd, 4),
        "mock_calls": dict(models.calls),
        "status_comparisons": facts["comparisons"], "closed": [g["closed"] for g in facts["generations"]],
    }  # fmt: skip


async def _picture(url: str, path: Path) -> None:
    """The whole first view of the dashboard."""
    from playwright.async_api import async_playwright

    path.parent.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        await page.goto(url)
        await page.locator("#overview-body").wait_for(timeout=60_000)
        await page.wait_for_timeout(1500)  # charts are drawn
        await page.screenshot(path=path, full_page=True)
        await browser.close()


async def _check(url: str, models: _Topics) -> dict[str, Any]:
    """What the store holds beside what the mock saw."""
    async with Store(StoreConfig(url=url)) as store:
        rows = await store.autopilot()
        charged = await store.spend(0.0)
    spent, calls = sum(row.cost_usd for row in charged), Counter[str]()
    for row in charged:
        calls[row.model] += row.n_requests
    missing = Counter({model: n - calls[model] for model, n in models.calls.items()})
    twice = sum(1 for n in models.judged.values() if n != 2)
    found = {
        "comparison_rows": len(rows), "counted": sum(row.counted for row in rows),
        "ids": len({row.id for row in rows}), "judged_prompts": len(models.judged), "not_judged_twice": twice,
        "lost": len(models.judged) - len(rows), "store_usd": round(spent, 4),
        "calls_not_in_store": missing,
        "their_usd_at_first_prices": round(_usd(missing, _PRICES), 4),
    }  # fmt: skip
    print(found)
    return found


def _usd(calls: Counter[str], prices: dict[str, tuple[float, float]]) -> float:
    read, written = _TOKENS
    return sum(n * (prices[model][0] * read + prices[model][1] * written) / 1e6 for model, n in calls.items())


def _prompt(i: int, *, drifted: bool) -> str:
    """Of a random topic; after the drift of other ones, and marked by a tilde. No two are alike."""
    topics = [topic for topic, shares in _TOPICS.items() if shares[drifted] is not None]
    return random.Random(i).choice(topics).format(random.Random(i).getrandbits(40)) + ("~" if drifted else "")


def _cpu_ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


async def _ask(
    session: aiohttp.ClientSession, server: ServerProcess, first: int, n: int, *, drifted: bool, kill_at: int
) -> list[tuple[int, str | None]]:
    """Who answered each prompt; a request whose process is killed is asked again, as a client would."""
    numbers, answered = iter(range(first, first + n)), list[tuple[int, str | None]]()

    async def client() -> None:
        for i in numbers:
            if i == kill_at:
                os.kill(max(server.pids, key=_cpu_ticks), signal.SIGKILL)  # the one that most connections are with
            document = {"model": "auto", "messages": [{"role": "user", "content": _prompt(i, drifted=drifted)}]}
            for _ in range(20):
                try:
                    async with session.post(f"{server.url}/v1/chat/completions", json=document) as answer:
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


if __name__ == "__main__":
    sys.exit(main())
