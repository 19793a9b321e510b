"""The convolutions of a graph that can be int8, under the names that people know them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ..errors import CalibrationError, RequestError

Float32 = npt.NDArray[np.float32]
_PREFIX = "network."
_SUFFIX = ".weight"
_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum")


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution.

    Attributes:
        name: Of the layer in the checkpoint, such as `layer1.0.conv1`; of the node, where the file
            does not say.
        node: Of the node in the graph.
        source: The activation it reads.
        result: The activation it gives.
        activated: The same behind the Relu or Clip that alone reads it; else `result`.
        weight: Initialiser of its weights, (out, in / groups, height, width).
        bias: Initialiser of its bias (out,), or None.
        groups: Groups of channels; as many as input channels in a depthwise convolution.
        parameters: Number of weights.
    """

    name: str
    node: str
    source: str
    result: str
    activated: str
    weight: str
    bias: str | None
    groups: int
    parameters: int


def with_own_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in which every node has its own name, and every convolution its own weights.

    Files that users bring may leave names out, and share a head's weights between scales.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    uses = Counter(node.name for node in graph.node)
    taken = set(uses)
    for node in graph.node:
        if not node.name or uses[node.name] > 1:
            node.name = _free_name(f"{node.name}{node.op_type}", taken)
    known = {tensor.name: tensor for tensor in graph.initializer}
    taken = {*known, *(name for node in graph.node for name in (*node.input, *node.output))}
    read: set[str] = set()
    for node in graph.node:
        for place in range(1, len(node.input) if node.op_type == "Conv" else 0):
            name = node.input[place]
            if name in read and name in known:
                copy = graph.initializer.add()
                copy.CopyFrom(known[name])
                copy.name = node.input[place] = _free_name(name, taken)
            read.add(name)
    return result


def _free_name(name: str, taken: set[str]) -> str:
    """The name with the first number that makes it a new one, which is then taken."""
    free = next(text for k in count(2) if (text := f"{name}_{k}") not in taken)
    taken.add(free)
    return free


def layers_of(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """All convolutions of images in the order of the graph; the first one reads the image.

    Raises:
        CalibrationError: There are fewer than two, so nothing can be quantised.
    """
    weights = {t.name: t for t in model.graph.initializer if len(t.dims) == 4}
    activated = _activations(model)
    found = tuple(
        Layer(
            name=_layer_name(node),
            node=node.name,
            source=node.input[0],
            result=node.output[0],
            activated=activated.get(node.output[0], node.output[0]),
            weight=node.input[1],
            bias=node.input[2] if len(node.input) > 2 else None,
            groups=next((a.i for a in node.attribute if a.name == "group"), 1),
            parameters=int(np.prod(weights[node.input[1]].dims)),
        )
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in weights
    )
    if len(found) < 2:
        raise CalibrationError(
            f"the graph has {len(found)} convolutions with constant weights, expected 2 or more: "
            "write the bundle again with `cli export --force`"
        )
    return found


def _activations(model: onnx.ModelProto) -> dict[str, str]:
    """Results of Relu and Clip by what they read, where nothing else reads that."""
    graph = model.graph
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(tensor.name for tensor in graph.output)
    return {
        node.input[0]: node.output[0]
        for node in graph.node
        if node.op_type in ("Relu", "Clip") and uses[node.input[0]] == 1
    }


def _layer_name(node: onnx.NodeProto) -> str:
    """As the checkpoint calls it, where the file kept that; of folded weights, the node's name."""
    weight = node.input[1]
    name: str = weight.removesuffix(_SUFFIX) if weight.endswith(_SUFFIX) else node.name
    return name.removeprefix(_PREFIX)


def products_in_float(model: onnx.ModelProto, quantised: Collection[str]) -> tuple[str, ...]:
    """Names of the convolutions and matrix products that are not among those made int8."""
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type in _PRODUCTS and node.name not in quantised
    )


def check_names(layers: Sequence[Layer], names: Collection[str]) -> None:
    """Find names that no layer has.

    Raises:
        RequestError: Names them, and all layers.
    """
    known = [layer.name for layer in layers]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(
            f"--keep-float {unknown[0]}: there is no such layer, expected one of {', '.join(known)}"
        )


def arrays_of(model: onnx.ModelProto, names: Collection[str]) -> dict[str, Float32]:
    """The initialisers of these names as arrays."""
    return {
        tensor.name: np.asarray(numpy_helper.to_array(tensor), np.float32)
        for tensor in model.graph.initializer
        if tensor.name in names
    }
