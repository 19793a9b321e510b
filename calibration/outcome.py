"""Request and result of a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from ..errors import RequestError
from ..runtime.agreement import DetectionAgreement
from .frames import FEWEST, Sample
from .histograms import METHODS, TARGETS
from .layers import Layer


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """What the user asked for.

    Attributes:
        bundle: A float bundle.
        frames: Sources of frames.
        output: Folder of the int8 bundle.
        count: Frames at most.
        method: One of `histograms.METHODS`.
        keep_float: Layers that stay in float whatever the search says.
        min_cosine: Lowest feature cosine that a held-out frame may have, of a backbone.
        min_agreement: Lowest agreement of detections, of a detector.
        target: One of `histograms.TARGETS`.

    Raises:
        RequestError: A value is out of range.
    """

    bundle: Path
    frames: tuple[str, ...]
    output: Path
    count: int = 128
    method: str = "percentile"
    keep_float: tuple[str, ...] = ()
    min_cosine: float = 0.998
    min_agreement: float = 0.9
    target: str = "gpu"

    def __post_init__(self) -> None:
        if self.count < FEWEST:
            raise RequestError(f"--count {self.count}: expected {FEWEST} frames or more")
        if self.method not in METHODS:
            raise RequestError(f"--method {self.method}: choose one of {', '.join(METHODS)}")
        if self.target not in TARGETS:
            raise RequestError(f"--target {self.target}: choose one of {', '.join(TARGETS)}")
        if not 0.0 <= self.min_cosine < 1.0:
            raise RequestError(f"--min-cosine {self.min_cosine:g}: expected 0 to less than 1")
        if not 0.0 <= self.min_agreement < 1.0:
            raise RequestError(f"--min-agreement {self.min_agreement:g}: expected 0 to less than 1")

    def bound(self, kind: str) -> float:
        """What the judge of a bundle's kind must find at least."""
        return self.min_agreement if kind == "detector" else self.min_cosine


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What became of one convolution.

    Attributes:
        name: As in the checkpoint.
        parameters: Number of weights.
        in_float: Whether it stayed in float.
        cut_off: The absolute input value that became the last level; None for the first layer.
        scale: Of its input, between two levels; None where it stayed in float.
        sensitivity: Drop of the feature cosine, or of the agreement of detections, when it alone is
            int8; None for the first layer.
        drift: One minus the cosine of its results, float against int8.
    """

    name: str
    parameters: int
    in_float: bool
    cut_off: float | None
    scale: float | None
    sensitivity: float | None
    drift: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """An int8 graph and what it cost.

    Attributes:
        model: The graph.
        layers: All convolutions.
        facts: Of each, in the same order.
        scores: Of a backbone, the mean feature cosine of every held-out frame, at full size; of a
            detector, the one agreement of all held-out frames.
        float_ms: Median latency of the float graph on this CPU, at `image_hw`.
        int8_ms: That of the int8 one, in the same run.
        image_hw: Height and width of the image that latencies were taken on.
        sample: The frames.
        detections: Of a detector, what changed in the held-out frames.
    """

    model: onnx.ModelProto
    layers: tuple[Layer, ...]
    facts: tuple[LayerFacts, ...]
    scores: tuple[float, ...]
    float_ms: float
    int8_ms: float
    image_hw: tuple[int, int]
    sample: Sample = field(repr=False)
    detections: DetectionAgreement | None = None


def worst_layers(facts: Sequence[LayerFacts], most: int = 3) -> list[str]:
    """The int8 layers that hurt most alone."""
    quantised = [fact for fact in facts if not fact.in_float]
    ordered = sorted(quantised, key=lambda fact: -(fact.sensitivity or 0.0))
    return [fact.name for fact in ordered[:most]]
