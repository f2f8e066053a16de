"""Is anything paid for twice when a paid run is killed and started again?

    python -m benchmarks.bench_resume [--kills 50] [--commands embed judge score evaluate calibrate]

Each command runs as a process against a service here that counts what it is asked. SIGKILL ends it at random moments of
its work, the same command follows, and a last one finishes. A request counts as paid as soon as it arrives; one that is
asked again may only be one of those that were under way at a kill, so at most the command's concurrency for each.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from pointsman.backends.endpoint.scorer import EndpointSettings
from pointsman.core.checkpoint import Checkpoint, write_checkpoint
from pointsman.core.pair import ModelPair

_CONCURRENCY, _N_PROMPTS, _MOST_S, _DELAY_S = 8, 1500, 0.4, 0.03
_RUN = "from pointsman.serve.cli import main; raise SystemExit(main())"
_COMMANDS = ("embed", "judge", "score", "evaluate", "calibrate")


class Service:
    """Embeds, answers, judges and scores, and counts the requests by their content."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.n_requests = self.n_repeated = 0
        self.delay_s = _DELAY_S
        self.url = ""
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> "Service":
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(ready,), daemon=True).start()
        if not ready.wait(60):
            raise RuntimeError("the service did not start within 60 s")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def forget(self) -> None:
        self.asked.clear()
        self.n_requests = self.n_repeated = 0

    def _serve(self, ready: threading.Event) -> None:
        async def start() -> None:
            app = web.Application()
            app.router.add_post("/v1/{path:.*}", self._answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = json.dumps([body.get("model"), body.get("input") or body["messages"]], sort_keys=True)
        self.n_requests += 1
        self.n_repeated += key in self.asked
        self.asked[key] += 1
        await asyncio.sleep(self.delay_s * random.random() * 2)
        return web.json_response(_embeddings(body) if "input" in body else _completion(body))


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    vectors = [[0.6, 0.8] for _ in body["input"]]
    data = [{"index": i, "object": "embedding", "embedding": vector} for i, vector in enumerate(vectors)]
    return {"data": data, "model": body["model"], "usage": {"prompt_tokens": 9, "total_tokens": 9}}


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    text = {"scorer": "3", "judge": "[[A]]"}.get(body["model"], f"answer of {body['model']}")
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if body.get("logprobs"):
        top = [{"token": str(k), "logprob": -0.2 if k == 3 else -4.0} for k in range(1, 6)]
        choice["logprobs"] = {"content": [{"token": "3", "logprob": -0.2, "top_logprobs": top}]}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}


def _words(command: str, url: str) -> list[str]:
    match command:
        case "embed":
            options = ["--embedder", "openai/m", "--base-url", url, "--batch-size", "2", "--concurrency", "8"]
            return ["embed", "table.jsonl", "-o", "out.npy", *options]
        case "judge":
            models = ["--model-a", "big", "--model-b", "small", "--judge", "judge", "--base-url", url]
            return ["judge", "table.jsonl", "-o", "battles.jsonl", *models, "--concurrency", "8"]
        case "score":
            return ["score", "table.jsonl", "-o", "scores.jsonl", "--router", "./scorer", "--journal", "kept"]
        case "evaluate":
            pair = ["--strong", "a", "--weak", "b", "--replicates", "20"]
            return ["evaluate", "table.jsonl", "--routers", "./scorer", *pair, "--journal", "kept"]
        case _:
            options = ["--strong-share", "0.3", "--journal", "kept"]
            return ["calibrate", "table.jsonl", "--router", "./scorer", *options]


def _prepare(folder: Path, url: str) -> None:
    rows = [{"prompt": f"question {i}", "a": float(i % 2), "b": float(i % 3 == 0)} for i in range(_N_PROMPTS)]
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = EndpointSettings(base_url=url, model="scorer", concurrency=_CONCURRENCY)
    write_checkpoint(
        Checkpoint("endpoint", ("a", "b"), ModelPair("a", "b"), options=settings.to_options()), folder / "scorer"
    )


def _start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _RUN, *words]
    variables = {**os.environ, "OPENAI_API_KEY": "sk-none", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _kill_in_its_work(process: subprocess.Popen[bytes], service: Service, begun: int, moment: random.Random) -> bool:
    """Whether the process was killed before its own end, at a random moment after its first request."""
    while service.n_requests == begun and process.poll() is None:
        time.sleep(0.005)
    time.sleep(moment.random() * _MOST_S)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def measure(command: str, n_kills: int, *, seed: int, report: Callable[[str], None] = print) -> dict[str, Any]:
    """One command, killed `n_kills` times; a job that ends before is followed by another.

    Raises:
        RuntimeError: a run that was not killed failed.
    """
    moment, killed, n_jobs, repeated, paid = random.Random(seed), 0, 0, [0], 0
    with Service() as service:
        while killed < n_kills:
            n_jobs += 1
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                _prepare(folder, service.url)
                service.forget()
                service.delay_s = _DELAY_S
                ended = False
                while killed < n_kills and not ended:
                    before, begun = service.n_repeated, service.n_requests
                    process = _start(_words(command, service.url), folder)
                    ended = not _kill_in_its_work(process, service, begun, moment)
                    repeated.append(service.n_repeated - before)
                    killed += not ended
                service.delay_s, before = 0.0, service.n_repeated
                process = _start(_words(command, service.url), folder)
                _, said = process.communicate()
                if process.returncode:
                    raise RuntimeError(f"{command} ended with {process.returncode}: {said.decode()[-500:]}")
                repeated.append(service.n_repeated - before)
                paid += service.n_requests
    row = {"command": command, "kills": killed, "jobs": n_jobs, "requests": paid, "paid_twice": sum(repeated),
           "most_after_a_kill": max(repeated), "under_way": _CONCURRENCY}  # fmt: skip
    report(f"{command:10} {killed:6} {n_jobs:5} {paid:9} {sum(repeated):11} {max(repeated):18} {_CONCURRENCY:10}")
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--commands", nargs="+", choices=_COMMANDS, default=_COMMANDS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("command     kills  jobs  requests  paid twice  most after a kill  under way", flush=True)
    rows = [measure(command, args.kills, seed=args.seed) for command in args.commands]
    targets = {
        row["command"]: {
            "value": row["most_after_a_kill"],
            "goal": row["under_way"],
            "met": row["most_after_a_kill"] <= row["under_way"],
        }
        for row in rows
    }
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(json.dumps({"bench": "resume", "rows": rows, "targets": targets, "machine": platform.platform(),
                      "commit": commit}))  # fmt: skip
    return 0 if all(target["met"] for target in targets.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
