"""Detectors whose graph does everything but suppression: what `cli export --detector` writes.

The graph takes `image`, (1, H, W, 3) uint8, BGR, as it comes from the source but scaled to fit into
the top left corner; colours, normalisation, decoding and the choice of the best K candidates are
inside.  It gives `boxes` (K, 4) float32, left, top, right, bottom in pixels of that image, `scores`
(K,) float32, `classes` (K,) int64, and, if it finds poses, `keypoints` (K, J, 3) float32: x, y in
pixels of that image, score.

What else must be known of it (`DetectorFacts`) is stored with the graph.  H and W may be open: the
image then has the size that `network_size` gives for the source.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...errors import DetectionError
from ...records import Detections, FloatArray, Frame, UInt8Array
from ..boxes import nms, rows_in_image, valid_rows
from ..bundle.spec import GraphSpec
from ..formats.keypoints import COCO_JOINTS, posetrack_from_coco
from ..inference.base import Engine, to_host
from ..inference.onnxruntime import OnnxRuntimeEngine
from ..paths import is_file
from .base import Detector

METADATA_KEY = "unitrack-edge.detector"

SHORTEST = 288
"""Network pixels that the shorter side of a source gets at least, if it has them."""

LONGEST = 960
"""Network pixels that the longer side gets at most, unless the caller allows more."""

_HALF_SIZE = 0.5


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """What a detector's graph does not say itself; stored with it as JSON.

    Attributes:
        name: Of the model.
        class_names: By class number.
        joints: `coco17`, or empty where the graph gives no keypoints.
        multiple: Height and width of the image are multiples of this.
        smallest: Shortest side of the image in pixels.
        score_half: A score that means a probability of one half, see `probability`.
        score_power: How steeply the probability rises.
        confidence: Detections that are less probable are left out, by default.
        nms_limit: IoU above which the worse of two boxes of one class is left out.
    """

    name: str
    class_names: tuple[str, ...]
    joints: str = ""
    multiple: int = 32
    smallest: int = 64
    score_half: float = 0.5
    score_power: float = 0.0
    confidence: float = 0.25
    nms_limit: float = 0.7

    def probability(self, scores: FloatArray) -> FloatArray:
        """How probable detections are, from the model's own scores.

        sᵃ / (sᵃ + hᵃ) with a = `score_power` and h = `score_half`; with a power of 0 the scores
        themselves.  The same threshold then means the same for every detector.

        Args:
            scores: (N,) float32, at least 0.

        Returns:
            (N,) float32 from 0 to 1, in the same order.
        """
        if self.score_power == 0:
            return scores
        powers = np.maximum(scores, 0).astype(np.float64) ** self.score_power
        shares = powers / (powers + self.score_half**self.score_power)
        return np.asarray(shares, np.float32)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str, where: str) -> DetectorFacts:
        """From text.

        Raises:
            DetectionError: A field is missing or of a wrong type; names the file `where`.
        """
        try:
            data = json.loads(text)
            facts = DetectorFacts(**(data | {"class_names": tuple(map(str, data["class_names"]))}))
            numbers = (facts.score_half, facts.score_power, facts.confidence, facts.nms_limit)
            fits = all(math.isfinite(number) and number >= 0 for number in numbers)
            fits &= facts.multiple >= 1 and facts.smallest >= 1 and facts.score_half > 0
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DetectionError(
                f"{where}: what is stored of the detector is damaged ({error}): export it again"
            ) from error
        if not fits:
            raise DetectionError(
                f"{where}: what is stored of the detector is out of range: export it again"
            )
        return facts


@dataclass(frozen=True, slots=True)
class DecodedConfig:
    """Settings of a decoded detector.

    Attributes:
        confidence: Lowest probability that is reported; None: the detector's own.
        nms_limit: IoU above which the worse of two boxes goes; None: the detector's own.
        classes: Class numbers from 0 to report; None: all.
        size_hw: Height and width of the network's image; None follows the source.
        longest: Network pixels of the longer side at most, where the size follows the source.
    """

    confidence: float | None = None
    nms_limit: float | None = None
    classes: tuple[int, ...] | None = None
    size_hw: tuple[int, int] | None = None
    longest: int = LONGEST

    def __post_init__(self) -> None:
        for name, value in (("confidence", self.confidence), ("nms_limit", self.nms_limit)):
            if value is not None and not 0 <= value <= 1:
                raise DetectionError(f"detector: {name} is {value}, expected 0 to 1")


def network_size(
    source_hw: tuple[int, int], facts: DetectorFacts, longest: int = LONGEST
) -> tuple[int, int]:
    """Height and width of the network's image for a source.

    The source is halved, but its shorter side keeps `SHORTEST` pixels, and the longer side has at
    most `longest` pixels. No source is enlarged beyond the next multiple. 480 × 640 gives
    288 × 384, 540 × 960 gives 288 × 512, 1080 × 1920 gives 544 × 960.

    Args:
        source_hw: Height and width of the source in pixels.
        facts: Which sizes the network takes.
        longest: Most pixels of the longer side.
    """
    scale = max(_HALF_SIZE, SHORTEST / min(source_hw))
    scale = min(scale, longest / max(source_hw), 1.0)
    # The tolerance keeps 288.0000001 from becoming 320.
    sides = (math.ceil(side * scale / facts.multiple - 1e-6) * facts.multiple for side in source_hw)
    height, width = (max(side, facts.smallest) for side in sides)
    return height, width


class DecodedDetector(Detector):
    """A detector that runs a decoded graph on every frame.

    Args:
        engine: Its graph, loaded; closed with this one.
        facts: What is stored of it.
        config: Settings.
        name: What it is called in messages.

    Attributes:
        facts: As given.

    Raises:
        DetectionError: The graph is not a decoded detector, or a setting does not fit it; the
            engine is then still open.
    """

    def __init__(
        self,
        engine: Engine,
        facts: DetectorFacts,
        config: DecodedConfig | None = None,
        name: str = "detector",
    ) -> None:
        self._engine, self.facts = engine, facts
        self.class_names = facts.class_names
        self._config, self._name = config or DecodedConfig(), name
        check_layout(engine.spec, facts, name)
        self._fixed_hw = self._fixed_size()
        self._check_classes()
        self._canvas = np.zeros((1, 1, 1, 3), np.uint8)
        self._inner_hw = (0, 0)

    def detect(self, frame: Frame) -> Detections:
        """Detections in one frame, best first.

        Returns:
            Boxes in source pixels, which may reach a little beyond the image; scores are
            probabilities; keypoints, if the detector sees poses, in PoseTrack18's layout.

        Raises:
            DetectionError: The model gave NaN or infinite values.
            BackendError: The backend failed.
        """
        image, scale_xy = self._letterbox(frame.image)
        spec = self._engine.spec
        outputs = self._engine.run({spec.inputs[0].name: image})
        host = {name: to_host(array) for name, array in outputs.items()}
        if any(not np.isfinite(host[name]).all() for name in host if name != "classes"):
            raise DetectionError(
                f"{self._name}: the model gave NaN or infinite values for frame {frame.index}"
            )
        found = self._choose(host, scale_xy)
        found = found[rows_in_image(found.boxes_xyxy, frame.size_hw)]
        limit = self._config.nms_limit
        limit = self.facts.nms_limit if limit is None else limit
        return found[nms(found.boxes_xyxy, found.scores, limit, found.classes)]

    def _choose(self, host: Mapping[str, Any], scale_xy: tuple[float, float]) -> Detections:
        """Candidates that are probable enough, in source pixels."""
        scores = self.facts.probability(host["scores"])
        least = self._config.confidence
        rows = scores >= (self.facts.confidence if least is None else least)
        # Rows that hold nothing have score 0, which a threshold of 0 must not let through.
        rows &= (host["scores"] > 0) & valid_rows(host["boxes"])
        if self._config.classes is not None:
            rows &= np.isin(host["classes"], self._config.classes)
        scale = np.array(scale_xy, np.float32)
        boxes = host["boxes"][rows] / np.tile(scale, 2)
        keypoints = None
        if "keypoints" in host:
            keypoints = host["keypoints"][rows].astype(np.float32)
            keypoints[..., :2] /= scale
            keypoints = posetrack_from_coco(keypoints)
        return Detections(
            boxes.astype(np.float32),
            scores[rows].astype(np.float32),
            host["classes"][rows].astype(np.int64),
            keypoints=keypoints,
        )

    def _letterbox(self, image: UInt8Array) -> tuple[UInt8Array, tuple[float, float]]:
        """(1, H, W, 3) uint8 network input, and network pixels per source pixel in x and y."""
        height, width = image.shape[:2]
        size_hw = self._fixed_hw or network_size((height, width), self.facts, self._config.longest)
        ratio = min(size_hw[0] / height, size_hw[1] / width)
        # Whole pixels, so the two axes are scaled by slightly different factors.
        inner_hw = tuple(
            min(limit, max(1, round(side * ratio)))
            for limit, side in zip(size_hw, (height, width), strict=True)
        )
        if self._canvas.shape[1:3] != size_hw or self._inner_hw != inner_hw:
            self._canvas = np.zeros((1, *size_hw, 3), np.uint8)
            self._inner_hw = inner_hw[0], inner_hw[1]
        # Where more than two source pixels make one, skipping some would let thin limbs flicker.
        how = cv2.INTER_AREA if ratio < _HALF_SIZE else cv2.INTER_LINEAR
        self._canvas[0, : inner_hw[0], : inner_hw[1]] = cv2.resize(
            image, inner_hw[::-1], interpolation=how
        )
        return self._canvas, (inner_hw[1] / width, inner_hw[0] / height)

    def _fixed_size(self) -> tuple[int, int] | None:
        """The size of the network's image; None where it follows the source.

        Raises:
            DetectionError: A size was asked for that the graph does not take.
        """
        shape, asked = self._engine.spec.inputs[0].shape[1:3], self._config.size_hw
        if asked is not None:
            fits = all(isinstance(s, str) or s == a for s, a in zip(shape, asked, strict=True))
            if not fits:
                raise DetectionError(
                    f"{self._name} was exported for {shape[0]}x{shape[1]}, got "
                    f"{asked[0]}x{asked[1]}"
                )
            facts = self.facts
            if any(side % facts.multiple or side < facts.smallest for side in asked):
                raise DetectionError(
                    f"{self._name} takes multiples of {facts.multiple} from {facts.smallest}, got "
                    f"{asked[0]}x{asked[1]}"
                )
            return asked
        height, width = shape
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def _check_classes(self) -> None:
        count = len(self.facts.class_names)
        unknown = [label for label in self._config.classes or () if not 0 <= label < count]
        if unknown:
            raise DetectionError(
                f"--detector-classes: got {unknown}, but {self.facts.name} has classes 0 to "
                f"{count - 1}"
            )

    def close(self) -> None:
        """Give the model back."""
        self._engine.close()


def open_decoded(
    path: Path,
    config: DecodedConfig | None = None,
    *,
    device: str = "cpu",
    threads: int = 0,
) -> DecodedDetector | None:
    """Load an ONNX file, if it is a decoded detector.

    Args:
        path: The file.
        config: Settings.
        device: `cpu` or `cuda`.
        threads: Of the CPU; 0 takes as many as this process may use.

    Returns:
        The detector; None for any other ONNX file.

    Raises:
        DetectionError: There is no such file, what is stored with it is damaged, or a setting
            does not fit it.
        BackendError: ONNX Runtime cannot load it.
    """
    name = f"--detector {path}"
    if not is_file(path):
        raise DetectionError(f"{name}: there is no such file")
    engine = OnnxRuntimeEngine(path, device=device, threads=threads)
    try:
        if METADATA_KEY in engine.metadata:
            facts = DetectorFacts.from_json(engine.metadata[METADATA_KEY], name)
            return DecodedDetector(engine, facts, config, name)
    except DetectionError:
        engine.close()
        raise
    engine.close()
    return None


def finds_keypoints(path: Path) -> bool:
    """Whether an ONNX file is a decoded detector that finds poses; loads it to find out.

    Raises:
        DetectionError: What is stored with it is damaged.
        BackendError: ONNX Runtime cannot load it.
    """
    with OnnxRuntimeEngine(path, threads=1) as engine:
        text = engine.metadata.get(METADATA_KEY)
    return text is not None and bool(DetectorFacts.from_json(text, str(path)).joints)


def check_layout(spec: GraphSpec, facts: DetectorFacts, where: str) -> None:
    """Check that a graph is a decoded detector.

    Args:
        spec: Its inputs and outputs.
        facts: What is stored of it.
        where: What it is called in messages.

    Raises:
        DetectionError: It is not; says what was got and what was expected.
    """
    expected = {"boxes": ("float32", 2), "scores": ("float32", 1), "classes": ("int64", 1)}
    if facts.joints:
        expected["keypoints"] = ("float32", 3)
    types = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in spec.outputs}
    fits = types == expected and facts.joints in ("", "coco17")
    fits = fits and len(spec.inputs) == 1 and spec.inputs[0].dtype == "uint8"
    fits = fits and len(spec.inputs[0].shape) == 4 and spec.inputs[0].shape[3] == 3
    if fits and facts.joints:
        shapes = {tensor.name: tensor.shape for tensor in spec.outputs}
        fits = shapes["keypoints"][1:] == (len(COCO_JOINTS), 3)
    if not fits:
        got = ", ".join(f"{t.name} {t.describe()}" for t in (*spec.inputs, *spec.outputs))
        raise DetectionError(
            f"{where}: got {got}, expected image uint8 (1, H, W, 3) to {', '.join(expected)}: "
            "export it again"
        )
