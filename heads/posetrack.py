"""Pose tracking: skeletons get identities."""

from __future__ import annotations

import numpy as np

from ..errors import ObservationError
from ..records import BoolArray, FloatArray, Frame, Observations, Tracks
from ..runtime.boxes import clip_boxes, valid_rows
from ..runtime.features import FeatureMap
from ..runtime.graph_runner import GraphRunner
from ..runtime.head import Head
from .association import AssociationConfig, Associator
from .mask_configs import PosetrackConfig
from .mask_points import describe_grid
from .pose_mask import pose_mask
from .tracklets import Tracklet


class PosetrackHead(Head):
    """Tracks poses.

    Args:
        graphs: Runs `point_features`, `select` and `rsm`.
        config: Parameters.
        fps: Of the source, for the buffer.
    """

    needs_observations = True
    graphs_used = ("point_features", "select", "rsm")

    def __init__(self, graphs: GraphRunner, config: PosetrackConfig, fps: float = 30.0) -> None:
        self._graphs = graphs
        self._config = config
        self._associator = Associator(
            graphs,
            AssociationConfig(
                appearance_weight=config.appearance_weight,
                gate=False,
                position_only=True,
                cost_limit=config.cost_limit,
                overlap_limit=config.overlap_limit,
                duplicate_limit=config.duplicate_limit,
                buffer_frames=round(config.buffer * fps / 30.0),
                confirm_at_once=True,
                use_motion=config.use_motion,
                scale=config.rsm_scale,
            ),
        )

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:  # noqa: ARG002
        """One size for all sources, as the authors have it."""
        return self._config.height, self._config.width

    def reset(self) -> None:
        """Forget all tracks; ids start again from 1."""
        self._associator.reset()

    def step(
        self, frame: Frame, features: FeatureMap, observations: Observations | None = None
    ) -> Tracks:
        """Give identities to one frame's poses.

        A person of whom no joint is seen is tracked by the box alone; one whose box lies wholly
        outside the picture is left out.

        Returns:
            The observer's boxes and joints, untouched.

        Raises:
            ObservationError: The observations have no keypoints.
        """
        seen = observations or Observations.empty()
        if len(seen) and seen.keypoints is None:
            raise ObservationError(
                "task posetrack tracks poses, and the observer gives none: give --detections a "
                "PoseTrack18 or COCO keypoint file"
            )
        inside = valid_rows(clip_boxes(seen.boxes_xyxy, frame.size_hw))
        seen = seen[inside & (seen.scores >= self._config.confidence)]
        appearance = None
        if len(seen) and seen.keypoints is not None:
            grid = poses_on_grid(seen.keypoints, features)
            appearance = describe_grid(self._graphs, grid, features, self._config.max_area)
        tracklets = self._associator.step(frame.index, seen, appearance)
        return _report(frame.index, tracklets, seen)


def _report(frame_index: int, tracklets: list[Tracklet], seen: Observations) -> Tracks:
    tracklets = sorted(tracklets, key=lambda t: t.id)
    ids = np.array([t.id for t in tracklets], np.int64)
    return Tracks(frame_index, ids, seen[np.array([t.detection for t in tracklets], np.int64)])


def poses_on_grid(keypoints: FloatArray, features: FeatureMap) -> BoolArray:
    """Skeletons drawn in the network's image and looked at from the feature cells.

    Args:
        keypoints: (N, K, 3) float32 in source pixels.
        features: Whose grid.

    Returns:
        (N, rows, cols) bool; cells of the padding are outside.
    """
    letterbox, stride = features.letterbox, features.stride
    placed = keypoints.astype(np.float64)
    placed[..., :2] = letterbox.points_to_network(placed[..., :2])
    picture = np.zeros(letterbox.network_hw, np.bool_)
    height, width = letterbox.inner_hw
    picture[letterbox.top : letterbox.top + height, letterbox.left : letterbox.left + width] = True
    grid = np.zeros((len(keypoints), *features.grid_hw), np.bool_)
    for row, joints in enumerate(placed):
        mask = pose_mask(joints, letterbox.network_hw) & picture
        grid[row] = mask[::stride, ::stride]
    return grid
