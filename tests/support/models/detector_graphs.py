"""Small ONNX detectors of any layout, which give the same answer to every image."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
}


def write_detector(
    path,
    outputs,
    *,
    input_shape=(1, 3, 64, 64),
    dtype="float32",
    metadata=None,
    shapes=None,
    **more,
):
    """Write a graph with one image and constant outputs.

    Args:
        path: The file.
        outputs: Arrays by name; each depends on the image, and is left alone by it.
        input_shape: Of the image; dimensions given as text are open.
        dtype: Of the image.
        metadata: Texts to store.
        shapes: What is declared of outputs, by name, in place of their true shapes.
        more: Further inputs by name: dtype and shape. They are used in the same way.
    """
    inputs = {"images": (dtype, input_shape), **more}
    nodes, constants = [], {"nothing": np.float32(0), "one_axis": np.array([1], np.int64)}
    parts = []
    for name in inputs:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", [f"{name}_f"], [f"{name}_max"], keepdims=0),
        ]
        parts.append(f"{name}_max")
    nodes += [
        helper.make_node("Sum", parts, ["seen"]),
        helper.make_node("Mul", ["seen", "nothing"], ["silence"]),
    ]
    infos = []
    for name, array in outputs.items():
        code = TYPES[str(array.dtype)]
        constants[f"{name}_value"] = array
        nodes += [
            helper.make_node("Cast", ["silence"], [f"{name}_zero"], to=code),
            helper.make_node("Add", [f"{name}_value", f"{name}_zero"], [name]),
        ]
        declared = (shapes or {}).get(name, array.shape)
        infos.append(helper.make_tensor_value_info(name, code, declared))
    graph = helper.make_graph(
        nodes,
        "answer",
        [helper.make_tensor_value_info(n, TYPES[t], s) for n, (t, s) in inputs.items()],
        infos,
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path
