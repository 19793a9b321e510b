"""What the readers of detection files share: text, lines, numbers, tables of boxes, notes."""

from __future__ import annotations

import codecs
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import DetectionError, count
from ...records import BoolArray, Detections, FloatArray, Frame, IntArray
from ..boxes import rows_in_image, valid_rows
from ..detectors.base import Detector
from ..paths import check_regular

LARGEST = 1e9
"""No number of a detection file is beyond this; float32 and int64 hold all of them safely."""

_MIN_ROWS_TO_JUDGE_SIZE = 4

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")

COMMENTS = ("#", "%", "//")
"""What a line of text begins with that is no row."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file of detections is to be read.

    Attributes:
        calibrate_scores: Whether raw scores become probabilities, see `reading.plausible`.
        default_class: Name of the class of detections for which the file says none, which then
            are of class 0; None: not known.
        strict: Take the file at its word: a damaged row is an error, and nothing is merged or
            reinterpreted.
        first_frame: Number of the first frame, 0 or 1; None finds out.
        source_frames: How many frames the source has; None where that is not certain.
    """

    calibrate_scores: bool = False
    default_class: str | None = None
    strict: bool = False
    first_frame: int | None = None
    source_frames: int | None = None

    def first_of(self, frames: IntArray) -> int:
        """The number that a file gives to the source's first frame, which should be 1: 1 or 0.

        Args:
            frames: (M,) the rows' frames.
        """
        from .reading.plausible import counts_from_zero

        if self.first_frame is not None:
            return self.first_frame
        zero = (frames == 0).any() if self.strict else counts_from_zero(frames, self.source_frames)
        return int(not zero)


class DamagedRows:
    """The rows of a file that cannot be read: they are left out, unless they are the most.

    Args:
        path: The file, as the user named it.
        place: What the rows are called, for messages.
        strict: Whether the first one is an error.

    Attributes:
        places: Where they stand.
    """

    def __init__(self, path: Path, place: str = "line", strict: bool = False) -> None:
        self.places: list[int] = []
        self.place = place
        self._path, self._strict = path, strict
        self._first: DetectionError | None = None

    def add(self, place: int, error: DetectionError) -> None:
        """Leave out a row.

        Args:
            place: Where it stands.
            error: What is wrong with it.

        Raises:
            DetectionError: It is an error in a strict reading.
        """
        if self._strict:
            raise error
        self._first = self._first or error
        self.places.append(place)

    def add_empty(self, boxes_xyxy: FloatArray, places: Sequence[int]) -> BoolArray:
        """Leave out the rows whose box has no area once it is float32.

        Args:
            boxes_xyxy: (M, 4) float32.
            places: (M,) where the rows stand.

        Returns:
            (M,) bool: the others.
        """
        good = valid_rows(boxes_xyxy)
        for row in np.flatnonzero(~good).tolist():
            where = f"{self._path}, {self.place} {places[row]}"
            problem = "box without area, too large or too small for float32"
            self.add(places[row], DetectionError(f"{where}: {problem}"))
        return good

    def add_stray(self, frames: IntArray, first: int, places: Sequence[int]) -> BoolArray:
        """Leave out the rows of a frame 0 in a file that counts from 1.

        Args:
            frames: (M,) the rows' frames.
            first: Number of the source's first frame in the file.
            places: (M,) where the rows stand.

        Returns:
            (M,) bool: the others.
        """
        good = np.asarray(frames >= first, np.bool_)
        for row in np.flatnonzero(~good).tolist():
            where = f"{self._path}, {self.place} {places[row]}"
            problem = "a row of frame 0, and the other frames go together and count from 1"
            self.add(places[row], DetectionError(f"{where}: {problem}"))
        return good

    def check(self, good: int) -> None:
        """Refuse a file of which less than half can be read.

        Raises:
            DetectionError: More rows are damaged than good.
        """
        if self._first is not None and len(self.places) > good:
            total = len(self.places) + good
            raise DetectionError(f"{self._first}; {len(self.places)} of {total} rows are damaged")

    def notes(self) -> list[str]:
        """The line on what was left out."""
        if self._first is None:
            return []
        shown = ", ".join(map(str, self.places[:5])) + (", …" if len(self.places) > 5 else "")
        what = count(len(self.places), "damaged row", "damaged rows")
        return [f"{what} left out (at {self.place} {shown}); the first is {self._first}"]


class DetectionFile(Detector):
    """Detections of another program, read from a file, as a detector.

    Args:
        path: The file, as the user named it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path


_AS_IT_STANDS = ReadOptions()


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
        damaged: The rows that were left out; None: there are none.
        options: How the file is to be read.
        origin: What the file calls the first pixel, 0 or 1; taken off the corners in `rows`.
        sizes: Whether the file means left, top, width, height, so that its writer may have put
            left, top, right, bottom there.
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
        damaged: DamagedRows | None = None,
        options: ReadOptions = _AS_IT_STANDS,
        origin: float = 0.0,
        sizes: bool = True,
    ) -> None:
        super().__init__(path)
        self._remarks = list(remarks)
        self._damaged = damaged or DamagedRows(path, place)
        self._strict, self._origin, self._sizes_given = options.strict, origin, sizes
        order = np.argsort(frames, kind="stable")
        if not options.strict:
            order = order[self._kept(frames[order], rows[order])]
        self._duplicates = len(rows) - len(order)
        self._order = order
        self._rows = self._with_probabilities(rows[order], options.calibrate_scores)
        self._frames, self._places = frames[order], places[order]
        self._place, self._first_frame = place, first_frame
        self._size_hw: tuple[int, int] | None = None
        self._inside = np.ones(len(order), np.bool_)

    def _kept(self, frames: IntArray, rows: Detections) -> BoolArray:
        """(M,) the rows without those whose box their frame has already, of a better score."""
        from .reading.plausible import first_of_each

        kept = first_of_each(frames, rows.boxes_xyxy, rows.scores)
        if not kept.all():
            what = count(int(np.count_nonzero(~kept)), "duplicated box", "duplicated boxes")
            self._remarks.append(
                f"{what} of {self.path} merged: the same box stands in one frame several times"
            )
        return kept

    def _with_probabilities(self, rows: Detections, calibrate: bool) -> Detections:
        from .reading.plausible import scores_as_probabilities

        scores, remark = scores_as_probabilities(rows.scores, calibrate)
        if remark is None:
            return rows
        self._remarks.append(f"{self.path} holds {remark}")
        return replace(rows, scores=scores)

    def detect(self, frame: Frame) -> Detections:
        """The file's detections in one frame, in source pixels; boxes may reach beyond it.

        Raises:
            DetectionError: More than half of the file's boxes lie outside the image.
        """
        return self._at(frame.index, frame.size_hw)

    def _at(self, index: int, size_hw: tuple[int, int]) -> Detections:
        chosen = self._chosen(index, size_hw)  # first: it may read the rows anew
        return self._rows[chosen]

    def _chosen(self, index: int, size_hw: tuple[int, int]) -> IntArray:
        """Which rows are those of a frame: places in `self._rows`."""
        if size_hw != self._size_hw:
            self._fit(size_hw)
        start, stop = np.searchsorted(self._frames, [index, index + 1])
        return np.asarray(start + np.flatnonzero(self._inside[start:stop]), np.int64)

    def _fit(self, size_hw: tuple[int, int]) -> None:
        if self._size_hw is None and not self._strict and len(self._rows):
            self._reinterpret(size_hw)
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
        notes = [*self._damaged.notes(), *self._remarks]
        if not len(self._rows):
            return [*notes, f"{self.path} holds no detections"]
        outside = self._places[~self._inside]
        if len(outside):
            many = len(outside) >= _MIN_ROWS_TO_JUDGE_SIZE and 4 * len(outside) >= len(self._rows)
            notes.append(
                f"{count(len(outside), 'box', 'boxes')} of {self.path} wholly outside the image "
                f"left out, the first at {self._place} {outside.min()}"
                f"{': were they made for a larger image?' if many else ''}"
            )
        if source_frames is not None:
            notes += beyond_the_end(self.path, self._frames, source_frames, self._first_frame)
        return notes

    def _reinterpret(self, size_hw: tuple[int, int]) -> None:
        """Read the boxes as what they must be if they belong to images of this size."""
        from .reading.plausible import (
            boxes_from_corners,
            boxes_from_shares,
            perhaps_corners,
            small_corner,
        )

        boxes, image = self._rows.boxes_xyxy, f"{size_hw[1]}x{size_hw[0]}"
        shares = boxes_from_shares(boxes, size_hw, self._origin)
        corners = boxes_from_corners(boxes, size_hw, self._origin) if self._sizes_given else None
        if shares is not None:
            self._rows = replace(self._rows, boxes_xyxy=shares)
            self._remarks.append(
                f"the boxes of {self.path} are shares of the image's size, from 0 to 1: taken as "
                f"such of {image} pixels"
            )
        elif corners is not None:
            self._rows = replace(self._rows, boxes_xyxy=corners)
            self._remarks.append(
                f"the boxes of {self.path} are read as left, top, right, bottom: as left, top, "
                f"width, height many of them reach beyond the {image} image (--strict: as width "
                "and height)"
            )
        elif self._sizes_given and perhaps_corners(self._frames, boxes, size_hw):
            self._remarks.append(
                f"every box of {self.path} is wider than its left edge is far, and higher than its "
                "top edge: is it left, top, right, bottom in place of left, top, width, height?"
            )
        elif (reach := small_corner(self._frames, boxes, size_hw)) is not None:
            self._remarks.append(
                f"all {len(boxes)} boxes of {self.path} lie in the upper left "
                f"{reach[1]}x{reach[0]} pixels of the {image} image: were they made for a smaller "
                "one?"
            )

    def dropped(self) -> dict[str, int]:
        """Damaged rows, duplicated boxes, and boxes outside the image."""
        numbers = {
            "damaged": len(self._damaged.places),
            "duplicate": self._duplicates,
            "outside_image": int(np.count_nonzero(~self._inside)),
        }
        return {reason: number for reason, number in numbers.items() if number}


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


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16, UTF-32 or code page 1252 as Windows' tools write it.

    UTF-16 is recognised by its byte order mark, or by every second byte being zero, and UTF-32 by
    its mark; what is no UTF-8, and holds no control characters, is of the code page.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not text.
    """
    check_regular(path)
    data = path.read_bytes()
    if data[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return data.decode("utf-32")
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16")
    head = data[:64]
    if len(head) > 3 and not len(data) % 2:
        if not any(head[1::2]) and all(head[::2]):
            return data.decode("utf-16-le")
        if not any(head[::2]) and all(head[1::2]):
            return data.decode("utf-16-be")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if _CONTROL.search(data):
            raise
        return data.decode("cp1252")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file with something in them, stripped, with their numbers from 1.

    Blank lines and comments, see `COMMENTS`, are passed over.

    Raises:
        DetectionError: The file is absent, unreadable or not text.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if (row := line.strip()) and not row.startswith(COMMENTS):
            yield number, row


class UnreadableError(DetectionError):
    """A file that is not there, or is not text."""


def unreadable(path: Path, error: Exception) -> UnreadableError:
    """The error for a file that cannot be read as text."""
    if isinstance(error, FileNotFoundError):
        return UnreadableError(f"{path}: there is no such file")
    reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
    return UnreadableError(f"{path} cannot be read: {reason}")


def row_error(
    path: Path, line: int, problem: str, text: str, place: str = "line"
) -> DetectionError:
    """The error for one bad line of a text file, or entry of a JSON file."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return DetectionError(f"{path}, {place} {line}: {problem}, got {shown!r}")


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
