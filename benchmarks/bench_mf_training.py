"""How fast is training beside RouteLLM's own loop: by the epoch, and to the same quality?

    python -m benchmarks.bench_mf_training [--peer-epochs 3] [--reference-epochs 100]

45,000 battles on 1536-dimensional embeddings, 64 models, RouteLLM's hyperparameters, two threads. RouteLLM runs its
own functions in its own environment (benchmarks/install_peers.py) for a few epochs. How low its recipe gets in 100
epochs, and when, is computed with our implementation of the same recipe, once the losses of both have been seen to
agree; the time that RouteLLM needs for it is that epoch times its measured seconds.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.install_peers import peer_python
from benchmarks.planted import PlantedBattles, plant_battles

_N_BATTLES, _DIM, _N_THREADS = 45_000, 1536, 2
_N_TRAIN = int(0.95 * _N_BATTLES)
_PEER = Path(__file__).parent / "peers" / "routellm_mf.py"


def main() -> int:
    """Checks, measures, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer-epochs", type=int, default=3)
    parser.add_argument("--reference-epochs", type=int, default=100)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(_N_THREADS)
    from pointsman.backends.import_routellm import arena_models

    data = plant_battles(_N_BATTLES, _DIM, arena_models())
    peer = _run_peer(data, args.peer_epochs)
    reference, fast = _run_ours(data, args.reference_epochs)
    gap = max(abs(a - b["validation_loss"]) for a, b in zip(reference["losses"], peer["epochs"], strict=False))
    if not gap < 0.01:
        raise AssertionError(f"our reference recipe is no copy of RouteLLM's: validation losses differ by {gap:.4f}")
    peer_s = float(np.median(peer["seconds"]))
    best = int(np.argmin(reference["losses"]))
    reached = next((i for i, loss in enumerate(fast["losses"]) if loss <= reference["losses"][best]), None)
    fast_s = None if reached is None else sum(fast["seconds"][: reached + 1])
    epoch_s = float(np.median(reference["seconds"][1:]))
    rows = [
        {"what": "RouteLLM", "epoch_s": peer_s, "to_best_s": peer_s * (best + 1), "epochs": best + 1},
        {"what": "reference recipe", "epoch_s": epoch_s, "to_best_s": epoch_s * (best + 1), "epochs": best + 1},
        {
            "what": "fast recipe, compilation included",
            "epoch_s": float(np.median(fast["seconds"][1:])),
            "to_best_s": fast_s,
            "epochs": None if reached is None else reached + 1,
        },
    ]
    _print(rows, reference["losses"][best], gap)
    to_best = None if fast_s is None else peer_s * (best + 1) / fast_s
    targets = {
        "times_faster_per_epoch": {"value": peer_s / epoch_s, "goal": 3.0, "met": peer_s / epoch_s >= 3.0},
        "times_faster_to_best_loss": {"value": to_best, "goal": 15.0, "met": to_best is not None and to_best >= 15.0},
    }
    machine = f"{os.cpu_count()} x {platform.machine()}, {_N_THREADS} threads, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {"best_validation_loss": reference["losses"][best], "loss_gap": gap, "peer_epochs": peer, "fast": fast}
    report = {"bench": "mf_training", "rows": rows, "targets": targets, **facts}
    print(json.dumps({**report, "machine": machine, "commit": commit.stdout.strip()}))
    return 0


def _run_peer(data: PlantedBattles, n_epochs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data.store(Path(folder), _N_TRAIN)
        command = [peer_python("routellm"), str(_PEER), folder, str(n_epochs), str(_N_THREADS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _run_ours(data: PlantedBattles, n_epochs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    from pointsman.backends.data.battle_sets import BattleSet
    from pointsman.backends.jax.mf_training import train_mf
    from pointsman.backends.training.examples import Examples
    from pointsman.backends.training.mf_recipe import FAST, REFERENCE, MFRecipe
    from pointsman.core.battles import Battles

    n = len(data.a_won)
    battles = Battles(data.models, data.model_a, data.model_b, data.a_won.astype(float), np.ones(n))
    examples = Examples(BattleSet(battles, tuple(map(str, range(n))), np.arange(n)), data.embeddings)
    train, held = examples.take(np.arange(n) < _N_TRAIN), examples.take(np.arange(n) >= _N_TRAIN)

    def run(recipe: MFRecipe) -> dict[str, Any]:
        started = perf_counter()
        history = train_mf(train, held, recipe).history
        losses, seconds = [e.validation_loss for e in history], [e.seconds for e in history]
        return {"losses": losses, "seconds": seconds, "wall_s": perf_counter() - started}

    return run(replace(REFERENCE, epochs=n_epochs)), run(FAST)


def _print(rows: list[dict[str, Any]], loss: float, gap: float) -> None:
    print(f"{'45,000 x 1536, 64 models':<36}{'s/epoch':>9}{'epochs':>8}{f's to loss {loss:.4f}':>18}")
    for row in rows:
        to_best = "never" if row["to_best_s"] is None else f"{row['to_best_s']:.1f}"
        print(f"{row['what']:<36}{row['epoch_s']:>9.2f}{row['epochs'] or '-':>8}{to_best:>18}")
    print(f"validation losses of RouteLLM and of our reference recipe differ by at most {gap:.4f} in the same epochs")


if __name__ == "__main__":
    raise SystemExit(main())
