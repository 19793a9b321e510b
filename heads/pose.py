"""Pose propagation: the joints of the first frame are carried through the video (section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DetectionError
from ..records import BoolArray, Detections, FloatArray, Frame, IntArray, Tracks
from ..runtime.formats.keypoints import pose_boxes, seen_joints
from ..runtime.inference.base import Graphs
from ..runtime.preprocessing import FeatureMap
from .association.skeleton import body_size
from .config import PoseConfig
from .propagated import PropagatedHead
from .propagation.belief_maps import (
    VANISHED,
    WEAK,
    Float64,
    belief_maps,
    read_points,
    within_reach,
)
from .propagation.person import FocusedPose
from .propagation.propagator import Propagator

_CHANNELS = 256
"""Maps that are propagated together; the graphs serve no more at once."""


class PoseHead(PropagatedHead[PoseConfig]):
    """Propagates keypoints.

    Args:
        graphs: Runs the `propagate_*` graphs.
        keypoints: (N, K, 3) float32 of the first frame: x, y in source pixels, confidence (<= 0:
            not given).
        config: Parameters.
        ids: (N,) int64 identities; by default 1 to N.

    Raises:
        DetectionError: No keypoint is given, or more top-k than the bundle was exported for.
    """

    def __init__(
        self,
        graphs: Graphs,
        keypoints: FloatArray,
        config: PoseConfig,
        ids: IntArray | None = None,
    ) -> None:
        super().__init__(graphs, config)
        self._given = seen_joints(keypoints)
        if not self._given.any():
            raise DetectionError(
                "the first frame's poses hold no keypoint: none has a confidence above 0"
            )
        self._ids = np.arange(1, len(keypoints) + 1) if ids is None else ids
        self._keypoints = keypoints
        self._propagators: list[Propagator] = []
        self._focused: FocusedPose | None = None
        self._last: Float64 = np.zeros((0, 2))
        self._frames_weak: IntArray = np.zeros(0, np.int64)

    def reset(self) -> None:
        """Forget the video; the poses stay and belong to the next frame again."""
        self._propagators, self._focused = [], None

    def step(
        self,
        frame: Frame,
        features: FeatureMap | Sequence[FeatureMap] | None,
        detections: Detections | None = None,  # noqa: ARG002
    ) -> Tracks:
        """Find the joints of the next frame; the first one keeps what it was given.

        Joints that were not given are never found.  One whose belief map has vanished has
        confidence 0 and place 0, 0; a person without any joint left is not reported.
        """
        if self._focuses:
            return self._report(frame.index, self._step_in_focus(frame, features))
        if not isinstance(features, FeatureMap):
            raise TypeError("PoseHead without focus needs the features of the whole frame")
        if not self._propagators:
            self._start(features)
            return self._report(frame.index, self._keypoints)
        points, heights = self._read(features)
        found = np.zeros_like(self._keypoints)
        places = features.letterbox.points_to_source(points) * (heights > 0)[:, None]
        found[self._given] = np.concatenate([places, heights[:, None]], axis=1)
        return self._report(frame.index, found)

    def _step_in_focus(
        self, frame: Frame, features: FeatureMap | Sequence[FeatureMap] | None
    ) -> FloatArray:
        """(N, K, 3) joints of the next frame."""
        if self._focused is None:
            self._focused = FocusedPose(self._graphs, self._config, frame, self._keypoints)
            return self._keypoints
        if not isinstance(features, Sequence):
            raise TypeError("PoseHead needs the features of the regions that it asked for")
        return self._focused.step(frame, features)

    def _read(self, features: FeatureMap) -> tuple[Float64, FloatArray]:
        """Network pixels of the given joints, and how sure each is; 0 where its map has vanished.

        Cells that resemble a joint's are found anywhere in the image, because the first frame is
        searched globally.  Joints do not jump: only cells near the last place count, and some
        further away with every frame in which the joint was hardly seen.
        """
        maps = np.concatenate([p.step(features.array) for p in self._propagators], axis=1)
        stride, grid_hw = features.stride, features.grid_hw
        if self._config.reach:
            reach = np.asarray(self._config.reach * (1.0 + self._frames_weak), np.float64)
            maps = within_reach(maps, self._last, reach, stride=stride, grid_hw=grid_hw)
        points, heights = read_points(
            maps, top_cells=self._config.top_cells, stride=stride, grid_hw=grid_hw
        )
        shown = heights > VANISHED
        self._last = np.where(shown[:, None], points, self._last)
        self._frames_weak = np.where(heights >= WEAK, 0, self._frames_weak + 1)
        return points, np.where(shown, np.minimum(heights, 1.0), 0.0)

    def _start(self, features: FeatureMap) -> None:
        self._last, variances = self._placed(features)
        self._frames_weak = np.zeros(len(variances), np.int64)
        maps = belief_maps(self._last, variances, stride=features.stride, grid_hw=features.grid_hw)
        for first in range(0, maps.shape[1], _CHANNELS):
            propagator = self._propagator(features)
            part = np.ascontiguousarray(maps[:, first : first + _CHANNELS])
            propagator.start(features.array, part)
            self._propagators.append(propagator)

    def _placed(self, features: FeatureMap) -> tuple[Float64, Float64]:
        """The given joints in network pixels, and the variances of their maps in cells²."""
        placed = np.where(self._given[..., None], self._keypoints, 0).astype(np.float64)
        placed[..., :2] = features.letterbox.points_to_network(placed[..., :2])
        sizes = np.array([body_size(person) for person in placed]) / features.stride
        variances = np.broadcast_to(self._config.sigma * sizes[:, None], self._given.shape)
        return placed[..., :2][self._given], variances[self._given]

    def _report(self, frame_index: int, keypoints: FloatArray) -> Tracks:
        keypoints = np.where(seen_joints(keypoints)[..., None], keypoints, np.float32(0))
        boxes, shown = pose_boxes(keypoints)
        scores = _mean_confidence(keypoints)
        people = Detections(
            boxes[shown],
            scores[shown],
            np.zeros(int(shown.sum()), np.int64),
            class_names=("person",),
            keypoints=keypoints[shown],
        )
        return Tracks(frame_index, self._ids[shown], people)


def _mean_confidence(keypoints: FloatArray) -> FloatArray:
    seen: BoolArray = keypoints[..., 2] > 0
    count = np.maximum(seen.sum(axis=1), 1)
    return np.asarray(np.where(seen, keypoints[..., 2], 0).sum(axis=1) / count, np.float32)
