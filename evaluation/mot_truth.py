"""MOTChallenge files with identities: ground truth, and the results of a tracker.

Rows are `frame,id,x,y,w,h[,flag or score[,class[,visibility]]]`; frames and pixels count from 1.
What the columns after the sixth mean depends on the year of the benchmark:

* 7 columns (older sequences): no class, and a flag of -1 is read as 1.
* 8 or 9 columns (MOT16 and later): the eighth is the class. In a ground truth only rows of flag
  other than 0 and of class 1, pedestrian, are truth; class -1 says nothing and is kept.
* 10 columns (MOT15): the last three are world coordinates and no class.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ObservationError
from ..records import FloatArray, IntArray

_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_PEDESTRIAN = 1
_LARGEST = 1e9

IdRows = dict[int, tuple[IntArray, FloatArray]]


@dataclass(frozen=True, slots=True)
class MotRow:
    """One line of a file.

    Attributes:
        place: File and line, for messages.
        frame: As the file counts, from 1.
        identity: The object's.
        box_xywh: Left, top, width, height; pixels from 1, as the file has them.
        flag: Of a ground truth: 0 where the row is to be ignored.  Of results: the score.
        label: The class; None where the file has none.
    """

    place: str
    frame: int
    identity: int
    box_xywh: tuple[float, float, float, float]
    flag: float
    label: int | None

    @property
    def wanted(self) -> bool:
        """Whether a ground truth means that a tracker is asked to find the row."""
        return self.flag != 0 and self.label in (None, _PEDESTRIAN, -1)


def read_mot_rows(path: Path) -> list[MotRow]:
    """Every row of a file, as it stands there.

    Raises:
        ObservationError: The file cannot be read, is malformed, or has an id twice in a frame.
    """
    rows = [_parse(place, text) for place, text in _lines(path)]
    seen: set[tuple[int, int]] = set()
    for row in rows:
        if (row.frame, row.identity) in seen:
            raise ObservationError(
                f"{row.place}: id {row.identity} stands twice in frame {row.frame}"
            )
        seen.add((row.frame, row.identity))
    return rows


def read_mot_truth(path: Path | str) -> IdRows:
    """The rows of a ground truth that a tracker is asked to find.

    Args:
        path: A MOTChallenge `gt.txt`.

    Returns:
        Frame number (from 0) to ids (N,) int64 and boxes_xyxy (N, 4) float32 in source pixels;
        frames without an object are absent.

    Raises:
        ObservationError: The file cannot be read, is malformed, or has an id twice in a frame.
    """
    return _read(Path(path), truth=True)


def read_mot_results(path: Path | str) -> IdRows:
    """All rows of a tracker's result file; see `read_mot_truth`."""
    return _read(Path(path), truth=False)


def _read(path: Path, truth: bool) -> IdRows:
    frames: dict[int, list[MotRow]] = {}
    for row in read_mot_rows(path):
        if row.wanted or not truth:
            frames.setdefault(row.frame - 1, []).append(row)
    return {number: _arrays(rows) for number, rows in sorted(frames.items())}


def _arrays(rows: list[MotRow]) -> tuple[IntArray, FloatArray]:
    ids = np.array([row.identity for row in rows], np.int64)
    # In float64: from a large x, float32 could not take 1 away.
    boxes = np.array([row.box_xywh for row in rows], np.float64) - (1.0, 1.0, 0.0, 0.0)
    boxes[:, 2:] += boxes[:, :2]
    return ids, boxes.astype(np.float32)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where a row stands, for messages, and its text; blank lines are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ObservationError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ObservationError(f"{path}: cannot be read as MOTChallenge rows: {reason}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _number(text: str) -> float:
    """The number that a field holds; NaN if it holds none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _parse(place: str, text: str) -> MotRow:
    numbers = [_number(field) for field in _SEPARATOR.split(text)]
    good = len(numbers) >= 6 and all(abs(value) < _LARGEST for value in numbers)
    if not good:
        raise _row_error(place, "expected finite numbers frame,id,x,y,w,h[,...]", text)
    frame, identity, x, y, w, h = numbers[:6]
    if frame != int(frame) or frame < 1 or identity != int(identity) or identity < 0:
        raise _row_error(place, "expected a whole frame number from 1 and a whole id from 0", text)
    if w <= 0 or h <= 0:
        raise _row_error(place, "expected a width and height above 0", text)
    flag = numbers[6] if len(numbers) > 6 else 1.0
    label = int(numbers[7]) if len(numbers) in (8, 9) else None
    return MotRow(place, int(frame), int(identity), (x, y, w, h), flag, label)


def _row_error(place: str, problem: str, text: str) -> ObservationError:
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return ObservationError(f"{place}: {problem}, got {shown!r}")
