"""What the readers of detection files share: lines, numbers, tables of boxes, notes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import Detections, Frame, IntArray
from ..boxes import rows_in_image, valid_rows
from ..detectors.base import Detector

LARGEST = 1e9
"""No number of a detection file is beyond this; float32 and int64 hold all of them safely."""

_MIN_ROWS_TO_JUDGE_SIZE = 4


class DetectionFile(Detector):
    """Detections of another program, read from a file, as a detector.

    Args:
        path: The file, as the user named it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path


class TableFile(DetectionFile):
    """A detection file whose rows all fit in memory at once.

    Args:
        path: The file, as the user named it.
        frames: (M,) int64 position of each row's frame in the source, from 0, in any order.
        rows: All M detections of the file.
        places: (M,) int64 where each row stands, in what `place` names.
        place: `line` or `annotation`, for messages.
        first_frame: The number that the file gives to frame 0, for messages.
        remarks: Further notes on the file.
    """

    def __init__(
        self,
        path: Path,
        frames: IntArray,
        rows: Detections,
        places: IntArray,
        *,
        place: str = "line",
        first_frame: int = 1,
        remarks: Sequence[str] = (),
    ) -> None:
        super().__init__(path)
        self._remarks = remarks
        order = np.argsort(frames, kind="stable")
        self._frames, self._rows, self._places = frames[order], rows[order], places[order]
        self._place, self._first_frame = place, first_frame
        self._size_hw: tuple[int, int] | None = None
        self._inside = np.ones(len(rows), np.bool_)

    def detect(self, frame: Frame) -> Detections:
        """The file's detections in one frame, in source pixels; boxes may reach beyond it.

        Raises:
            DetectionError: More than half of the file's boxes lie outside the image.
        """
        return self._at(frame.index, frame.size_hw)

    def _at(self, index: int, size_hw: tuple[int, int]) -> Detections:
        if size_hw != self._size_hw:
            self._fit(size_hw)
        start, stop = np.searchsorted(self._frames, [index, index + 1])
        return self._rows[start:stop][self._inside[start:stop]]

    def _fit(self, size_hw: tuple[int, int]) -> None:
        boxes = self._rows.boxes_xyxy
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        beyond = ((centres < 0) | (centres > np.array(size_hw[::-1]))).any(axis=1).sum()
        if len(boxes) >= _MIN_ROWS_TO_JUDGE_SIZE and beyond > len(boxes) / 2:
            right, bottom = boxes[:, 2:].max(axis=0)
            raise DetectionError(
                f"{self.path}: {beyond} of its {len(boxes)} boxes lie outside the source's "
                f"{size_hw[1]}x{size_hw[0]} image (they reach x={right:.0f}, y={bottom:.0f}): "
                "they were made for another image size; give --detections a file made on this "
                "source"
            )
        self._size_hw, self._inside = size_hw, rows_in_image(boxes, size_hw)

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """See `Detector.numbered_frames`."""
        return np.unique(self._frames), self._first_frame

    def notes(self, source_frames: int | None = None) -> list[str]:
        """Notes on an empty file, boxes outside the image, frames beyond the source's end."""
        if not len(self._rows):
            return [f"{self.path} holds no detections"]
        notes = list(self._remarks)
        outside = self._places[~self._inside]
        if len(outside):
            notes.append(
                f"{count(len(outside), 'box', 'boxes')} of {self.path} wholly outside the image "
                f"left out, the first at {self._place} {outside.min()}"
            )
        if source_frames is not None:
            notes += beyond_the_end(self.path, self._frames, source_frames, self._first_frame)
        return notes


def count(number: int, one: str, many: str) -> str:
    """`1 box`, `3 boxes`."""
    return f"{number} {one if number == 1 else many}"


def beyond_the_end(path: Path, frames: IntArray, source_frames: int, first_frame: int) -> list[str]:
    """The note on detections for frames that the source does not have; empty if there are none.

    Args:
        path: The file.
        frames: (M,) positions of the rows' frames, from 0.
        source_frames: How many frames the source has.
        first_frame: The number that the file gives to frame 0.
    """
    late = frames[frames >= source_frames] + first_frame
    if not len(late):
        return []
    first, last = int(late.min()), int(late.max())
    span = f"frame {first}" if first == last else f"frames {first}-{last}"
    return [
        f"detections for {span} of {path} not used ({count(len(late), 'row', 'rows')}): "
        f"the source has {count(source_frames, 'frame', 'frames')}"
    ]


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, stripped, with their numbers from 1.

    Raises:
        DetectionError: The file is absent, unreadable or not text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DetectionError:
    """The error for a file that cannot be read as text."""
    if isinstance(error, FileNotFoundError):
        return DetectionError(f"--detections {path}: there is no such file")
    reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
    return DetectionError(
        f"--detections {path} cannot be read: {reason}; expected MOTChallenge or MOTS text, or "
        "PoseTrack18 or COCO JSON"
    )


def row_error(path: Path, line: int, problem: str, text: str) -> DetectionError:
    """The error for one bad line of a text file."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return DetectionError(f"{path}, line {line}: {problem}, got {shown!r}")


def parse_number(text: str) -> float | None:
    """A finite number of at most `LARGEST` in size, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= LARGEST else None


def parse_whole(text: str) -> int | None:
    """A whole number of at most `LARGEST` in size, also when written `3.0`, or None."""
    value = parse_number(text)
    return int(value) if value is not None and value == int(value) else None


def first_invalid(boxes_xyxy: npt.ArrayLike) -> int | None:
    """The first row whose box has no area once it is float32, or None."""
    rows = valid_rows(np.array(boxes_xyxy, np.float32).reshape(-1, 4))
    return None if rows.all() else int(np.argmin(rows))
