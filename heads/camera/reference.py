"""Whether a camera moves on its own, or follows the objects that are tracked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...records import IntArray

Float64 = npt.NDArray[np.float64]

_LAG_S = 0.16
"""Time between the places that tell an acceleration, in seconds: in less, boxes jitter by more."""

_JITTER = 0.05
"""Heights: boxes depart from a steady way by as much whatever the camera does."""

_KEPT = 0.95
"""Of what earlier frames said, so much counts in the next one."""

_ENOUGH = 2.0
"""So much is asked for in favour of the other way, in the logarithm of squared departures: in one
frame they may be e² times as large, or in several by less."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The objects of one frame.

    Attributes:
        time_s: In seconds.
        ids: (N,).
        heights: (N,) of their boxes, in pixels.
        image: (N, 2) where their centres were in that frame, in its pixels.
        scene: (N, 2) where those places are in the newest frame.
    """

    time_s: float
    ids: IntArray
    heights: Float64
    image: Float64
    scene: Float64


class Reference:
    """Whether the objects of one video keep their way in the scene or in the image.

    As a rule a camera moves on its own, and whoever walks goes on through the scene.  But where a
    camera follows an object, that one stays where it is in the image, however fast the scene goes.

    Attributes:
        in_image: Whether in the image.
    """

    def __init__(self) -> None:
        self.in_image = False
        self._evidence = 0.0
        self._sights: list[Sight] = []

    def follow(self, motion: Float64) -> None:
        """Take a camera's motion (2, 3) to the next frame."""
        for sight in self._sights:
            sight.scene[:] = sight.scene @ motion[:, :2].T + motion[:, 2]

    def forget(self) -> None:
        """Compare nothing across a frame whose motion is not known."""
        self._sights = []

    def see(self, time_s: float, ids: IntArray, boxes_xyxy: Float64) -> None:
        """Take the next frame's objects.

        Args:
            time_s: Of the frame, in seconds.
            ids: (N,) of those that are seen.
            boxes_xyxy: (N, 4) their boxes, in source pixels.
        """
        centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
        heights = boxes_xyxy[:, 3] - boxes_xyxy[:, 1]
        oldest_s = time_s - 2.5 * _LAG_S
        self._sights = [sight for sight in self._sights if sight.time_s >= oldest_s]
        self._sights.append(Sight(time_s, ids, heights, centres, centres.copy()))

    def stop(self) -> None:
        """The camera stands still: image and scene are one."""
        self.in_image, self._evidence = False, 0.0

    def judge(self) -> bool:
        """Say in which the objects of the newest frame keep their way.

        Where an object was one and two lags ago tells where it is now if it keeps its way.  By the
        median of all objects, which departs from it less, the image's places or the scene's, is
        what `in_image` says next; evidence adds up over the frames.

        Returns:
            Whether `in_image` changed.
        """
        departures = self._departures()
        if departures is None:
            return False
        in_image, in_scene = (np.square(d).sum(axis=1) + _JITTER**2 for d in departures)
        self._evidence *= _KEPT
        self._evidence += float(np.median(np.log(in_scene / in_image)))
        before = self.in_image
        if abs(self._evidence) > _ENOUGH:
            self.in_image = self._evidence > 0
        return self.in_image != before

    def velocities(self) -> tuple[IntArray, Float64]:
        """Ids of (N,) objects of the newest frame, and (N, 2) pixels a second since one lag ago."""
        now, then = self._sights[-1], self._sight(1)
        ids, rows, old = np.intersect1d(now.ids, then.ids, return_indices=True)
        places = (now.image, then.image) if self.in_image else (now.scene, then.scene)
        return ids, (places[0][rows] - places[1][old]) / max(now.time_s - then.time_s, 1e-3)

    def _sight(self, lags: int) -> Sight:
        """What was seen nearest to so many lags before the newest frame."""
        wanted_s = self._sights[-1].time_s - lags * _LAG_S
        return min(self._sights, key=lambda sight: abs(sight.time_s - wanted_s))

    def _departures(self) -> tuple[Float64, Float64] | None:
        """(N, 2) of the objects seen in all three frames, in their heights: image's and scene's."""
        now, then, before = self._sights[-1], self._sight(1), self._sight(2)
        newer_s, older_s = now.time_s - then.time_s, then.time_s - before.time_s
        if min(newer_s, older_s) < _LAG_S / 2:
            return None
        ids, rows, middle = np.intersect1d(now.ids, then.ids, return_indices=True)
        _, both, first = np.intersect1d(ids, before.ids, return_indices=True)
        rows, middle = rows[both], middle[both]
        if not len(rows):
            return None
        found = []
        for name in ("image", "scene"):
            x, y, z = (getattr(sight, name) for sight in (now, then, before))
            turn = (x[rows] - y[middle]) / newer_s - (y[middle] - z[first]) / older_s
            found.append(_LAG_S * turn / now.heights[rows, None])
        return found[0], found[1]
