"""A skeleton as a filled shape: torso, limbs and head as thick as the body is large.

PoseTrack18 and COCO number the twelve joints of torso and limbs alike (5 to 16), and both keep 0
to 4 for the head: nose, neck, crown, ears in the one, nose, eyes, ears in the other.  The head is
therefore drawn from whichever of its five are seen, and one drawing serves both.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from ...records import BoolArray
from ...runtime.formats.keypoints import JOINTS, Keypoints, joint_box, seen_joints

HEAD = (0, 1, 2, 3, 4)
SHOULDERS = (5, 6)
TORSO = (5, 6, 12, 11)
LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16))

LIMB_WIDTH = 0.08
"""Thickness of limbs and neck, in body sizes."""

HEAD_WIDTH = 0.12
"""Thickness of what joins the joints of the head, in body sizes."""

_FRACTION_BITS = 4
_THICKEST = 32767
Points = npt.NDArray[np.float64]


def body_size(keypoints: Keypoints) -> float:
    """The longer side of the box of the joints seen, in their pixels; 0 with fewer than two."""
    box = joint_box(keypoints)
    return 0.0 if box is None else float((box[2:] - box[:2]).max())


def pose_mask(keypoints: Keypoints, size_hw: tuple[int, int]) -> BoolArray:
    """Draw one skeleton.

    Shapes of which a joint is not seen are left out; a single joint gives a dot, none an empty
    mask.  Skeletons of other than 17 joints give the hull of their joints.

    Args:
        keypoints: (K, 3) float: x, y in pixels of the image, confidence (<= 0: not seen).
        size_hw: Height and width of the image.

    Returns:
        (H, W) bool.
    """
    canvas = np.zeros(size_hw, np.uint8)
    seen = seen_joints(keypoints)
    # Far beyond the image a joint is as good as at four image sizes, which drawing can hold.
    far = 4.0 * max(size_hw)
    points = np.clip(np.where(seen[:, None], keypoints[:, :2], 0).astype(np.float64), -far, far)
    size = body_size(keypoints)
    if len(points) != JOINTS:
        _draw(canvas, points[seen], size * LIMB_WIDTH)
    else:
        for shape, width in _shapes(points, seen):
            _draw(canvas, shape, size * width)
    return canvas.view(np.bool_)


def _shapes(points: Points, seen: BoolArray) -> Iterator[tuple[Points, float]]:
    """Convex shapes by their corners, each with its thickness in body sizes."""
    for ends in LIMBS:
        if seen[list(ends)].all():
            yield points[list(ends)], LIMB_WIDTH
    torso, head, shoulders = (
        points[[joint for joint in part if seen[joint]]] for part in (TORSO, HEAD, SHOULDERS)
    )
    yield torso, LIMB_WIDTH
    yield head, HEAD_WIDTH
    if len(head) and len(shoulders):
        yield np.stack([head.mean(axis=0), shoulders.mean(axis=0)]), LIMB_WIDTH
    # Hands and feet that hang in the air still show where a person is.
    for joint in np.flatnonzero(seen):
        yield points[joint : joint + 1], LIMB_WIDTH


def _draw(canvas: npt.NDArray[np.uint8], corners: Points, width: float) -> None:
    """Fill the hull of some points and draw round its edge with a thick pen."""
    if not len(corners):
        return
    # Pixel (0, 0) covers [0, 1): OpenCV's coordinates are those of pixel centres.
    fixed = np.round((corners - 0.5) * (1 << _FRACTION_BITS)).astype(np.int32)
    hull = cv2.convexHull(fixed)
    thickness = int(np.clip(round(width), 1, _THICKEST))
    cv2.fillConvexPoly(canvas, hull, 1, cv2.LINE_8, _FRACTION_BITS)
    cv2.polylines(canvas, [hull], True, 1, thickness, cv2.LINE_8, _FRACTION_BITS)
