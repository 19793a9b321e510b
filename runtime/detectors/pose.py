"""Poses of a top-down ONNX model: `--pose-model FILE.onnx`.

Two formats are known and recognised by the graph's outputs:

* MoveNet: takes uint8 or int32; one output (N, 1, 17, 3) of y, x and score of COCO's joints, places
  from 0 to 1.
* BlazePose: among the outputs (N, 195), 39 points of x, y, z in pixels of the crop and logits of
  being visible and being in the crop; 17 of them are COCO's joints.

Scores are the model's own and no joint is dropped for a low one; joints may lie beyond the box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...records import Detections, FloatArray, Frame
from ..bundle.spec import GraphSpec
from ..formats.keypoints import JOINTS, posetrack_from_coco
from .topdown import CropModel, ModelKind, probability

KIND = ModelKind(
    "--pose-model",
    "pose",
    "one output float32 (N, 1, 17, 3) of uint8 or int32 crops, as MoveNet's, or among the outputs "
    "one float32 (N, 195), as BlazePose's",
)

MARGIN = 0.2
"""What the crop is longer than the box, see `PersonCrop.about`.

On a real clip both formats are tracked best with it: with less, MoveNet takes the joints of
another person in front; with more, joints are placed worse.
"""

BLAZEPOSE_POINTS = 39

BLAZEPOSE_JOINTS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Where COCO's joints stand among BlazePose's."""

Read = Callable[[FloatArray, tuple[int, int]], FloatArray]
"""An output and the crop's height and width to (N, 17, 3) x, y in crop pixels and score, COCO."""


def find_format(spec: GraphSpec) -> tuple[int, Read] | None:
    """Which output of a graph holds poses and how it is read; None: of no known format."""
    tails = [tensor.shape[1:] if tensor.dtype == "float32" else None for tensor in spec.outputs]
    # Whether a float MoveNet takes 0 to 1 or 0 to 255 could not be found out.
    if tails == [(1, JOINTS, 3)] and spec.inputs[0].dtype != "float32":
        return 0, read_movenet
    points = (BLAZEPOSE_POINTS * 5,)
    return (tails.index(points), read_blazepose) if tails.count(points) == 1 else None


def read_movenet(output: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """(N, 1, 17, 3) y, x, score in [0, 1] to (N, 17, 3) x, y in crop pixels, score."""
    y, x, score = np.moveaxis(output[:, 0], -1, 0)
    return np.stack([x * size_hw[1], y * size_hw[0], score], axis=-1)


def read_blazepose(output: FloatArray, size_hw: tuple[int, int]) -> FloatArray:  # noqa: ARG001
    """(N, 195) to (N, 17, 3) x, y in crop pixels, probability of being in the crop and visible."""
    points = output.reshape(-1, BLAZEPOSE_POINTS, 5)[:, BLAZEPOSE_JOINTS]
    sure = probability(points[..., 3:].min(axis=-1, keepdims=True))
    return np.concatenate([points[..., :2], sure], axis=-1)


class PoseModel:
    """Adds poses to boxes.

    Args:
        path: The ONNX file.
        device: `cpu` or `cuda`.
        threads: Of the CPU; 0 takes as many as this process may use.

    Raises:
        DetectionError: There is no such file, or the model is of no known format.
        BackendError: ONNX Runtime cannot load it.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int = 0) -> None:
        self._model = CropModel(KIND, path, device=device, threads=threads)
        found = find_format(self._model.spec)
        if found is None:
            raise self._model.refuse()
        self._place, self._read = found

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
        crops, shown, output = self._model.look(frame, seen, self._place, MARGIN)
        keypoints = np.zeros((len(seen), JOINTS, 3), np.float32)
        if crops:
            found = self._read(output, self._model.input.size_hw).astype(np.float32)
            for crop, joints in zip(crops, found, strict=True):
                joints[:, :2] = crop.points_to_source(joints[:, :2])
            keypoints[shown] = posetrack_from_coco(found)
        return replace(seen, keypoints=keypoints)

    def notes(self) -> list[str]:
        """No notes."""
        return []

    def close(self) -> None:
        """Give the model back."""
        self._model.close()
