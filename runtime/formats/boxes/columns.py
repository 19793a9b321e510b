"""Boxes in named columns: CSV with a header, JSON lists of objects, as supervision writes them, and
JSON lines.

Which column is which says its name, in any order: supervision's `x_min`, `y_min`, `x_max`, `y_max`,
`class_id`, `confidence`, `tracker_id`, and what others call them (`left`, `bb_width`, `x_center`,
`score` …).  A column must say the frame: `frame`, `frame_index`, `frame_number` …, or name the
image: `filename`, `image` ….  Frames count from 0 where frame 0 is there and goes with the others,
else from 1.  Pixels count from 0; from 1 in MOTChallenge's own columns,
`frame,id,left,top,width,height,…`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import DetectionError
from ....records import Detections, Frame, Tracks
from ...boxes import xywh_to_xyxy
from ...writers.base import RowWriter
from ..reading.named import NamedFrames, NamedTable
from ..text import (
    COMMENTS,
    DamagedRows,
    ReadOptions,
    TableFile,
    parse_number,
    parse_whole,
    read_text,
    row_error,
    unreadable,
)

NAMES: dict[str, tuple[str, ...]] = {
    "frame": ("frame", "frameindex", "frameid", "framenumber", "framenum", "frameno", "frameidx"),
    "left": ("xmin", "x1", "left", "bbleft", "bboxleft", "bboxx1", "xtl", "x", "bbx"),
    "top": ("ymin", "y1", "top", "bbtop", "bboxtop", "bboxy1", "ytl", "y", "bby"),
    "right": ("xmax", "x2", "right", "bbright", "bboxright", "bboxx2", "xbr"),
    "bottom": ("ymax", "y2", "bottom", "bbbottom", "bboxbottom", "bboxy2", "ybr"),
    "width": ("width", "w", "bbwidth", "bboxwidth", "bbw"),
    "height": ("height", "h", "bbheight", "bboxheight", "bbh"),
    "middle_x": ("xcenter", "xcentre", "centerx", "xc", "cx"),
    "middle_y": ("ycenter", "ycentre", "centery", "yc", "cy"),
    "score": ("confidence", "conf", "score", "probability", "prob"),
    "class": ("classid", "class", "cls", "categoryid", "label", "category"),
    "image": ("filename", "imagename", "image", "imageid", "imagepath", "imgname", "file", "path"),
    "name": ("classname", "name", "labelname", "categoryname", "label", "class", "category"),
}
"""What columns are called, by what they hold; the first one that is there counts."""

_DECIMAL_COMMA = re.compile(r"^(\s*-?\d+),(\d+\s*)$")

_CORNERS = ("left", "top", "right", "bottom")
_SIZES = ("left", "top", "width", "height")
_MIDDLES = ("middle_x", "middle_y", "width", "height")
_MOT = ("frame", None, "left", "top", "width", "height")

Columns = Mapping[str, str]
"""The file's own name of a column by what it holds."""


def columns_of(header: Iterable[str]) -> Columns:
    """Which of a file's columns hold what; those that hold nothing of use are left out."""
    own = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in header}
    found = {}
    for what, names in NAMES.items():
        known = next((own[name] for name in names if name in own), None)
        if known is not None:
            found[what] = known
    return found


def has_boxes(header: Iterable[str]) -> bool:
    """Whether the names of columns say where a box is."""
    return _geometry(columns_of(header)) is not None


def _geometry(columns: Columns) -> tuple[str, ...] | None:
    for names in (_CORNERS, _SIZES, _MIDDLES):
        if all(name in columns for name in names):
            return names
    return None


def split_header(line: str) -> list[str]:
    """The fields of the first line of a CSV file."""
    return [name.strip() for name in next(csv.reader([line], delimiter=_delimiter(line)), [])]


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def read_columns(path: Path, options: ReadOptions | None = None) -> TableFile:
    """Read a file with named columns.

    Args:
        path: CSV with a header, or JSON.
        options: How to read it; rows without a class are of `default_class`.

    Raises:
        DetectionError: The file cannot be read, no column says the frame, or most rows are damaged.
    """
    options = options or ReadOptions()
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    kind = text.lstrip()[:1]
    read = {"[": _json_rows, "{": _json_lines}.get(kind, _csv_rows)
    header, rows = read(path, text)
    columns = columns_of(header)
    geometry = _geometry(columns)
    if geometry is None:
        raise DetectionError(
            f"{path}: got the columns {', '.join(header)[:200]}; expected a box as x_min, y_min, "
            "x_max, y_max or x, y, width, height"
        )
    if not {"frame", "image"} & set(columns):
        raise DetectionError(
            f"{path}: no column says the frame: expected frame, frame_index, filename or image "
            "(supervision's sinks: append(detections, custom_data={'frame_index': i}))"
        )
    first = tuple(next((k for k in _MOT if k and columns.get(k) == n), None) for n in header[:6])
    reader = _Reader(path, columns, geometry, 1.0 if first == _MOT else 0.0)
    damaged = DamagedRows(path, "entry" if kind == "[" else "line", options.strict)
    return reader.table(rows, damaged, options)


def _csv_rows(path: Path, text: str) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Any]]]]:
    lines = io.StringIO(text, newline=None).readlines()
    first = next(
        (n for n, row in enumerate(lines) if row.strip() and not row.startswith(COMMENTS)), None
    )
    if first is None:
        raise DetectionError(f"{path}: got no header, expected the names of columns")
    header, delimiter = split_header(lines[first]), _delimiter(lines[first])

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(lines[first + 1 :], first + 2):
            if line.strip() and not line.startswith(COMMENTS):
                try:
                    fields = next(csv.reader([line], delimiter=delimiter), [])
                except csv.Error:
                    fields = []
                if delimiter != ",":
                    # As spreadsheets write numbers in half of the world.
                    fields = [_DECIMAL_COMMA.sub(r"\1.\2", field) for field in fields]
                yield number, dict(zip(header, (f.strip() for f in fields), strict=False))

    return header, rows()


def _json_rows(path: Path, text: str) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Any]]]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DetectionError(f"{path}: not valid JSON ({type(error).__name__})") from error
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise DetectionError(f"{path}: expected a list of objects with the corners of boxes")
    header = list(dict.fromkeys(str(name) for row in data for name in row))
    return header, iter(enumerate(data, 1))


def _json_lines(_: Path, text: str) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Any]]]]:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            # One that is no object is a damaged row: it has no frame.
            rows.append((number, row if isinstance(row, dict) else {"": line}))
    return list(dict.fromkeys(str(name) for _, row in rows for name in row)), iter(rows)


class _Reader:
    """Makes a table of rows of named values."""

    def __init__(
        self, path: Path, columns: Columns, geometry: tuple[str, ...], origin: float
    ) -> None:
        self._path, self._columns, self._geometry = path, columns, geometry
        self._origin = origin
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._images: dict[str, int] = {}

    def table(
        self,
        rows: Iterator[tuple[int, Mapping[str, Any]]],
        damaged: DamagedRows,
        options: ReadOptions,
    ) -> TableFile:
        values, places, place = [], [], damaged.place
        for number, row in rows:
            try:
                values.append(self._row(number, row, place))
                places.append(number)
            except DetectionError as error:
                damaged.add(number, error)
        table = np.array(values, np.float64).reshape(-1, 7)
        boxes = self._boxes(table[:, 1:5]).astype(np.float32)
        good = damaged.add_empty(boxes, places)
        damaged.check(int(np.count_nonzero(good)))
        table = table[good]
        frames, classes = table[:, 0].astype(np.int64), table[:, 6].astype(np.int64)
        places_read = np.array(places, np.int64)[good]
        names = [self._names.get(k, "") for k in range(max(self._names, default=-1) + 1)] or None
        if options.default_class is not None and names is None:
            classes, names = np.maximum(classes, 0), [options.default_class]
        scores = table[:, 5].astype(np.float32)
        read = Detections(boxes[good], scores, classes, class_names=names)
        known: dict[str, Any] = {
            "place": place,
            "damaged": damaged,
            "options": options,
            "origin": self._origin,
            "sizes": self._geometry == _SIZES,
        }
        if self._images:
            images = NamedFrames(self._path, list(self._images))
            return NamedTable(self._path, images, frames, read, places_read, **known)
        first = options.first_of(frames)
        counted = damaged.add_stray(frames, first, places_read.tolist())
        return TableFile(
            self._path,
            frames[counted] - first,
            read[counted],
            places_read[counted],
            first_frame=first,
            **known,
        )

    def _boxes(self, boxes: Any) -> Any:
        if self._geometry == _CORNERS:
            return boxes - self._origin
        if self._geometry == _MIDDLES:
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
        return xywh_to_xyxy(boxes - np.array([self._origin, self._origin, 0, 0]))

    def _row(self, number: int, row: Mapping[str, Any], place: str) -> tuple[float, ...]:
        frame = self._frame(row)
        box = [_number(self._value(row, name)) for name in self._geometry]
        score = self._value(row, "score")
        wanted = [frame, *box, 1.0 if score in (None, "") else _number(score)]
        numbers = [value for value in wanted if value is not None]
        if len(numbers) < len(wanted):
            text = ",".join(str(value) for value in row.values())
            frame_column = "frame" if "frame" in self._columns else "image"
            columns = (frame_column, *self._geometry, "score")
            wrong = columns[next(k for k, value in enumerate(wanted) if value is None)]
            problem = f"expected a number in column {self._columns.get(wrong, wrong)}"
            raise row_error(self._path, number, problem, text, place)
        if numbers[0] < 0 or numbers[0] > 1 << 31:
            text = str(frame)
            raise row_error(self._path, number, "expected a frame number from 0", text, place)
        return (*numbers, self._class(row))

    def _frame(self, row: Mapping[str, Any]) -> int | None:
        """A row's frame, or where images are named the place of its image among them."""
        if "frame" in self._columns:
            return _whole(self._value(row, "frame"))
        name = str(self._value(row, "image") or "")
        return self._images.setdefault(name, len(self._images)) if name else None

    def _class(self, row: Mapping[str, Any]) -> int:
        """The number of a row's class; names without numbers are numbered as they come."""
        label, name = self._value(row, "class"), self._value(row, "name")
        number = _whole(label)
        name = "" if name in (None, "") or _number(name) is not None else str(name)
        if number is not None and 0 <= number < 1 << 20:
            if name:
                self._names.setdefault(number, name)
            return number
        if not name or len(self._numbers) > 1 << 16:
            return -1
        number = self._numbers.setdefault(name, len(self._numbers))
        self._names[number] = name
        return number

    def _value(self, row: Mapping[str, Any], what: str) -> Any:
        return row.get(self._columns.get(what, ""))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    # A whole number of any length has no float.
    return parse_number(value if isinstance(value, str) else str(value))


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else parse_whole(str(number))


HEADER = (
    "frame_index,time,tracker_id,x_min,y_min,x_max,y_max,confidence,class_id,class_name,predicted"
)


class CsvWriter(RowWriter):
    """CSV with a header, columns as supervision's sinks call them, and frames from 0.

    `x_min` to `y_max` are source pixels from 0, `time` seconds of the source; `class_id` is -1 and
    `class_name` empty where they are not known, `predicted` is 1 where no detection of the frame
    stands behind the object.
    """

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """Before those of the first frame, the header."""
        seen = tracks.detections
        boxes = np.round(seen.boxes_xyxy.astype(np.float64), 2) + 0.0  # no "-0.00"
        predicted = np.zeros(len(tracks), bool) if tracks.predicted is None else tracks.predicted
        rows = [] if self.frames else [f"{HEADER}\n"]
        for k, (identity, label) in enumerate(
            zip(tracks.ids.tolist(), seen.classes.tolist(), strict=True)
        ):
            box = ",".join(f"{value:.2f}" for value in boxes[k].tolist())
            score = round(float(seen.scores[k]), 4) + 0.0
            rows.append(
                f"{frame.index},{frame.time_s:.4f},{identity},{box},{score:.4f},{label},"
                f"{_quoted(seen.name_of(label))},{int(predicted[k])}\n"
            )
        return rows


def _quoted(name: str) -> str:
    """A text as one field of one line."""
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow([" ".join(name.split()), ""])
    return file.getvalue().removesuffix(",")
