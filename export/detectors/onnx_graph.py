"""Writes ONNX graphs node by node, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

OPSET = 17
IR_VERSION = 8
"""What ONNX Runtime 1.18 and TensorRT 10.3 read."""

DTYPES = {"fp32": "float32", "fp16": "float16"}
"""Element types by the name of a precision."""

Shape = Sequence[int | str]


class OnnxGraph:
    """A graph under construction; tensors are named by strings.

    Args:
        name: Of the graph.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._used: set[str] = set()

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an input; dimensions given as text are open."""
        self._inputs.append(_value_info(name, dtype, shape))
        self._used.add(name)
        return name

    def output(self, tensor: str, name: str, dtype: str, shape: Shape) -> None:
        """Give a tensor out under a name; of equal dimension names the sizes are equal."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name], name=self._unique(name)))
        self._outputs.append(_value_info(name, dtype, shape))

    def constant(self, value: npt.ArrayLike, dtype: str | None = None, name: str = "const") -> str:
        """The name of a constant; equal constants are stored once."""
        # ascontiguousarray would make a scalar one-dimensional.
        array = np.array(value, dtype=dtype, order="C")
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            unique = self._unique(name)
            self._initializers[unique] = numpy_helper.from_array(array, unique)
            self._constants[key] = unique
        return self._constants[key]

    def cast(self, tensor: str, dtype: str, from_dtype: str | None = None) -> str:
        """A tensor as another type; itself where `from_dtype` is that type already."""
        if from_dtype == dtype:
            return tensor
        return self.add("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Append a node and return the name of its first output."""
        return self.add_many(operator, 1, *inputs, name=name, **attributes)[0]

    def add_many(
        self, operator: str, count: int, *inputs: str, name: str | None = None, **attributes: Any
    ) -> list[str]:
        """Append a node with several outputs and return their names."""
        unique = self._unique(name or operator.lower())
        outputs = [unique] if count == 1 else [f"{unique}.{place}" for place in range(count)]
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=unique, **attributes))
        return outputs

    def alias(self, tensor: str, name: str) -> None:
        """Give a tensor another name, such as that of another graph's input."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name], name=self._unique(name)))

    def splice(self, graph: onnx.GraphProto) -> None:
        """Append another graph's nodes; its names must be its own, and its inputs made already."""
        self._nodes += graph.node
        self._initializers |= {tensor.name: tensor for tensor in graph.initializer}

    def model(
        self, metadata: dict[str, str] | None = None, like: onnx.ModelProto | None = None
    ) -> onnx.ModelProto:
        """The finished model, checked.

        Args:
            metadata: Texts to store with it.
            like: A model whose nodes are in it: their operators' versions are kept.

        Raises:
            onnx.checker.ValidationError: The graph is not valid ONNX.
        """
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._initializers.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=like.opset_import if like else [helper.make_opsetid("", OPSET)],
            ir_version=max(IR_VERSION, like.ir_version if like else 0),
            functions=like.functions if like else [],
            producer_name="unitrack-edge",
        )
        helper.set_model_props(model, metadata or {})
        onnx.checker.check_model(model)
        return model

    def _unique(self, name: str) -> str:
        unique, number = name, 1
        while unique in self._used:
            number += 1
            unique = f"{name}_{number}"
        self._used.add(unique)
        return unique


def _value_info(name: str, dtype: str, shape: Shape) -> onnx.ValueInfoProto:
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, code, list(shape))
