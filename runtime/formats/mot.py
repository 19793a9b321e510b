"""MOTChallenge's text format: detections, ground truth and results."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import Detections, FloatArray, Frame, IntArray, Tracks
from ..boxes import xywh_to_xyxy
from ..paths import leads_out
from ..writers.base import RowWriter
from .text import (
    DamagedRows,
    ReadOptions,
    TableFile,
    parse_number,
    parse_whole,
    read_lines,
    read_text,
    row_error,
)

_SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")
_COLUMNS = "frame,id,x,y,w,h[,score[,class,...]]"
_NO_SCORE = -1.0
MOST_FPS = 1000
"""Of a sequence; videos of more are not known either."""
_LEAST_ROWS = 4  # fewer do not say what their columns are


def is_benchmark_file(path: Path) -> bool:
    """Whether a file is a benchmark's own, `NAME/det/det.txt`: all of its objects are people."""
    sequence = path.absolute().parent.parent
    beside = ("img1", "gt", "seqinfo.ini")
    return path.parent.name == "det" and any((sequence / name).exists() for name in beside)


def read_seqinfo(path: Path) -> dict[str, str]:
    """The section of a `seqinfo.ini`, keys in lower case; empty where there is no such file.

    Where it names no folder of images, `imdir` is left out.

    Raises:
        DetectionError: It cannot be read, its numbers are none, or `imdir` is elsewhere.
    """
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path))
        info = dict(parser["Sequence"])
        int(info.get("seqlength", 0))
        if not 0 < float(info.get("framerate", 1)) <= MOST_FPS:
            raise ValueError(f"frameRate is not above 0, and at most {MOST_FPS}")
        if "\0" in info.get("imdir", ""):
            raise ValueError("imDir is no name")
        if leads_out(info.get("imdir", "")):
            raise ValueError(f"imDir={info['imdir']} is outside of the folder: link it there")
    except (configparser.Error, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise DetectionError(
            f"{path}: cannot be read ({reason}); expected a section [Sequence] with imDir, "
            "frameRate and seqLength"
        ) from None
    return {key: value for key, value in info.items() if value or key != "imdir"}


def read_mot(path: Path, options: ReadOptions | None = None) -> TableFile:
    """Read a MOTChallenge file whole.

    Frames count from 1, or from 0, with a note, see `reading.plausible.counts_from_zero`.  A first
    line without any number is a header and passed over.

    Args:
        path: The file.
        options: How to read it.  Rows without a class are of `default_class`, by default a person
            in a file of the benchmark's own, see `is_benchmark_file`, and else not known.

    Raises:
        DetectionError: The file cannot be read, or most rows are damaged; names the line.
    """
    options = options or ReadOptions()
    damaged = DamagedRows(path, strict=options.strict)
    lines, rows = [], []
    for number, (line, text) in enumerate(read_lines(path)):
        if number == 0 and is_header(text):
            continue
        try:
            rows.append(_parse_row(path, line, text))
            lines.append(line)
        except DetectionError as error:
            damaged.add(line, error)
    table = np.array(rows, np.float64).reshape(-1, 7)
    if not options.strict:
        _check_columns(path, table)
    # In float64: from a large x, float32 could not take 1 away.
    boxes = xywh_to_xyxy(table[:, 1:5] - np.array([1.0, 1.0, 0.0, 0.0])).astype(np.float32)
    good = damaged.add_empty(boxes, lines)
    damaged.check(int(np.count_nonzero(good)))
    table, boxes, places = table[good], boxes[good], np.array(lines, np.int64)[good]
    scores = table[:, 5].astype(np.float32)
    if (scores == _NO_SCORE).all():
        scores = np.ones_like(scores)
    default_class = options.default_class
    if default_class is None and is_benchmark_file(path):
        default_class = "person"
    classes = table[:, 6].astype(np.int64)
    if default_class is not None:
        classes[classes < 0] = 0
    frames = table[:, 0].astype(np.int64)
    first = options.first_of(frames)
    counted = damaged.add_stray(frames, first, places.tolist())
    rows_read = Detections(
        *(boxes, scores, classes),
        class_names=None if default_class is None else (default_class,),
    )
    return TableFile(
        path,
        frames[counted] - first,
        rows_read[counted],
        places[counted],
        first_frame=first,
        remarks=[] if first else [f"the frames of {path} count from 0"],
        damaged=damaged,
        options=options,
        origin=1.0,
    )


def _check_columns(path: Path, table: npt.NDArray[np.float64]) -> None:
    """Refuse rows of `frame,x,y,w,h,score`: boxes that are all less high than a pixel.

    Raises:
        DetectionError: It is such a file.
    """
    unscored = len(table) >= _LEAST_ROWS and (table[:, 5] == _NO_SCORE).all()
    if unscored and table[:, 4].max() <= 1 and table[:, 3].max() > 1.5:
        raise DetectionError(
            f"{path}: the sixth of its columns, the height, is nowhere above 1; expected "
            f"{_COLUMNS}: rows of frame,x,y,w,h,score lack the id, -1 where none is known"
        )


def is_header(text: str) -> bool:
    """Whether a line of text is a header: it has several words and no number, nor NaN."""
    fields = split_row(text)
    return len(fields) > 3 and not any(map(_is_float, fields))


def _is_float(text: str) -> bool:
    """Whether Python reads a number in a text, also one that no row may hold, as nan and 1e999."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def split_row(text: str) -> list[str]:
    """The fields of a row, without quotation marks; a separator at its end is passed over.

    Where semicolons or tabs separate, commas are decimal points, as spreadsheets write them in
    half of the world.
    """
    text = text.replace('"', "")
    between = next((mark for mark in ";\t" if mark in text), None)
    if between is None:
        fields = _SEPARATOR.split(text)
    else:
        text = re.sub(r"(?<=\d),(?=\d)", ".", text)
        fields = [field.strip(" ,") for field in text.split(between)]
    while fields and not fields[-1]:
        fields.pop()
    return fields


def _parse_row(path: Path, line: int, text: str) -> tuple[float, ...]:
    fields = split_row(text)
    values = [parse_number(field) for field in fields]
    numbers = [value for value in values if value is not None]
    if len(fields) < 6 and len(numbers) == len(fields):
        raise row_error(path, line, f"expected {_COLUMNS}, not {len(fields)} columns", text)
    if len(numbers) < max(6, len(fields)):
        raise row_error(path, line, f"expected finite numbers {_COLUMNS}", text)
    if numbers[0] != int(numbers[0]) or numbers[0] < 0:
        raise row_error(path, line, "expected a whole frame number from 1", text)
    if numbers[4] <= 0 or numbers[5] <= 0:
        raise row_error(path, line, "expected a width and height above 0", text)
    label = parse_whole(fields[7]) if len(fields) in (8, 9) else -1
    if label is None or label < -1:
        raise row_error(path, line, "expected a whole class number from 0, or -1", text)
    score = numbers[6] if len(numbers) > 6 else _NO_SCORE
    return (numbers[0], *numbers[2:6], score, label)


class MotWriter(RowWriter):
    """MOTChallenge rows `frame,id,x,y,w,h,score,class,-1`, one for each track.

    The class is the detector's own number, -1 where it is not known.

    Frames count from 1, and so do pixels: MOTChallenge calls the corner of the image (1, 1)
    (its ground truth begins there, with right edges at width + 1), so x = left + 1 and y = top + 1;
    w and h are lengths. A reader of such a file subtracts 1 again. TrackEval compares boxes of
    two files as they stand, which needs both of them in this convention.
    """

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """None for a frame without tracks."""
        return _rows(frame.index + 1, tracks)


def _rows(frame_number: int, tracks: Tracks) -> list[str]:
    seen = tracks.detections
    boxes = seen.boxes_xyxy.astype(np.float64)
    geometry = np.column_stack((boxes[:, :2] + 1.0, boxes[:, 2:] - boxes[:, :2]))
    geometry = np.round(geometry, 2) + 0.0  # no "-0.00"
    return [
        f"{frame_number},{track_id},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.4f},{class_id},-1\n"
        for track_id, (x, y, w, h), score, class_id in zip(
            tracks.ids.tolist(),
            geometry.tolist(),
            (seen.scores.astype(np.float64).round(4) + 0.0).tolist(),
            seen.classes.tolist(),
            strict=True,
        )
    ]


_PEDESTRIAN = 1
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
        visibility: Which share of the object is visible; None where the file does not say.
    """

    place: str
    frame: int
    identity: int
    box_xywh: tuple[float, float, float, float]
    flag: float
    label: int | None
    visibility: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether a ground truth means that a tracker is asked to find the row."""
        return self.flag != 0 and self.label in (None, _PEDESTRIAN, -1)


def read_mot_rows(path: Path) -> list[MotRow]:
    """Every row of a file, as it stands there.

    Raises:
        DetectionError: The file cannot be read, is malformed, or has an id twice in a frame.
    """
    rows = [_parse(path, line, text) for line, text in _lines(path)]
    seen: set[tuple[int, int]] = set()
    for row in rows:
        if (row.frame, row.identity) in seen:
            raise DetectionError(
                f"{row.place}: id {row.identity} appears twice in frame {row.frame}"
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
        DetectionError: The file cannot be read, is malformed, or has an id twice in a frame.
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


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The number of a line from 1, and its text; blank lines are left out."""
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise DetectionError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DetectionError(f"{path}: cannot be read as MOTChallenge rows: {reason}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _parse(path: Path, line: int, text: str) -> MotRow:
    fields = split_row(text)
    numbers = [value for value in map(parse_number, fields) if value is not None]
    if len(numbers) < max(6, len(fields)):
        raise row_error(path, line, "expected finite numbers frame,id,x,y,w,h[,...]", text)
    frame, identity, x, y, w, h = numbers[:6]
    if frame != int(frame) or frame < 1 or identity != int(identity) or identity < 0:
        problem = "expected a whole frame number from 1 and a whole id from 0"
        raise row_error(path, line, problem, text)
    if w <= 0 or h <= 0:
        raise row_error(path, line, "expected a width and height above 0", text)
    flag = numbers[6] if len(numbers) > 6 else 1.0
    label = int(numbers[7]) if len(numbers) in (8, 9) else None
    visibility = numbers[8] if len(numbers) == 9 and label is not None and label >= 0 else None
    place = f"{path}, line {line}"
    return MotRow(place, int(frame), int(identity), (x, y, w, h), flag, label, visibility)
