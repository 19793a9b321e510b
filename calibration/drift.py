"""How far the results of each layer have moved once the whole backbone is int8."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from ..records import UInt8Array
from .layers import Layer
from .probe import Probe, cosine


def layer_drift(
    model: onnx.ModelProto,
    quantised: onnx.ModelProto,
    layers: Sequence[Layer],
    images: Sequence[UInt8Array],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """One minus the cosine between float and int8 results, by layer.

    Both graphs run as a whole, so a layer's drift holds what the layers before it did.

    Args:
        model: The float graph.
        quantised: The int8 graph.
        layers: Convolutions of both.
        images: (H, W, 3) uint8 each.
        tick: Told of every picture.

    Returns:
        Mean over cells and pictures, 0 (the same) to 2.
    """
    names = [layer.result for layer in layers]
    probes = Probe(model, names), Probe(quantised, names)
    drifts = np.zeros(len(layers))
    for image in images:
        pairs = zip(*(probe.inside(image) for probe in probes), strict=True)
        drifts += [1.0 - cosine(exact, moved, axis=1) for (_, exact), (_, moved) in pairs]
        tick()
    values = (drifts / len(images)).tolist()
    return {layer.name: value for layer, value in zip(layers, values, strict=True)}
