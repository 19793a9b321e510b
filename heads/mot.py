"""Multi-object tracking: a detector's boxes get identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import Detections, Frame, IntArray, Tracks
from ..runtime.boxes import box_areas, clip_boxes, valid_rows
from ..runtime.preprocessing import FeatureMap
from .association.fused_matching import FusedAssociator
from .association.kalman import boxes_of
from .association.roi import roi_weights
from .association.tracklets import ObjectFeatures, Tracklet
from .config import MotConfig
from .tracked import TrackedHead

PEDESTRIAN = 0
"""The class of people: COCO's number for them, and what a file without classes is read as."""


class MotHead(TrackedHead[MotConfig]):
    """Tracks boxes.

    Boxes that lie wholly outside the image are left out; others are tracked as they are.  The
    reported boxes are the motion filters'; with preset memory, for a moment also those of tracks
    that are missed.
    """

    graphs_used = ("box_features", "select", "rsm")

    def _own_numbers(self) -> dict[str, Any]:
        return {"confirm_limit": self._config.confirm_limit}

    def _own_fused_numbers(self) -> dict[str, Any]:
        config = self._config
        return {"confirm_limit": config.confirm_limit, "coast_s": config.coast or 0.0}

    def _usable(self, seen: Detections, size_hw: tuple[int, int]) -> Detections:
        inside = valid_rows(clip_boxes(seen.boxes_xyxy, size_hw))
        return seen[inside & (seen.scores >= self._config.lowest_confidence)]

    def _describe(self, seen: Detections, features: FeatureMap) -> ObjectFeatures:
        output_hw = self._config.roi_height, self._config.roi_width
        weights_y, weights_x = roi_weights(
            features.letterbox.to_network(seen.boxes_xyxy),
            stride=features.stride,
            grid_hw=features.grid_hw,
            output_hw=output_hw,
        )
        (points,) = self._graphs.run("box_features", features.array, weights_y, weights_x)
        # A bin without any sample in the image is no point.
        inside_y = np.asarray(weights_y.any(axis=2), np.float32)
        inside_x = np.asarray(weights_x.any(axis=2), np.float32)
        present = inside_y[:, :, None] * inside_x[:, None, :]
        return ObjectFeatures(points, present.reshape(len(seen), -1))

    def _report(
        self, frame: Frame, ids: IntArray, found: Detections, tracklets: list[Tracklet]
    ) -> Tracks:
        missed = self._coasting(frame.size_hw)
        boxes = boxes_of([t.filter for t in (*tracklets, *missed)])
        ids = np.append(ids, np.array([t.id for t in missed], np.int64))
        scores = np.append(found.scores, np.array([t.score for t in missed], np.float32))
        classes = np.append(found.classes, np.array([t.class_id for t in missed], np.int64))
        wanted = valid_rows(boxes) & self._is_reported(boxes, classes)
        return Tracks(
            frame.index, ids[wanted], Detections(boxes[wanted], scores[wanted], classes[wanted])
        )

    def _coasting(self, size_hw: tuple[int, int]) -> list[Tracklet]:
        """Missed tracklets that are reported all the same.

        Only those wholly in the image: an object at its border is likelier to leave.
        """
        if not isinstance(self._associator, FusedAssociator):
            return []
        tracklets = self._associator.coasting
        boxes = boxes_of([t.filter for t in tracklets])
        inside = (boxes[:, 0] > 0) & (boxes[:, 2] < size_hw[1])
        return [t for t, good in zip(tracklets, inside.tolist(), strict=True) if good]

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
