"""Which layers have to stay in float: how much each one hurts alone, then the fewest that help."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from ..errors import CalibrationError
from ..records import UInt8Array
from .layers import Layer
from .probe import Float32, Probe, cosine
from .quantisation import Means, correct_biases, insert_qdq


@dataclass(frozen=True, slots=True)
class Quantiser:
    """Makes int8 variants of one float graph.

    Attributes:
        model: The float graph.
        layers: Its convolutions that may be quantised.
        cut_offs: The absolute value that becomes 127, by activation.
        means: By activation, for the correction of biases.
    """

    model: onnx.ModelProto
    layers: tuple[Layer, ...]
    cut_offs: Mapping[str, float]
    means: Mapping[str, Means]

    def variant(self, in_float: Collection[str]) -> onnx.ModelProto:
        """The graph with all layers in int8 but those of these names."""
        chosen = [layer for layer in self.layers if layer.name not in in_float]
        if not chosen:
            return self.model
        quantised = insert_qdq(self.model, chosen, self.cut_offs)
        correct_biases(self.model, quantised, chosen, self.means)
        return quantised


class Judge:
    """Compares variants with the float graph on frames that no range was taken from.

    Args:
        model: The float graph.
        images: (H, W, 3) uint8 each.
    """

    def __init__(self, model: onnx.ModelProto, images: Sequence[UInt8Array]) -> None:
        self._images = images
        probe = Probe(model)
        self._features: list[Float32] = [probe.features(image) for image in images]

    def cosines(self, variant: onnx.ModelProto) -> list[float]:
        """Mean feature cosine of every frame."""
        probe = Probe(variant)
        return [
            cosine(features, probe.features(image))
            for features, image in zip(self._features, self._images, strict=True)
        ]


def sensitivity_of(quantiser: Quantiser, judge: Judge, layer: Layer) -> float:
    """Drop of the mean feature cosine when this layer alone is int8."""
    others = {other.name for other in quantiser.layers} - {layer.name}
    cosines = judge.cosines(quantiser.variant(others))
    return 1.0 - sum(cosines) / len(cosines)


def float_layers(
    quantiser: Quantiser,
    judge: Judge,
    sensitivities: Mapping[str, float],
    bound: float,
    forced: Collection[str] = (),
    tick: Callable[[int, float], None] = lambda _kept, _cosine: None,
) -> tuple[str, ...]:
    """The fewest layers in float with which every frame's feature cosine reaches the bound.

    Layers are taken by how much they hurt alone; how many of them are needed is found by halving,
    which supposes that another float layer never makes things worse, and each one that turns out
    to be unneeded is given up again.

    Args:
        quantiser: Makes the variants.
        judge: Says what they lost.
        sensitivities: Of every layer, by name.
        bound: Lowest feature cosine that a frame may have.
        forced: Layers that stay in float anyway.
        tick: Called after every trial with: layers in float, lowest cosine.

    Returns:
        Names, `forced` among them, in the order of the graph.

    Raises:
        CalibrationError: Not even one layer can be int8.
    """
    free = [layer.name for layer in quantiser.layers if layer.name not in forced]
    worst_first = sorted(free, key=lambda name: -sensitivities[name])

    def reaches(chosen: Sequence[str]) -> bool:
        kept = {*forced, *chosen}
        lowest = min(judge.cosines(quantiser.variant(kept)))
        tick(len(kept), lowest)
        return lowest >= bound

    low, high = 0, len(worst_first)
    while low < high:
        middle = (low + high) // 2
        if reaches(worst_first[:middle]):
            high = middle
        else:
            low = middle + 1
    chosen = worst_first[:high]
    for name in chosen[-2::-1]:
        without = [other for other in chosen if other != name]
        if reaches(without):
            chosen = without
    if len(chosen) == len(free):
        raise nothing_left(bound)
    return tuple(layer.name for layer in quantiser.layers if layer.name in {*forced, *chosen})


def nothing_left(bound: float) -> CalibrationError:
    """The error for a bound that leaves no layer to be int8."""
    return CalibrationError(
        f"no layer can be int8 with a feature cosine of {bound:g} or more on every frame: "
        "lower --min-cosine, or give more --frames"
    )
