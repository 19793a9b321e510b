"""Pose tracking: skeletons get identities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DetectionError
from ..records import BoolArray, Detections, FloatArray, Frame, IntArray, Tracks
from ..runtime.boxes import clip_boxes, valid_rows
from ..runtime.inference.base import Array
from ..runtime.preprocessing import FeatureMap, Letterbox
from .association.mask_points import describe_grid, describe_looks
from .association.skeleton import pose_mask
from .association.tracklets import ObjectFeatures
from .config import PosetrackConfig
from .tracked import TrackedHead

if TYPE_CHECKING:
    from .association.look_memory import Look


class PosetrackHead(TrackedHead[PosetrackConfig]):
    """Tracks poses; reported are the detector's boxes and joints, untouched.

    A person of whom no joint is seen is tracked by the box alone; one whose box lies wholly outside
    the image is left out.
    """

    graphs_used = ("point_features", "select", "rsm_masks")

    def _own_numbers(self) -> dict[str, Any]:
        return {"gate": False, "position_only": True, "confirm_at_once": True}

    def _own_fused_numbers(self) -> dict[str, Any]:
        return {"confirm_at_once": True, "start_overlap": 1.0, "coast_s": 0.0}

    def _usable(self, seen: Detections, size_hw: tuple[int, int]) -> Detections:
        if len(seen) and seen.keypoints is None:
            raise DetectionError(
                "task posetrack tracks poses, and the detector gives none: give --detections a "
                "PoseTrack18 or COCO keypoint file, or add --pose-model FILE.onnx"
            )
        inside = valid_rows(clip_boxes(seen.boxes_xyxy, size_hw))
        self._rows = np.flatnonzero(self._probable(seen, "outside", inside))
        return seen[self._rows]

    def _describe(self, seen: Detections, features: FeatureMap) -> ObjectFeatures | None:
        if seen.keypoints is None:
            return None
        letterbox, stride = features.letterbox, features.stride
        grid = poses_on_grid(seen.keypoints, letterbox, stride, features.grid_hw)
        return describe_grid(self._graphs, grid, features.array, self._config.max_area)

    def _where(self, seen: Detections, row: int, letterbox: Letterbox) -> BoolArray:
        """(rows, cols) bool: the skeleton at the tile's cells."""
        if seen.keypoints is None:
            return np.zeros((0, 0), np.bool_)
        stride = self._graphs.spec.stride
        cells = letterbox.network_hw[0] // stride, letterbox.network_hw[1] // stride
        joints = seen.keypoints[row : row + 1]
        mask: BoolArray = poses_on_grid(joints, letterbox, stride, cells)[0]
        return mask

    def _describe_looks(
        self, features: Array, looks: Sequence[Look], places: Sequence[tuple[int, int]]
    ) -> ObjectFeatures:
        """See the base class."""
        return describe_looks(self._graphs, features, looks, places, self._config.max_area)

    def _report(
        self, frame: Frame, ids: IntArray, found: Detections, predicted: BoolArray | None
    ) -> Tracks:
        return Tracks(frame.index, ids, found, predicted=predicted)


def poses_on_grid(
    keypoints: FloatArray, letterbox: Letterbox, stride: int, grid_hw: tuple[int, int]
) -> BoolArray:
    """Skeletons drawn in the network's image and looked at from the feature cells.

    Args:
        keypoints: (N, K, 3) float32 in source pixels.
        letterbox: From source to network.
        stride: Network pixels per cell.
        grid_hw: Rows and columns of cells.

    Returns:
        (N, rows, cols) bool; cells of the padding are outside.
    """
    placed = keypoints.astype(np.float64)
    placed[..., :2] = letterbox.points_to_network(placed[..., :2])
    image = np.zeros(letterbox.network_hw, np.bool_)
    height, width = letterbox.inner_hw
    image[letterbox.top : letterbox.top + height, letterbox.left : letterbox.left + width] = True
    grid = np.zeros((len(keypoints), *grid_hw), np.bool_)
    for row, joints in enumerate(placed):
        mask = pose_mask(joints, letterbox.network_hw) & image
        grid[row] = mask[::stride, ::stride]
    return grid
