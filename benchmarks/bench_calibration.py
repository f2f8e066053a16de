"""How fast is calibration with the default router at a million prompts, in how much memory, and how fast a bootstrap?

    python -m benchmarks.bench_calibration [--prompts 1000000]

A child process pinned to one core runs `pointsman calibrate --router mf --strong-share 0.3` on a parquet file of
prompts of 13 to 17 words, each joined from the halves of two real ones (without ../shared/data, random words). The
embedder alone runs on the same prompts in the same way. Rates are per second of CPU time, as other processes may share
the core; wall time stands beside it. The bootstrap's peer draws rows and sorts them again for every replicate.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

_SHARED = Path(__file__).parents[2] / "shared" / "data"
_SHARE = 0.3
_CHILD = """
import json, os, re, sys, time
os.sched_setaffinity(0, {{sorted(os.sched_getaffinity(0))[0]}})
started, cpu = time.perf_counter(), time.process_time()
{body}
times = {{"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}}
peak_kb = int(re.search("VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
print(json.dumps({{**times, "peak_mb": peak_kb * 1024 / 1e6}}), file=sys.stderr)
"""
_CALIBRATE = """
from pointsman.serve.cli import main
assert main(["calibrate", {path!r}, "--router", "mf", "--strong-share", "{share}", "--json"]) == 0
"""
_EMBED = """
from pointsman.backends.data.tables import iter_batches
from pointsman.backends.embedders import resolve_embedder
embed = resolve_embedder("static")
for table in iter_batches({path!r}):
    embed(table.columns["prompt"])
"""
_READ = """
from pointsman.backends.data.tables import iter_batches
for table in iter_batches({path!r}):
    table.columns["prompt"]
"""


def main() -> int:
    """Checks, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    n = parser.parse_args().prompts
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.parquet", Path(folder) / "large.parquet"
        _write_prompts(small, 20_000)
        _check(small)
        _write_prompts(large, n)
        rows = [
            {"step": step, "n_prompts": n, **_child(body.format(path=str(large), share=_SHARE))}
            for step, body in (("read", _READ), ("read, embed", _EMBED), ("read, embed, score, calibrate", _CALIBRATE))
        ]
    for row in rows:
        row["prompts_per_s"] = round(n / row["cpu_seconds"])
    bootstrap = _bootstrap()
    print(f"{'one core':<32}{'prompts':>11}{'wall s':>10}{'CPU s':>10}{'prompts/CPU s':>15}{'peak MB':>10}")
    for row in rows:
        times = f"{row['n_prompts']:>11,}{row['seconds']:>10.1f}{row['cpu_seconds']:>10.1f}"
        print(f"{row['step']:<32}{times}{row['prompts_per_s']:>15,}{row['peak_mb']:>10.0f}")
    times = f"{bootstrap['ours_s']:.2f} s, sorting each anew {bootstrap['peer_s']:.1f} s"
    print(f"\n1,000 bootstrap replicates of 14,000 prompts: {times}")
    whole = rows[-1]
    targets = {
        "prompts_per_s": _target(whole["prompts_per_s"], 20_000, at_least=True),
        "peak_mb": _target(whole["peak_mb"], 1000.0),
        "bootstrap_s": _target(bootstrap["ours_s"], 2.0),
    }
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {"bench": "calibration", "rows": [*rows, bootstrap], "targets": targets, "machine": machine}
    print(json.dumps({**facts, "commit": commit.stdout.strip()}))
    return 0


def _target(value: float, goal: float, *, at_least: bool = False) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": value >= goal if at_least else value <= goal}


def _write_prompts(path: Path, n: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = _texts()
    with pq.ParquetWriter(path, pa.schema({"prompt": pa.string()})) as writer:
        for first in range(0, n, 100_000):
            prompts = [_joined(texts, k) for k in range(first, min(n, first + 100_000))]
            writer.write_table(pa.table({"prompt": prompts}))


def _joined(texts: list[str], k: int) -> str:
    """The first half of one prompt and the second half of another; all k below len(texts)**2 give other pairs."""
    first, shift = k % len(texts), k // len(texts)
    begin, end = texts[first].split(), texts[(first + shift) % len(texts)].split()
    return " ".join(begin[:8] + end[8:])


def _texts() -> list[str]:
    """Different prompts of 13 to 17 words, in random order."""
    rng = np.random.default_rng(0)
    if _SHARED.is_dir():
        import pyarrow.parquet as pq

        found: set[str] = set()
        for path in sorted(_SHARED.glob("*.parquet")):
            found.update(text for text in pq.read_table(path, columns=["prompt"])["prompt"].to_pylist() if text)
        texts = sorted(text for text in found if 13 <= len(text.split()) <= 17)
        return [texts[k] for k in rng.permutation(len(texts))]
    from pointsman.backends.assets import asset_path

    words = [w for w in (asset_path("static") / "vocab.txt").read_text("utf-8").split() if w.isalpha()]
    return [" ".join(rng.choice(words, rng.integers(13, 18))) + "?" for _ in range(4000)]


def _check(path: Path) -> None:
    """The command's threshold is the quantile of the router's win rates computed in one go."""
    import pyarrow.parquet as pq

    from pointsman.serve.checkpoints.load import load_checkpoint, load_router

    start = [sys.executable, "-c", "import sys; from pointsman.serve.cli import main; sys.exit(main())"]
    words = ["calibrate", str(path), "--router", "mf", "--strong-share", str(_SHARE), "--json"]
    run = subprocess.run([*start, *words], capture_output=True, text=True, check=True)
    rates = load_router(load_checkpoint("mf")).win_rates(pq.read_table(path)["prompt"].to_pylist())
    found, wanted = json.loads(run.stdout)["threshold"], float(np.quantile(rates, 1.0 - _SHARE))
    if not abs(found - wanted) < 1e-6:
        raise AssertionError(f"calibrate gives {found}, the quantile is {wanted}")


def _child(body: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", _CHILD.format(body=body)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    facts = json.loads(run.stderr.splitlines()[-1])
    return {key: round(value, 2) for key, value in facts.items()}


def _bootstrap() -> dict[str, Any]:
    from pointsman.core.bootstrap import bootstrap_curves
    from pointsman.core.metrics import apgr, quality_curve

    rng = np.random.default_rng(0)
    n = 14_000
    rates, weak = rng.random(n), (rng.random(n) < 0.68).astype(float)
    strong = np.maximum(weak, rng.random(n) < 0.3)
    shares = np.linspace(0.0, 1.0, 101)

    def ours(n_replicates: int) -> np.ndarray:
        seeded = np.random.default_rng(1)
        (found,) = bootstrap_curves([rates], strong, weak, shares=shares, n_replicates=n_replicates, rng=seeded)
        return found.apgr

    def peer(n_replicates: int) -> np.ndarray:
        drawn = np.random.default_rng(1).integers(0, n, (n_replicates, n), dtype=np.int64)
        return np.array([apgr(quality_curve(rates[rows], strong[rows], weak[rows])) for rows in drawn], dtype=float)

    if not np.allclose(ours(20), peer(20), atol=1e-9):
        raise AssertionError("the bootstrap differs from drawing rows and sorting them again")
    times = []
    for run in (ours, peer):
        started = time.perf_counter()
        run(1000)
        times.append(round(time.perf_counter() - started, 3))
    return {"step": "bootstrap", "n_prompts": n, "n_replicates": 1000, "ours_s": times[0], "peer_s": times[1]}


if __name__ == "__main__":
    sys.exit(main())
