"""Explicit quantisation of a graph (QuantizeLinear, DequantizeLinear), and bias correction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..records import UInt8Array
from .histograms import Grid, Target
from .layers import Float32, Layer, arrays_of
from .probe import Probe

_LARGEST_BIAS = 2**30


def insert_qdq(
    model: onnx.ModelProto, layers: Sequence[Layer], grids: Mapping[str, Grid], target: Target
) -> onnx.ModelProto:
    """Quantise convolutions.

    Args:
        model: The float graph; not altered.
        layers: Those to quantise.
        grids: Of every activation that they read and, where the target is whole, give.
        target: What it is made for.

    Returns:
        A new graph of the same operators between explicit pairs; its weights are stored as int8.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    # Types and shapes that were inferred on the way would not be true of it.
    del result.graph.value_info[:]
    pairs = _Pairs(result, grids)
    given = {layer.activated for layer in layers} if target.whole else set()
    given -= {tensor.name for tensor in result.graph.output}
    for layer in layers:
        pairs.quantise(layer, target)
    for node in result.graph.node:
        for at, name in enumerate(node.input):
            # What is computed in whole numbers exists as such alone.
            if name in given:
                node.input[at] = pairs.rounded(name)
    pairs.write()
    return result


class _Pairs:
    """Puts pairs of QuantizeLinear and DequantizeLinear into a graph.

    Args:
        model: The graph, which is altered.
        grids: By activation.
    """

    def __init__(self, model: onnx.ModelProto, grids: Mapping[str, Grid]) -> None:
        self._graph, self._grids = model.graph, grids
        self._nodes = {node.name: node for node in model.graph.node}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._behind: dict[str, list[onnx.NodeProto]] = {}
        self._first: list[onnx.NodeProto] = []

    def quantise(self, layer: Layer, target: Target) -> None:
        """Have a convolution read, and store, whole numbers."""
        node = self._nodes[layer.node]
        weights = numpy_helper.to_array(self._constants[layer.weight])
        scales = target.weight_scales(weights)
        bias = None
        if target.whole and layer.bias is not None:
            bias = numpy_helper.to_array(self._constants[layer.bias])
            # Of a channel with next to no weights the bias would not fit into 32 bits.
            least = np.abs(bias) / (self._grids[layer.source].scale * _LARGEST_BIAS)
            scales = np.maximum(scales, least.reshape(scales.shape)).astype(np.float32)
        levels = target.weight_levels
        numbers = np.clip(np.round(weights / scales), -levels - 1, levels)
        node.input[1] = self._stored(layer.weight, numbers.astype(np.int8), scales.ravel())
        if bias is not None and layer.bias is not None:
            units = (scales.ravel() * np.float32(self._grids[layer.source].scale)).astype(
                np.float32
            )
            whole = np.round(bias.astype(np.float64) / units).astype(np.int32)
            node.input[2] = self._stored(layer.bias, whole, units)
        node.input[0] = self.rounded(layer.source)

    def rounded(self, name: str) -> str:
        """The activation after whole numbers and back."""
        if name not in self._behind:
            grid = self._grids[name]
            self._constant(f"{name}/scale", np.float32(grid.scale))
            self._constant(f"{name}/zero", np.asarray(grid.zero, grid.dtype))
            scale = [f"{name}/scale", f"{name}/zero"]
            self._behind[name] = [
                helper.make_node(kind, [before, *scale], [after], name=after)
                for kind, before, after in (
                    ("QuantizeLinear", name, f"{name}/quantised"),
                    ("DequantizeLinear", f"{name}/quantised", f"{name}/rounded"),
                )
            ]
        return f"{name}/rounded"

    def write(self) -> None:
        """Every pair behind the node that gives its activation."""
        nodes = list(self._first)
        for node in self._graph.node:
            nodes.append(node)
            for name in node.output:
                nodes += self._behind.get(name, ())
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self._graph.node[:]
        self._graph.node.extend(copies)

    def _stored(self, name: str, numbers: np.ndarray, scales: Float32) -> str:
        """A constant stored as whole numbers, by output channel."""
        self._constants[name].CopyFrom(numpy_helper.from_array(numbers, name))
        self._constant(f"{name}/scale", scales)
        self._constant(f"{name}/zero", np.zeros(len(scales), numbers.dtype))
        inputs = [name, f"{name}/scale", f"{name}/zero"]
        after = f"{name}/rounded"
        self._first.append(
            helper.make_node("DequantizeLinear", inputs, [after], name=after, axis=0)
        )
        return after

    def _constant(self, name: str, values: np.ndarray) -> None:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))


@dataclass(frozen=True, slots=True)
class Means:
    """Of one activation over frames and positions, by channel.

    Attributes:
        exact: (C,) float32, of the values.
        quantised: (C,) float32, of the values after int8 and back.
    """

    exact: Float32
    quantised: Float32


def channel_means(
    model: onnx.ModelProto,
    grids: Mapping[str, Grid],
    images: Sequence[UInt8Array],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Means]:
    """Means of every activation of `grids` in the float graph.

    Args:
        model: The float graph.
        grids: By activation.
        images: (H, W, 3) uint8 each.
        tick: Called after every image.
    """
    probe = Probe(model, list(grids))
    sums = {name: np.zeros((2, 1), np.float64) for name in grids}
    for image in images:
        for name, values in probe.inside(image):
            pair = values, grids[name].rounded(values)
            sums[name] = sums[name] + np.stack([v.mean(axis=(0, 2, 3)) for v in pair])
        tick()
    return {
        name: Means(*(np.asarray(row / len(images), np.float32) for row in total))
        for name, total in sums.items()
    }


def correct_biases(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    means: Mapping[str, Means],
    target: Target,
) -> onnx.ModelProto:
    """A float graph whose biases take back what rounding will add.

    Args:
        model: The float graph; not altered.
        layers: The layers that will be quantised.
        means: Of the activations that they read.
        target: What they are made for.
    """
    names = [name for layer in layers for name in (layer.weight, layer.bias) if name is not None]
    arrays = arrays_of(model, names)
    corrected = {
        layer.bias: arrays[layer.bias]
        - _shift(arrays[layer.weight], layer, means[layer.source], target)
        for layer in layers
        if layer.bias is not None
    }
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.name in corrected:
            tensor.CopyFrom(numpy_helper.from_array(corrected[tensor.name], tensor.name))
    return result


def _shift(weights: Float32, layer: Layer, means: Means, target: Target) -> Float32:
    """(out,) expected error of a layer's results; the border, where less is summed, is ignored."""
    scales = target.weight_scales(weights)
    rounded = np.asarray(np.round(weights / scales) * scales, np.float32)
    return _mean_result(rounded, layer.groups, means.quantised) - _mean_result(
        weights, layer.groups, means.exact
    )


def _mean_result(weights: Float32, groups: int, means: Float32) -> Float32:
    """(out,) mean of a convolution without bias whose input has these means by channel."""
    taps = weights.sum(axis=(2, 3)).reshape(groups, -1, weights.shape[1])
    inputs = means.reshape(groups, weights.shape[1], 1)
    return np.asarray((taps @ inputs).ravel(), np.float32)
