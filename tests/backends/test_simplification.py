"""Simplified graphs: what they leave out, and that they give what the traced ones give."""

import numpy as np
import pytest

from pointsman.backends.onnx.graph import open_graph
from pointsman.backends.onnx.simplification import simplify

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
LOWEST = float(np.finfo(np.float32).min)


def write_graph(path, *, swapped=False, off=LOWEST):
    """One layer as a trace writes it: heads are split by sizes taken from `input_ids`, masked, and summed up.

    Args:
        swapped: batch and length change places before, so that the sizes are no longer those of the tensor.
        off: added where the mask is 0.
    """
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "words": rng.normal(size=(8, 6)), "seen": np.array(0.0), "unseen": np.array(off),
        "first": np.array(0), "second": np.array(1), "inner": np.array([1, 2]),
        "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "three": np.array([3]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["embedded"]),
        node("Shape", ["input_ids"], ["sizes"]),
        *(node("Gather", ["sizes", name], [f"size_{name}"]) for name in ("first", "second")),
        *(node("Unsqueeze", [f"size_{name}", "zero"], [f"part_{name}"]) for name in ("first", "second")),
        node("Transpose", ["embedded"], ["moved"], perm=[1, 0, 2] if swapped else [0, 1, 2]),
        node("Concat", ["part_first", "part_second", "two", "three"], ["shape"], axis=0),
        node("Reshape", ["moved", "shape"], ["split"]),
        node("ReduceMean", ["split", "two"], ["heads"], keepdims=0),
        node("Cast", ["attention_mask"], ["is_on"], to=TensorProto.BOOL),
        node("Unsqueeze", ["is_on", "inner"], ["one_row"]),
        node("Concat", ["part_first", "one", "part_second", "part_second"], ["square"], axis=0),
        node("Expand", ["one_row", "square"], ["rows"]),
        node("Where", ["rows", "seen", "unseen"], ["mask"]),
        node("Transpose", ["embedded"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["embedded", "turned"], ["products"]),
        node("Unsqueeze", ["products", "one"], ["scores"]),
        node("Add", ["scores", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["shares"], axis=-1),
        node("ReduceSum", ["shares", "inner"], ["weight"], keepdims=0),
        node("Unsqueeze", ["weight", "two"], ["column"]),
        node("Mul", ["heads", "column"], ["weighed"]),
        node("ReduceSum", ["weighed", "one"], ["logits"], keepdims=0),
    ]
    tensor = helper.make_tensor_value_info
    sizes = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "traced",
        [tensor(name, TensorProto.INT64, sizes) for name in ("input_ids", "attention_mask")],
        [tensor("logits", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(value.astype(np.float32) if value.dtype == np.float64 else value, name)
            for name, value in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    onnx.save(model, path)


def node_types(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def test_sizes_and_mask_are_not_computed_again(tmp_path):
    """What a trace takes from shapes is gone, and every prompt has the logits that it had, alone and in a batch."""
    traced, simplified = tmp_path / "traced.onnx", tmp_path / "simplified.onnx"
    for path in (traced, simplified):
        write_graph(path)
    simplify(simplified)
    assert {"Shape", "Concat", "Expand"} <= node_types(traced)
    assert not {"Shape", "Concat", "Expand"} & node_types(simplified)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["simplified.onnx", "traced.onnx"]
    rng = np.random.default_rng(1)
    for shape in ((1, 1), (1, 9), (4, 6)):
        ids, mask = rng.integers(0, 8, shape), np.ones(shape, dtype=np.int64)
        mask[1:, shape[1] // 2 :] = 0
        before, after = (open_graph(path, threads=1)(ids, mask) for path in (traced, simplified))
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_graph_that_would_give_something_else_stays(tmp_path):
    """Where the sizes belong to another tensor than the one that is split, not a byte changes."""
    path = tmp_path / "swapped.onnx"
    write_graph(path, swapped=True)
    before = path.read_bytes()
    simplify(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_mask_of_another_kind_stays(tmp_path):
    """Only what is added as 0 or the lowest number is known to be a mask."""
    path = tmp_path / "half.onnx"
    write_graph(path, off=-1.0)
    simplify(path)
    assert {"Shape", "Expand"} <= node_types(path)
