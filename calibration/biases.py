"""Takes the mean error of quantisation out of the biases.

Rounding and clipping shift the mean of a convolution's results, channel by channel, and the shifts
add up through the network.  With x the float input, x̂ and Ŵ the quantised ones, the expected shift
`E[Ŵ x̂] - E[W x]` follows from the means of x and x̂ by channel, and is taken off the bias (Nagel et
al. 2019, Data-Free Quantization, section 4.2, with measured means).  It costs nothing at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from ..records import UInt8Array
from .layers import Float32, Layer, arrays_of
from .probe import Probe
from .qdq import LEVELS, fake_quantised, weight_scales


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
        tick: Told of every picture.
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
