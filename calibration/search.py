"""Which layers have to stay in float: how much each one hurts alone, then the fewest that help."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ..errors import CalibrationError
from ..records import Detections, UInt8Array
from ..runtime.agreement import DetectionAgreement, compare_detections
from ..runtime.boxes import nms, valid_rows
from ..runtime.detectors.decoded import DetectorFacts
from ..runtime.detectors.image import mask_in_source
from ..runtime.detectors.layouts.chosen import OWN_LAYOUT
from ..runtime.preprocessing import Letterbox
from .histograms import Grid, Target
from .layers import Layer
from .probe import Float32, Probe, cosine
from .quantisation import Means, correct_biases, insert_qdq


@dataclass(frozen=True, slots=True)
class Quantiser:
    """Makes int8 variants of one float graph.

    Attributes:
        model: The float graph.
        layers: Its convolutions that may be quantised.
        grids: Of the activations that they read and give.
        means: Of those that they read, for the correction of biases.
        target: What the variants are made for.
    """

    model: onnx.ModelProto
    layers: tuple[Layer, ...]
    grids: Mapping[str, Grid]
    means: Mapping[str, Means]
    target: Target

    def variant(self, in_float: Collection[str]) -> onnx.ModelProto:
        """The graph with all layers in int8 but those of these names."""
        chosen = [layer for layer in self.layers if layer.name not in in_float]
        if not chosen:
            return self.model
        corrected = correct_biases(self.model, chosen, self.means, self.target)
        return insert_qdq(corrected, chosen, self.grids, self.target)


class Judge(ABC):
    """Compares variants with the float graph on frames that no range was taken from.

    Attributes:
        measure: What is compared, for messages.
        flag: The option that bounds it.
    """

    measure: str
    flag: str

    @abstractmethod
    def scores(self, variant: onnx.ModelProto) -> list[float]:
        """How much of the float graph a variant keeps, 1 is all; the lowest of them is judged."""


class FeatureJudge(Judge):
    """Compares the features of a backbone.

    Args:
        model: The float graph, whose first output is (1, rows, cols, C) unit features.
        images: (H, W, 3) uint8 each.
    """

    measure, flag = "a feature cosine", "--min-cosine"

    def __init__(self, model: onnx.ModelProto, images: Sequence[UInt8Array]) -> None:
        self._images, self._name = images, model.graph.output[0].name
        self._features = self._run(model)

    def scores(self, variant: onnx.ModelProto) -> list[float]:
        """Mean feature cosine of every frame."""
        return [cosine(*pair) for pair in zip(self._features, self._run(variant), strict=True)]

    def _run(self, model: onnx.ModelProto) -> list[Float32]:
        probe = Probe(model)
        return [np.asarray(probe.outputs(image)[self._name], np.float32) for image in self._images]


class DetectionJudge(Judge):
    """Compares the detections of a detector.

    Args:
        model: The float graph, as `runtime.detectors.decoded` says.
        images: (H, W, 3) uint8 each.
        facts: Of the detector.

    Raises:
        CalibrationError: The float detector finds nothing, so that there is nothing to compare.
    """

    measure, flag = "an agreement of detections", "--min-agreement"

    def __init__(
        self, model: onnx.ModelProto, images: Sequence[UInt8Array], facts: DetectorFacts
    ) -> None:
        self._images, self._facts = images, facts
        self._expected = self._run(model)
        if not any((seen.scores >= facts.confidence).any() for seen in self._expected):
            raise CalibrationError(
                f"--frames: the float detector finds nothing in the {len(images)} held-out frames, "
                "so that int8 cannot be judged: give footage that shows what it detects"
            )

    def scores(self, variant: onnx.ModelProto) -> list[float]:
        """One number of all frames, since few objects are in each."""
        return [self.compare(variant).agreement]

    def compare(self, variant: onnx.ModelProto) -> DetectionAgreement:
        """All that is known of a variant's detections."""
        return compare_detections(self._expected, self._run(variant), self._facts.confidence)

    def _run(self, model: onnx.ModelProto) -> list[Detections]:
        """Down to half the detector's threshold: what falls just below it is still the same."""
        probe, facts, found = Probe(model), self._facts, []
        for image in self._images:
            seen = OWN_LAYOUT.decode(probe.outputs(image), image.shape[:2])
            scores = facts.probability(seen.scores)
            good = np.isfinite(scores) & (scores >= facts.confidence / 2) & (seen.scores > 0)
            rows = np.flatnonzero(good & valid_rows(seen.boxes_xyxy))
            boxes, classes = seen.boxes_xyxy[rows], seen.classes[rows]
            rows = rows[nms(boxes, scores[rows], facts.nms_limit, classes)]
            masks = None
            if seen.masks is not None:
                place = Letterbox.fit(image.shape[:2], image.shape[:2])
                masks = np.zeros((len(rows), *image.shape[:2]), np.bool_)
                for number, sure in enumerate(seen.masks(rows)):
                    masks[number] = mask_in_source(sure, place, seen.boxes_xyxy[rows[number]])
            found.append(
                Detections(
                    seen.boxes_xyxy[rows],
                    np.asarray(scores[rows], np.float32),
                    seen.classes[rows],
                    masks,
                    None if seen.keypoints is None else seen.keypoints[rows],
                )
            )
        return found


def sensitivity_of(quantiser: Quantiser, judge: Judge, layer: Layer) -> float:
    """Drop of the judge's mean score when this layer alone is int8."""
    others = {other.name for other in quantiser.layers} - {layer.name}
    scores = judge.scores(quantiser.variant(others))
    return 1.0 - sum(scores) / len(scores)


def float_layers(
    quantiser: Quantiser,
    judge: Judge,
    sensitivities: Mapping[str, float],
    bound: float,
    forced: Collection[str] = (),
    tick: Callable[[int, float], None] = lambda _kept, _score: None,
) -> tuple[str, ...]:
    """The fewest layers in float with which every score of the judge reaches the bound.

    Layers are taken by how much they hurt alone; how many of them are needed is found by halving,
    which supposes that another float layer never makes things worse, and each one that turns out
    to be unneeded is given up again.

    Args:
        quantiser: Makes the variants.
        judge: Says what they lost.
        sensitivities: Of every layer, by name.
        bound: Lowest score.
        forced: Layers that stay in float anyway.
        tick: Called after every trial with: layers in float, lowest score.

    Returns:
        Names, `forced` among them, in the order of the graph.

    Raises:
        CalibrationError: Not even one layer can be int8.
    """
    free = [layer.name for layer in quantiser.layers if layer.name not in forced]
    worst_first = sorted(free, key=lambda name: -sensitivities[name])

    def reaches(chosen: Sequence[str]) -> bool:
        kept = {*forced, *chosen}
        lowest = min(judge.scores(quantiser.variant(kept)))
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
        raise nothing_left(judge, bound)
    return tuple(layer.name for layer in quantiser.layers if layer.name in {*forced, *chosen})


def nothing_left(judge: Judge, bound: float) -> CalibrationError:
    """The error for a bound that leaves no layer to be int8."""
    return CalibrationError(
        f"no layer can be int8 with {judge.measure} of {bound:g} or more on held-out frames: lower "
        f"{judge.flag}, or give more --frames"
    )
