"""How the camera moved from one frame to the next, seen from what stands still.

Corners of a frame that lie on no object are followed into the next one (Lucas-Kanade's sparse
optical flow, in a small grey image, from where the last motion puts them), and RANSAC fits the
similarity that most of them went by: a shift, a turn and a zoom.  What moves on its own is
outvoted.

Of a camera that stands still, nothing of that is computed: patches around some corners look as they
did, at the same places, and that is all that is looked at.  And tracks do not follow a camera that
follows what they are of (`reference`).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...records import FloatArray, IntArray, UInt8Array
from .reference import Reference

Motion = npt.NDArray[np.float64]
"""(2, 3): `motion @ (x, y, 1)` is where a point of the last frame is in this one, source pixels."""

_NONE: Motion = np.eye(2, 3)

Points = npt.NDArray[np.float32]
"""(K, 2) x, y in pixels of the small image."""

_LONG_SIDE = 320
"""Pixels of the small image; all lengths below are in its pixels."""

_CORNERS = 96
"""How many are followed at most."""

_FEW = 48
"""Where fewer are left, new ones are looked for."""

_FEWEST = 10
"""Fewer than this say nothing, nor do those of which less than half went one way."""

_SMALLEST = 0.25
"""A motion that displaces nothing in the image by more is not made: the corners wait for it to add
up."""

_START = 1.0
"""A camera whose motion displaces something by so much from one frame to the next is followed from
then on.  Filters take a box to be off by 1/20 of its height, which is as much where it is 1/16 of
the image's longer side high: slower motion they follow by themselves."""

_STILL = 0.4
"""A patch that moved by less stands still: well below `_START`, since one step of Lucas-Kanade's
falls short where the motion is not small."""

_SAME = 0.5
"""Of a patch's contrast (squared) so much may be other than before: noise, not another sight."""

_CALM = 25
"""After so many frames in a row that displace nothing by `_SMALLEST` the camera stands still."""

_REACH = 2.5
"""How far a corner of a still scene may be off the similarity: scenes are not flat."""

_WINDOW, _STEPS = (15, 15), (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.03)


class CameraMotion:
    """The camera of one video.

    Args:
        always: Follow the camera in every frame; otherwise from where it moves until it has stood
            still for a while.

    Attributes:
        unknown: Frames of a moving camera whose motion could not be told, and was taken for none.
        certain: Whether the last `take` has all that the camera did, and objects go with the scene.
    """

    def __init__(self, *, always: bool = True) -> None:
        self.unknown = 0
        self.certain = True
        self._always = self._follows = always
        self._calm = _CALM
        self._since: Motion = np.eye(3)
        self._known = True
        self._last: Motion | None = None
        self._there = _NONE
        self._small: UInt8Array | None = None
        self._corners: Points = np.zeros((0, 2), np.float32)
        self._patches: Patches | None = None
        self._reference = Reference()
        self._judged_s = 0.0
        self._taken = _NONE

    @property
    def moves(self) -> bool:
        """Whether the camera moved lately."""
        return self._calm < _CALM

    def watch(self, image: UInt8Array, boxes_xyxy: FloatArray) -> None:
        """Take the next frame.

        Args:
            image: (H, W, 3) uint8, BGR.
            boxes_xyxy: (N, 4) objects in it, in source pixels, whose corners are not followed.
        """
        if self._patches is not None and self._patches.stand_still(image, boxes_xyxy):
            self._last, self._there = None, _NONE
            return
        height, width = image.shape[:2]
        scale = min(1.0, _LONG_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shares = np.array([size[0] / width, size[1] / height])
        reduced = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        small = np.asarray(cv2.cvtColor(reduced, cv2.COLOR_BGR2GRAY), np.uint8)
        boxes = boxes_xyxy * np.tile(shares, 2)
        before = self._small
        fitted = None
        if before is not None and before.shape == small.shape:
            fitted = _fitted(before, small, self._corners, self._last)
        if fitted is None:
            if self._follows and before is not None:
                self.unknown += 1
                self._calm += 1
                self._known = False
                self._reference.forget()
                self._stops()
            self._look_from(image, small, boxes, shares)
            return
        motion, ends = fitted
        limits = np.array([[0, 0, 1], [size[0], 0, 1], [0, size[1], 1], [*size, 1.0]])
        places = limits @ motion.T
        displaced = np.abs(places - limits[:, :2]).max()
        step = np.abs(places - limits @ self._there.T).max()
        self._last = self._there = motion
        self._calm = 0 if step >= (_SMALLEST if self._follows else _START) else self._calm + 1
        self._follows = self._follows or self._calm == 0
        stops = self._stops()
        if self._follows and displaced >= _SMALLEST:
            to_small = np.diag([*shares, 1.0])
            square = np.concatenate([motion, [[0.0, 0.0, 1.0]]])
            self._since = np.linalg.inv(to_small) @ square @ to_small @ self._since
        elif displaced < _START and len(ends) >= _FEW and not stops:
            return
        self._look_from(image, small, boxes, shares, ends)

    def _stops(self) -> bool:
        """Stand still from now on, if it is time to."""
        stops = self._follows and not self._always and self._calm >= _CALM
        self._follows = self._follows and not stops
        return stops

    def _look_from(
        self,
        image: UInt8Array,
        small: UInt8Array,
        boxes: Motion,
        shares: Motion,
        corners: Points | None = None,
    ) -> None:
        """Measure from this frame on; `corners` of it are kept where they are enough."""
        kept = np.zeros((0, 2), np.float32) if corners is None else corners
        kept = kept[~_covered(kept, boxes) & ((kept >= 0) & (kept < small.shape[::-1])).all(axis=1)]
        self._small = small
        self._corners = kept if len(kept) >= _FEW else _corners_beside(small, boxes)
        self._there = _NONE
        self._patches = None if self._follows else Patches(image, self._corners, shares)

    def take(self) -> Motion:
        """The motion of all frames since the last call that tracks are to follow."""
        motion, self._since = self._since[:2], np.eye(3)
        self._reference.follow(motion)
        self._taken = motion
        self.certain = self._known and not self._reference.in_image
        self._known = True
        return _NONE if self._reference.in_image else motion

    def judge(
        self, time_s: float, ids: IntArray, boxes_xyxy: FloatArray
    ) -> tuple[Motion, IntArray, Motion] | None:
        """Take the objects of a frame, after `take`: whether tracks are to follow the camera.

        Args:
            time_s: Of the frame, in seconds.
            ids: (N,) of the tracks that were seen in it.
            boxes_xyxy: (N, 4) where, in source pixels.

        Returns:
            Where that changed, what does with the velocities: (2, 3) what `@ (x, y, 1)` adds to
            those that are not known, and (M,) ids and (M, 2) velocities of those that are, in
            source pixels a second.
        """
        elapsed_s, self._judged_s = time_s - self._judged_s, time_s
        self._reference.see(time_s, ids, boxes_xyxy.astype(np.float64))
        if not self.moves:
            self._reference.stop()
            return None
        if not self._reference.judge():
            return None
        field = (self._taken - _NONE) / max(elapsed_s, 1e-3)
        return field if self._reference.in_image else -field, *self._reference.velocities()

    def moved(self, boxes_xyxy: FloatArray) -> FloatArray:
        """(N, 4) boxes where the motion since the last `take` puts them; they stay upright."""
        if self._reference.in_image or np.array_equal(self._since, np.eye(3)):
            return boxes_xyxy
        centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
        zoom = np.sqrt(abs(np.linalg.det(self._since)))
        halves = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2 * zoom
        centres = centres @ self._since[:2, :2].T + self._since[:2, 2]
        return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)


class Patches:
    """What is around some corners of a frame: whether a later one shows it at the same places.

    A patch is 9 x 9 of the frame's green pixels, as far from one another as those of the small
    image.  By how much it moved is one step of Lucas-Kanade's: least squares of the difference
    between the frames, over the patch's slopes and a change of brightness.

    Args:
        image: (H, W, 3) uint8, BGR.
        corners: (K, 2) in the small image.
        shares: (2,) pixels of the small image to one of the frame, along x and y.
    """

    def __init__(self, image: UInt8Array, corners: Points, shares: Motion) -> None:
        pitch = np.maximum(1, np.round(1 / shares)).astype(np.int64)
        places = np.round(corners[::3] / shares).astype(np.int64)
        limits = np.array(image.shape[1::-1]) - 5 * pitch
        places = places[((places >= 5 * pitch) & (places < limits)).all(axis=1)]
        steps = np.arange(-5, 6)
        rows = places[:, 1, None, None] + pitch[1] * steps[:, None]
        columns = places[:, 0, None, None] + pitch[0] * steps
        # Numbers in the image as a row, which are read several times as fast as rows and columns.
        numbers = (rows * image.shape[1] + columns) * 3 + 1
        seen = image.reshape(-1).take(numbers).astype(np.float32)
        self._size_hw = image.shape[:2]
        count, inner = len(places), slice(1, -1)
        across, down = (
            seen[:, inner, 2:] - seen[:, inner, :-2],
            seen[:, 2:, inner] - seen[:, :-2, inner],
        )
        slopes = np.stack([across / -2, down / -2, np.ones_like(down)], axis=-1)
        # An orthonormal base of what a shift or brightness can change, and the shifts of its parts.
        base, triangle = np.linalg.qr(slopes.reshape(count, 81, 3))
        self._base = np.ascontiguousarray(base.transpose(0, 2, 1))
        self._shifts = np.linalg.pinv(triangle)[:, :2]
        self._seen = seen[:, inner, inner].reshape(count, 81)
        self._allowed = _SAME * 81 * self._seen.var(axis=1)
        self._numbers = numbers[:, inner, inner].reshape(count, 81)
        self._places = places

    def stand_still(self, image: UInt8Array, boxes_xyxy: FloatArray) -> bool:
        """Whether half of the patches, of those on no object, look as they did and where they did.

        Args:
            image: (H, W, 3) uint8, BGR.
            boxes_xyxy: (N, 4) objects in it, in source pixels.

        Returns:
            False too where too few patches are left to tell.
        """
        free = ~_covered(self._places, boxes_xyxy)
        if free.sum() < _FEWEST or image.shape[:2] != self._size_hw:
            return False
        changed = image.reshape(-1).take(self._numbers) - self._seen
        parts = np.matmul(self._base, changed[:, :, None])
        shifts = np.matmul(self._shifts, parts)[:, :, 0]
        rest = np.square(changed).sum(axis=1) - np.square(parts[:, :, 0]).sum(axis=1)
        still = (np.abs(shifts).max(axis=1) < _STILL) & (rest < self._allowed)
        return bool(still[free].mean() >= 0.5)


def _covered(points: npt.NDArray[Any], boxes_xyxy: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """(K,) bool: which points are on an object; both in the same pixels."""
    starts, ends = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    beside = np.logical_or(points[:, None] < starts, points[:, None] > ends)
    return np.asarray(np.logical_not(beside.any(axis=2)).any(axis=1), np.bool_)


def _corners_beside(small: UInt8Array, boxes: Motion) -> Points:
    """Corners that are on no object, since those go with it and not with the camera."""
    free = np.full(small.shape, 255, np.uint8)
    limits = np.tile(small.shape[1::-1], 2)
    for left, top, right, bottom in np.clip(boxes, 0, limits).tolist():
        free[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = 0
    found = cv2.goodFeaturesToTrack(small, _CORNERS, 0.01, 7, mask=free)
    return np.zeros((0, 2), np.float32) if found is None else np.asarray(found.reshape(-1, 2))


def _fitted(
    before: UInt8Array, now: UInt8Array, corners: Points, last: Motion | None
) -> tuple[Motion, Points] | None:
    """The similarity that most corners went by, and where those are; None: it cannot be told."""
    if len(corners) < _FEWEST:
        return None
    starts = corners if last is None else corners @ last[:, :2].T + last[:, 2]
    found = _followed(before, now, corners, starts.astype(np.float32))
    if found is None:
        # A camera that was quick, or is: the shift between both images as a whole.
        halves = [_half(image) for image in (before, now)]
        window = cv2.createHanningWindow(halves[0].shape[::-1], cv2.CV_32F)
        shift, _ = cv2.phaseCorrelate(halves[0], halves[1], window)
        starts = corners + 2 * np.array(shift)
        found = _followed(before, now, corners, starts.astype(np.float32))
    return found


def _half(image: UInt8Array) -> FloatArray:
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.float32)


def _followed(
    before: UInt8Array, now: UInt8Array, corners: Points, starts: Points
) -> tuple[Motion, Points] | None:
    """The same, looked for from where the corners may be."""
    ends, good, _ = cv2.calcOpticalFlowPyrLK(
        before, now, corners, starts, None, None, _WINDOW, 3, _STEPS, cv2.OPTFLOW_USE_INITIAL_FLOW
    )
    followed = (good.reshape(-1) == 1) & ((ends >= 0) & (ends < now.shape[::-1])).all(axis=1)
    if followed.sum() < _FEWEST:
        return None
    start, end = corners[followed], ends[followed]
    # OpenCV's RANSAC draws from a generator that it seeds itself: the same in, the same out.
    motion, inliers = cv2.estimateAffinePartial2D(
        start, end, ransacReprojThreshold=_REACH, maxIters=300
    )
    if motion is None or inliers.sum() < max(_FEWEST, len(start) / 2):
        return None
    return np.asarray(motion, np.float64), end[inliers.reshape(-1) == 1]
