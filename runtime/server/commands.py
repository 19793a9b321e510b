"""What a viewer asks a run to do: track this object from now on.

The server puts commands in, the run takes them out between two frames; neither waits for the other.
"""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from dataclasses import dataclass

from ...errors import RequestError

MAX_WAITING = 8
"""Commands for one task of one source that may wait; a viewer who sends more must try again."""


@dataclass(frozen=True, slots=True)
class StartCommand:
    """Track the object in a box, or at a point, instead of what was tracked so far.

    Attributes:
        source: Short name of the source.
        task: `sot`, from a box, or `vos`, from a box or a point.
        box_xywh: Left, top, width, height in source pixels, from 0; None where a point is given.
        point_xy: Source pixels, from 0; None where a box is given.

    Raises:
        RequestError: Not exactly one of box and point, or one that no frame can hold.
    """

    source: str
    task: str
    box_xywh: tuple[float, float, float, float] | None = None
    point_xy: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if (self.box_xywh is None) == (self.point_xy is None):
            raise RequestError("start: expected either a box or a point")
        if self.task == "sot" and self.box_xywh is None:
            raise RequestError("start: task sot needs a box, got a point")
        values = self.box_xywh or self.point_xy or ()
        if not all(math.isfinite(value) and abs(value) <= 1e6 for value in values):
            raise RequestError(f"start: expected finite pixels, got {values}")
        if self.box_xywh is not None and min(self.box_xywh[2:]) < 1:
            raise RequestError("start: the box is less than one pixel wide or high")


def read_command(body: bytes) -> StartCommand:
    """Read the body of a POST to `/start`.

    Raises:
        RequestError: It is not a valid command.
    """
    try:
        data = json.loads(body)
        values = {key: tuple(map(float, data[key])) for key in ("box", "point") if key in data}
        if len(values.get("box", (0,) * 4)) != 4 or len(values.get("point", (0,) * 2)) != 2:
            raise ValueError
        return StartCommand(
            str(data["source"]),
            str(data["task"]),
            values.get("box"),  # type: ignore[arg-type]
            values.get("point"),  # type: ignore[arg-type]
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError):
        raise RequestError(
            "start: expected JSON with source, task, and box [left, top, width, height] or "
            "point [x, y] in the source's pixels"
        ) from None


class Commands:
    """The queue between viewers and a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], deque[StartCommand]] = {}

    def offer(self, command: StartCommand) -> bool:
        """Put a command in; False where `MAX_WAITING` commands wait already."""
        with self._lock:
            queue = self._waiting.setdefault((command.source, command.task), deque())
            if len(queue) >= MAX_WAITING:
                return False
            queue.append(command)
            return True

    def take(self, source: str, task: str) -> list[StartCommand]:
        """Take out all commands for a task of a source, the oldest first; returns at once."""
        if not self._waiting:  # the usual case, without a lock
            return []
        with self._lock:
            return list(self._waiting.pop((source, task), ()))
