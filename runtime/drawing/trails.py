"""Where each identity came from, for drawing."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from ...records import FloatArray, Tracks

TRAIL_FRAMES = 30
_HALF_WINDOW = 5


class Trails:
    """The places of every identity over the last frames.

    Args:
        length: Frames that a place is remembered.
    """

    def __init__(self, length: int = TRAIL_FRAMES) -> None:
        self._length = length
        self._places: dict[int, deque[tuple[int, float, float]]] = {}

    def update(self, tracks: Tracks) -> dict[int, FloatArray]:
        """Add the tracks of a frame; the same frame again changes nothing.

        Args:
            tracks: With a frame index no smaller than the last one's.

        Returns:
            For each identity of the frame (n, 2) float32: the middles of its boxes' lower edges in
            source pixels, from the oldest to this frame's, smoothed.
        """
        now = tracks.frame_index
        boxes = tracks.detections.boxes_xyxy.astype(np.float64)
        for identity, (left, _, right, bottom) in zip(tracks.ids.tolist(), boxes, strict=True):
            places = self._places.setdefault(identity, deque())
            if not places or places[-1][0] < now:
                places.append((now, float(left + right) / 2, float(bottom)))
        for identity, places in list(self._places.items()):
            while places and places[0][0] <= now - self._length:
                places.popleft()
            if not places:
                del self._places[identity]
        return {
            identity: _smooth(np.array([place[1:] for place in self._places[identity]]))
            for identity in tracks.ids.tolist()
        }


def _smooth(places: npt.NDArray[np.float64]) -> FloatArray:
    """Means over neighbouring places, over fewer towards the ends, which stay where they are."""
    count = len(places)
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(places, axis=0)])
    middle = np.arange(count)
    half = np.minimum(np.minimum(middle, count - 1 - middle), _HALF_WINDOW)
    means = (sums[middle + half + 1] - sums[middle - half]) / (2 * half + 1)[:, None]
    return np.asarray(means, np.float32)
