"""Box geometry in plain NumPy, and what moves with boxes.

Boxes are rows (left, top, right, bottom) in pixels, where pixel (0, 0) covers [0, 1) × [0, 1), so
a box is right − left wide.  Functions never alter what they are given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..records import BoolArray, Detections, FloatArray, IntArray

Boxes = npt.NDArray[Any]


def xywh_to_xyxy(boxes_xywh: Boxes) -> Boxes:
    """(N, 4) of left, top, width, height to left, top, right, bottom; keeps the dtype."""
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)


def xyxy_to_xywh(boxes_xyxy: Boxes) -> Boxes:
    """(N, 4) of left, top, right, bottom to left, top, width, height; keeps the dtype."""
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)


def box_areas(boxes_xyxy: Boxes) -> npt.NDArray[np.float64]:
    """(N,) float64 areas in px²; 0 where a box is inverted."""
    # float64, because the square of a large float32 overflows.
    sides = np.maximum(boxes_xyxy[:, 2:].astype(np.float64) - boxes_xyxy[:, :2], 0.0)
    areas: npt.NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return areas


def iou_matrix(boxes_a: Boxes, boxes_b: Boxes) -> FloatArray:
    """Intersection over union of every box of one set with every box of another.

    Args:
        boxes_a: (N, 4) left, top, right, bottom.
        boxes_b: (M, 4) in the same coordinates.

    Returns:
        (N, M) float32 in [0, 1]; 0 where both boxes are empty.
    """
    return _iou(boxes_a.T[:, :, None], boxes_b.T[:, None])


def iou_pairs(boxes_a: Boxes, boxes_b: Boxes) -> FloatArray:
    """(N,) float32 intersection over union of N boxes with N others; see `iou_matrix`."""
    return _iou(boxes_a.T, boxes_b.T)


def _iou(boxes_a: Boxes, boxes_b: Boxes) -> FloatArray:
    """Of boxes (4, …), the shapes broadcast."""
    # In this order: boxes are rows, and what is added and multiplied are their columns.
    a, b = (boxes.astype(np.float64, order="C") for boxes in (boxes_a, boxes_b))
    sides = np.minimum(a[2:], b[2:])
    sides -= np.maximum(a[:2], b[:2])
    inter, union = _product(sides), _product(a[2:] - a[:2]) + _product(b[2:] - b[:2])
    union -= inter
    union[~(union > 0)] = 1.0
    iou: FloatArray = np.divide(inter, union, out=inter).astype(np.float32)
    return iou


def _product(sides: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Areas of rectangles of sides (2, …); 0 where one is negative.  The sides are altered."""
    np.maximum(sides, 0.0, out=sides)
    areas: npt.NDArray[np.float64] = sides[0]
    areas *= sides[1]
    return areas


def clip_boxes(boxes_xyxy: Boxes, size_hw: tuple[int, int]) -> Boxes:
    """Boxes cut to an image; a box wholly outside becomes one without area (see `valid_rows`).

    Args:
        boxes_xyxy: (N, 4) in pixels.
        size_hw: Height and width of the image.

    Returns:
        (N, 4) of the same dtype.
    """
    height, width = size_hw
    limits = np.array([width, height, width, height], boxes_xyxy.dtype)
    return np.clip(boxes_xyxy, 0, limits)


def valid_rows(boxes_xyxy: Boxes) -> BoolArray:
    """(N,) bool: whether a box is finite, right > left and bottom > top."""
    good = np.isfinite(boxes_xyxy)
    good[:, 2:] &= boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]
    rows: BoolArray = np.logical_and.reduce(good, axis=1)
    return rows


def rows_in_image(boxes_xyxy: Boxes, size_hw: tuple[int, int]) -> BoolArray:
    """(N,) bool: whether any part of a box lies in an image of height and width `size_hw`."""
    return valid_rows(clip_boxes(boxes_xyxy, size_hw))


def nms(
    boxes_xyxy: Boxes, scores: FloatArray, limit: float, classes: IntArray | None = None
) -> IntArray:
    """Greedy non-maximum suppression: a box goes where a better one overlaps it.

    Args:
        boxes_xyxy: (N, 4) left, top, right, bottom.
        scores: (N,), higher is better; equal scores rank by their row.
        limit: A box is removed where its IoU with a kept one is above this.
        classes: (N,); where given, only boxes of one class suppress one another.

    Returns:
        (K,) int64 rows that stay, best score first.
    """
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        suppressed = iou_matrix(boxes_xyxy[best : best + 1], boxes_xyxy[order])[0] > limit
        if classes is not None:
            suppressed &= classes[order] == classes[best]
        order = order[~suppressed]
    return np.array(kept, np.int64)


def mask_boxes(masks: BoolArray) -> FloatArray:
    """Tight boxes of masks.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32 left, top, right, bottom in the masks' pixels; all zero where a mask is empty
        (`valid_rows` is False there).
    """
    # boundingRect is several times faster than two reductions with `any` over the whole stack.
    rects = [cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8)) for mask in masks]
    boxes: FloatArray = xywh_to_xyxy(np.array(rects, np.float32).reshape(-1, 4))
    return boxes


def carried(found: Detections, before: FloatArray, now: FloatArray) -> tuple[Detections, BoolArray]:
    """Objects that move and grow with boxes.

    Args:
        found: N objects.
        before: (N, 4) float32 the boxes they are in: left, top, right, bottom.
        now: (N, 4) where those go.

    Returns:
        Those that still have a box, and which those are, (N,) bool.
    """
    kept = valid_rows(before) & valid_rows(now)
    found, before, now = found[kept], before[kept], now[kept]
    boxes = moved_points(found.boxes_xyxy.reshape(-1, 2, 2), before, now).reshape(-1, 4)
    valid = valid_rows(boxes)
    if not valid.all():
        kept[kept] = valid
        found, boxes, before, now = found[valid], boxes[valid], before[valid], now[valid]
    joints = masks = None
    if found.keypoints is not None:
        joints = found.keypoints.copy()
        joints[..., :2] = moved_points(joints[..., :2], before, now)
    if found.masks is not None:
        moved = [moved_mask(*row) for row in zip(found.masks, before, now, strict=True)]
        masks = np.array(moved, np.bool_).reshape(found.masks.shape)
    return replace(found, boxes_xyxy=boxes, masks=masks, keypoints=joints), kept


def moved_points(points_xy: FloatArray, before: FloatArray, now: FloatArray) -> FloatArray:
    """Points that move and grow with boxes.

    Args:
        points_xy: (N, P, 2) x, y.
        before: (N, 4) the boxes they are in: left, top, right, bottom.
        now: (N, 4) where those go.
    """
    scale = (now[:, 2:] - now[:, :2]) / (before[:, 2:] - before[:, :2])
    offsets = (points_xy - before[:, None, :2]) * scale[:, None]
    return np.asarray(offsets + now[:, None, :2], np.float32)


def moved_mask(mask: BoolArray, before: FloatArray, now: FloatArray) -> BoolArray:
    """A mask that moves and grows with a box.

    Args:
        mask: (H, W) bool.
        before: (4,) the box it is in, in its pixels: left, top, right, bottom.
        now: (4,) where that goes.

    Returns:
        (H, W) bool; what leaves the image is cut off.
    """
    scale = (now[2:] - now[:2]) / (before[2:] - before[:2])
    # Centres of pixels, which OpenCV counts from, lie half a pixel within them.
    shift = now[:2] - before[:2] * scale + (scale - 1) / 2
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]], np.float64)
    size_wh = mask.shape[1], mask.shape[0]
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, size_wh, flags=cv2.INTER_NEAREST)
    return np.asarray(moved > 0, np.bool_)
