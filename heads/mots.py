"""Multi-object tracking and segmentation: masks get identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DetectionError
from ..records import BoolArray, Detections, FloatArray, Frame, IntArray, Tracks
from ..runtime.boxes import mask_boxes, nms, valid_rows
from ..runtime.inference.base import Array
from ..runtime.preprocessing import FeatureMap, Letterbox
from .association.mask_points import describe_looks, describe_masks, masks_on_tile
from .association.tracklets import ObjectFeatures
from .config import MotsConfig
from .tracked import TrackedHead

if TYPE_CHECKING:
    from .association.look_memory import Look


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
        return {"confirm_at_once": True, "start_overlap": 1.0, "coast_s": 0.0}

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
        rows = np.flatnonzero(self._probable(seen, "empty", valid_rows(boxes)))
        kept = nms(boxes[rows], seen.scores[rows], self._config.overlap_removal, seen.classes[rows])
        self._dropped["overlap_removal"] += len(rows) - len(kept)
        self._rows = rows = rows[np.sort(kept)]
        return replace(seen[rows], boxes_xyxy=boxes[rows])

    def _describe(self, seen: Detections, features: FeatureMap) -> ObjectFeatures | None:
        if seen.masks is None:
            return None
        return describe_masks(self._graphs, seen.masks, features, self._config.max_area)

    def _where(self, seen: Detections, row: int, letterbox: Letterbox) -> BoolArray:
        """(rows, cols) bool: the mask at the tile's cells."""
        if seen.masks is None:
            return np.zeros((0, 0), np.bool_)
        mask: BoolArray = masks_on_tile(
            seen.masks[row : row + 1], letterbox, self._graphs.spec.stride
        )[0]
        return mask

    def _describe_looks(
        self, features: Array, looks: Sequence[Look], places: Sequence[tuple[int, int]]
    ) -> ObjectFeatures:
        """See the base class."""
        return describe_looks(self._graphs, features, looks, places, self._config.max_area)

    def _report(
        self, frame: Frame, ids: IntArray, found: Detections, predicted: BoolArray | None
    ) -> Tracks:
        """Tracks whose masks are disjoint."""
        if found.masks is None:
            return Tracks(frame.index, np.zeros(0, np.int64))
        masks, boxes = disjoint_masks(found.masks, found.scores)
        left = valid_rows(boxes)
        self._count_dropped("hidden", left)
        # All of them are a view: a copy is megabytes.
        rows = slice(None) if left.all() else left
        shown = Detections(
            boxes[rows],
            found.scores[rows],
            found.classes[rows],
            masks[rows],
            class_names=found.class_names,
        )
        carried = None if predicted is None else predicted[rows]
        return Tracks(frame.index, ids[rows], shown, predicted=carried)

    def _drop_reasons(self) -> dict[str, str]:
        limit = self._config.overlap_removal
        return {
            **super()._drop_reasons(),
            "empty": "detections not tracked: the mask is empty",
            "overlap_removal": "detections not tracked: overlap a better one by more than "
            f"--mots-overlap-removal {limit:g}",
            "hidden": "masks not reported: wholly covered by better ones",
        }


def disjoint_masks(masks: BoolArray, scores: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Give every pixel to one mask: that of the highest score, or else of the first row.

    Args:
        masks: (N, H, W) bool; left as it is.
        scores: (N,).

    Returns:
        (N, H, W) bool, disjoint, `masks` itself where they are; and (N, 4) float32 their tight
        boxes, all zero where nothing is left.
    """
    apart, boxes = masks, mask_boxes(masks)
    taken = np.zeros(masks.shape[1:], np.bool_)
    for row in np.argsort(-scores.astype(np.float64), kind="stable"):
        left, top, right, bottom = boxes[row].astype(np.int64)
        inside = slice(top, bottom), slice(left, right)
        if (masks[row][inside] & taken[inside]).any():
            apart = masks.copy() if apart is masks else apart
            apart[row][inside] &= ~taken[inside]
            boxes[row] = mask_boxes(apart[row : row + 1])[0]
        taken[inside] |= apart[row][inside]
    return apart, boxes
