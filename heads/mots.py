"""Multi-object tracking and segmentation: masks get identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import DetectionError
from ..records import BoolArray, Detections, FloatArray, Frame, Tracks
from ..runtime.boxes import mask_boxes, nms, valid_rows
from ..runtime.preprocessing import FeatureMap
from .association.mask_points import describe_masks
from .association.tracklets import ObjectFeatures, Tracklet
from .config import MotsConfig
from .tracked import TrackedHead, matched


class MotsHead(TrackedHead[MotsConfig]):
    """Tracks masks.

    Empty masks are left out, and of two masks whose boxes overlap too much the one of the lower
    score.  Boxes are the tight boxes of the masks, whatever the detector says.

    Reported masks are disjoint, as the MOTS format asks for: where two overlap, the pixels belong
    to the one of the higher score, or else of the older track.  A mask of which nothing is left is
    tracked on and not reported.
    """

    graphs_used = ("point_features", "select", "rsm_masks")

    def _own_numbers(self) -> dict[str, Any]:
        return {"gate": False, "confirm_at_once": True}

    def _own_fused_numbers(self) -> dict[str, Any]:
        return {"confirm_at_once": True}

    def _usable(self, seen: Detections, size_hw: tuple[int, int]) -> Detections:
        if not len(seen):
            return Detections.empty()
        if seen.masks is None:
            raise DetectionError(
                "task mots tracks masks, and the detector gives boxes only: give --detections a "
                "MOTS file, use --detector motion, or add --mask-model FILE.onnx"
            )
        if seen.masks.shape[1:] != size_hw:
            raise DetectionError(
                f"task mots: got masks of {seen.masks.shape[1:]} (height, width), expected the "
                f"source's {size_hw}"
            )
        boxes = mask_boxes(seen.masks)
        rows = np.flatnonzero(valid_rows(boxes) & (seen.scores >= self._lowest_confidence))
        kept = nms(boxes[rows], seen.scores[rows], self._config.overlap_removal, seen.classes[rows])
        rows = rows[np.sort(kept)]
        return replace(seen[rows], boxes_xyxy=boxes[rows])

    def _describe(self, seen: Detections, features: FeatureMap) -> ObjectFeatures | None:
        if seen.masks is None:
            return None
        return describe_masks(self._graphs, seen.masks, features, self._config.max_area)

    def _report(self, frame: Frame, tracklets: Sequence[Tracklet], seen: Detections) -> Tracks:
        ids, found = matched(tracklets, seen)
        if found.masks is None:
            return Tracks(frame.index, np.zeros(0, np.int64))
        masks = disjoint_masks(found.masks, found.scores)
        boxes = mask_boxes(masks)
        left = valid_rows(boxes)
        return Tracks(
            frame.index,
            ids[left],
            Detections(boxes[left], found.scores[left], found.classes[left], masks[left]),
        )


def disjoint_masks(masks: BoolArray, scores: FloatArray) -> BoolArray:
    """Give every pixel to one mask: that of the highest score, or else of the first row.

    Args:
        masks: (N, H, W) bool; left as it is.
        scores: (N,).

    Returns:
        (N, H, W) bool, disjoint.
    """
    apart: BoolArray = masks.copy()
    taken = np.zeros(masks.shape[1:], np.bool_)
    for row in np.argsort(-scores.astype(np.float64), kind="stable"):
        apart[row] &= ~taken
        taken |= apart[row]
    return apart
