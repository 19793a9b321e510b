"""What somebody who watches a run asks it to do: track this, from now on.

The server puts commands in, the run takes them out between two frames; neither waits for the other.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

from ...errors import RequestError

WAITING = 8
"""Commands for one task of a source that may wait; who sends more is told to try again."""


@dataclass(frozen=True, slots=True)
class StartCommand:
    """Track the object in a box, or at a point, instead of what was tracked so far.

    Attributes:
        source: Short name of the source.
        task: `sot`, from a box, or `vos`, from a box or a point.
        box_xywh: Left, top, width, height in source pixels, from 0; None where a point is given.
        point_xy: Source pixels, from 0; None where a box is given.
    """

    source: str
    task: str
    box_xywh: tuple[float, float, float, float] | None = None
    point_xy: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if (self.box_xywh is None) == (self.point_xy is None):
            raise RequestError("start: expected either a box or a point")
        if self.task == "sot" and self.box_xywh is None:
            raise RequestError("start: task sot needs a box, got a point: draw one")
        place = self.box_xywh or self.point_xy or ()
        if not all(math.isfinite(value) and abs(value) <= 1e6 for value in place):
            raise RequestError(f"start: expected finite pixels, got {place}")
        if self.box_xywh is not None and min(self.box_xywh[2:]) < 1:
            raise RequestError("start: the box is less than a pixel wide or high")


class Commands:
    """The queue between viewers and a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], deque[StartCommand]] = {}

    def offer(self, command: StartCommand) -> bool:
        """Put a command in; False where too many wait already."""
        with self._lock:
            queue = self._waiting.setdefault((command.source, command.task), deque())
            if len(queue) >= WAITING:
                return False
            queue.append(command)
            return True

    def take(self, source: str, task: str) -> list[StartCommand]:
        """Take out what waits for a task of a source, the oldest first; returns at once."""
        if not self._waiting:  # the usual case, without a lock
            return []
        with self._lock:
            return list(self._waiting.pop((source, task), ()))
