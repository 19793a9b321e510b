"""TFLite operators as ONNX nodes.

TFLite keeps images as (N, H, W, C), ONNX as (N, C, H, W): four-dimensional tensors are turned once,
where they enter, and stay turned.  float16 weights become float32.

Sizes that the caller leaves open are handled by following the shapes of two probes through the
graph: whatever would be written into the ONNX graph (the padding of `SAME`, the factor of a resize)
must be equal for both, else the graph depends on the size and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ....errors import ExportError
from ..onnx_graph import OnnxGraph
from .file import TfliteGraph, TfliteOperator, TfliteTensor

_SAME = 0
"""TFLite's number of the padding that keeps ceil(size / stride); 1 is VALID."""

_ACTIVATIONS: dict[int, tuple[str, float | None, float | None]] = {
    0: ("none", None, None),
    1: ("RELU", 0.0, None),
    2: ("RELU_N1_TO_1", -1.0, 1.0),
    3: ("RELU6", 0.0, 6.0),
}
"""Fused activations by TFLite's number: name, lower and upper bound."""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ImportedTensor:
    """A tensor of the ONNX graph.

    Attributes:
        name: In the ONNX graph.
        shapes: Its shape for each probe, in TFLite's order of axes.
        turned: Whether it is (N, C, H, W) in the ONNX graph.
    """

    name: str
    shapes: tuple[Shape, ...]
    turned: bool


Value: TypeAlias = "ImportedTensor | tuple[npt.NDArray[Any], ...]"
"""A tensor that is computed, or numbers that are known here: one array for each probe."""


def import_tensors(
    source: TfliteGraph,
    target: OnnxGraph,
    feeds: dict[int, str],
    probes: Sequence[Mapping[int, Shape]],
    wanted: Sequence[int],
    dtype: str = "float32",
) -> list[ImportedTensor]:
    """Convert what some tensors are computed from.

    Args:
        source: The file.
        target: Nodes are appended to it.
        feeds: By the file's tensor, the ONNX tensor that takes its place, of `dtype` and, if it has
            four dimensions, (N, C, H, W).
        probes: Shapes of those in TFLite's order of axes; several of them where sizes are open.
        wanted: The file's tensors that are to be computed.
        dtype: Of weights and of all that is computed, `float32` or `float16`.

    Returns:
        Where they are in the target, in the order of `wanted`.

    Raises:
        ExportError: An operator or an option is not known, a tensor is quantised, a size does not
            fit, or the graph depends on a size that is open.
    """
    return _Import(source, target, feeds, probes, dtype).compute(wanted)


class _Import:
    def __init__(
        self,
        source: TfliteGraph,
        target: OnnxGraph,
        feeds: dict[int, str],
        probes: Sequence[Mapping[int, Shape]],
        dtype: str,
    ) -> None:
        self._source, self._target, self._dtype = source, target, dtype
        self._count = len(probes)
        self._values: dict[int, Value] = {
            index: ImportedTensor(
                name, tuple(probe[index] for probe in probes), len(probes[0][index]) == 4
            )
            for index, name in feeds.items()
        }

    def compute(self, wanted: Sequence[int]) -> list[ImportedTensor]:
        for operator in self._needed(wanted):
            rule = _RULES.get(operator.kind)
            if rule is None:
                raise self._refuse(operator, f"it is not among {', '.join(sorted(_RULES))}")
            self._values[operator.outputs[0]] = rule(self, operator)
        return [self._tensor(index) for index in wanted]

    def _needed(self, wanted: Sequence[int]) -> list[TfliteOperator]:
        """Operators that lead to the wanted tensors, in the file's order."""
        needed, found = set(wanted), []
        for operator in reversed(self._source.operators):
            hit = needed.intersection(operator.outputs)
            # What is fed or constant is not computed.
            hit = {i for i in hit if i not in self._values and self._source.constant(i) is None}
            if hit:
                found.append(operator)
                needed.update(operator.inputs)
        return found[::-1]

    def _refuse(self, operator: TfliteOperator, reason: str) -> ExportError:
        name = self._source.tensors[operator.outputs[0]].name
        return ExportError(
            f"{self._source.path}: operator {operator.kind} ({name[-60:]}) cannot be converted: "
            f"{reason}"
        )

    # What operators read.

    def _value(self, index: int) -> Value:
        if index in self._values:
            return self._values[index]
        data = self._source.constant(index)
        tensor = self._source.tensors[index]
        if data is None or tensor.quantized:
            what = "is quantised" if tensor.quantized else "is not computed from the inputs"
            raise ExportError(f"{self._source.path}: tensor {tensor.name[-60:]} {what}")
        return (data,) * self._count

    def _tensor(self, index: int) -> ImportedTensor:
        value = self._value(index)
        if isinstance(value, ImportedTensor):
            return value
        raise ExportError(
            f"{self._source.path}: tensor {self._source.tensors[index].name[-60:]} is a constant"
        )

    def _known(self, operator: TfliteOperator, place: int) -> tuple[npt.NDArray[Any], ...]:
        value = self._value(operator.inputs[place])
        if isinstance(value, ImportedTensor):
            raise self._refuse(operator, f"its input {place} is computed, expected a constant")
        return value

    def _equal(self, operator: TfliteOperator, values: Sequence[Any]) -> Any:
        """What all probes agree on."""
        if any(value != values[0] for value in values[1:]):
            raise self._refuse(operator, f"it depends on the size of the input: {values}")
        return values[0]

    # What operators write.

    def _activated(self, operator: TfliteOperator, name: str) -> str:
        number = operator.options.get("FusedActivationFunction", 0)
        if number not in _ACTIVATIONS:
            raise self._refuse(operator, f"its activation {number} is not known")
        _, low, high = _ACTIVATIONS[number]
        if low is None:
            return name
        if high is None:
            return self._target.add("Relu", name)
        bounds = (self._target.constant(bound, self._dtype) for bound in (low, high))
        return self._target.add("Clip", name, *bounds)

    def _padding(
        self, operator: TfliteOperator, shapes: Sequence[Shape], kernel_hw: Shape, strides: Shape
    ) -> tuple[list[int], tuple[Shape, ...]]:
        """ONNX's pads and the height and width of the output for each probe."""
        dilations = _dilations(operator)
        spans = [(k - 1) * d + 1 for k, d in zip(kernel_hw, dilations, strict=True)]
        pads, sizes = [], []
        for shape in shapes:
            before, after, size = [], [], []
            for length, span, stride in zip(shape[1:3], spans, strides, strict=True):
                total = 0
                if operator.options["Padding"] == _SAME:
                    total = max((-(-length // stride) - 1) * stride + span - length, 0)
                before.append(total // 2)
                after.append(total - total // 2)
                size.append((length + total - span) // stride + 1)
            pads.append([*before, *after])
            sizes.append(tuple(size))
        return self._equal(operator, pads), tuple(sizes)

    # One method for each operator.

    def convolution(self, operator: TfliteOperator) -> Value:
        image = self._tensor(operator.inputs[0])
        weights = self._known(operator, 1)[0].astype(self._dtype)
        channels = image.shapes[0][3]
        if operator.kind == "DEPTHWISE_CONV_2D":
            weights, group = weights.transpose(3, 0, 1, 2), channels
        else:
            weights = weights.transpose(0, 3, 1, 2)
            group = channels // weights.shape[1]
        if weights.shape[1] * group != channels:
            raise self._refuse(operator, f"its weights are not for {channels} channels")
        inputs = [image.name, self._target.constant(weights, name="weights")]
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias = self._known(operator, 2)[0].astype(self._dtype)
            inputs.append(self._target.constant(bias, name="bias"))
        strides = (operator.options["StrideH"], operator.options["StrideW"])
        pads, sizes = self._padding(operator, image.shapes, weights.shape[2:], strides)
        name = self._target.add(
            "Conv",
            *inputs,
            name="conv",
            kernel_shape=weights.shape[2:],
            strides=strides,
            pads=pads,
            dilations=_dilations(operator),
            group=group,
        )
        shapes = zip(image.shapes, sizes, strict=True)
        return ImportedTensor(
            self._activated(operator, name),
            tuple((s[0], *hw, weights.shape[0]) for s, hw in shapes),
            turned=True,
        )

    def max_pool(self, operator: TfliteOperator) -> Value:
        image = self._tensor(operator.inputs[0])
        kernel = (operator.options["FilterHeight"], operator.options["FilterWidth"])
        strides = (operator.options["StrideH"], operator.options["StrideW"])
        pads, sizes = self._padding(operator, image.shapes, kernel, strides)
        name = self._target.add(
            "MaxPool", image.name, kernel_shape=kernel, strides=strides, pads=pads
        )
        shapes = zip(image.shapes, sizes, strict=True)
        return ImportedTensor(
            self._activated(operator, name), tuple((s[0], *hw, s[3]) for s, hw in shapes), True
        )

    def arithmetic(self, operator: TfliteOperator) -> Value:
        values = [self._value(index) for index in operator.inputs]
        tensors = [value for value in values if isinstance(value, ImportedTensor)]
        if not tensors:
            known = [self._known(operator, place) for place in (0, 1)]
            apply = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}[operator.kind]
            return tuple(apply(a, b) for a, b in zip(*known, strict=True))
        turned, rank = tensors[0].turned, len(tensors[0].shapes[0])
        if any(t.turned != turned or len(t.shapes[0]) != rank for t in tensors):
            raise self._refuse(operator, "its inputs have different numbers of dimensions")
        names: list[str] = []
        shapes: list[tuple[Shape, ...]] = []
        for value in values:
            if isinstance(value, ImportedTensor):
                names.append(value.name)
                shapes.append(value.shapes)
                continue
            constant = value[0].astype(self._dtype)
            shapes.append((constant.shape,) * self._count)
            if turned and constant.ndim:
                constant = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
                constant = constant.transpose(0, 3, 1, 2)
            names.append(self._target.constant(constant))
        kind = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul"}[operator.kind]
        name = self._activated(operator, self._target.add(kind, *names))
        joined = tuple(np.broadcast_shapes(*pair) for pair in zip(*shapes, strict=True))
        return ImportedTensor(name, joined, turned)

    def unary(self, operator: TfliteOperator) -> Value:
        tensor = self._tensor(operator.inputs[0])
        kind = {"LOGISTIC": "Sigmoid", "RELU": "Relu"}[operator.kind]
        return ImportedTensor(self._target.add(kind, tensor.name), tensor.shapes, tensor.turned)

    def cast(self, operator: TfliteOperator) -> Value:
        """Everything that is computed is of one type here already."""
        if self._source.tensors[operator.outputs[0]].dtype != "float32":
            raise self._refuse(operator, "only casts to float32 are known")
        return self._tensor(operator.inputs[0])

    def pad(self, operator: TfliteOperator) -> Value:
        tensor = self._tensor(operator.inputs[0])
        sides = self._known(operator, 1)[0].astype(np.int64)
        shapes = tuple(
            tuple(int(s + a + b) for s, (a, b) in zip(shape, sides, strict=True))
            for shape in tensor.shapes
        )
        if tensor.turned:
            sides = sides[[0, 3, 1, 2]]
        pads = self._target.constant(sides.T.ravel(), "int64", "pads")
        return ImportedTensor(self._target.add("Pad", tensor.name, pads), shapes, tensor.turned)

    def resize(self, operator: TfliteOperator) -> Value:
        image = self._tensor(operator.inputs[0])
        sizes = [tuple(int(side) for side in size) for size in self._known(operator, 1)]
        factors = [
            tuple(after / before for after, before in zip(size, shape[1:3], strict=True))
            for size, shape in zip(sizes, image.shapes, strict=True)
        ]
        scales = (1.0, 1.0, *self._equal(operator, factors))
        if operator.options["AlignCorners"]:
            mode = "align_corners"
        else:
            mode = "half_pixel" if operator.options["HalfPixelCenters"] else "asymmetric"
        name = self._target.add(
            "Resize",
            image.name,
            "",
            self._target.constant(scales, "float32", "scales"),
            mode="linear",
            coordinate_transformation_mode=mode,
        )
        shapes = zip(image.shapes, sizes, strict=True)
        return ImportedTensor(name, tuple((s[0], *hw, s[3]) for s, hw in shapes), turned=True)

    def reshape(self, operator: TfliteOperator) -> Value:
        tensor = self._tensor(operator.inputs[0])
        to = [int(size) for size in self._known(operator, 1)[0]]
        name = tensor.name
        flat = all(shape[1:3] == (1, 1) for shape in tensor.shapes)
        if tensor.turned and not flat:
            name = self._target.add("Transpose", name, perm=[0, 2, 3, 1])
        if math.prod(tensor.shapes[0][1:]) == math.prod(to[1:]):
            to[0] = 0  # ONNX: as many as there are
        name = self._target.add("Reshape", name, self._target.constant(to, "int64", "shape"))
        shapes = tuple(self._reshaped(operator, shape, to) for shape in tensor.shapes)
        turned = len(to) == 4
        if turned:
            name = self._target.add("Transpose", name, perm=[0, 3, 1, 2])
        return ImportedTensor(name, shapes, turned)

    def _reshaped(self, operator: TfliteOperator, shape: Shape, to: Sequence[int]) -> Shape:
        """The shape that a tensor takes: 0 keeps the first size, -1 takes what is left over."""
        sizes = [shape[0] if size == 0 else size for size in to]
        count, known = math.prod(shape), math.prod(size for size in sizes if size >= 0)
        sizes = [count // max(known, 1) if size < 0 else size for size in sizes]
        if math.prod(sizes) != count:
            raise self._refuse(operator, f"{shape} does not fit {tuple(to)}")
        return tuple(sizes)

    def shape(self, operator: TfliteOperator) -> Value:
        return tuple(np.array(s, np.int64) for s in self._tensor(operator.inputs[0]).shapes)

    def slice(self, operator: TfliteOperator) -> Value:
        """Of numbers in one dimension only: shapes."""
        values, *bounds = (self._known(operator, place) for place in range(4))
        options = operator.options
        masks = ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask")
        if values[0].ndim != 1 or any(options.get(mask, 0) for mask in masks):
            raise self._refuse(operator, "only plain slices of one dimension are known")
        begin, end, step = (int(bound[0][0]) for bound in bounds)
        return tuple(value[begin:end:step] for value in values)


_RULES: dict[str, Callable[[_Import, TfliteOperator], Value]] = {
    "ADD": _Import.arithmetic,
    "CAST": _Import.cast,
    "CONV_2D": _Import.convolution,
    "DEPTHWISE_CONV_2D": _Import.convolution,
    "LOGISTIC": _Import.unary,
    "MAX_POOL_2D": _Import.max_pool,
    "MUL": _Import.arithmetic,
    "PAD": _Import.pad,
    "RELU": _Import.unary,
    "RESHAPE": _Import.reshape,
    "RESIZE_BILINEAR": _Import.resize,
    "SHAPE": _Import.shape,
    "STRIDED_SLICE": _Import.slice,
    "SUB": _Import.arithmetic,
}


def _dilations(operator: TfliteOperator) -> Shape:
    return (operator.options.get("DilationHFactor", 1), operator.options.get("DilationWFactor", 1))


def describe(tensor: TfliteTensor) -> str:
    """Short text for messages, such as `float32 (1, 256, 256, 3)`."""
    return f"{tensor.dtype} ({', '.join(str(size) for size in tensor.shape)})"
