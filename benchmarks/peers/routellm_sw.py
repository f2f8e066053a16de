"""Runs in RouteLLM's environment: its similarity-weighted router on stored data, timed by the query.

    python routellm_sw.py FOLDER N_QUERIES N_THREADS

FOLDER holds embeddings.npy, battles.json, queries.npy, and in meta.json the tiers and the two models. Prints one JSON
line: milliseconds and win rates.
"""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OPENAI_API_KEY", "none")  # RouteLLM makes a client at import

import numpy as np
import pandas as pd
from routellm.routers import routers as peer


def main() -> None:
    folder, n_queries, n_threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    from threadpoolctl import threadpool_limits

    queries = np.load(folder / "queries.npy")
    router = load(folder)
    waiting = list(queries[:n_queries])
    answer = SimpleNamespace(data=[SimpleNamespace(embedding=None)])

    def create(**_):
        answer.data[0].embedding = waiting[0]
        return answer

    peer.OPENAI_CLIENT = SimpleNamespace(embeddings=SimpleNamespace(create=create))
    times, rates = [], []
    with threadpool_limits(n_threads):
        while waiting:
            started = time.perf_counter()
            rates.append(float(router.calculate_strong_win_rate("")))
            times.append(1e3 * (time.perf_counter() - started))
            waiting.pop(0)
    print(json.dumps({"ms": times, "win_rates": rates, "tiers": router.model2tier}))


def load(folder: Path) -> peer.SWRankingRouter:
    """The router with stored battles in place of the downloaded ones; the rest is RouteLLM's."""
    battles = pd.DataFrame(json.loads((folder / "battles.json").read_text()))[["model_a", "model_b", "winner"]]
    router = peer.SWRankingRouter.__new__(peer.SWRankingRouter)
    router.embedding_model = "text-embedding-3-small"
    router.arena_df = battles
    router.arena_conv_embedding = np.load(folder / "embeddings.npy")
    meta = json.loads((folder / "meta.json").read_text())
    router.strong_model, router.weak_model, router.model2tier = meta["strong"], meta["weak"], meta["tiers"]
    for side in ("model_a", "model_b"):
        router.arena_df[side] = router.arena_df[side].map(router.model2tier)
    return router


if __name__ == "__main__":
    main()
