"""Numbers the frames of a live source by how many it has made, whether they arrived or not.

Motion models and buffers take a frame's number for its time. Counting arrivals is exact while
frames come, whatever rate the camera claims; over a gap the clock has to count.
"""

from __future__ import annotations

from collections import deque

_USUAL_FPS = 30.0
# A connection begins with a burst of what was buffered; only what follows tells the rate, over
# enough time that delays of single frames do not count.
_BURST_S = 1.0
_ENOUGH_S = 3.0
_KEPT = 600  # arrivals that the rate is taken over
_GAP_S = 1.0
_GAP_INTERVALS = 5.0


class FrameCounter:
    """Counts by arrivals, and over gaps by the clock.

    A gap may be followed by a burst of the frames that were held up in it. They were counted with
    the gap, so that they are not counted again.

    Args:
        fps: What the source announces, frames per second; None where it does not.
    """

    def __init__(self, fps: float | None) -> None:
        self._assumed_s = 1.0 / (fps or _USUAL_FPS)
        self._arrivals_s: deque[float] = deque(maxlen=_KEPT)
        self._steady_s = 0.0
        self._last_s: float | None = None
        self._number = 0
        self._counted_ahead = 0

    @property
    def interval_s(self) -> float:
        """Seconds from one frame to the next: measured, or announced while little is measured."""
        times = self._arrivals_s
        if not times or times[-1] - times[0] < _ENOUGH_S:
            return self._assumed_s
        return (times[-1] - times[0]) / (len(times) - 1)

    def count(self, captured_s: float, *, reconnected: bool = False) -> int:
        """The number of the frame that has just arrived.

        Args:
            captured_s: When, on a clock that does not go back.
            reconnected: Whether it is the first one of a new connection.

        Returns:
            From 0; never smaller than the last one, and equal to it only in a burst after a gap.
        """
        if self._last_s is None:
            self._begin(captured_s)
            return 0
        gap_s, self._last_s = captured_s - self._last_s, captured_s
        interval_s = self.interval_s
        if reconnected or gap_s > max(_GAP_S, _GAP_INTERVALS * interval_s):
            step = max(1, round(gap_s / max(interval_s, 1e-3)))
            self._counted_ahead = step - 1
            self._number += step
            self._begin(captured_s)
        elif self._counted_ahead and gap_s < interval_s / 2:
            self._counted_ahead -= 1
        else:
            self._counted_ahead = 0
            self._number += 1
            if captured_s >= self._steady_s:
                self._arrivals_s.append(captured_s)
        return self._number

    def _begin(self, captured_s: float) -> None:
        """Frames come, for the first time or again; the rate measured before stays for a while."""
        self._last_s = captured_s
        self._steady_s = captured_s + _BURST_S
        known_s = self.interval_s
        self._arrivals_s.clear()
        self._assumed_s = known_s
