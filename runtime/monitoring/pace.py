"""Whether a run keeps up with its live source, and what to do where it does not."""

from __future__ import annotations

from collections.abc import Callable

_WINDOW_S = 30.0
_QUIET_S = 600.0
_TOO_MANY, _FEW = 0.2, 0.05
"""Shares of dropped frames from which a run does not keep up, and below which it does again."""


class PaceWatch:
    """Says when many frames are dropped, and when no more are; at most once in ten minutes.

    Args:
        say: Called with a line.
    """

    def __init__(self, say: Callable[[str], None] = lambda _text: None) -> None:
        self._say = say
        self._began_s: float | None = None
        self._frames = self._dropped = 0
        self._behind = False
        self._said_s = -float("inf")

    def add(self, time_s: float, dropped: int, every: int) -> None:
        """A frame is done.

        Args:
            time_s: Of the source.
            dropped: Frames that were dropped so far.
            every: In every how manieth frame the detector runs.
        """
        if self._began_s is None:
            self._began_s, self._dropped = time_s, dropped
            return
        self._frames += 1
        span_s = time_s - self._began_s
        if span_s < _WINDOW_S:
            return
        lost = dropped - self._dropped
        self._judge(lost / (lost + self._frames), self._frames / span_s, time_s, every)
        self._began_s, self._dropped, self._frames = time_s, dropped, 0

    def _judge(self, share: float, fps: float, time_s: float, every: int) -> None:
        behind = share > (_FEW if self._behind else _TOO_MANY)
        if behind == self._behind or time_s - self._said_s < _QUIET_S:
            return
        self._behind, self._said_s = behind, time_s
        if not behind:
            self._say(f"the run keeps up again, at {fps:.1f} FPS")
            return
        now = f"; now every {every} frames" if every > 1 else ""
        self._say(
            f"the run does not keep up: {100 * share:.0f} % of the frames of the last "
            f"{_WINDOW_S:.0f} s were dropped, {fps:.1f} FPS were tracked; try --detect-every "
            f"auto{now}, a smaller image size of the task or --detector-size"
        )
