"""How soon does a server's autopilot certify a cascade, with nothing but the weak model's own confidence?

    python -m benchmarks.autopilot_second_look [--orders 5] [--requests 2000]

The answers of gpt-4o-mini and gpt-4o in ../shared/data/cascades_dev.parquet as two models behind a server in this
process, in random orders: the weak one tells its confidence as the log-probability of its answer where it is asked for;
a scorer that knows the answers says what was lost. Everything is the server's own: draws, reading, counting, serving.
Beside it the shares that `bench_autopilot` simulates, and a plain prototype's.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the server and the mock's socket are the tests' own
from support.autopilot_server import serving, settled
from support.upstream import LocalServer

_DATA = Path(__file__).parents[2] / "shared" / "data" / "cascades_dev.parquet"
_MODELS = {"big": "gpt-4o", "small": "gpt-4o-mini"}
_BOUND, _COMPARE, _CHUNK = 0.05, 0.3, 25
_SIMULATED = {500: (0.48, 0.19), 1000: (0.57, 0.55), 2000: (0.68, 0.66)}


def main() -> int:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000)
    args = parser.parse_args()
    table = _read()
    found = []
    with LocalServer(_upstream(table)) as upstream:
        for seed in range(args.orders):
            found.append(asyncio.run(_order(f"{upstream.url}/v1", table, seed, args.requests)))
            print(f"order {seed}", found[-1], flush=True)
    rows = []
    for n, (simulated, prototype) in _SIMULATED.items():
        if n <= args.requests:
            shares = [one[n]["share"] for one in found]
            row = {"requests": n, "share": round(float(np.mean(shares)), 4), "lowest": min(shares),
                   "true_loss": round(float(np.mean([one[n]["loss"] for one in found])), 4),
                   "simulated": simulated, "prototype": prototype}  # fmt: skip
            rows.append(row)
            print(row)
    worst = max(facts["loss"] for one in found for facts in one.values())
    print(json.dumps({"bench": "autopilot_second_look", "rows": rows, "worst_true_loss": worst, "bound": _BOUND}))
    return 0


def _read() -> dict[str, np.ndarray]:
    """Scores of both models and the weak one's confidence, of each prompt."""
    data = pd.read_parquet(_DATA)
    wide = data[data.model.isin(_MODELS.values())].pivot_table(index="prompt", columns="model", values="score")
    sure = data[data.model == _MODELS["small"]].groupby("prompt").confidence.first()
    wide = wide.join(sure).dropna()
    return {"big": wide[_MODELS["big"]].to_numpy(), "small": wide[_MODELS["small"]].to_numpy(),
            "confidence": wide.confidence.to_numpy()}  # fmt: skip


def _upstream(table: dict[str, np.ndarray]) -> Starlette:
    async def answer(request: Request) -> JSONResponse:
        document: dict[str, Any] = await request.json()
        row, model = int(document["messages"][-1]["content"].split()[1]), document["model"]
        said = f"{model} says {table[model][row]:.6f}"
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": said},
            "finish_reason": "stop",
        }
        if document.get("logprobs"):
            told = {"token": said, "logprob": min(float(table["confidence"][row]), 0.0), "top_logprobs": []}
            choice["logprobs"] = {"content": [told]}
        usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        return JSONResponse(
            {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
        )

    return Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])


async def score(_prompt: str, answer: str, _request: dict[str, Any]) -> float:
    """The scorer: what an answer is worth stands in it."""
    return float(answer.split()[-1])


async def _order(url: str, table: dict[str, np.ndarray], seed: int, n: int) -> dict[int, dict[str, float]]:
    """What was certified after how many requests, and what that loses in truth."""
    order, found = np.random.default_rng(seed).permutation(len(table["big"])), {}
    with tempfile.TemporaryDirectory() as folder:
        prices = {"big": (2.5, 10.0), "small": (0.15, 0.6)}
        models = {name: {"base_url": url, "price": {"input_usd_per_million": p[0], "output_usd_per_million": p[1]}}
                  for name, p in prices.items()}  # fmt: skip
        autopilot = {
            "max_loss": _BOUND, "judge": "none", "scorer": {"entry_point": f"{_module()}:score"}, "compare": _COMPARE,
            "max_usd_per_day": 1000, "concurrency": 16, "queue": 10_000, "train": False,
        }  # fmt: skip
        values = {"strong": "big", "weak": "small", "models": models, "store": {"url": f"sqlite:///{folder}/s.db"},
                  "routers": {"random": {}}, "cascade": {}, "autopilot": autopilot}  # fmt: skip
        async with serving(values) as (client, app):
            for first in range(0, n, _CHUNK):
                rows = order[np.arange(first, first + _CHUNK) % len(order)].tolist()
                documents = [
                    {"model": "auto", "messages": [{"role": "user", "content": f"Question {r} ?"}]} for r in rows
                ]
                answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=d) for d in documents))
                assert all(answer.status_code == 200 for answer in answers), answers[0].text
                facts = await settled(app)
                if first + _CHUNK in _SIMULATED:
                    doubt = 1.0 - np.exp(np.minimum(table["confidence"], 0.0))
                    weak = doubt < facts["threshold"] if facts["threshold"] else np.zeros(len(doubt), dtype=bool)
                    found[first + _CHUNK] = {
                        "share": round(float(weak.mean()), 4),
                        "loss": round(float(((table["big"] - table["small"]) * weak).mean()), 4),
                        "compared": facts["comparisons"]["n"], "read": facts["comparisons"]["read"],
                        "saved_usd": facts["saved_usd"], "net_usd": facts["net_saved_usd"],
                    }  # fmt: skip
    return found


def _module() -> str:
    """This module's name, where it can be imported from."""
    return "benchmarks.autopilot_second_look"


if __name__ == "__main__":
    sys.exit(main())
