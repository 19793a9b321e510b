"""Scores of single-object tracking against truth, as the OTB benchmark has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError

Boxes = npt.NDArray[Any]
Curve = npt.NDArray[np.float64]

THRESHOLDS: Curve = np.linspace(0.0, 1.0, 21)
"""Overlaps 0, 0.05, … 1."""


def overlaps(boxes_xywh: Boxes, truth_xywh: Boxes) -> Curve:
    """Intersection over union, frame by frame.

    Args:
        boxes_xywh: (N, 4) left, top, width, height.
        truth_xywh: (N, 4) in the same coordinates.

    Returns:
        (N,) float64 in [0, 1]; 0 where a box is empty.

    Raises:
        DetectionError: Different numbers of frames.
    """
    if boxes_xywh.shape != truth_xywh.shape or boxes_xywh.ndim != 2 or boxes_xywh.shape[1] != 4:
        raise DetectionError(
            f"boxes to be compared have shapes {boxes_xywh.shape} and {truth_xywh.shape}, "
            "expected (frames, 4) twice"
        )
    a, b = boxes_xywh.astype(np.float64), truth_xywh.astype(np.float64)
    left_top = np.maximum(a[:, :2], b[:, :2])
    right_bottom = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared: Curve = np.maximum(right_bottom - left_top, 0.0).prod(axis=1)
    union = np.maximum(a[:, 2:], 0).prod(axis=1) + np.maximum(b[:, 2:], 0).prod(axis=1) - shared
    # Rounding may leave a little more than 1, which would pass the last threshold.
    result: Curve = np.minimum(shared / np.where(union > 0, union, 1.0), 1.0)
    return result


def success_curve(overlap: Curve) -> Curve:
    """(21,) share of frames whose overlap is larger than each of `THRESHOLDS`.

    Frames whose overlap is NaN, because their truth is, are left out.

    Raises:
        DetectionError: No frame is left.
    """
    known = overlap[~np.isnan(overlap)]
    if not len(known):
        raise DetectionError("there is no frame with a true box to score")
    return np.array([float((known > threshold).mean()) for threshold in THRESHOLDS])


def success_auc(boxes_xywh: Boxes, truth_xywh: Boxes) -> float:
    """Area under the success curve: its mean over the thresholds.

    Args:
        boxes_xywh: (N, 4) left, top, width, height, the first frame included.
        truth_xywh: (N, 4) in the same coordinates; NaN where the object is not annotated.

    Returns:
        0 to 20/21, since no overlap is larger than 1.

    Raises:
        DetectionError: Different numbers of frames, or none with a true box.
    """
    return float(success_curve(overlaps(boxes_xywh, truth_xywh)).mean())


def precision(boxes_xywh: Boxes, truth_xywh: Boxes, limit_px: float = 20.0) -> float:
    """Share of frames whose centre is at most `limit_px` from the true one.

    Args:
        boxes_xywh: (N, 4) left, top, width, height.
        truth_xywh: (N, 4) in the same coordinates; frames with NaN are left out.
        limit_px: In pixels; OTB's is 20.

    Raises:
        DetectionError: Different numbers of frames, or none with a true box.
    """
    offset = _centre_offsets(boxes_xywh, truth_xywh)
    return float((np.hypot(offset[:, 0], offset[:, 1]) <= limit_px).mean())


def normalised_precision(boxes_xywh: Boxes, truth_xywh: Boxes) -> float:
    """Area under the precision curve over the offsets 0 to 0.5, in sizes of the true box.

    Offsets along either axis are divided by the true width and height first, as TrackingNet
    does it, so that small and large targets count alike.

    Raises:
        DetectionError: Different numbers of frames, or none with a true box.
    """
    offset = _centre_offsets(boxes_xywh, truth_xywh, normalised=True)
    error = np.hypot(offset[:, 0], offset[:, 1])
    return float(np.mean([(error <= limit).mean() for limit in np.linspace(0.0, 0.5, 51)]))


def _centre_offsets(boxes_xywh: Boxes, truth_xywh: Boxes, normalised: bool = False) -> Curve:
    """(M, 2) x and y from the true centre to the found one, of the frames with truth."""
    overlaps(boxes_xywh, truth_xywh)  # checks the shapes
    known = np.isfinite(truth_xywh).all(axis=1)
    if not known.any():
        raise DetectionError("there is no frame with a true box to score")
    found, truth = (b[known].astype(np.float64) for b in (boxes_xywh, truth_xywh))
    offset: Curve = found[:, :2] + found[:, 2:] / 2 - truth[:, :2] - truth[:, 2:] / 2
    return offset / truth[:, 2:] if normalised else offset
