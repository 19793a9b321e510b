"""The convolutions of a backbone graph, under the names that people know them by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ..errors import CalibrationError

Float32 = npt.NDArray[np.float32]
_PREFIX = "network."
_SUFFIX = ".weight"


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution.

    Attributes:
        name: Of the layer in the checkpoint, such as `layer1.0.conv1`.
        node: Of the node in the graph.
        source: The activation it reads.
        result: The activation it gives.
        weight: Initialiser of its weights, (out, in / groups, height, width).
        bias: Initialiser of its bias (out,), or None.
        groups: Groups of channels; as many as input channels in a depthwise convolution.
        parameters: Number of weights.
    """

    name: str
    node: str
    source: str
    result: str
    weight: str
    bias: str | None
    groups: int
    parameters: int


def layers_of(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """All convolutions in the order of the graph; the first one reads the image.

    Raises:
        CalibrationError: There are fewer than two, so nothing can be quantised.
    """
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    found = tuple(
        Layer(
            name=node.input[1].removeprefix(_PREFIX).removesuffix(_SUFFIX),
            node=node.name,
            source=node.input[0],
            result=node.output[0],
            weight=node.input[1],
            bias=node.input[2] if len(node.input) > 2 else None,
            groups=next((a.i for a in node.attribute if a.name == "group"), 1),
            parameters=sizes[node.input[1]],
        )
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in sizes
    )
    if len(found) < 2:
        raise CalibrationError(
            f"the backbone graph has {len(found)} convolutions with constant weights, expected 2 "
            "or more: write the bundle again with `cli export --force`"
        )
    return found


def check_names(layers: Sequence[Layer], names: Collection[str]) -> None:
    """Find names that no layer has.

    Raises:
        CalibrationError: Names them, and all layers.
    """
    known = [layer.name for layer in layers]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CalibrationError(
            f"--keep-float {unknown[0]}: there is no such layer, expected one of {', '.join(known)}"
        )


def arrays_of(model: onnx.ModelProto, names: Collection[str]) -> dict[str, Float32]:
    """The initialisers of these names as arrays."""
    return {
        tensor.name: np.asarray(numpy_helper.to_array(tensor), np.float32)
        for tensor in model.graph.initializer
        if tensor.name in names
    }
