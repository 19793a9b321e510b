"""Explicit quantisation of a graph (QuantizeLinear, DequantizeLinear), and bias correction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import TensorData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from ..records import UInt8Array
from .layers import Float32, Layer, arrays_of
from .probe import Probe

LEVELS = 127
"""The int8 value of the largest magnitude; -128 is not used."""

_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
    "QuantizeBias": False,
    # Or a Relu before a quantised tensor would vanish from the residual sum as well.
    "QDQKeepRemovableActivations": True,
}


def insert_qdq(
    model: onnx.ModelProto, layers: Sequence[Layer], cut_offs: Mapping[str, float]
) -> onnx.ModelProto:
    """Quantise convolutions.

    Args:
        model: The float graph; not altered.
        layers: Those to quantise.
        cut_offs: The absolute value that becomes 127, of every activation that they read.

    Returns:
        A new graph that ONNX Runtime and TensorRT both read as int8; its weights are stored so.
    """
    chosen = onnx.ModelProto()
    chosen.CopyFrom(model)
    # An activation that is always 0 still needs a scale.
    ranges = {layer.source: np.float32(cut_offs[layer.source] or 1.0) for layer in layers}
    quantizer = QDQQuantizer(
        chosen,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range={n: TensorData(lowest=-cut, highest=cut) for n, cut in ranges.items()},
        nodes_to_quantize=[layer.node for layer in layers],
        nodes_to_exclude=[],
        op_types_to_quantize=["Conv"],
        extra_options=dict(_OPTIONS),
    )
    with _quiet():
        quantizer.quantize_model()
    _undo_elsewhere(quantizer.model.model, {layer.node for layer in layers})
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    # Types and shapes that were inferred on the way are no part of the bundle's other graphs.
    del result.graph.value_info[:]
    return result


def fake_quantised(values: Float32, scales: Float32 | float) -> Float32:
    """What is left of float values after int8 and back; scales as wide as needed to broadcast."""
    steps = np.clip(np.round(values / scales), -LEVELS - 1, LEVELS)
    return np.asarray(steps * scales, np.float32)


def weight_scales(weights: Float32) -> Float32:
    """(out, 1, 1, 1) scales of weights (out, in / groups, height, width), by output channel."""
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    return np.asarray(np.where(largest > 0, largest / LEVELS, 1.0), np.float32)


def _undo_elsewhere(model: onnx.ModelProto, quantised: Collection[str]) -> None:
    """Give every other reader of a quantised activation the float one back."""
    makers = {name: node for node in model.graph.node for name in node.output}
    originals = {}
    for name, node in makers.items():
        before = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if before is not None and before.op_type == "QuantizeLinear":
            originals[name] = before.input[0]
    for node in model.graph.node:
        if node.name not in quantised:
            for at, name in enumerate(node.input):
                node.input[at] = originals.get(name, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime advises to pre-process the graph, which the exporter already did."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


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
    cut_offs: Mapping[str, float],
    images: Sequence[UInt8Array],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Means]:
    """Means of every activation of `cut_offs` in the float graph.

    Args:
        model: The float graph.
        cut_offs: The absolute value that becomes 127, by activation.
        images: (H, W, 3) uint8 each.
        tick: Called after every image.
    """
    probe = Probe(model, list(cut_offs))
    sums = {name: np.zeros((2, 1), np.float64) for name in cut_offs}
    for image in images:
        for name, values in probe.inside(image):
            scale = (cut_offs[name] or 1.0) / LEVELS
            pair = values, fake_quantised(values, scale)
            sums[name] = sums[name] + np.stack([v.mean(axis=(0, 2, 3)) for v in pair])
        tick()
    return {
        name: Means(*(np.asarray(row / len(images), np.float32) for row in total))
        for name, total in sums.items()
    }


def correct_biases(
    model: onnx.ModelProto,
    quantised: onnx.ModelProto,
    layers: Sequence[Layer],
    means: Mapping[str, Means],
) -> None:
    """Alter the biases of quantised layers, in place.

    Args:
        model: The float graph.
        quantised: The same graph after `insert_qdq`, which is altered.
        layers: The layers that were quantised.
        means: Of the activations that they read.
    """
    names = [name for layer in layers for name in (layer.weight, layer.bias) if name is not None]
    arrays = arrays_of(model, names)
    corrected = {
        layer.bias: arrays[layer.bias] - _shift(arrays[layer.weight], layer, means[layer.source])
        for layer in layers
        if layer.bias is not None
    }
    for tensor in quantised.graph.initializer:
        if tensor.name in corrected:
            tensor.CopyFrom(numpy_helper.from_array(corrected[tensor.name], tensor.name))


def _shift(weights: Float32, layer: Layer, means: Means) -> Float32:
    """(out,) expected error of a layer's results; the border, where less is summed, is ignored."""
    rounded = fake_quantised(weights, weight_scales(weights))
    return _mean_result(rounded, layer.groups, means.quantised) - _mean_result(
        weights, layer.groups, means.exact
    )


def _mean_result(weights: Float32, groups: int, means: Float32) -> Float32:
    """(out,) mean of a convolution without bias whose input has these means by channel."""
    taps = weights.sum(axis=(2, 3)).reshape(groups, -1, weights.shape[1])
    inputs = means.reshape(groups, weights.shape[1], 1)
    return np.asarray((taps @ inputs).ravel(), np.float32)
