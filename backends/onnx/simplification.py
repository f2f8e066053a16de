"""Traced graphs without what they compute again for every prompt and layer: shapes, and a mask for each query."""

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.backends.onnx.graph import N_CLASSES, open_graph
from pointsman.core.arrays import IntArray
from pointsman.core.errors import CheckpointError, MissingExtraError

if TYPE_CHECKING:
    import onnx

__all__ = ["simplify"]

_MASK = "attention_mask"
_SHAPES = ((1, 7), (3, 11), (2, 5))  # of the inputs on which a simplified graph must give what the traced one gives
_FEW = 4  # ids, which every vocabulary has
_TOLERANCE = 1e-5


def simplify(path: str | os.PathLike[str]) -> None:
    """Simplifies the graph in a file; it stays as it is where the result would be another.

    Heads are split and joined with the sizes 0 and 0 ("as they are") in place of batch and length, which a trace takes
    from other tensors, and one mask of shape (batch, 1, 1, length) is added instead of one row for each query.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    source = Path(path)
    model = onnx.load(source)
    _keep_sizes(model.graph)
    _mask_once(model.graph)
    _drop_unused(model.graph)
    simpler = source.with_name(f"simpler-{source.name}")
    onnx.save(model, simpler)
    n_logits = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    if _agree(source, simpler, n_heads=n_logits // N_CLASSES):
        simpler.replace(source)
    simpler.unlink(missing_ok=True)


def _keep_sizes(graph: "onnx.GraphProto") -> None:
    """Gives reshapes to (batch, length, constants) a constant shape."""
    from onnx import numpy_helper

    made = {output: node for node in graph.node for output in node.output}
    constants = _constants(graph)
    for node in graph.node:
        shape = made.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or shape.op_type != "Concat":
            continue
        sizes = [constants.get(size) for size in shape.input]
        known = [int(size.item()) for size in sizes[2:] if size is not None and size.size == 1]
        if len(known) and len(known) == len(sizes) - 2 and sizes[0] is None and sizes[1] is None:
            kept = np.array([0, 0, *known], dtype=np.int64)
            node.input[1] = f"{node.output[0]}_sizes"
            graph.initializer.append(numpy_helper.from_array(kept, node.input[1]))


def _mask_once(graph: "onnx.GraphProto") -> None:
    """Makes the one mask that attention adds from `attention_mask` itself."""
    from onnx import TensorProto, helper, numpy_helper

    constants, users = _constants(graph), defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node.op_type)
    lowest = float(np.finfo(np.float32).min)
    masks = [
        (i, node)
        for i, node in enumerate(graph.node)
        if node.op_type == "Where" and set(users[node.output[0]]) == {"Add"}
        if [float(constants.get(name, np.array(np.nan)).max()) for name in node.input[1:]] == [0.0, lowest]
    ]
    if len(masks) != 1:
        return
    ((place, mask),) = masks
    values = {"mask_axes": np.array([1, 2]), "mask_on": np.float32(0.0), "mask_off": np.float32(lowest)}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    graph.node.remove(mask)
    for node in (
        helper.make_node("Unsqueeze", ["mask_flat", "mask_axes"], list(mask.output)),
        helper.make_node("Where", ["mask_is_on", "mask_on", "mask_off"], ["mask_flat"]),
        helper.make_node("Cast", [_MASK], ["mask_is_on"], to=TensorProto.BOOL),
    ):
        graph.node.insert(place, node)


def _drop_unused(graph: "onnx.GraphProto") -> None:
    needed = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for weights in [weights for weights in graph.initializer if weights.name not in needed]:
        graph.initializer.remove(weights)


def _constants(graph: "onnx.GraphProto") -> dict[str, Any]:
    """Values of the small constants, by name."""
    from onnx import numpy_helper

    found = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    found |= {weights.name: weights for weights in graph.initializer if len(weights.dims) < 2}
    return {name: numpy_helper.to_array(value) for name, value in found.items()}


def _agree(source: Path, simpler: Path, *, n_heads: int) -> bool:
    """Whether two graphs give the same for prompts of several lengths, one by one and padded in a batch."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    traced = open_graph(source, threads=1, n_heads=n_heads)
    try:
        simplified = open_graph(simpler, threads=1, n_heads=n_heads)
        pairs = [(traced(*inputs), simplified(*inputs)) for inputs in map(_inputs, _SHAPES)]
    except (CheckpointError, Fail, InvalidArgument, RuntimeException):  # it has a shape that does not fit
        return False
    return all(np.allclose(*pair, atol=_TOLERANCE) for pair in pairs)


def _inputs(shape: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """Token ids and a mask; of a batch all but the first are padded."""
    ids = np.arange(shape[0] * shape[1]).reshape(shape) % _FEW
    mask = np.ones_like(ids)
    mask[1:, shape[1] // 2 :] = 0
    return ids, mask
