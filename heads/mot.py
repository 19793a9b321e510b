"""Multi-object tracking: a detector's boxes get identities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..records import Frame, Observations, Tracks
from ..runtime.boxes import box_areas, clip_boxes, valid_rows
from ..runtime.features import FeatureMap
from ..runtime.graph_runner import GraphRunner
from ..runtime.head import Head
from .association import AssociationConfig, Associator
from .config import MotConfig
from .motion import boxes_of
from .roi import roi_weights
from .tracklets import ObjectFeatures, Tracklet

PEDESTRIAN = 0
"""The class of people: COCO's number for them, and what a file without classes is read as."""


class MotHead(Head):
    """Tracks boxes.

    Args:
        graphs: Runs `box_features`, `select` and `rsm`.
        config: Parameters.
        fps: Of the source, for the buffer.
    """

    needs_observations = True
    graphs_used = ("box_features", "select", "rsm")

    def __init__(self, graphs: GraphRunner, config: MotConfig, fps: float = 30.0) -> None:
        self._graphs = graphs
        self._config = config
        self._associator = Associator(
            graphs,
            AssociationConfig(
                appearance_weight=config.appearance_weight,
                cost_limit=config.cost_limit,
                overlap_limit=config.overlap_limit,
                confirm_limit=config.confirm_limit,
                duplicate_limit=config.duplicate_limit,
                buffer_frames=round(config.buffer * fps / 30.0),
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
        """Give identities to one frame's detections.

        Boxes that lie wholly outside the picture are left out; others are tracked as they are.
        """
        seen = observations or Observations.empty()
        inside = valid_rows(clip_boxes(seen.boxes_xyxy, frame.size_hw))
        seen = seen[inside & (seen.scores >= self._config.confidence)]
        tracklets = self._associator.step(frame.index, seen, self._describe(seen, features))
        return self._report(frame.index, tracklets, seen)

    def _describe(self, seen: Observations, features: FeatureMap) -> ObjectFeatures | None:
        if not len(seen):
            return None
        output_hw = self._config.roi_height, self._config.roi_width
        weights_y, weights_x = roi_weights(
            features.letterbox.to_network(seen.boxes_xyxy),
            stride=features.stride,
            grid_hw=features.grid_hw,
            output_hw=output_hw,
        )
        (points,) = self._graphs.run("box_features", features.array, weights_y, weights_x)
        # A bin without any sample in the picture is no point.
        inside_y = np.asarray(weights_y.any(axis=2), np.float32)
        inside_x = np.asarray(weights_x.any(axis=2), np.float32)
        present = inside_y[:, :, None] * inside_x[:, None, :]
        return ObjectFeatures(points, present.reshape(len(seen), -1))

    def _report(self, frame_index: int, tracklets: list[Tracklet], seen: Observations) -> Tracks:
        rows = np.array([t.detection for t in tracklets], np.int64)
        boxes = boxes_of([t.filter for t in tracklets])
        wanted = valid_rows(boxes) & self._is_reported(boxes, seen.classes[rows])
        ids = np.array([t.id for t in tracklets], np.int64)[wanted]
        rows, boxes = rows[wanted], boxes[wanted]
        return Tracks(frame_index, ids, Observations(boxes, seen.scores[rows], seen.classes[rows]))

    def _is_reported(
        self, boxes: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        large = box_areas(boxes) > self._config.min_area
        if not self._config.max_aspect:
            return large
        size = boxes[:, 2:] - boxes[:, :2]
        upright = size[:, 0] <= self._config.max_aspect * size[:, 1]
        reported: npt.NDArray[np.bool_] = large & (upright | (classes != PEDESTRIAN))
        return reported
