"""Tracks as lines of JSON, for programs: `--jsonl` and the server's `/tracks`.

One object a frame: `source`, `frame` (from 0), `time` (seconds from the source's start), `dropped`
(frames so far), and `tracks`, a list of objects with `task`, `id`, `box` (left, top, right, bottom
in source pixels from 0), `score`, `class` (the detector's number, -1 where it is not known), and
where there are `name` (of the class), `predicted` (true: motion alone put the object there, and no
detection of this frame), `keypoints` (x, y, confidence), `mask` (COCO's compressed RLE
with its `size`, height and width).
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import OutputError
from ...records import Tracks
from ..events import FrameEvent, SourceEvent
from ..writers.base import encoded, output_error
from .rle import encode_rle

STANDARD_OUTPUT = "-"


def track_line(event: FrameEvent) -> str:
    """One frame as a line of JSON, with its line end."""
    line = {
        "source": event.source,
        "frame": event.frame.index,
        "time": round(event.frame.time_s, 4),
        "dropped": event.dropped,
        "tracks": [row for task, tracks in event.tracks.items() for row in _rows(task, tracks)],
    }
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def _rows(task: str, tracks: Tracks) -> Iterator[Mapping[str, Any]]:
    seen = tracks.detections
    boxes = seen.boxes_xyxy.astype(np.float64).round(2).tolist()
    scores = seen.scores.astype(np.float64).round(4).tolist()
    for row, identity in enumerate(tracks.ids.tolist()):
        track = {"task": task, "id": identity, "box": boxes[row], "score": scores[row]}
        track["class"] = int(seen.classes[row])
        if name := seen.name_of(track["class"]):
            track["name"] = name
        if tracks.predicted is not None and tracks.predicted[row]:
            track["predicted"] = True
        if seen.keypoints is not None:
            joints = seen.keypoints[row].astype(np.float64).round(3)
            track["keypoints"] = np.where(np.isfinite(joints), joints, 0.0).tolist()
        mask = None if seen.masks is None else seen.masks[row]
        if tracks.label_map is not None:
            mask = tracks.label_map == identity
        if mask is not None:
            track["mask"] = {"size": list(mask.shape), "counts": encode_rle(mask)}
        yield track


class JsonLinesWriter:
    """Watches a run and writes a line for every frame; a context manager.

    Lines are not buffered: each is written when `on_frame` returns. A slow reader of the standard
    output slows the run down, as in any pipe; one that closes it ends the run.

    Args:
        target: The file, or `-` for the standard output.
        on_gone: Called once when the reader of the standard output has gone.
        say: Called with a line when writing stops, and when it goes on.

    Attributes:
        error: Why nothing is written at present, as on a full disk, or None.
        lost: How many lines could not be written.

    Raises:
        OutputError: The file cannot be created.
    """

    def __init__(
        self,
        target: str,
        on_gone: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._path = Path("standard output" if target == STANDARD_OUTPUT else target)
        self._on_gone = on_gone
        self._say = say
        self._lines = self.lost = self._lost_here = 0
        self._gone = False
        self._lock = threading.Lock()
        self.error: OutputError | None = None
        try:
            self._file = _open(target)
        except OSError as error:
            raise output_error(self._path, error) from None

    def on_frame(self, event: FrameEvent) -> None:
        """Write the line of a frame; an error loses the line, and does not end the run."""
        data = encoded(track_line(event))
        # Several sources may be tracked by several threads; a line is never torn.
        with self._lock:
            if not self._gone:
                self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            begin = self._end()
        except OSError:
            begin = None
        try:
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        except BrokenPipeError:
            self._gone = True
            self.error = OutputError(f"--jsonl: {self._path} has no reader any more")
            self._on_gone()
        except OSError as error:
            self.lost += 1
            self._lost_here += 1
            self._cut(begin)
            if self.error is None:
                self.error = output_error(self._path, error, self._lines)
                self._say(f"{self.error}; tracking continues, lines are lost")
        else:
            self._lines += 1
            if self.error is not None:
                self._say(f"--jsonl goes on; {self._lost_here} lines lost")
                self.error, self._lost_here = None, 0

    def _end(self) -> int | None:
        """Where the next line begins; None where it is no file."""
        facts = os.fstat(self._file.fileno())
        return facts.st_size if stat.S_ISREG(facts.st_mode) else None

    def _cut(self, length: int | None) -> None:
        """Leave whole lines only."""
        if length is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(length)
                self._file.seek(length)

    def on_source(self, event: SourceEvent) -> None:
        """Nothing: lines are frames."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> JsonLinesWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(target: str) -> BinaryIO:
    if target != STANDARD_OUTPUT:
        return Path(target).open("wb", buffering=0)
    # A descriptor of its own: closing it leaves the standard output to others.
    return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
