"""How the camera moved from one frame to the next, seen from what stands still.

Corners of a frame that lie on no object are followed into the next one (Lucas-Kanade's sparse
optical flow, in a small grey image), and RANSAC fits the similarity that most of them went by: a
shift, a turn and a zoom.  What moves on its own is outvoted.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ...records import FloatArray, UInt8Array

Motion = npt.NDArray[np.float64]
"""(2, 3): `motion @ (x, y, 1)` is where a point of the last frame is in this one, source pixels."""

_LONG_SIDE = 480
"""Pixels of the image that is looked at."""

_CORNERS = 200
"""How many are followed at most."""

_FEWEST = 10
"""Fewer than this say nothing, nor do those of which less than half went one way."""

_SMALLEST_PX = 0.5
"""A frame whose corners moved by less, in source pixels, counts as standing still."""

_REACH_PX = 3.0
"""Source pixels that a corner of a still scene may be off the similarity."""


class CameraMotion:
    """The camera of one video.

    Attributes:
        unknown: Frames whose motion could not be told, and was taken for none.
    """

    def __init__(self) -> None:
        self.unknown = 0
        self._since: Motion = np.eye(3)
        self._grey: UInt8Array | None = None
        self._corners = np.zeros((0, 1, 2), np.float32)

    def watch(self, image: UInt8Array, boxes_xyxy: FloatArray) -> None:
        """Take the next frame.

        Args:
            image: (H, W, 3) uint8, BGR.
            boxes_xyxy: (N, 4) objects in it, in source pixels, whose corners are not followed.
        """
        height, width = image.shape[:2]
        scale = min(1.0, _LONG_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shares = np.array([size[0] / width, size[1] / height])
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        before, corners = self._grey, self._corners
        self._grey = grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        self._corners = _corners_beside(grey, boxes_xyxy * np.tile(shares, 2))
        if before is None:
            return
        motion = None if before.shape != grey.shape else _fitted(before, grey, corners, shares)
        if motion is None:
            self.unknown += 1
            return
        ends = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1.0]])
        if np.abs(ends @ motion.T - ends[:, :2]).max() >= _SMALLEST_PX:
            self._since = np.concatenate([motion, [[0.0, 0.0, 1.0]]]) @ self._since

    def take(self) -> Motion:
        """The motion of all frames since the last call."""
        motion, self._since = self._since[:2], np.eye(3)
        return motion

    def moved(self, boxes_xyxy: FloatArray) -> FloatArray:
        """(N, 4) boxes where the motion since the last `take` puts them; they stay upright."""
        centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
        zoom = np.sqrt(abs(np.linalg.det(self._since)))
        halves = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2 * zoom
        centres = centres @ self._since[:2, :2].T + self._since[:2, 2]
        return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)


def _corners_beside(grey: UInt8Array, boxes_xyxy: Motion) -> npt.NDArray[np.float32]:
    """(K, 1, 2) corners that are on no object, since those go with it and not with the camera."""
    free = np.full(grey.shape, 255, np.uint8)
    limits = np.tile(grey.shape[1::-1], 2)
    for left, top, right, bottom in np.clip(boxes_xyxy, 0, limits).tolist():
        free[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = 0
    found = cv2.goodFeaturesToTrack(grey, _CORNERS, 0.01, 5, mask=free)
    return np.zeros((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)


def _fitted(
    before: UInt8Array, now: UInt8Array, corners: npt.NDArray[np.float32], shares: Motion
) -> Motion | None:
    """The similarity that most corners went by, in source pixels; None: it cannot be told."""
    if len(corners) < _FEWEST:
        return None
    moved, good, _ = cv2.calcOpticalFlowPyrLK(before, now, corners, np.empty_like(corners))
    followed = good.reshape(-1) == 1
    if followed.sum() < _FEWEST:
        return None
    start, end = (points.reshape(-1, 2)[followed] / shares for points in (corners, moved))
    # OpenCV's RANSAC draws from a generator that it seeds itself: the same in, the same out.
    motion, inliers = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=_REACH_PX)
    if motion is None or inliers.sum() < max(_FEWEST, followed.sum() / 2):
        return None
    return np.asarray(motion, np.float64)
