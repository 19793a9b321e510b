"""Constant-velocity Kalman filter of a box (JDE's), on filterpy, and of many boxes at once.

State: centre x, centre y, aspect ratio (width / height), height, and their velocities per frame.
Noise is proportional to the height, so that near and far objects are treated alike.

None of the four says anything of another: noise is independent, and alike along x and y, which is
what a camera that turns would mix.  So of many boxes at once each number is a filter of its own, of
a place and a velocity, and the 8 × 8 covariance is four diagonals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
"""The median of half of a χ² variable of 2 degrees of freedom; see `Motion.update`."""

_PLACE, _VELOCITY, _PLACE_VARIANCE, _COVARIANCE, _VELOCITY_VARIANCE = range(5)
"""What N states (5, N, 4) hold of the four numbers of each box."""

_DIAGONALS = {
    _PLACE_VARIANCE: slice(0, 28, 9),
    _COVARIANCE: slice(4, 32, 9),
    _VELOCITY_VARIANCE: slice(36, 64, 9),
}
"""Where they are in the 64 numbers of a covariance: each on the diagonal of a 4 × 4 block."""

_OTHER_COVARIANCE = slice(32, 60, 9)

_TRANSITION = np.eye(8) + np.eye(8, k=4)
_MEASURE = np.eye(4, 8)

_GROWS = np.array([1.0, 1.0, 0.0, 1.0])
"""Of which the noise is a share of the height; that of the aspect ratio is fixed."""


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
    half = boxes_xyah[:, 2:] / 2
    half[:, 0] *= boxes_xyah[:, 3]
    centre = boxes_xyah[:, :2]
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


class BoxFilter:
    """The filter of one object.

    Args:
        xyah: (4,) first measurement.
        aspect: Noise of the aspect ratio.
    """

    def __init__(self, xyah: Float64, aspect: AspectNoise = RIGID) -> None:
        self.aspect = aspect
        self.inner = KalmanFilter(dim_x=8, dim_z=4)
        self.inner.x = np.concatenate([xyah, np.zeros(4)])
        self.inner.P = np.diag(_variances(xyah[3], 2, (1e-2, 1e-5), 10))
        self.inner.F = _TRANSITION
        self.inner.H = _MEASURE

    @property
    def mean(self) -> Float64:
        """(8,) state."""
        mean: Float64 = self.inner.x
        return mean

    @property
    def covariance(self) -> Float64:
        """(8, 8)."""
        covariance: Float64 = self.inner.P
        return covariance

    def predict(self, *, height_is_steady: bool = False) -> None:
        """Advance by one frame.

        Args:
            height_is_steady: Forget the velocity of the height first, as for lost objects, whose
                height would otherwise run away.
        """
        if height_is_steady:
            self.inner.x[7] = 0.0
        process = _variances(self.inner.x[3], 1, (self.aspect.process, 1e-5), 1)
        self.inner.predict(Q=np.diag(process))

    def update(self, xyah: Float64) -> None:
        """Correct by a (4,) measurement."""
        measured = _variances(self.inner.x[3], 1, (self.aspect.measured, 0.0), 0)
        self.inner.update(xyah, R=np.diag(measured[:4]))

    def box_xyxy(self) -> npt.NDArray[np.float32]:
        """(4,) float32 box of the state."""
        box: npt.NDArray[np.float32] = boxes_of([self])[0]
        return box


def _variances(
    height: float, place: float, aspects: tuple[float, float], velocity: float
) -> Float64:
    """(8,) of JDE's deviations so many times, and of those of the aspect ratio and its velocity."""
    p, v = place * POSITION_WEIGHT * height, velocity * VELOCITY_WEIGHT * height
    variances: Float64 = np.square([p, p, aspects[0], p, v, v, aspects[1], v])
    return variances


class Motion:
    """N filters at once, moved and corrected together where their states are.

    Args:
        filters: N of them; their states are parts of two arrays from here on, until something
            else gives one of them a state of its own, as a copy of both has.  Then, and for other
            filters, another one must be made.
    """

    def __init__(self, filters: Sequence[BoxFilter]) -> None:
        self._filters = filters
        inner = [f.inner for f in filters]
        nothing = np.zeros(0)
        # Arrays of their own and no views of others: views of them tell by that whose they are.
        self._means, self._blocks = np.empty((len(inner), 8)), np.empty((len(inner), 64))
        np.concatenate([nothing, *(f.x for f in inner)], out=self._means.reshape(-1))
        np.concatenate([nothing, *(f.P.ravel() for f in inner)], out=self._blocks.reshape(-1))
        self._changing = np.square([f.aspect.process for f in filters])
        self._measured = np.square([f.aspect.measured for f in filters])
        for box, mean, block in zip(filters, self._means, self._blocks, strict=True):
            box.inner.x, box.inner.P = mean, block.reshape(8, 8)

    def moves(self, filters: Sequence[BoxFilter]) -> bool:
        """Whether it can go on to move these, and no others."""
        # Filters know nothing of this: a circle of references would keep the lost ones in memory.
        means = self._means
        return filters == self._filters and all(f.inner.x.base is means for f in filters)

    def advance(self, frames: float, height_is_steady: Sequence[bool], change: float = 1.0) -> None:
        """Advance them by any number of frames: whole ones one by one, then the rest of one.

        Args:
            frames: At least 0.
            height_is_steady: Of each; see `BoxFilter.predict`.
            change: How fast velocities change, as a multiple of JDE's standard deviations.  What
                places and heights change besides is multiplied by its power 1.5: the steadier
                objects move, the more of a step is their velocity's.
        """
        parts = _parts(self._means, self._blocks)
        place, velocity, place_variance, covariance, velocity_variance = parts
        steady = np.array(height_is_steady, np.bool_)
        while frames > 0:
            part = min(frames, 1.0)
            velocity[steady, 3] = 0.0
            share = part * np.square(place[:, 3:]) * _GROWS
            place += part * velocity
            place_variance += 2 * part * covariance + part * part * velocity_variance
            place_variance += change**3 * POSITION_WEIGHT**2 * share
            place_variance[:, 2] += part * self._changing
            covariance += part * velocity_variance
            velocity_variance += change**2 * VELOCITY_WEIGHT**2 * share
            velocity_variance[:, 2] += part * 1e-5**2
            frames -= part
        self._blocks[:, _OTHER_COVARIANCE] = covariance

    def update(self, rows: Sequence[int], measured: Float64) -> Float64:
        """`BoxFilter.update` of K of them.

        Args:
            rows: Which, K of them.
            measured: (K, 4) boxes, or (K, 2) their centres alone.

        Returns:
            (K,) how far the centres were from where they were expected: in the mean of both axes,
            squared, as a multiple of the variance that is expected.  1 on average, and
            `EXPECTED_SURPRISE` or less half of the time, where the filters' noise is as large as
            the objects'.
        """
        size = measured.shape[1]
        which = np.array(rows, np.int64)
        means, blocks = self._means[which], self._blocks[which]
        noise = _measured_variances(means[:, :4], self._measured[which])
        parts = [part[:, :size] for part in _parts(means, blocks)]
        place, velocity, place_variance, covariance, velocity_variance = parts
        expected = place_variance + noise[:, :size]
        off = measured - place
        surprise: Float64 = (np.square(off[:, :2]) / expected[:, :2]).sum(axis=1) / 2
        gain = covariance / expected
        place += place_variance / expected * off
        velocity += gain * off
        # All are quotients of positive numbers, or less than what they are taken from.
        velocity_variance -= gain * covariance
        kept = noise[:, :size] / expected
        covariance *= kept
        place_variance *= kept
        blocks[:, _OTHER_COVARIANCE] = blocks[:, _DIAGONALS[_COVARIANCE]]
        self._means[which], self._blocks[which] = means, blocks
        return surprise

    def boxes(self) -> npt.NDArray[np.float32]:
        """(N, 4) float32 boxes, left, top, right, bottom, of the states."""
        return xyah_to_xyxy(self._means[:, :4])


def advance_filters(
    filters: Sequence[BoxFilter],
    frames: float,
    height_is_steady: Sequence[bool],
    change: float = 1.0,
) -> None:
    """`Motion.advance` of N filters."""
    Motion(filters).advance(frames, height_is_steady, change)


def move_filters(filters: Sequence[BoxFilter], motion: Float64) -> None:
    """Move N filters with the image, as a camera's motion moves that.

    Args:
        filters: They keep upright boxes of their proportions: a turn moves centres alone.
        motion: (2, 3) similarity in source pixels.
    """
    if not filters:
        return
    turn = motion[:, :2]
    zoom = abs(np.linalg.det(turn))
    states = _states(filters)
    states[:_PLACE_VARIANCE, :, :2] @= turn.T
    states[:_PLACE_VARIANCE, :, 3] *= np.sqrt(zoom)
    states[_PLACE_VARIANCE:] *= np.where(_GROWS, zoom, 1.0)
    states[_PLACE, :, :2] += motion[:, 2]
    _set_states(filters, states)


def update_filters(filters: Sequence[BoxFilter], measured: Float64) -> Float64:
    """`Motion.update` of N filters."""
    return Motion(filters).update(range(len(filters)), measured)


def _means(filters: Sequence[BoxFilter]) -> Float64:
    """(N, 2, 4) float64 copy of places and velocities."""
    # Several times as fast as `np.stack`.
    return np.concatenate([f.inner.x for f in filters]).reshape(-1, 2, 4)


def _parts(means: Float64, blocks: Float64) -> list[Float64]:
    """Views (N, 4), as `_states` has them in rows, of means (N, 8) and covariances (N, 64)."""
    return [means[:, :4], means[:, 4:], *(blocks[:, where] for where in _DIAGONALS.values())]


def _states(filters: Sequence[BoxFilter]) -> Float64:
    """(5, N, 4) float64 copy."""
    states = np.empty((5, len(filters), 4))
    if filters:
        states[:_PLACE_VARIANCE] = _means(filters).transpose(1, 0, 2)
        covariances = np.concatenate([f.inner.P for f in filters]).reshape(-1, 64)
        for row, where in _DIAGONALS.items():
            states[row] = covariances[:, where]
    return states


def _set_states(filters: Sequence[BoxFilter], states: Float64) -> None:
    means = states[:_PLACE_VARIANCE].transpose(1, 0, 2).reshape(-1, 8)
    blocks = np.zeros((len(filters), 64))
    for row, where in (*_DIAGONALS.items(), (_COVARIANCE, _OTHER_COVARIANCE)):
        blocks[:, where] = states[row]
    for box, mean, covariance in zip(filters, means, blocks.reshape(-1, 8, 8), strict=True):
        box.inner.x, box.inner.P = mean, covariance


def _measured_variances(places: Float64, aspects: Float64) -> Float64:
    """(N, 4) variances of measurements of boxes at (N, 4) places; (N,) those of their aspects."""
    noise: Float64 = np.square(POSITION_WEIGHT * places[:, 3:]) * _GROWS
    noise[:, 2] = aspects
    return noise


def moved_boxes(filters: Sequence[BoxFilter], frames: float) -> npt.NDArray[np.float32]:
    """(N, 4) float32 boxes of N states so many frames later; the states stay as they are."""
    if not filters:
        return np.zeros((0, 4), np.float32)
    means = _means(filters)
    return xyah_to_xyxy(means[:, _PLACE] + frames * means[:, _VELOCITY])


def boxes_of(filters: Sequence[BoxFilter]) -> npt.NDArray[np.float32]:
    """(N, 4) float32 boxes, left, top, right, bottom, of N states."""
    if not filters:
        return np.zeros((0, 4), np.float32)
    return xyah_to_xyxy(_means(filters)[:, _PLACE])


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
    places, _, variances, *_ = _states(filters)
    aspects = np.square([f.aspect.measured for f in filters])
    variances += _measured_variances(places, aspects)
    residuals = boxes_xyah[None] - places[:, None]
    distances: Float64 = (np.square(residuals) / variances[:, None])[..., :size].sum(axis=2)
    return distances
