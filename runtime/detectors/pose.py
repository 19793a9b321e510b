"""Poses of a top-down model: `--pose-model NAME|FOLDER|FILE.onnx`.

A bundle's graph, `pose`, takes `crops` (N, h, w, 3) uint8 BGR and gives `keypoints` (N, 17, 3), x
and y in pixels of the crop and score, of COCO's joints.  Of files, four formats are known and
recognised by the graph's outputs:

* MoveNet: takes uint8 or int32; one output (N, 1, 17, 3) of y, x and score of COCO's joints, places
  from 0 to 1.
* BlazePose: among the outputs (N, 195), 39 points of x, y, z in pixels of the crop and logits of
  being visible and being in the crop; 17 of them are COCO's joints.
* SimCC (RTMPose): (N, 17, w·k) and (N, 17, h·k), for each of COCO's joints how sure it is of each
  column and row, k to a pixel of the crop.
* Heatmaps (HRNet, ViTPose): (N, 17, h', w') over the crop.

The first two take RGB of 0 to 255 or 0 to 1; the others RGB with ImageNet's mean and deviation.
Scores are the model's own and no joint is dropped for a low one; joints may lie beyond the box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...records import Detections, FloatArray, Frame, UInt8Array
from ..bundle.spec import POSE_GRAPH, GraphSpec
from ..formats.keypoints import JOINTS, posetrack_from_coco
from .layouts.base import sigmoid
from .topdown import CropModel, ModelKind

KIND = ModelKind(
    "--pose-model",
    POSE_GRAPH,
    "pose",
    "one output float32 (N, 1, 17, 3) of uint8 or int32 crops, as MoveNet's, or among the outputs "
    "one float32 (N, 195), as BlazePose's, or float32 (N, 17, k·w) and (N, 17, k·h), as RTMPose's, "
    "or float32 heatmaps (N, 17, h', w') of the input's ratio, as HRNet's",
)

MARGIN = 0.2
"""What the crop is longer than the box, see `PersonCrop.about`.

On a real clip both formats are tracked best with it: with less, MoveNet takes the joints of
another person in front; with more, joints are placed worse.
"""

BLAZEPOSE_POINTS = 39

BLAZEPOSE_JOINTS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Where COCO's joints stand among BlazePose's."""


@dataclass(frozen=True, slots=True)
class PoseFormat:
    """How the outputs of a graph are read.

    Attributes:
        name: For people.
        places: Of the outputs that are read.
        read: Those outputs, and the crop's height and width, to (N, 17, 3) x, y in crop pixels and
            score, of COCO's joints.
        normalise: What a graph of floats takes, a key of `image.NORMALISATIONS`.
    """

    name: str
    places: tuple[int, ...]
    read: Callable[[Sequence[FloatArray], tuple[int, int]], FloatArray]
    normalise: str = "rgb-1"


def find_format(spec: GraphSpec, size_hw: tuple[int, int]) -> PoseFormat | None:
    """The format of a graph that takes crops of a size; None: of no known one."""
    tails = [tensor.shape[1:] if tensor.dtype == "float32" else None for tensor in spec.outputs]
    # Whether a float MoveNet takes 0 to 1 or 0 to 255 could not be found out.
    if tails == [(1, JOINTS, 3)] and spec.inputs[0].dtype != "float32":
        return PoseFormat("MoveNet", (0,), read_movenet)
    points = (BLAZEPOSE_POINTS * 5,)
    if tails.count(points) == 1:
        return PoseFormat("BlazePose", (tails.index(points),), read_blazepose)
    # (17, w·k) and (17, h·k), or (17, h', w').
    joints = [tail for tail in tails if tail and tail[0] == JOINTS]
    sides = [size for tail in joints for size in tail[1:] if isinstance(size, int)]
    if len(tails) == len(joints) and len(sides) == 2:
        height, width = size_hw
        if len(joints) == 2 and sides[0] * height == sides[1] * width and sides[0] % width == 0:
            return PoseFormat("SimCC", (0, 1), read_simcc, "rgb-imagenet")
        if len(joints) == 1 and sides[0] * width == sides[1] * height:
            return PoseFormat("heatmaps", (0,), read_heatmaps, "rgb-imagenet")
    return None


def read_movenet(outputs: Sequence[FloatArray], size_hw: tuple[int, int]) -> FloatArray:
    """(N, 1, 17, 3) y, x, score in [0, 1] to (N, 17, 3) x, y in crop pixels, score."""
    y, x, score = np.moveaxis(outputs[0][:, 0], -1, 0)
    return np.stack([x * size_hw[1], y * size_hw[0], score], axis=-1)


def read_blazepose(outputs: Sequence[FloatArray], size_hw: tuple[int, int]) -> FloatArray:  # noqa: ARG001
    """(N, 195) to (N, 17, 3) x, y in crop pixels, probability of being in the crop and visible."""
    points = outputs[0].reshape(-1, BLAZEPOSE_POINTS, 5)[:, BLAZEPOSE_JOINTS]
    sure = sigmoid(points[..., 3:].min(axis=-1, keepdims=True))
    return np.concatenate([points[..., :2], sure], axis=-1)


def read_simcc(outputs: Sequence[FloatArray], size_hw: tuple[int, int]) -> FloatArray:
    """(N, 17, w·k) and (N, 17, h·k) to (N, 17, 3) x, y in crop pixels, the lesser of two maxima."""
    columns, rows = outputs
    x = columns.argmax(axis=-1) * (size_hw[1] / columns.shape[-1])
    y = rows.argmax(axis=-1) * (size_hw[0] / rows.shape[-1])
    sure = np.clip(np.minimum(columns.max(axis=-1), rows.max(axis=-1)), 0, 1)
    return np.stack([x, y, sure], axis=-1)


def read_heatmaps(outputs: Sequence[FloatArray], size_hw: tuple[int, int]) -> FloatArray:
    """(N, 17, h', w') to (N, 17, 3) x, y in crop pixels, the maximum.

    A joint lies at its maximum, a quarter of a cell towards the larger neighbour of either axis
    (Newell et al., Stacked Hourglass Networks, 2016).
    """
    maps = outputs[0]
    count, joints, height, width = maps.shape
    flat = maps.reshape(count, joints, -1)
    best = flat.argmax(axis=-1)
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    row, column = best // width, best % width
    one, other = np.indices((count, joints))

    def beside(down: int, right: int) -> FloatArray:
        value: FloatArray = padded[one, other, row + 1 + down, column + 1 + right]
        return value

    inner_x, inner_y = (column > 0) & (column < width - 1), (row > 0) & (row < height - 1)
    x = column + 0.25 * np.sign(np.where(inner_x, beside(0, 1) - beside(0, -1), 0))
    y = row + 0.25 * np.sign(np.where(inner_y, beside(1, 0) - beside(-1, 0), 0))
    sure = np.clip(flat.max(axis=-1), 0, 1)
    return np.stack([x * (size_hw[1] / width), y * (size_hw[0] / height), sure], axis=-1)


_DECODED = PoseFormat("a pose bundle", (0,), lambda outputs, _: outputs[0])


class PoseModel:
    """Adds poses to boxes.

    Args:
        path: Its bundle, or its ONNX file.
        backend: A key of `registry.BACKENDS`; a file runs in ONNX Runtime on its device.
        threads: Of the CPU; 0 takes as many as this process may use.

    Attributes:
        crops: What it takes.
        format: How its outputs are read.

    Raises:
        DetectionError: There is no such file, or the model is of no known format.
        BundleError: The bundle is damaged.
        BackendError: The backend cannot load it.
    """

    descriptions: tuple[str, ...]

    def __init__(self, path: Path, *, backend: str = "cpu", threads: int = 0) -> None:
        self._model = CropModel(KIND, path, backend=backend, threads=threads)
        spec, size_hw = self._model.spec, self._model.input.size_hw
        found = _DECODED if self._model.decoded else find_format(spec, size_hw)
        if found is None:
            raise self._model.refuse()
        self.format, self._model.normalise = found, found.normalise
        self.crops = self._model.input
        height, width = size_hw
        self.descriptions = (
            f"--pose-model {path}: recognised as {found.name}, crops of {height}x{width}",
        )

    def describe(self, frame: Frame, seen: Detections) -> Detections:
        """The same boxes with the pose that the model sees in each.

        Args:
            frame: The image.
            seen: N boxes in source pixels; they and their scores stay as they are.

        Returns:
            With (N, 17, 3) keypoints in source pixels in PoseTrack18's layout; none seen where a
            box lies wholly outside the image.

        Raises:
            DetectionError: The model gave NaN or infinite values.
            BackendError: The backend failed.
        """
        crops, shown, outputs = self._model.look(frame, seen, self.format.places, MARGIN)
        keypoints = np.zeros((len(seen), JOINTS, 3), np.float32)
        if crops:
            found = self.format.read(outputs, self.crops.size_hw).astype(np.float32)
            for crop, joints in zip(crops, found, strict=True):
                joints[:, :2] = crop.points_to_source(joints[:, :2])
            keypoints[shown] = posetrack_from_coco(found)
        return replace(seen, keypoints=keypoints)

    def read(self, crops_bgr: Sequence[UInt8Array]) -> FloatArray:
        """Poses in crops, (h, w, 3) uint8 BGR of the model's size: (N, 17, 3) in their pixels."""
        outputs = self._model.run(crops_bgr, self.format.places, "a crop")
        return self.format.read(outputs, self.crops.size_hw)

    def notes(self) -> list[str]:
        """No notes."""
        return []

    def close(self) -> None:
        """Give the model back."""
        self._model.close()
