"""Frames of another size than the first: detections and tracks, there and back.

A tracker's geometry is in pixels of its first frame.  An image of another size is scaled into
that one, and what is found in it belongs into pixels of its own again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import DetectionError
from ..records import Detections, Tracks
from ..runtime.preprocessing import Letterbox


def in_first_size(seen: Detections, fit: Letterbox) -> Detections:
    """Detections of an image in pixels of the one that it was scaled into.

    Args:
        seen: In source pixels; masks, if any, (N, H, W) of the image's own size.
        fit: From the image's own size to the first one's.

    Raises:
        DetectionError: The masks have another size than the image.
    """
    if fit.is_identity:
        return seen
    masks, poses = seen.masks, seen.keypoints
    if masks is not None and len(masks) and masks.shape[1:] != fit.source_hw:
        raise DetectionError(
            f"detections: got masks of {masks.shape[1:]} (height, width), expected the image's "
            f"{fit.source_hw}"
        )
    if masks is not None:
        placed = np.zeros((len(masks), *fit.network_hw), np.bool_)
        for mask, own in zip(placed, masks, strict=True):
            mask[_inside(fit)] = _resized(own, fit.inner_hw)
        masks = placed
    if poses is not None:
        places = fit.points_to_network(poses[..., :2])
        poses = np.concatenate([places, poses[..., 2:]], axis=2)
    boxes = fit.to_network(seen.boxes_xyxy)
    return replace(seen, boxes_xyxy=boxes, masks=masks, keypoints=poses)


def in_own_size(tracks: Tracks, fit: Letterbox) -> Tracks:
    """Tracks in pixels of the image before it was scaled: the inverse of `in_first_size`.

    Args:
        tracks: In pixels of the first size; their masks and label map have that size.
        fit: As of `in_first_size`.
    """
    if fit.is_identity:
        return tracks
    seen, labels = tracks.detections, tracks.label_map
    masks, poses = seen.masks, seen.keypoints
    if masks is not None:
        own = np.zeros((len(masks), *fit.source_hw), np.bool_)
        for mask, placed in zip(own, masks, strict=True):
            mask[:] = _resized(placed[_inside(fit)], fit.source_hw)
        masks = own
    if poses is not None:
        places = fit.points_to_source(poses[..., :2])
        poses = np.concatenate([places, poses[..., 2:]], axis=2)
    boxes = fit.to_source(seen.boxes_xyxy)
    return replace(
        tracks,
        detections=replace(seen, boxes_xyxy=boxes, masks=masks, keypoints=poses),
        label_map=None if labels is None else _resized(labels[_inside(fit)], fit.source_hw),
    )


def _inside(fit: Letterbox) -> tuple[slice, slice]:
    """Rows and columns where the scaled image lies."""
    (height, width), top, left = fit.inner_hw, fit.top, fit.left
    return slice(top, top + height), slice(left, left + width)


def _resized(labels: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A mask or map of labels in another size, in which every pixel has one of its values."""
    values = np.ascontiguousarray(labels, np.uint8)
    return np.asarray(cv2.resize(values, size_hw[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
