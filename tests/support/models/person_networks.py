"""Small ONNX models that see red: their answers can be told from the image."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {"uint8": TensorProto.UINT8, "int32": TensorProto.INT32, "float32": TensorProto.FLOAT}


def _write(path, nodes, output_shape, constants, *, dtype, batch, size_hw, channels_last):
    height, width = size_hw
    shape = (batch, height, width, 3) if channels_last else (batch, 3, height, width)
    constants = {
        "white": np.float32(1 if dtype == "float32" else 255),
        "first": np.array(0, np.int64),
        **constants,
    }
    see = [
        helper.make_node("Cast", ["crops"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["number", "white"], ["share"]),
        # The first colour is red if the model is given RGB.
        helper.make_node("Gather", ["share", "first"], ["red"], axis=3 if channels_last else 1),
    ]
    graph = helper.make_graph(
        [*see, *nodes],
        "red",
        [helper.make_tensor_value_info("crops", TYPES[dtype], shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def red_pose(
    path, *, dtype="uint8", batch="N", size_hw=(64, 64), channels_last=True, joints=17, bad=False
):
    """MoveNet's format: every joint is the middle of what is red, its score the deepest red."""
    rows = (np.arange(size_hw[0], dtype=np.float32) + 0.5) / size_hw[0]
    columns = (np.arange(size_hw[1], dtype=np.float32) + 0.5) / size_hw[1]
    constants = {
        "rows": rows[:, None],
        "columns": columns[None],
        "sides": np.array([1, 2], np.int64),
        "ends": np.array([1, 2, 3], np.int64),
        "times": np.array([1, 1, joints, 1], np.int64),
        "least": np.float32(0 if bad else 1e-6),
    }
    nodes = [
        helper.make_node("ReduceSum", ["red", "sides"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "least"], ["total"]),
        helper.make_node("ReduceMax", ["red"], ["score"], axes=[1, 2], keepdims=0),
    ]
    for axis, grid in (("y", "rows"), ("x", "columns")):
        nodes += [
            helper.make_node("Mul", ["red", grid], [f"{axis}_part"]),
            helper.make_node("ReduceSum", [f"{axis}_part", "sides"], [f"{axis}_sum"], keepdims=0),
            helper.make_node("Div", [f"{axis}_sum", "total"], [axis]),
        ]
    nodes += [helper.make_node("Unsqueeze", [n, "ends"], [f"{n}_4"]) for n in ("y", "x", "score")]
    nodes += [
        helper.make_node("Concat", ["y_4", "x_4", "score_4"], ["joint"], axis=3),
        helper.make_node("Tile", ["joint", "times"], ["answer"]),
    ]
    layout = {"size_hw": size_hw, "channels_last": channels_last}
    return _write(path, nodes, (batch, 1, joints, 3), constants, dtype=dtype, batch=batch, **layout)


def red_mask(
    path, *, dtype="float32", batch=1, size_hw=(64, 64), channels_last=True, logits=True, axis=3
):
    """A mask of what is more than half red, with its single channel at `axis` (None: without)."""
    constants = {
        "half": np.float32(0.5 if logits else 0),
        "steep": np.float32(4 if logits else 1),
        "channel": np.array([axis or 0], np.int64),
    }
    nodes = [
        helper.make_node("Sub", ["red", "half"], ["above"]),
        helper.make_node("Mul", ["above", "steep"], ["sure"]),
        helper.make_node("Identity", ["sure"], ["answer"])
        if axis is None
        else helper.make_node("Unsqueeze", ["sure", "channel"], ["answer"]),
    ]
    shape = [batch, *size_hw]
    if axis is not None:
        shape.insert(axis, 1)
    layout = {"size_hw": size_hw, "channels_last": channels_last}
    return _write(path, nodes, shape, constants, dtype=dtype, batch=batch, **layout)
