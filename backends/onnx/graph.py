"""Three-class graphs, run by onnxruntime."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backends.onnx.turns import Turns
from pointsman.core.arrays import Float32Array, IntArray
from pointsman.core.errors import CheckpointError, MissingExtraError

__all__ = ["OUTPUT", "Graph", "open_graph"]

_MOST_THREADS = 4
INPUTS, OUTPUT, N_CLASSES = ("input_ids", "attention_mask"), "logits", 3


class Graph:
    """Logits from token ids and attention mask.

    Safe to call from several threads; releases the interpreter lock. No more calls run at a time than there are cores
    for: the others wait in turn, so that a server's event loop finds a core however many requests are being scored.
    """

    def __init__(self, session: Any, *, n_at_a_time: int) -> None:
        self._session = session
        self._turns = Turns(n_at_a_time)
        self._dtypes = {i.name: np.int32 if "int32" in i.type else np.int64 for i in session.get_inputs()}

    def __call__(self, ids: IntArray, mask: IntArray) -> Float32Array:
        """Logits, float32, shape (n, 3 n_heads)."""
        arrays = dict(zip(INPUTS, (ids, mask), strict=True))
        feed = {name: arrays[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}
        with self._turns:
            return np.asarray(self._session.run([OUTPUT], feed)[0])


def open_graph(path: str | os.PathLike[str], *, threads: int | None = None, n_heads: int = 1) -> Graph:
    """A graph ready to run on the CPU.

    Args:
        n_heads: that it is to have, of three classes each.
        threads: that one call may use; up to 4 if None, beyond which a prompt gains little.

    Raises:
        CheckpointError: the file is damaged, or its inputs and output are others.
        MissingExtraError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = threads or min(_MOST_THREADS, cores)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads would otherwise spin, and take the cores from the server beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            Path(path),
            options,
            providers=["CPUExecutionProvider"],
            # The fused kernel takes four times as long as the sum and the norm that it replaces.
            disabled_optimizers=["SkipLayerNormFusion"],
        )
    except Exception as error:
        raise CheckpointError(f"{path} is not a graph that onnxruntime can run: {error}") from error
    inputs = {i.name for i in session.get_inputs()}
    outputs = {o.name: o.shape for o in session.get_outputs()}
    if inputs != set(INPUTS) or list(outputs) != [OUTPUT] or outputs[OUTPUT][-1] != N_CLASSES * n_heads:
        raise CheckpointError(
            f"{path} has inputs {sorted(inputs)} and outputs {outputs}, wanted {', '.join(INPUTS)} and "
            f"{OUTPUT} with {N_CLASSES * n_heads} columns: strong wins, tie, weak wins; export it again"
        )
    return Graph(session, n_at_a_time=max(1, cores // threads))
