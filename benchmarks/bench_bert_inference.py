"""How much faster is a BERT router's exported graph than the PyTorch it was exported from, on one core?

    python -m benchmarks.bench_bert_inference

All-MiniLM-L6-v2 with a random three-class head: six layers, 22 M parameters; and its first three layers alone, as
`pointsman train bert --layers 3` keeps them. Prompts of 16, 64, 128 and 512 tokens, 1 and 32 at a time, from token ids
to win rates. Engines take turns; a time is the median over the turns of the CPU time of the one thread that computes,
so that what else runs on the machine counts little. "Eager torch" is PyTorch without compilation, in inference mode,
with the faster of its two attention kernels. Three layers in int8 are compared with both six and three in torch.
"""

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_CASES = ((16, 1), (64, 1), (128, 1), (512, 1), (16, 32), (128, 32), (512, 32))
_BUDGET_S = 3.0
_MIN_TURNS = 3
_ENGINES = ("torch", "onnx", "int8")
_SMALLER = 3  # layers


def main() -> int:
    """Checks, measures, prints."""
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as folder:
        six, three = _engines(Path(folder)), _engines(Path(folder), layers=_SMALLER)
        check, check_three = _check(six), _check(three)
        engines = {**six, **{f"{name}_{_SMALLER}": three[name] for name in ("torch", "int8")}}
        rows = [_measure(engines, n_tokens, batch) for n_tokens, batch in _CASES]
    _print(rows)
    short = next(row for row in rows if (row["n_tokens"], row["batch"]) == (64, 1))
    ratio, ratio_three = (round(short["torch_ms"] / short[name], 2) for name in ("int8_ms", f"int8_{_SMALLER}_ms"))
    difference = max(check["onnx"], check_three["onnx"])
    targets = {
        "int8_speedup_64_tokens": {"value": ratio, "goal": 5.0, "met": ratio >= 5.0},
        "int8_3_layers_over_torch_6_layers_64_tokens": {"value": ratio_three, "goal": 5.0, "met": ratio_three >= 5.0},
        "graph_difference": {"value": difference, "goal": 1e-4, "met": difference <= 1e-4},
    }
    machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(
        json.dumps(
            {
                "bench": "bert_inference",
                "rows": rows,
                "int8_difference": check["int8"],
                "int8_3_layers_difference": check_three["int8"],
                "targets": targets,
                "machine": machine,
                "commit": commit.stdout.strip(),
            }
        )
    )
    return 0


def _engines(folder: Path, *, layers: int | None = None) -> dict[str, Callable[..., Any]]:
    """Forward passes by name, each on one thread; of all layers or the first few."""
    import torch

    from pointsman.backends.onnx.graph import open_graph
    from pointsman.backends.onnx.optimization import quantize
    from pointsman.backends.torch.bert_training import default_base
    from pointsman.backends.torch.classifier import new_classifier, torch_forward
    from pointsman.backends.torch.graph_export import export_graph

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = new_classifier(default_base(), layers=layers)
    assert model.head is not None
    torch.nn.init.normal_(model.head.weight, std=0.1)
    export_graph(model, folder / "full.onnx")
    quantize(folder / "full.onnx", folder / "int8.onnx")
    eager = torch_forward(model)
    model.base.set_attn_implementation(_faster_attention(model, eager))
    graphs = {name: open_graph(folder / f"{name}.onnx", threads=1) for name in ("full", "int8")}
    return dict(zip(_ENGINES, (eager, graphs["full"], graphs["int8"]), strict=True))


def _faster_attention(model: Any, forward: Callable[..., Any]) -> str:
    """The attention kernel with the lower time for one prompt of 64 tokens."""
    times = {}
    for name in ("eager", "sdpa"):
        model.base.set_attn_implementation(name)
        inputs = _inputs(64, 1)
        times[name] = min(_timed(forward, inputs) for _ in range(20))
    return min(times, key=times.__getitem__)


def _inputs(n_tokens: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(n_tokens).integers(1000, 20000, (batch, n_tokens))
    return ids, np.ones_like(ids)


def _check(engines: dict[str, Callable[..., Any]]) -> dict[str, float]:
    """Greatest difference of win rates from PyTorch's over prompts of mixed lengths, one by one."""
    from pointsman.core.aggregation import three_class_win_rates

    rates = {
        name: np.concatenate([three_class_win_rates(forward(*_inputs(n, 1))) for n in range(8, 200, 8)])
        for name, forward in engines.items()
    }
    differences = {name: float(np.abs(rates[name] - rates["torch"]).max()) for name in _ENGINES[1:]}
    if not differences["onnx"] <= 1e-4:
        raise AssertionError(f"the graph's win rates differ from PyTorch's by {differences['onnx']}")
    return differences


def _measure(engines: dict[str, Callable[..., Any]], n_tokens: int, batch: int) -> dict[str, Any]:
    inputs = _inputs(n_tokens, batch)
    for forward in engines.values():
        _timed(forward, inputs)
    times: dict[str, list[float]] = {name: [] for name in engines}
    end = time.perf_counter() + _BUDGET_S
    while time.perf_counter() < end or len(times["torch"]) < _MIN_TURNS:
        for name, forward in engines.items():
            times[name].append(_timed(forward, inputs))
    medians = {f"{name}_ms": round(1e3 * float(np.median(values)) / batch, 3) for name, values in times.items()}
    return {"n_tokens": n_tokens, "batch": batch, **medians, "turns": len(times["torch"])}


def _timed(forward: Callable[..., Any], inputs: tuple[np.ndarray, np.ndarray]) -> float:
    from pointsman.core.aggregation import three_class_win_rates

    started = time.thread_time()
    three_class_win_rates(forward(*inputs))
    return time.thread_time() - started


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{'ms per prompt':>13} {'six layers':>26} {'three layers':>17}    times as quick")
    names = ("torch", "onnx", "int8", f"torch_{_SMALLER}", f"int8_{_SMALLER}")
    heads = (*(name.partition("_")[0] for name in names), "6 int8/6 torch", "3 int8/6 torch", "3 int8/3 torch")
    print(f"{'tokens':>6} {'batch':>6}", *(f"{head:>8}" for head in heads))
    for row in rows:
        torch, _, int8, torch_three, int8_three = times = [row[f"{name}_ms"] for name in names]
        ratios = (torch / int8, torch / int8_three, torch_three / int8_three)
        print(
            f"{row['n_tokens']:>6} {row['batch']:>6}",
            *(f"{time:>8.2f}" for time in times),
            *(f"{ratio:>{len(head)}.2f}" for ratio, head in zip(ratios, heads[-3:], strict=True)),
        )


if __name__ == "__main__":
    raise SystemExit(main())
