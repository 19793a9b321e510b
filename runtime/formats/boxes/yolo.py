"""YOLO's labels: a folder with a text file an image, boxes as shares of the image's size.

Rows are `class x y w h`, x and y in the middle of the box, then a score, an identity, or both, as
Ultralytics' `save_txt` writes them; polygons and joints in place of or behind a box are read too.
Files are called like the images, or `VIDEO_NUMBER.txt` with frames from 1.  Names of classes are
those of a `classes.txt` in the folder, or of a `data.yaml` in it or the two above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....errors import DetectionError, OutputError
from ....records import Detections, FloatArray, Frame, Tracks
from ...detectors.classes import read_names
from ...writers.base import Writer, output_error, write_atomic
from ..keypoints import JOINTS, posetrack_from_coco
from ..reading.named import NamedFrames, NamedTable
from ..text import (
    DamagedRows,
    DetectionFile,
    ReadOptions,
    parse_number,
    parse_whole,
    read_lines,
    row_error,
)

CLASSES = "classes.txt"
"""Names of the classes, one a line, beside the labels; no label file itself."""

UNKNOWN = "object"
"""Name of the class of objects whose class is not known."""

_NO_LABELS = (CLASSES, "train.txt", "val.txt", "test.txt", "predefined_classes.txt", "notes.json")
_JOINTS = 5 + 3 * JOINTS
_LARGEST_CLASS = 1 << 20


def label_files(folder: Path) -> list[Path]:
    """The label files of a folder, by name."""
    return sorted(p for p in folder.glob("*.txt") if p.name not in _NO_LABELS and p.is_file())


def is_yolo_row(text: str) -> bool:
    """Whether a line looks like a label: a class, then a box as shares of the image's size."""
    fields = text.split()
    if len(fields) < 5 or "," in text:
        return False
    label, numbers = parse_whole(fields[0]), [parse_number(field) for field in fields[1:5]]
    return label is not None and label >= 0 and all(n is not None and 0 <= n <= 1 for n in numbers)


class YoloFolder(DetectionFile):
    """A folder of labels, or one file of them.

    Boxes become pixels when the size of the source's images is known.

    Args:
        path: Folder or file, as the user named it.
        options: How to read it.

    Raises:
        DetectionError: There is no label file, one cannot be read, or most rows are damaged.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path)
        self._options = options or ReadOptions()
        self._files = label_files(path) if path.is_dir() else [path]
        if not self._files:
            raise DetectionError(f"--detections {path}: expected label files, NAME.txt an image")
        self._damaged = DamagedRows(path, "row", self._options.strict)
        self._remarks: list[str] = []
        self._read()
        self._table: NamedTable | None = None

    def _read(self) -> None:
        rows, files, places = [], [], []
        for place, (file, line, text) in enumerate(self._lines(), 1):
            try:
                rows.append(_parse_row(self._files[file], line, text))
                files.append(file)
                places.append(place)
            except DetectionError as error:
                self._damaged.add(place, error)
        ids = self._sixth_is_identity(rows)
        scores = [_score(row, ids) for row in rows]
        labels = np.array([row[0] for row in rows], np.int64)
        names = self._names()
        default = self._options.default_class
        if names is None and default is not None and not labels.any():
            names = [default]
        shares = np.array([row[1:5] for row in rows], np.float64).reshape(-1, 4)
        corners = np.concatenate(
            [shares[:, :2] - shares[:, 2:] / 2, shares[:, :2] + shares[:, 2:] / 2], axis=1
        ).astype(np.float32)
        good = self._damaged.add_empty(corners, places)
        self._damaged.check(int(np.count_nonzero(good)))
        joints = _joints_of(rows)
        self._places = np.array(places, np.int64)[good]
        self._file_of = np.array(files, np.int64)[good]
        self._shares = Detections(
            corners[good],
            np.array(scores, np.float32)[good],
            labels[good],
            keypoints=None if joints is None else joints[good],
            class_names=names,
        )

    def _lines(self) -> Iterator[tuple[int, int, str]]:
        for file, path in enumerate(self._files):
            for line, text in read_lines(path):
                yield file, line, text

    def _sixth_is_identity(self, rows: list[list[float]]) -> bool:
        """Whether the last of six columns is an identity: no score is a whole number above 1."""
        sixth = [row[5] for row in rows if len(row) == 6]
        whole = bool(sixth) and all(value == int(value) for value in sixth)
        if whole and max(sixth) > 1:
            self._remarks.append(
                f"the last of six columns of {self.path} is taken for an identity; scores are 1"
            )
            return True
        return False

    def _names(self) -> list[str] | None:
        folder = self.path if self.path.is_dir() else self.path.parent
        places = [folder / CLASSES]
        places += [f / "data.yaml" for f in (folder, folder.parent, folder.parent.parent)]
        for place in places:
            if place.is_file():
                try:
                    return list(read_names(place, None))
                except DetectionError:
                    self._remarks.append(f"{place} holds no names of classes: they are numbers")
        return None

    def detect(self, frame: Frame) -> Detections:
        """The labels of one frame, in source pixels.

        Raises:
            DetectionError: More than half of the boxes lie outside the image.
        """
        if self._table is None:
            self._table = self._in_pixels(frame.size_hw)
        return self._table.detect(frame)

    def _in_pixels(self, size_hw: tuple[int, int]) -> NamedTable:
        scale = np.array(size_hw[::-1], np.float32)
        seen = replace(self._shares, boxes_xyxy=self._shares.boxes_xyxy * np.tile(scale, 2))
        if seen.keypoints is not None:
            joints = seen.keypoints.copy()
            joints[..., :2] *= scale
            seen = replace(seen, keypoints=posetrack_from_coco(joints))
        return NamedTable(
            self.path,
            NamedFrames(self.path, [file.name for file in self._files]),
            self._file_of,
            seen,
            self._places,
            place="row",
            remarks=self._remarks,
            damaged=self._damaged,
            options=self._options,
            sizes=False,
        )

    def dropped(self) -> dict[str, int]:
        """Damaged rows, duplicated boxes, and boxes outside the image."""
        return {} if self._table is None else self._table.dropped()

    def notes(self, source_frames: int | None = None) -> list[str]:
        """Notes on what was left out; see `TableFile.notes`."""
        return [] if self._table is None else self._table.notes(source_frames)


def _parse_row(path: Path, line: int, text: str) -> list[float]:
    fields = text.split()
    numbers = [parse_number(field) for field in fields]
    row = [number for number in numbers if number is not None]
    if len(row) < max(5, len(fields)):
        raise row_error(path, line, "expected finite numbers class x y w h [score] [id]", text)
    if row[0] != int(row[0]) or not 0 <= row[0] < _LARGEST_CLASS:
        raise row_error(path, line, "expected a whole class number from 0", text)
    if len(row) > 8 and not _JOINTS <= len(row) <= _JOINTS + 2:
        return _box_of_polygon(row)
    if max(abs(value) for value in row[1:5]) > 2:
        raise row_error(path, line, "expected shares of the image's size, from 0 to 1", text)
    if row[3] <= 0 or row[4] <= 0:
        raise row_error(path, line, "expected a width and height above 0", text)
    return row


def _score(row: list[float], sixth_is_identity: bool) -> float:
    """The score of a row; 1 where it has none."""
    place = _JOINTS if len(row) >= _JOINTS else 5
    if len(row) <= place or (len(row) == place + 1 == 6 and sixth_is_identity):
        return 1.0
    return row[place]


def _box_of_polygon(row: list[float]) -> list[float]:
    """Class and box of a row `class x1 y1 x2 y2 … [score]`, with the score where there is one."""
    points = row[1:] if len(row) % 2 else row[1:-1]
    xs, ys = points[0::2], points[1::2]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    box = [row[0], (left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    return box if len(row) % 2 else [*box, row[-1]]


def _joints_of(rows: list[list[float]]) -> FloatArray | None:
    """(M, 17, 3) COCO's joints in shares of the image; None where no row has any."""
    if not any(len(row) >= _JOINTS for row in rows):
        return None
    joints = np.zeros((len(rows), JOINTS, 3), np.float32)
    for place, row in enumerate(rows):
        if len(row) >= _JOINTS:
            joints[place] = np.array(row[5:_JOINTS], np.float32).reshape(JOINTS, 3)
    return joints


class YoloWriter(Writer):
    """A folder of labels `class x y w h score id`, a file a frame that has tracks.

    Files are called like the source's images, or `frame_000001.txt` with frames from 1 where it has
    no names.  `classes.txt` holds the classes' names, where any is known; it is written when the
    writer closes.  Labels have no word for a class that is not known: it gets a number of its own,
    the first that no class has, and the name `UNKNOWN` there.

    Args:
        path: The folder.

    Raises:
        OutputError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: list[str] = []
        self._unknown: int | None = None
        self._largest = -1
        self._frames = 0
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes the labels of one frame; a box that reaches beyond the image is cut to it.

        Raises:
            OutputError: The disk is full, or the system refuses; or the number of objects without a
                class has become that of one, or would be too large; complete files stay.
        """
        seen, (height, width) = tracks.detections, frame.size_hw
        unknown = self._number_of_unknown(seen, frame)
        scale = np.array([width, height, width, height], np.float64)
        boxes = np.clip(seen.boxes_xyxy.astype(np.float64) / scale, 0, 1)
        rows = []
        for k, (identity, label) in enumerate(
            zip(tracks.ids.tolist(), seen.classes.tolist(), strict=True)
        ):
            left, top, right, bottom = boxes[k].tolist()
            middle = f"{(left + right) / 2:.6f} {(top + bottom) / 2:.6f}"
            size = f"{max(right - left, 1e-6):.6f} {max(bottom - top, 1e-6):.6f}"
            score = round(float(seen.scores[k]), 4) + 0.0
            number = label if label >= 0 else unknown
            rows.append(f"{number} {middle} {size} {score:.4f} {identity}\n")
        if rows:
            name = Path(frame.name).stem or f"frame_{frame.index + 1:06d}"
            write_atomic(self._path / f"{name}.txt", "".join(rows).encode(), self._frames)
        self._frames += 1

    def _number_of_unknown(self, seen: Detections, frame: Frame) -> int | None:
        """The number of objects whose class is not known; None: there was none yet."""
        if seen.class_names is not None and len(seen.class_names) > len(self._names):
            self._names = list(seen.class_names)
        largest, unknown = max(self._largest, int(seen.classes.max(initial=-1))), self._unknown
        if unknown is None:
            if (seen.classes < 0).any():
                unknown = max(len(self._names), largest + 1)
        elif (seen.classes == unknown).any():
            name = seen.name_of(unknown) or "a class without a name"
            raise OutputError(
                f"frame {frame.index}: {name} has number {unknown}, which objects of no "
                f"known class have in {self._path} so far: choose another --format, such as csv"
            )
        if unknown is not None and largest >= _LARGEST_CLASS:
            raise OutputError(
                f"frame {frame.index}: got class {largest} beside objects of no known class, for "
                f"which {CLASSES} needs a line for every class, expected classes below "
                f"{_LARGEST_CLASS}: choose another --format, such as csv"
            )
        self._largest, self._unknown = largest, unknown
        return unknown

    def close(self) -> None:
        """Writes the names of the classes; may be called again.

        Raises:
            OutputError: They cannot be written.
        """
        names, self._names = self._names, []
        if self._unknown is not None:
            names += [""] * (max(self._unknown, self._largest) + 1 - len(names))
            names[self._unknown], self._unknown = UNKNOWN, None
        if names:
            text = "".join(f"{' '.join(name.split()) or k}\n" for k, name in enumerate(names))
            write_atomic(self._path / CLASSES, text.encode())
