"""The object at a point of a picture, for a viewer who clicks on it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..errors import ObservationError
from ..records import UInt8Array

_REACH = 0.25
"""How far from the point the object may lie, as a share of the picture's shorter side."""

_ROUNDS = 5
_LEAST, _MOST = 1.5, 0.95


def object_at(image: UInt8Array, point_xy: tuple[float, float]) -> UInt8Array:
    """Cut out what is under a point by GrabCut: the colours there against those farther away.

    Args:
        image: (H, W, 3) uint8 BGR.
        point_xy: In source pixels, from 0.

    Returns:
        (H, W) uint8: 1 on the object, which holds the point and is connected; 0 elsewhere.

    Raises:
        ObservationError: The point lies outside the picture, or nothing stands out there.
    """
    height, width = image.shape[:2]
    x, y = (int(np.floor(value)) for value in point_xy)
    if not (0 <= x < width and 0 <= y < height):
        raise ObservationError(
            f"the point {x},{y} lies outside the picture, which is {width}x{height} "
            "(width x height)"
        )
    reach = max(4, round(_REACH * min(height, width)))
    # Beyond the object's reach there is a border that is certainly something else.
    border = max(2, reach // 4)
    left, top = max(0, x - reach - border), max(0, y - reach - border)
    part = np.ascontiguousarray(
        image[top : y + reach + border + 1, left : x + reach + border + 1], np.uint8
    )
    labels = np.zeros((height, width), np.uint8)
    found = _cut_out(part, (x - left, y - top), reach)
    if not found.any():
        raise ObservationError(
            f"nothing stands out at the point {x},{y}: draw a box around the object instead"
        )
    labels[top : top + part.shape[0], left : left + part.shape[1]] = found
    return labels


def cutter_at(
    point_xy: tuple[float, float],
) -> Callable[[UInt8Array, UInt8Array], UInt8Array]:
    """`object_at` a point, in the form of `init_object.Refine`; the labels are not looked at."""
    return lambda image, _labels: object_at(image, point_xy)


def _cut_out(part: UInt8Array, at: tuple[int, int], reach: int) -> UInt8Array:
    """The connected object at a place of a part of the picture; empty where all is alike."""
    state = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
    cv2.circle(state, at, reach, int(cv2.GC_PR_BGD), -1)
    cv2.circle(state, at, max(2, reach // 3), int(cv2.GC_PR_FGD), -1)
    cv2.circle(state, at, max(1, reach // 30), int(cv2.GC_FGD), -1)
    sure = np.count_nonzero(state == cv2.GC_FGD)
    possible = np.count_nonzero(state != cv2.GC_BGD)
    nothing = np.zeros_like(state)
    if possible == state.size:
        return nothing
    # GrabCut starts from k-means with random centres: the same click shall give the same mask.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(part, state, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    inside = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, pieces = cv2.connectedComponents(inside, connectivity=4)
    found = ((pieces == pieces[at[1], at[0]]) & (inside > 0)).astype(np.uint8)
    # Where all is alike, what was given comes back: the middle alone, or all that was possible.
    return found if _LEAST * sure < np.count_nonzero(found) < _MOST * possible else nothing
