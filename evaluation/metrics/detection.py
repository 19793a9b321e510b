"""How well a detector finds objects: recall, precision, AP at one IoU, and PCKh of its poses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...records import BoolArray, FloatArray, IntArray
from ...runtime.boxes import box_areas, iou_matrix
from ...runtime.formats.keypoints import seen_joints


@dataclass(frozen=True, slots=True)
class FrameMatch:
    """Detections of one frame beside its truth.

    Attributes:
        scores: (N,) float32 of the detections that count.
        truth_rows: (N,) int64: the true object that each found, -1 where it found none.
        objects: How many true objects there are to find.
    """

    scores: FloatArray
    truth_rows: IntArray
    objects: int


def match_frame(
    boxes: FloatArray,
    scores: FloatArray,
    truth: FloatArray,
    ignored: BoolArray | None = None,
    crowd: BoolArray | None = None,
    iou_limit: float = 0.5,
) -> FrameMatch:
    """Give every true object to the best detection that overlaps it, greedily by score.

    Args:
        boxes: (N, 4) float32 left, top, right, bottom.
        scores: (N,) float32.
        truth: (M, 4) float32.
        ignored: (M,) bool: objects that need not be found; a detection that finds nothing but one
            of these is left out. None: no such objects.
        crowd: (M,) bool: of the ignored ones, boxes of many objects, of which a detection is one
            that lies in it by at least `iou_limit` of its own area, as COCO has it.
        iou_limit: IoU from which a detection counts as the object.

    Returns:
        The match, detections by falling score.
    """
    free = np.ones(len(truth), np.bool_)
    if ignored is not None:
        free[ignored] = False
    objects = int(free.sum())
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    overlaps = iou_matrix(boxes[order], truth) if len(truth) else np.zeros((len(order), 0))
    covered: npt.NDArray[Any] = overlaps[:, ~free]
    if crowd is not None and crowd.any():
        covered = np.hstack([covered, _shares(boxes[order], truth[crowd])])
    excused = np.asarray((covered >= iou_limit).any(axis=1), np.bool_)
    kept: list[int] = []
    rows: list[int] = []
    for place, overlap in enumerate(overlaps):
        candidates = np.where(free, overlap, -1.0)
        best = int(candidates.argmax()) if len(candidates) else -1
        if best >= 0 and candidates[best] >= iou_limit:
            free[best] = False
            rows.append(best)
        elif excused[place]:
            continue
        else:
            rows.append(-1)
        kept.append(int(order[place]))
    return FrameMatch(scores[np.array(kept, np.int64)], np.array(rows, np.int64), objects)


def _shares(boxes: FloatArray, truth: FloatArray) -> npt.NDArray[np.float64]:
    """(N, M) which share of each of N boxes lies in each of M others."""
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2]).astype(np.float64)
    high = np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    areas = np.prod(np.maximum(high - low, 0.0), axis=2)
    return np.asarray(areas / box_areas(boxes)[:, None], np.float64)


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Scores over all frames.

    Attributes:
        recall: Share of true objects that were found.
        precision: Share of detections that are true objects; 1 without a detection.
        ap: Area under the curve of precision over recall.
        objects: True objects.
        detections: Detections that count.
    """

    recall: float
    precision: float
    ap: float
    objects: int
    detections: int


def score_detections(frames: Iterable[FrameMatch], threshold: float = 0.0) -> DetectionScores:
    """Recall and precision of detections from a threshold on, and AP of all of them.

    Args:
        frames: From `match_frame`, with all detections down to low scores.
        threshold: Score from which a detection counts for recall and precision.
    """
    frames = list(frames)
    objects = sum(frame.objects for frame in frames)
    empty = np.zeros(0)
    scores = np.concatenate([empty, *(frame.scores for frame in frames)])
    right = np.concatenate([empty, *(frame.truth_rows >= 0 for frame in frames)]) > 0
    ap = average_precision(scores, right, objects)
    counted = scores >= threshold
    hits = int(right[counted].sum())
    number = int(counted.sum())
    return DetectionScores(
        hits / objects if objects else 0.0, hits / number if number else 1.0, ap, objects, number
    )


def average_precision(scores: npt.NDArray[Any], right: npt.NDArray[Any], objects: int) -> float:
    """Area under the curve of precision over recall, of which every dip is filled.

    Args:
        scores: (N,) of detections; of equal ones those that stand first count first.
        right: (N,) bool: which of them are true objects.
        objects: How many true objects there are.
    """
    found = np.cumsum(right[np.argsort(-scores, kind="stable")])
    precisions = found / np.arange(1, len(found) + 1)
    # Precision at a recall is the best one at that recall or a higher one.
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    return float((np.diff(found / max(objects, 1), prepend=0.0) * envelope).sum())


@dataclass(slots=True)
class PckhCount:
    """Counts joints within half a head's size of the truth.

    Attributes:
        limit: In head sizes.
        right: Joints within the limit, by joint.
        total: True joints, by joint.
    """

    limit: float = 0.5
    right: dict[int, int] = field(default_factory=dict)
    total: dict[int, int] = field(default_factory=dict)

    def add(self, found: FloatArray, truth: FloatArray, head_size: float) -> None:
        """Count one person that was found.

        Args:
            found: (K, 3) x, y, confidence.
            truth: (K, 3).
            head_size: In pixels; a person whose size is not known is left out.
        """
        if not np.isfinite(head_size):
            return
        away = np.hypot(*(found[:, :2] - truth[:, :2]).T.astype(np.float64))
        near = seen_joints(found) & (away <= self.limit * head_size)
        for joint in np.flatnonzero(seen_joints(truth)):
            self.total[int(joint)] = self.total.get(int(joint), 0) + 1
            self.right[int(joint)] = self.right.get(int(joint), 0) + int(near[joint])

    def merge(self, other: PckhCount) -> None:
        """Add what another one counted."""
        for mine, theirs in ((self.right, other.right), (self.total, other.total)):
            for joint, count in theirs.items():
                mine[joint] = mine.get(joint, 0) + count

    def share(self, joints: Iterable[int]) -> float:
        """PCKh over some joints; 0 where the truth has none of them."""
        joints = list(joints)
        total = sum(self.total.get(joint, 0) for joint in joints)
        return sum(self.right.get(joint, 0) for joint in joints) / total if total else 0.0
