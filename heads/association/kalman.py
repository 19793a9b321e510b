"""Constant-velocity Kalman filter of a box (JDE's), on filterpy.

State: centre x, centre y, aspect ratio (width / height), height, and their velocities per frame.
Noise is proportional to the height, so that near and far objects are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from filterpy.kalman import KalmanFilter

Float64 = npt.NDArray[np.float64]
POSITION_WEIGHT = 1.0 / 20.0
VELOCITY_WEIGHT = 1.0 / 160.0

GATE_FOUR = 9.4877
"""χ² quantile 0.95 of 4 degrees of freedom: position, aspect and height count."""

GATE_TWO = 5.9915
"""χ² quantile 0.95 of 2 degrees of freedom: only the position counts."""

FILTER_FPS = 25.0
"""Frames a second that the filters of preset memory move by: how far people depart from a straight
way in a second does not depend on how often a camera looks."""

EXPECTED_SURPRISE = float(np.log(2))
"""The median of half of a χ² variable of 2 degrees of freedom; see `update_filters`."""

_TRANSITION = np.eye(8) + np.eye(8, k=4)
_MEASURE = np.eye(4, 8)

# Standard deviations, those that grow with the height as shares of it, become covariances
# `height² · share + fixed`.
_P, _V = POSITION_WEIGHT, VELOCITY_WEIGHT
_PROCESS_SHARE = np.diag(np.square([_P, _P, 0, _P, _V, _V, 0, _V]))
_PROCESS_FIXED = np.diag(np.square([0, 0, 1e-2, 0, 0, 0, 1e-5, 0]))
_MEASURED_SHARE = np.diag(np.square([_P, _P, 0, _P]))
_MEASURED_FIXED = np.diag(np.square([0, 0, 1e-1, 0]))


@dataclass(frozen=True, slots=True)
class AspectNoise:
    """Standard deviations of the aspect ratio, which do not grow with the object.

    Attributes:
        process: Of its change in a frame.
        measured: Of a measurement.
    """

    process: float
    measured: float


RIGID = AspectNoise(1e-2, 1e-1)
"""JDE's: the proportions of a box hardly change."""


WALKING = AspectNoise(3e-2, 1e-1)
"""Boxes of walking people get wider and narrower by a third, twice a second."""


def xyxy_to_xyah(boxes_xyxy: npt.NDArray[np.float32]) -> Float64:
    """(N, 4) left, top, right, bottom → (N, 4) centre x, centre y, width / height, height."""
    boxes = boxes_xyxy.astype(np.float64)
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    return np.column_stack([centre, size[:, 0] / size[:, 1], size[:, 1]])


def xyah_to_xyxy(boxes_xyah: Float64) -> npt.NDArray[np.float32]:
    """The inverse of `xyxy_to_xyah`."""
    half = np.column_stack([boxes_xyah[:, 2] * boxes_xyah[:, 3], boxes_xyah[:, 3]]) / 2
    centre = boxes_xyah[:, :2]
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


class BoxFilter:
    """The filter of one object.

    Args:
        xyah: (4,) first measurement.
        aspect: Noise of the aspect ratio.
    """

    def __init__(self, xyah: Float64, aspect: AspectNoise = RIGID) -> None:
        position, velocity = POSITION_WEIGHT * xyah[3], VELOCITY_WEIGHT * xyah[3]
        std = [2 * position, 2 * position, 1e-2, 2 * position]
        std += [10 * velocity, 10 * velocity, 1e-5, 10 * velocity]
        self._filter = KalmanFilter(dim_x=8, dim_z=4)
        self._filter.x = np.concatenate([xyah, np.zeros(4)])
        self._filter.P = np.diag(np.square(std))
        self._filter.F = _TRANSITION
        self._filter.H = _MEASURE
        self._process_fixed, self._measured_fixed = _fixed_noise(aspect)

    @property
    def mean(self) -> Float64:
        """(8,) state."""
        mean: Float64 = self._filter.x
        return mean

    @property
    def covariance(self) -> Float64:
        """(8, 8)."""
        covariance: Float64 = self._filter.P
        return covariance

    def predict(self, *, height_is_steady: bool = False) -> None:
        """Advance by one frame.

        Args:
            height_is_steady: Forget the velocity of the height first, as for lost objects, whose
                height would otherwise run away.
        """
        if height_is_steady:
            self._filter.x[7] = 0.0
        height = self._filter.x[3]
        self._filter.predict(Q=height * height * _PROCESS_SHARE + self._process_fixed)

    def update(self, xyah: Float64) -> None:
        """Correct by a (4,) measurement."""
        height = self._filter.x[3]
        self._filter.update(xyah, R=height * height * _MEASURED_SHARE + self._measured_fixed)

    def box_xyxy(self) -> npt.NDArray[np.float32]:
        """(4,) float32 box of the state."""
        box: npt.NDArray[np.float32] = boxes_of([self])[0]
        return box


@cache
def _fixed_noise(aspect: AspectNoise) -> tuple[Float64, Float64]:
    """What the covariances of process and measurement have whatever the height."""
    if aspect == RIGID:
        return _PROCESS_FIXED, _MEASURED_FIXED
    process, measured = _PROCESS_FIXED.copy(), _MEASURED_FIXED.copy()
    process[2, 2], measured[2, 2] = aspect.process**2, aspect.measured**2
    return process, measured


def advance_filters(
    filters: Sequence[BoxFilter],
    frames: float,
    height_is_steady: Sequence[bool],
    change: float = 1.0,
) -> None:
    """Advance N filters by any number of frames: whole ones one by one, then the rest of one.

    Args:
        filters: As `BoxFilter.predict` would advance them.
        frames: At least 0.
        height_is_steady: Of each; see `BoxFilter.predict`.
        change: How fast velocities change, as a multiple of JDE's standard deviations.  What places
            and heights change besides is multiplied by its power 1.5: the steadier objects move,
            the more of a step is their velocity's.
    """
    if not filters:
        return
    means, covariances = _states(filters)
    fixed = _common([f._process_fixed for f in filters])
    share = _PROCESS_SHARE * np.repeat([change**3, change**2], 4)
    steady = np.array(height_is_steady, np.bool_)
    while frames > 0:
        part = min(frames, 1.0)
        transition = np.eye(8) + part * np.eye(8, k=4)
        means[steady, 7] = 0.0
        heights = np.square(means[:, 3, None, None])
        means = means @ transition.T
        covariances = transition @ covariances @ transition.T
        covariances += part * (heights * share + fixed)
        frames -= part
    _set_states(filters, means, covariances)


def move_filters(filters: Sequence[BoxFilter], motion: Float64) -> None:
    """Move N filters with the image, as a camera's motion moves that.

    Args:
        filters: They keep upright boxes of their proportions: a turn moves centres alone.
        motion: (2, 3) similarity in source pixels.
    """
    if not filters:
        return
    turn = motion[:, :2]
    zoom = np.sqrt(abs(np.linalg.det(turn)))
    move = np.eye(8)
    for first in (0, 4):
        move[first : first + 2, first : first + 2] = turn
        move[first + 3, first + 3] = zoom
    means, covariances = _states(filters)
    means = means @ move.T
    means[:, :2] += motion[:, 2]
    _set_states(filters, means, move @ covariances @ move.T)


def update_filters(filters: Sequence[BoxFilter], measured: Float64) -> Float64:
    """`BoxFilter.update` of N filters at once.

    Args:
        filters: N of them.
        measured: (N, 4) boxes, or (N, 2) their centres alone.

    Returns:
        (N,) how far the centres were from where they were expected: in the mean of both axes,
        squared, as a multiple of the variance that is expected.  1 on average, and
        `EXPECTED_SURPRISE` or less half of the time, where the filters' noise is as large as the
        objects'.
    """
    if not filters:
        return np.zeros(0)
    size = measured.shape[1]
    means, covariances = _states(filters)
    noise = np.square(means[:, 3, None, None]) * _MEASURED_SHARE
    noise += _common([f._measured_fixed for f in filters])
    noise = noise[:, :size, :size]
    innovation = covariances[:, :size, :size] + noise
    gain = np.linalg.solve(innovation, covariances[:, :size, :]).transpose(0, 2, 1)
    off = measured - means[:, :size]
    surprise: Float64 = (np.square(off[:, :2]) / innovation[:, [0, 1], [0, 1]]).mean(axis=1)
    means += np.einsum("nij,nj->ni", gain, off)
    # Joseph's form stays symmetric and positive, whatever the rounding.
    kept = np.eye(8) - gain @ _MEASURE[:size]
    covariances = kept @ covariances @ kept.transpose(0, 2, 1)
    covariances += gain @ noise @ gain.transpose(0, 2, 1)
    _set_states(filters, means, covariances)
    return surprise


def _states(filters: Sequence[BoxFilter]) -> tuple[Float64, Float64]:
    inner = [f._filter for f in filters]
    # Several times as fast as `np.stack`.
    means = np.concatenate([f.x for f in inner]).reshape(-1, 8)
    return means, np.concatenate([f.P for f in inner]).reshape(-1, 8, 8)


def _common(matrices: Sequence[Float64]) -> Float64:
    """N matrices in one array; the filters of one video have the same, which is enough then."""
    first = matrices[0]
    return first if all(one is first for one in matrices) else np.stack(matrices)


def _set_states(filters: Sequence[BoxFilter], means: Float64, covariances: Float64) -> None:
    for box, mean, covariance in zip(filters, means, covariances, strict=True):
        box._filter.x, box._filter.P = mean, covariance


def moved_boxes(filters: Sequence[BoxFilter], frames: float) -> npt.NDArray[np.float32]:
    """(N, 4) float32 boxes of N states so many frames later; the states stay as they are."""
    means = np.array([f.mean for f in filters], np.float64).reshape(-1, 8)
    return xyah_to_xyxy(means[:, :4] + frames * means[:, 4:])


def boxes_of(filters: Sequence[BoxFilter]) -> npt.NDArray[np.float32]:
    """(N, 4) float32 boxes, left, top, right, bottom, of N states."""
    if not filters:
        return np.zeros((0, 4), np.float32)
    return xyah_to_xyxy(np.concatenate([f._filter.x for f in filters]).reshape(-1, 8)[:, :4])


def gating_distances(
    filters: Sequence[BoxFilter], boxes_xyah: Float64, *, position_only: bool = False
) -> Float64:
    """Squared Mahalanobis distance of every box to every predicted state.

    Args:
        filters: N predicted filters.
        boxes_xyah: (M, 4).
        position_only: Whether aspect and height are left out.

    Returns:
        (N, M) float64.
    """
    size = 2 if position_only else 4
    if not filters or not len(boxes_xyah):
        return np.zeros((len(filters), len(boxes_xyah)))
    means = np.stack([f.mean[:4] for f in filters])
    # H picks the first four states, so H P Hᵀ is the corner of P.
    covariances = np.stack([f.covariance[:4, :4] for f in filters])
    covariances += np.square(means[:, 3, None, None]) * _MEASURED_SHARE + _MEASURED_FIXED
    residuals = (boxes_xyah[None, :, :] - means[:, None, :])[:, :, :size]
    solved = np.linalg.solve(covariances[:, :size, :size], residuals.transpose(0, 2, 1))
    distances: Float64 = np.einsum("nmd,ndm->nm", residuals, solved)
    return distances
