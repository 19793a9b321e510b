"""DAVIS' region similarity J and contour accuracy F of masks, and its statistics over a sequence.

Definitions: Perazzi et al., "A benchmark dataset and evaluation methodology for video object
segmentation", CVPR 2016; frames and objects as in the 2017 challenge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import BoolArray

Curve = npt.NDArray[np.float64]

BOUND_SHARE = 0.008
"""How far two contours may be apart, as a share of the image's diagonal."""

VOID = 255
"""Label of pixels that count for nothing, where a truth has several objects."""


def contour(mask: BoolArray) -> BoolArray:
    """Pixels whose right, lower or lower right neighbour is on the other side of the border.

    Args:
        mask: (H, W) bool.  What lies beyond the image counts as equal to the pixel before it.

    Returns:
        (H, W) bool.
    """
    height, width = mask.shape
    ahead = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below = ahead[:height, 1:], ahead[1:, :width]
    edge: BoolArray = (mask ^ right) | (mask ^ below) | (mask ^ ahead[1:, 1:])
    return edge


def contour_f(prediction: BoolArray, truth: BoolArray) -> float:
    """Contour accuracy F: the harmonic mean of the contours' precision and recall.

    A contour pixel is right where one of the other contour's is at most
    ceil(0.008 · image diagonal) away, by Euclid.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.

    Returns:
        0 to 1; 1 where neither has a contour, 0 where only one has.
    """
    found, true = contour(prediction), contour(truth)
    found_count, true_count = int(found.sum()), int(true.sum())
    if not found_count or not true_count:
        return float(found_count == true_count)
    reach = math.ceil(BOUND_SHARE * math.hypot(*truth.shape))
    right = int(np.count_nonzero(found & _widened(true, reach)))
    met = int(np.count_nonzero(true & _widened(found, reach)))
    precision, recall = right / found_count, met / true_count
    return 2 * precision * recall / (precision + recall) if right and met else 0.0


def _widened(mask: BoolArray, reach: int) -> BoolArray:
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x * x + y * y <= reach * reach).astype(np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disk) > 0, np.bool_)


def region_and_contour(
    prediction: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], label: int
) -> tuple[float, float]:
    """J and F of one object in one frame.

    Args:
        prediction: (H, W) labels.
        truth: (H, W) labels; `VOID` where nothing counts.
        label: The object's.

    Raises:
        DetectionError: The maps differ in size.
    """
    if prediction.shape != truth.shape:
        jaccard(prediction > 0, truth > 0)  # says how they differ
    counts = truth != VOID
    found = np.asarray((prediction == label) & counts, np.bool_)
    true = np.asarray(truth == label, np.bool_)
    return jaccard(found, true), contour_f(found, true)


def statistics(per_frame: Sequence[float] | Curve) -> tuple[float, float, float]:
    """Mean, recall and decay of J or F over the frames of one object.

    Args:
        per_frame: Scores of the frames that count, in order.

    Returns:
        The mean; the share of frames above 0.5; the mean of the first quarter of the frames less
        that of the last (quarters share their border frames, as in the official tool).
    """
    scores = np.asarray(per_frame, np.float64)
    bounds = np.floor(np.linspace(0, len(scores) - 1, 5) + 0.5 + 1e-10).astype(np.int64)
    first, last = scores[: bounds[1] + 1], scores[bounds[3] :]
    return float(scores.mean()), float((scores > 0.5).mean()), float(first.mean() - last.mean())


LabelMap = npt.NDArray[Any]


def jaccard(prediction: BoolArray, truth: BoolArray) -> float:
    """Region similarity J of two masks: their intersection over their union.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.

    Returns:
        0 to 1; 1 where both are empty, as DAVIS defines it.

    Raises:
        DetectionError: The masks differ in size.
    """
    if prediction.shape != truth.shape:
        raise DetectionError(
            f"masks to be compared differ in size: prediction {prediction.shape}, "
            f"truth {truth.shape} (height, width)"
        )
    union = int(np.count_nonzero(prediction | truth))
    return int(np.count_nonzero(prediction & truth)) / union if union else 1.0


def vos_j_mean(pred_masks: Sequence[LabelMap], gt_masks: Sequence[LabelMap]) -> float:
    """DAVIS' J-mean of a clip: J averaged over objects and frames, without first and last frame.

    The first frame is given and the last one left out by convention.

    Args:
        pred_masks: A (H, W) map for each frame, of bool for one object or of labels (0 is
            background) for several. Grey masks of 0 and 255 must be made bool first.
        gt_masks: The true maps, as many and as large. Every label that occurs in any of them is
            an object; predicted labels beyond those count for nothing but the space they take.

    Returns:
        0 to 1.

    Raises:
        DetectionError: The clips differ in length or size, have fewer than three frames, or
            the truth holds no object.
    """
    if len(pred_masks) != len(gt_masks) or len(gt_masks) < 3:
        raise DetectionError(
            f"J-mean: got {len(pred_masks)} predicted and {len(gt_masks)} true masks, "
            "expected as many of either and at least 3"
        )
    objects = sorted({int(v) for mask in gt_masks for v in np.unique(mask)} - {0})
    if not objects:
        raise DetectionError("J-mean: the true masks are all empty, there is nothing to score")
    scores = [
        jaccard(np.asarray(predicted) == k, np.asarray(truth) == k)
        for predicted, truth in zip(pred_masks[1:-1], gt_masks[1:-1], strict=True)
        for k in objects
    ]
    return float(np.mean(scores))
