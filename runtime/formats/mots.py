"""The MOTS text format: detections, ground truth and results with masks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DetectionError, OutputError, count
from ...records import BoolArray, Detections, Frame, IntArray, Tracks
from ..boxes import mask_boxes
from ..writers.base import RowWriter
from .rle import decode_rle, encode_rle, rle_counts
from .text import (
    DamagedRows,
    DetectionFile,
    ReadOptions,
    beyond_the_end,
    parse_whole,
    read_lines,
    row_error,
)

IGNORE_CLASS = 10

CLASS_NAMES = ("", "car", "pedestrian")
"""Of the format, by number; 0 stands for all that has no number there, or is not known."""

_NUMBERS = {"car": 1, "person": 2, "pedestrian": 2}

MAX_FRAME_BYTES = 1 << 31
"""The masks of one frame may take this much memory; 500 of 1920 × 1080 take half of it."""


@dataclass(frozen=True, slots=True)
class MotsRow:
    """One line of a file.

    Attributes:
        line: Its number, from 1.
        frame: As the file counts.
        identity: The object's; means nothing in a file of detections.
        label: The class.
        size_hw: Height and width of the mask.
        rle: The mask.
    """

    line: int
    frame: int
    identity: int
    label: int
    size_hw: tuple[int, int]
    rle: bytes


class MotsFile(DetectionFile):
    """A MOTS file; run lengths are checked when it is opened, masks laid out frame by frame.

    Args:
        path: The file, as the user named it.
        options: How to read it; `first_frame` None finds out the number of the first frame.

    Raises:
        DetectionError: The file cannot be read, or most rows are damaged; names the line.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path)
        options = options or ReadOptions()
        first_frame = options.first_frame
        self._damaged = DamagedRows(path, strict=options.strict)
        rows, self._empty_lines = read_mots_rows(path, self._damaged)
        if first_frame is None:
            frames = np.array([row.frame for row in rows], np.int64)
            first_frame = options.first_of(frames)
            counted = self._damaged.add_stray(frames, first_frame, [row.line for row in rows])
            rows = [row for row, kept in zip(rows, counted, strict=True) if kept]
        self._first_frame = first_frame
        self._sizes: dict[tuple[int, int], int] = {}
        self._by_frame: dict[int, list[MotsRow]] = {}
        for row in rows:
            if row.frame < first_frame:
                raise DetectionError(
                    f"{path}, line {row.line}: frame {row.frame}, expected frames from "
                    f"{first_frame}"
                )
            self._sizes.setdefault(row.size_hw, row.line)
            if row.label != IGNORE_CLASS:
                self._by_frame.setdefault(row.frame - first_frame, []).append(row)

    def detect(self, frame: Frame) -> Detections:
        """The file's masks in one frame with their tight boxes, in source pixels.

        Raises:
            DetectionError: A mask of the file is not of the frame's size, or the frame has more
                masks than fit into `MAX_FRAME_BYTES`.
        """
        height, width = frame.size_hw
        for size_hw, line in self._sizes.items():
            if size_hw != (height, width):
                raise DetectionError(
                    f"{self.path}, line {line}: got a mask of {size_hw[0]}x{size_hw[1]} (height x "
                    f"width), expected the source's {height}x{width}"
                )
        rows = self._by_frame.get(frame.index, [])
        if len(rows) * height * width > MAX_FRAME_BYTES:
            raise DetectionError(
                f"{self.path}, line {rows[0].line}: {len(rows)} masks in one frame, expected at "
                f"most {MAX_FRAME_BYTES // (height * width)} of {height}x{width}"
            )
        if not rows:
            return Detections.empty()
        masks = np.stack([decode_rle(row.rle, row.size_hw) for row in rows])
        labels = np.array([row.label for row in rows], np.int64)
        scores = np.ones(len(rows), np.float32)
        return Detections(mask_boxes(masks), scores, labels, masks, class_names=CLASS_NAMES)

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """See `Detector.numbered_frames`."""
        return np.array(sorted(self._by_frame), np.int64), self._first_frame

    def notes(self, source_frames: int | None = None) -> list[str]:
        """Notes on an empty file, damaged rows, empty masks, and frames beyond the source's end."""
        notes = self._damaged.notes()
        if self._empty_lines:
            notes.append(
                f"{count(len(self._empty_lines), 'empty mask', 'empty masks')} of {self.path} "
                f"left out, the first at line {self._empty_lines[0]}"
            )
        if not self._by_frame:
            return [*notes, f"{self.path} holds no detections"]
        if source_frames is not None:
            frames = np.array([row.frame for rows in self._by_frame.values() for row in rows])
            frames -= self._first_frame
            notes += beyond_the_end(self.path, frames, source_frames, self._first_frame)
        return notes

    def dropped(self) -> dict[str, int]:
        """Damaged rows and empty masks."""
        numbers = {"damaged": len(self._damaged.places), "empty": len(self._empty_lines)}
        return {reason: number for reason, number in numbers.items() if number}


def read_mots_rows(
    path: Path, damaged: DamagedRows | None = None
) -> tuple[list[MotsRow], list[int]]:
    """All rows with a mask that is not empty, and the lines of those whose mask is.

    Args:
        path: The file.
        damaged: Takes the rows that cannot be read; None: one is an error.

    Raises:
        DetectionError: The file cannot be read, or most rows are damaged; names the line.
    """
    damaged = damaged or DamagedRows(path, strict=True)
    rows, empty_lines = [], []
    for line, text in read_lines(path):
        try:
            row = _parse_row(path, line, text)
            shown = rle_counts(row.rle, row.size_hw)[1::2].any()
        except DetectionError as error:
            where = f"{path}, line {line}"
            known = str(error).startswith(where)
            damaged.add(line, error if known else DetectionError(f"{where}: {error}"))
            continue
        if shown:
            rows.append(row)
        else:
            empty_lines.append(line)
    damaged.check(len(rows) + len(empty_lines))
    return rows, empty_lines


def _parse_row(path: Path, line: int, text: str) -> MotsRow:
    fields = text.split()
    if len(fields) != 6:
        raise row_error(
            path, line, f"expected 6 columns, got {len(fields)}: frame id class H W RLE", text
        )
    numbers = [parse_whole(field) for field in fields[:5]]
    if None in numbers:
        raise row_error(path, line, "expected whole frame, id, class, H and W before the RLE", text)
    frame, identity, label, height, width = (number or 0 for number in numbers)
    if frame < 0 or label < 0 or height < 1 or width < 1:
        raise row_error(path, line, "expected frame and class from 0, H and W from 1", text)
    return MotsRow(line, frame, identity, label, (height, width), fields[5].encode("utf-8"))


class MotsWriter(RowWriter):
    """MOTSChallenge rows `frame id class H W RLE`, one for each track.

    Frames count from 1.  The class is 1 for what is named car, 2 for what is named person or
    pedestrian, and 0 for what has another name or is not known; classes of a detector that names
    none keep their numbers.  Ids are the tracks' own, and unique over all
    classes; the truth of KITTI and MOTSChallenge numbers its objects class * 1000 + n, which no
    reader asks of results.
    """

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """None for a frame without tracks.

        Raises:
            OutputError: Tracks without masks, or with masks of another size than the frame.
        """
        if not len(tracks):
            return []
        seen, size_hw = tracks.detections, frame.size_hw
        if seen.masks is None or seen.masks.shape[1:] != size_hw:
            got = "no masks" if seen.masks is None else f"masks of {seen.masks.shape[1:]}"
            raise OutputError(
                f"frame {frame.index}: got {got}, expected {size_hw} (height, width) "
                "for every track"
            )
        place = f"{size_hw[0]} {size_hw[1]}"
        return [
            f"{frame.index + 1} {identity} {_number(seen, label)} {place} {encode_rle(mask)}\n"
            for identity, label, mask in zip(
                tracks.ids.tolist(), seen.classes.tolist(), seen.masks, strict=True
            )
        ]


def _number(seen: Detections, label: int) -> int:
    if seen.class_names is None:
        return max(label, 0)
    return _NUMBERS.get(seen.name_of(label).lower(), 0)


@dataclass(frozen=True, slots=True)
class MaskRows:
    """The masks of one frame.

    Attributes:
        ids: (N,) int64.
        size_hw: Height and width of all of them.
        rles: N masks as compressed run lengths.
        ignored: Masks of the regions to ignore, likewise.
    """

    ids: IntArray
    size_hw: tuple[int, int]
    rles: tuple[bytes, ...]
    ignored: tuple[bytes, ...] = ()

    def masks(self) -> BoolArray:
        """(N, H, W) bool."""
        return _decoded(self.rles, self.size_hw)

    def ignored_region(self) -> BoolArray:
        """(H, W) bool: the union of the regions to ignore."""
        return np.asarray(_decoded(self.ignored, self.size_hw).any(axis=0), np.bool_)


def _decoded(rles: tuple[bytes, ...], size_hw: tuple[int, int]) -> BoolArray:
    masks = np.zeros((len(rles), *size_hw), np.bool_)
    for row, rle in enumerate(rles):
        masks[row] = decode_rle(rle, size_hw)
    return masks


def read_mots(
    path: Path | str, first_frame: int | None = None, classes: Collection[int] | None = None
) -> dict[int, MaskRows]:
    """The rows of a ground truth or of a result file.

    Args:
        path: Rows `frame id class H W RLE`; class 10 are regions to ignore.
        first_frame: Number of the first frame, 0 (KITTI) or 1 (MOTSChallenge); None: 0 where the
            file has a frame 0. Truth and results must be read with the same.
        classes: Only these; None: all.

    Returns:
        Frame number (from 0) to its masks; frames without any row are absent.

    Raises:
        DetectionError: The file cannot be read, is malformed, has an id twice in a frame, or
            masks of different sizes in one.
    """
    path = Path(path)
    if not path.is_file():
        raise DetectionError(f"{path}: there is no such file")
    rows, _ = read_mots_rows(path)
    if first_frame is None:
        first_frame = 0 if any(row.frame == 0 for row in rows) else 1
    frames: dict[int, list[MotsRow]] = {}
    for row in rows:
        if classes is None or row.label in classes or row.label == IGNORE_CLASS:
            frames.setdefault(row.frame - first_frame, []).append(row)
    return {number: _frame(path, frames[number]) for number in sorted(frames)}


def _frame(path: Path, rows: list[MotsRow]) -> MaskRows:
    seen: set[int] = set()
    for row in rows:
        if row.size_hw != rows[0].size_hw:
            raise DetectionError(
                f"{path}, line {row.line}: mask of {row.size_hw}, earlier ones of the frame are of "
                f"{rows[0].size_hw} (height, width)"
            )
        if row.label != IGNORE_CLASS:
            if row.identity in seen:
                raise DetectionError(
                    f"{path}, line {row.line}: id {row.identity} appears twice in frame {row.frame}"
                )
            seen.add(row.identity)
    real = [row for row in rows if row.label != IGNORE_CLASS]
    return MaskRows(
        np.array([row.identity for row in real], np.int64),
        rows[0].size_hw,
        tuple(row.rle for row in real),
        tuple(row.rle for row in rows if row.label == IGNORE_CLASS),
    )
