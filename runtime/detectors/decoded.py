"""Graphs that do everything but suppression, as `cli export --detector` writes them: their facts.

The graph takes `image`, (1, H, W, 3) uint8, BGR, as it comes from the source but scaled to fit into
the top left corner, or as `DetectorFacts.fit` says; colours, normalisation, decoding and the choice
of the best K candidates are inside.  It gives `boxes` (K, 4) float32, left, top, right, bottom in
pixels of that image, `scores` (K,) float32, `classes` (K,) int64, and, if it finds poses,
`keypoints` (K, J, 3) float32: x, y in pixels of that image, score.  Masks are `masks` (K, h, w)
float32 probabilities over the image, or `mask_weights` (K, P) of `prototypes` (P, h, w).

What else must be known of it (`DetectorFacts`) is stored with the graph.  H and W may be open: the
image then has the size that `network_size` gives for the source.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np

from ...errors import DetectionError
from ...records import Detections, FloatArray
from ..bundle.spec import GraphSpec
from ..formats.keypoints import COCO_JOINTS
from .image import Fit

METADATA_KEY = "unitrack-edge.detector"

SHORTEST = 288
"""Network pixels that the shorter side of a source gets at least, if it has them."""

LONGEST = 960
"""Network pixels that the longer side gets at most, unless the caller allows more."""

ENOUGH = 100
"""Network pixels of height with which a person is found as well as with more."""

FULL_EVERY_S = 1.0
"""Seconds after which a smaller image than usual is not looked at again before a usual one."""

_SURE = 0.5
_TOO_SMALL = 0.75

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
        fit: Where the source's image lies in the network's, see `image.Fit`.
        pad: Value of the rest of the network's image, 0 to 255.
        smooth: See `image.ImageRule`.
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
    fit: Fit = "corner"
    pad: int = 0
    smooth: bool = True

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
            fits &= facts.fit in get_args(Fit) and 0 <= facts.pad <= 255
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DetectionError(
                f"{where}: what is stored of the detector is damaged ({error}): export it again"
            ) from error
        if not fits:
            raise DetectionError(
                f"{where}: what is stored of the detector is out of range: export it again"
            )
        return facts


def network_size(
    source_hw: tuple[int, int],
    facts: DetectorFacts,
    longest: int = LONGEST,
    enough: float = math.inf,
) -> tuple[int, int]:
    """Height and width of the network's image for a source.

    The source is halved, but its shorter side keeps `SHORTEST` pixels, and the longer side has at
    most `longest` pixels. No source is enlarged beyond the next multiple. 480 × 640 gives
    288 × 384, 540 × 960 gives 288 × 512, 1080 × 1920 gives 544 × 960.

    Args:
        source_hw: Height and width of the source in pixels.
        facts: Which sizes the network takes.
        longest: Most pixels of the longer side.
        enough: Network pixels to a source pixel that suffice, where the shorter side keeps
            `SHORTEST`.
    """
    least = SHORTEST / min(source_hw)
    scale = min(max(_HALF_SIZE, least), longest / max(source_hw), 1.0, max(enough, least))
    # The tolerance keeps 288.0000001 from becoming 320.
    sides = (math.ceil(side * scale / facts.multiple - 1e-6) * facts.multiple for side in source_hw)
    height, width = (max(side, facts.smallest) for side in sides)
    return height, width


class LargeObjects:
    """How small an image suffices for what is found, for whom time is short.

    The usual image is looked at first, every `FULL_EVERY_S` seconds, and for as long as it shows
    someone small, or nobody.

    Attributes:
        saves: Whether time is short.
        smaller: How many images smaller than usual were looked at.
    """

    def __init__(self) -> None:
        self.saves, self.smaller = False, 0
        self._enough, self._usual_s = math.inf, -math.inf

    def enough(self, time_s: float) -> float:
        """Network pixels to a source pixel that suffice at a time; infinite: the usual image."""
        due = not self.saves or time_s - self._usual_s >= FULL_EVERY_S
        return math.inf if due else self._enough

    def saw(self, found: Detections, time_s: float, *, smaller: bool) -> None:
        """Note what an image showed.

        Args:
            found: In it, in source pixels.
            time_s: Of the source.
            smaller: Whether the image was smaller than usual.
        """
        boxes = found.boxes_xyxy[found.scores >= _SURE]
        lowest = float((boxes[:, 3] - boxes[:, 1]).min()) if len(boxes) else 0.0
        self.smaller += smaller
        if not smaller:
            self._enough, self._usual_s = ENOUGH / lowest if lowest > 0 else math.inf, time_s
        elif lowest * self._enough < _TOO_SMALL * ENOUGH and len(boxes):
            self._usual_s = -math.inf


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
    for masks in ({"masks"}, {"mask_weights", "prototypes"}):
        if masks <= types.keys():
            expected |= {name: ("float32", 2 if "weights" in name else 3) for name in masks}
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
