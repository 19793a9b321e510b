"""How far two detectors find the same objects in the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..records import BoolArray, Detections, FloatArray, IntArray
from .boxes import box_areas, iou_matrix

_SAME = 0.5
"""Least IoU of two boxes of one object."""

_JOINT_SIZE = 0.1
"""Distance of a joint at which exp(-1/2) of it agrees, in square roots of the box's area; COCO's
object keypoint similarity takes 0.05 for eyes to 0.21 for hips."""


@dataclass(frozen=True, slots=True)
class DetectionAgreement:
    """What a detector finds beside what a reference finds, over some frames.

    Every object that either finds counts with its score.  A pair of boxes counts with the lower
    score times how well the two, their joints and their masks lie over one another, out of the
    higher score; an object that one alone finds counts for nothing out of its score.

    Attributes:
        agreement: Those sums divided, 0 to 1; 1: the same objects, boxes, scores, joints, masks.
        objects: That the reference reports.
        lost: Of them, those that the other does not find.
        added: That the other alone reports.
        iou: Mean of the pairs' boxes.
        score: Mean difference of the pairs' scores, less that of the reference.
        joints_px: Mean distance of the pairs' joints in pixels of the image, weighed by the
            reference's scores; None without joints.
        mask_iou: Mean of the pairs' masks; None without masks.
    """

    agreement: float
    objects: int
    lost: int
    added: int
    iou: float
    score: float
    joints_px: float | None = None
    mask_iou: float | None = None


def compare_detections(
    expected: Sequence[Detections], found: Sequence[Detections], least: float
) -> DetectionAgreement:
    """Compare two detectors frame by frame.

    Args:
        expected: Of the reference, a frame each, down to half of `least`: what falls just below the
            threshold is still the same object.
        found: Of the other, likewise.
        least: Lowest score that is reported.
    """
    kept = of = 0.0
    ious: list[float] = []
    differences: list[float] = []
    apart: list[float] = []
    shared: list[float] = []
    objects = lost = added = 0
    for one, other in zip(expected, found, strict=True):
        pairs, alone = _paired(one, other)
        for row, column, iou in pairs:
            scores = float(one.scores[row]), float(other.scores[column])
            if max(scores) >= least:
                objects += scores[0] >= least
                alike = iou
                if one.keypoints is not None and other.keypoints is not None:
                    area = float(box_areas(one.boxes_xyxy[row : row + 1])[0])
                    joints, pixels = _joints(one.keypoints[row], other.keypoints[column], area)
                    alike *= joints
                    apart.append(pixels)
                if one.masks is not None and other.masks is not None:
                    shared.append(_mask_iou(one.masks[row], other.masks[column]))
                    alike *= shared[-1]
                kept += min(scores) * alike
                of += max(scores)
                ious.append(iou)
                differences.append(scores[1] - scores[0])
        single = [seen.scores[rows] for seen, rows in zip((one, other), alone, strict=True)]
        missing, extra = (scores[scores >= least] for scores in single)
        of += float(missing.sum() + extra.sum())
        lost += len(missing)
        added += len(extra)
    return DetectionAgreement(
        kept / of if of else 1.0,
        objects + lost,
        lost,
        added,
        float(np.mean(ious)) if ious else 0.0,
        float(np.mean(differences)) if differences else 0.0,
        float(np.mean(apart)) if apart else None,
        float(np.mean(shared)) if shared else None,
    )


def _paired(
    one: Detections, other: Detections
) -> tuple[list[tuple[int, int, float]], tuple[IntArray, IntArray]]:
    """Rows of both that are one object with their IoU, the best of `one` first; and other rows."""
    overlap = iou_matrix(one.boxes_xyxy, other.boxes_xyxy)
    overlap = np.where(one.classes[:, None] == other.classes[None], overlap, 0.0)
    pairs: list[tuple[int, int, float]] = []
    for row in range(len(one)):
        column = int(overlap[row].argmax()) if len(other) else -1
        if column >= 0 and overlap[row, column] >= _SAME:
            pairs.append((row, column, float(overlap[row, column])))
            overlap[:, column] = 0.0
    alone = [
        np.setdiff1d(np.arange(len(seen)), [pair[side] for pair in pairs]).astype(np.int64)
        for side, seen in enumerate((one, other))
    ]
    return pairs, (alone[0], alone[1])


def _joints(joints: FloatArray, moved: FloatArray, area: float) -> tuple[float, float]:
    """exp(-d² / (2 k² area)) of the joints (J, 3) of two people, and d, weighed by the first."""
    squared = np.square(joints[:, :2] - moved[:, :2]).sum(axis=1)
    alike = np.exp(-squared / (2 * _JOINT_SIZE**2 * area))
    weights = np.maximum(joints[:, 2], 1e-6)
    total = weights.sum()
    return float((alike * weights).sum() / total), float((np.sqrt(squared) * weights).sum() / total)


def _mask_iou(one: BoolArray, other: BoolArray) -> float:
    """Of two masks (H, W); 1 where both are empty."""
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0
