"""What is left after hours of a bad day: memory, descriptors, rows and dollars?

    python -m benchmarks.bench_soak [--minutes 10] [--rate 15] [--store URL]

A request that takes longer than three seconds is printed: whether it waited for a connection, its answer or its body,
and when the upstream was asked.

Two workers, eight access keys, an upstream that fails in every way, a reload every ten seconds, and every minute one
worker is killed with SIGKILL. The reloads go through three configurations, as not all can be on at once: conversations
with rules and shadow comparisons; a cascade with shadow comparisons; the autopilot with a cascade. Afterwards the
store's dollars are compared with what the upstream says that it charged. What may be lost is what a killed worker had
not written: a second of its spending, a third of a second of its rows, and its requests.
"""

import argparse
import asyncio
import http.client
import json
import os
import platform
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psutil

_SERVE = "from pointsman.serve.cli import main; raise SystemExit(main())"
_PRICE = {"input_usd_per_million": 1000.0, "output_usd_per_million": 1000.0}
_USAGE = {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}
_USD = 0.1  # of that usage at that price
_KINDS = (*["whole"] * 16, "slow", "slow", "500", "429", "hang up", "garbage", "short", "redirect")
_ROUND = (  # configurations, one each reload; seven, so that killed workers come back with each of them
    "autopilot", "autopilot", "autopilot", "cascade", "cascade", "rules", "autopilot"
)  # fmt: skip
_N_KEYS = 8
_RELOAD_S, _KILL_S, _CLIENTS, _SLOW_S = 10.0, 60.0, 16, 3.0
_CALM_S = 40.0  # at the beginning: the autopilot takes its chain from a hundred requests of one process


def _said(document: dict[str, Any]) -> str:
    """What a model answers: the weak one refuses at times, so that its cascade asks the strong one."""
    return "I'm sorry, but I can't help with that." if document["model"] == "small" and random.random() < 0.2 else "ok"


class _Upstream(BaseHTTPRequestHandler):
    """Answers as `_KINDS` say, and counts the dollars of what it answered completely."""

    protocol_version = "HTTP/1.1"
    charged: ClassVar[Counter[str]] = Counter()
    seen: ClassVar[dict[str, list[float]]] = {}  # of each prompt, when it was asked

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = document["messages"][-1]["content"].split(":")[0]
        self.seen.setdefault(prompt, []).append(time.monotonic())
        kind = random.choice(_KINDS)
        if kind == "slow":
            time.sleep(0.5)
        if kind == "hang up":
            self.close_connection = True
        elif kind in ("500", "429"):
            self._send(int(kind), b'{"error": {"message": "no"}}')
        elif kind == "garbage":
            self._send(200, b"<html>")
        elif kind == "short":
            self._send(200, b'{"id": "c"', missing=1000)
            self.close_connection = True
        elif kind == "redirect":
            self._send(307, b"", location="http://127.0.0.1:9/v1/chat/completions")
        elif document.get("stream"):
            self._stream()
        else:
            said = random.choice(("[[A]]", "[[B]]", "[[C]]")) if document["model"] == "judge" else _said(document)
            answer: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
            choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            if document.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": said, "logprob": -random.random(), "top_logprobs": []}]}
            answer["choices"] = [choice]
            answer["usage"] = _USAGE
            self.charged["answers"] += 1
            self._send(200, json.dumps(answer).encode())

    def _stream(self) -> None:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        choice = {"index": 0, "delta": {"role": "assistant", "content": "ok"}, "finish_reason": None}
        events = [
            {**chunk, "choices": [choice]},
            {**chunk, "choices": [{**choice, "delta": {}, "finish_reason": "stop"}]},
        ]
        body = b"".join(
            b"data: %s\n\n" % json.dumps(event).encode()
            for event in [*events, {**chunk, "choices": [], "usage": _USAGE}]
        )
        self.charged["answers"] += 1
        self._send(200, body + b"data: [DONE]\n\n", "text/event-stream")

    def _send(
        self, status: int, body: bytes, kind: str = "application/json", *, missing: int = 0, location: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) + missing))
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


class _Soak:
    def __init__(self, folder: Path, store: str, minutes: float, rate: float) -> None:
        upstream = ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        self._upstream = f"http://127.0.0.1:{upstream.server_address[1]}/v1"
        self._folder, self._store, self._rate = folder, store, rate
        self._ends_at = time.monotonic() + 60.0 * minutes
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self._port = taken.getsockname()[1]
        self.outcomes: Counter[str] = Counter()
        self.samples: list[tuple[float, float, int]] = []
        self.slow: list[dict[str, Any]] = []
        self.n_kills = self.n_reloads = 0

    def run(self) -> int:
        """Serves, asks, reloads and kills; the exit status of the server."""
        self._configure(0)
        self._keys = [self._new_key(f"client-{i}") for i in range(_N_KEYS)]
        self._keys.append(self._new_key("admin", "--admin"))
        command = [sys.executable, "-c", _SERVE, "serve", "--config", str(self._path), "--port", str(self._port)]
        with (self._folder / "log").open("w") as log:
            server = subprocess.Popen([*command, "--workers", "2"], stderr=log, cwd=self._folder)
            self._wait()
            clients = [threading.Thread(target=self._ask, args=(i,)) for i in range(_CLIENTS)]
            for client in clients:
                client.start()
            self._disturb(psutil.Process(server.pid))
            for client in clients:
                client.join()
            time.sleep(3.0)
            server.terminate()
            return server.wait(120)

    @property
    def _path(self) -> Path:
        return self._folder / "soak.yaml"

    def _configure(self, number: int) -> None:
        model = {"base_url": self._upstream, "price": _PRICE, "retry": {"attempts": 1, "base_s": 0.01}}
        part = _ROUND[number % len(_ROUND)]
        comparing = {"judge": "judge", "max_usd_per_day": 1e5, "concurrency": 4}
        values: dict[str, Any] = {
            "strong": "big", "weak": "small", "models": dict.fromkeys(("big", "small", "judge"), model),
            "routers": {"mf": {}}, "drift": {"reference": "traffic"},
            "server": {"log_requests": False, "keys_file": "keys.json"},
            "policy": {"budgets": [{"usd": 1e6, "hard": True}, {"usd": 1e6 + number, "per": "day", "key": "each"}]},
            "store": {"url": self._store, "prompts": "text", "embeddings": True},
        }  # fmt: skip
        if part == "rules":
            values |= {
                "sessions": {},
                "rules": [{"name": "long", "tokens": {"at_least": 250}, "then": {"model": "small"}}],
            }
        else:
            values["cascade"] = {"stream": "hold"}
        if part == "autopilot":
            values["autopilot"] = {**comparing, "max_loss": 0.05, "compare": 0.1, "max_failures": 0.9}
        else:
            values["policy"]["strong_share"] = 0.3
            values["shadow"] = {**comparing, "share": 0.05, "strong_share": 0.05}
        staging = self._path.with_suffix(".new")
        staging.write_text(json.dumps(values))
        staging.replace(self._path)

    def _new_key(self, name: str, *options: str) -> str:
        command = [sys.executable, "-c", _SERVE, "keys", "create", name, *options]
        return subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def _wait(self) -> None:
        while True:
            try:
                self.outcomes[
                    str(self._post({"model": "small", "messages": [{"role": "user", "content": "Hi"}]}, 0))
                ] += 1
                return
            except OSError:
                time.sleep(0.2)

    def _post(self, body: dict[str, Any], client: int) -> int:
        """The status; where it took long, what the request waited on is kept."""
        began_at, stage, status = time.monotonic(), "connection", 0
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.connect()
            stage = "answer"
            headers = {"content-type": "application/json", "authorization": f"Bearer {self._keys[client % _N_KEYS]}"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            stage, status = "body", response.status
            response.read()
            return status
        finally:
            took_s = time.monotonic() - began_at
            if took_s > _SLOW_S:
                asked_at = _Upstream.seen.get(body["messages"][-1]["content"].split(":")[0], [])
                tried_at = [round(at - began_at, 2) for at in asked_at]
                slow = {"at": time.strftime("%X"), "took_s": round(took_s, 2), "stage": stage, "asked_at_s": tried_at}
                self.slow.append({**slow, "status": status, "load": os.getloadavg()[0]})
                print(json.dumps(self.slow[-1]), file=sys.stderr, flush=True)
            connection.close()

    def _get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {self._keys[-1]}"})
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def _ask(self, client: int) -> None:
        rng = random.Random(client)
        while time.monotonic() < self._ends_at:
            text = f"Question {rng.random()}: " + "why? " * rng.randrange(200)
            body = {"model": "auto", "messages": [{"role": "user", "content": text}], "stream": rng.random() < 0.3}
            try:
                self.outcomes[str(self._post(body, client))] += 1
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[type(error).__name__] += 1
            time.sleep(rng.expovariate(self._rate / _CLIENTS))

    def _disturb(self, server: psutil.Process) -> None:
        killed_at = sampled_at = time.monotonic()
        time.sleep(_CALM_S)
        while time.monotonic() < self._ends_at:
            time.sleep(_RELOAD_S)
            self.n_reloads += 1
            self._configure(self.n_reloads)
            workers = [each for each in server.children() if _is_worker(each)]
            self.outcomes[f"metrics {self._get('/metrics')}"] += 1
            with suppress(psutil.NoSuchProcess, ValueError):  # none, or one that has just died
                most = max(each.memory_info().rss for each in workers) / 1e6
                self.samples.append((time.monotonic() - sampled_at, most, max(each.num_fds() for each in workers)))
                if self.n_reloads % 30 == 0:
                    print(self.samples[-1], dict(self.outcomes), file=sys.stderr, flush=True)
            if workers and time.monotonic() - killed_at > _KILL_S:
                with suppress(psutil.NoSuchProcess, ProcessLookupError):
                    os.kill(min(workers, key=psutil.Process.create_time).pid, signal.SIGKILL)
                self.n_kills, killed_at = self.n_kills + 1, time.monotonic()


def main() -> int:
    """Soaks, compares and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=15.0)
    parser.add_argument("--store", help="URL of an empty store (default: a SQLite file)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pointsman-soak-") as name:
        store = args.store or f"sqlite:///{name}/soak.db"
        soak = _Soak(Path(name), store, args.minutes, args.rate)
        status = soak.run()
        spent, n_rows, n_shadow, n_autopilot = _totals(store)
        lines = (Path(name) / "log").read_text().splitlines()
        errors = [line for line in lines if '"level":"error"' in line]
        n_died = sum("; starting another" in line for line in lines)
    charged = _USD * _Upstream.charged["answers"]
    asked = sum(count for outcome, count in soak.outcomes.items() if not outcome.startswith("metrics"))
    calls = max(1.0, _Upstream.charged["answers"] / asked)  # of a request, with those of its comparison
    may_lose = soak.n_kills * (_USD * calls * (args.rate * 1.5 + _CLIENTS))
    third = max(1, len(soak.samples) // 3)
    first, last = soak.samples[:third], soak.samples[-third:]
    rows = [
        {"what": "requests", "value": asked, **soak.outcomes},
        {"what": "reloads", "value": soak.n_reloads}, {"what": "kills", "value": soak.n_kills},
        {"what": "workers replaced", "value": n_died}, {"what": "slow requests", "value": len(soak.slow)},
        {"what": "rows", "value": n_rows}, {"what": "exit status", "value": status},
        {"what": "errors logged", "value": len(errors)}, {"what": "shadow comparisons", "value": n_shadow},
        {"what": "autopilot comparisons", "value": n_autopilot},
        {"what": "charged usd", "value": round(charged, 2)}, {"what": "booked usd", "value": round(spent, 2)},
        {"what": "rss MB, first third", "value": round(max(mb for _, mb, _ in first), 1)},
        {"what": "rss MB, last third", "value": round(max(mb for _, mb, _ in last), 1)},
        {"what": "descriptors, first third", "value": max(fds for _, _, fds in first)},
        {"what": "descriptors, last third", "value": max(fds for _, _, fds in last)},
    ]  # fmt: skip
    for line in errors[:20]:
        print(line[:400], file=sys.stderr)
    for row in rows:
        print(f"{row['what']:28}{row['value']}")
    targets = {
        "lost_usd": {"value": charged - spent, "goal": may_lose, "met": charged - spent <= may_lose},
        "lost_rows": {"value": asked - n_rows, "goal": soak.n_kills * (args.rate + _CLIENTS), "met": None},
    }
    targets["lost_rows"]["met"] = targets["lost_rows"]["value"] <= targets["lost_rows"]["goal"]
    print(json.dumps({"bench": "soak", "rows": rows, "targets": targets, "machine": platform.processor()}))
    return 0


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _totals(store: str) -> tuple[float, int, int, int]:
    """Dollars, decisions and comparisons of a store."""
    query = (
        "select (select coalesce(sum(cost_usd), 0) from spend), (select count(*) from decisions), "
        "(select count(*) from comparisons), (select count(*) from autopilot)"
    )
    if store.startswith("sqlite"):
        with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
            found = database.execute(query).fetchone()
        database.close()
    else:
        found = asyncio.run(_ask_postgres(store, query))
    return float(found[0]), *map(int, found[1:])


async def _ask_postgres(store: str, query: str) -> Any:
    import asyncpg

    connection = await asyncpg.connect(store)
    try:
        return await connection.fetchrow(query)
    finally:
        await connection.close()


if __name__ == "__main__":
    raise SystemExit(main())
