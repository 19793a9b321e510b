"""KITTI's tracking labels: ground truth, detections and results.

Rows of 17 columns, or 18 with a score: `frame id type truncated occluded alpha left top right
bottom h w l x y z rotation_y [score]`.  Frames and pixels count from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import DetectionError, count
from ....records import Detections, Frame, Tracks
from ...sources.base import LAST_FRAME
from ...writers.base import RowWriter
from ..text import (
    DamagedRows,
    ReadOptions,
    TableFile,
    parse_number,
    parse_whole,
    read_lines,
    row_error,
)

TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person", "Cyclist", "Tram", "Misc")
"""By class number; `Person` is what files call `Person_sitting` too."""

REGION = "DontCare"
"""Type of what is to be left alone: nobody is asked to find it."""

_NUMBERS = {name.lower(): number for number, name in enumerate(TYPES)} | {"person_sitting": 4}
_WRITTEN = {"person": "Pedestrian", "bicycle": "Cyclist", "motorcycle": "Misc", "bus": "Misc"}


@dataclass(frozen=True, slots=True)
class KittiRow:
    """One line of a file.

    Attributes:
        line: Its number, from 1.
        frame: From 0.
        identity: The object's; -1 of detections and regions to ignore.
        type: As the file has it.
        truncated: 0 to 2, and -1 where it is not known.
        occluded: 0 to 3, and -1 where it is not known.
        box_xyxy: Left, top, right, bottom in pixels from 0.
        score: 1 where the file has none.
    """

    line: int
    frame: int
    identity: int
    type: str
    truncated: float
    occluded: float
    box_xyxy: tuple[float, float, float, float]
    score: float


def is_kitti_row(text: str) -> bool:
    """Whether a line has KITTI's columns, the third of them a word."""
    fields = text.split()
    return len(fields) in (17, 18) and parse_number(fields[2]) is None and "," not in text


def parse_kitti_row(path: Path, line: int, text: str) -> KittiRow:
    """Read one line.

    Raises:
        DetectionError: It is malformed; names the line.
    """
    fields = text.split()
    numbers = [parse_number(field) for k, field in enumerate(fields) if k != 2]
    if len(fields) not in (17, 18) or None in numbers:
        problem = "expected KITTI's 17 columns frame id type … rotation_y, or 18 with a score"
        raise row_error(path, line, problem, text)
    frame, identity = parse_whole(fields[0]), parse_whole(fields[1])
    if frame is None or identity is None or not 0 <= frame <= LAST_FRAME:
        raise row_error(path, line, "expected a whole frame number from 0 and a whole id", text)
    values = [value or 0.0 for value in numbers]
    box = (values[5], values[6], values[7], values[8])
    if box[2] <= box[0] or box[3] <= box[1]:
        raise row_error(path, line, "expected right > left and bottom > top", text)
    score = values[16] if len(values) == 17 else 1.0
    return KittiRow(line, frame, identity, fields[2], values[2], values[3], box, score)


def read_kitti_rows(path: Path) -> list[KittiRow]:
    """Every row of a file, as it stands there.

    Raises:
        DetectionError: The file cannot be read, or a row is malformed; names the line.
    """
    return [parse_kitti_row(path, line, text) for line, text in read_lines(path)]


def read_kitti(path: Path, options: ReadOptions | None = None) -> TableFile:
    """Read a file of detections; regions to ignore are left out, with a note.

    Raises:
        DetectionError: The file cannot be read, or most rows are damaged; names the line.
    """
    options = options or ReadOptions()
    damaged = DamagedRows(path, strict=options.strict)
    rows, regions = [], 0
    for line, text in read_lines(path):
        try:
            row = parse_kitti_row(path, line, text)
        except DetectionError as error:
            damaged.add(line, error)
            continue
        if row.type.lower() == REGION.lower():
            regions += 1
        else:
            rows.append(row)
    # One that lies in no class of KITTI has a number after theirs.
    names = list(TYPES)
    numbers = dict(_NUMBERS)
    for row in rows:
        if row.type.lower() not in numbers:
            numbers[row.type.lower()] = len(names)
            names.append(row.type)
    boxes = np.array([row.box_xyxy for row in rows], np.float32).reshape(-1, 4)
    lines = [row.line for row in rows]
    good = damaged.add_empty(boxes, lines)
    damaged.check(int(np.count_nonzero(good)) + regions)
    scores = np.array([row.score for row in rows], np.float32)
    classes = np.array([numbers[row.type.lower()] for row in rows], np.int64)
    seen = Detections(boxes[good], scores[good], classes[good], class_names=names)
    remarks = []
    if regions:
        what = count(regions, "region", "regions")
        remarks.append(f"{what} of type {REGION} of {path} left out: not to be tracked")
    return TableFile(
        path,
        np.array([row.frame for row in rows], np.int64)[good],
        seen,
        np.array(lines, np.int64)[good],
        first_frame=0,
        remarks=remarks,
        damaged=damaged,
        options=options,
        sizes=False,
    )


class KittiWriter(RowWriter):
    """KITTI's rows with a score, one for each track; what a box does not say is KITTI's unknown.

    The type is `Pedestrian` for what is named person, `Cyclist` for a bicycle, the name of KITTI's
    that equals the class's, and `Misc` for all others and for classes without a name.
    """

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """None for a frame without tracks."""
        seen = tracks.detections
        boxes = np.round(seen.boxes_xyxy.astype(np.float64), 2) + 0.0  # no "-0.00"
        return [
            f"{frame.index} {identity} {_type(seen.name_of(label))} -1 -1 -10 "
            f"{left:.2f} {top:.2f} {right:.2f} {bottom:.2f} -1 -1 -1 -1000 -1000 -1000 -10 "
            f"{score:.4f}\n"
            for identity, label, (left, top, right, bottom), score in zip(
                tracks.ids.tolist(),
                seen.classes.tolist(),
                boxes.tolist(),
                (seen.scores.astype(np.float64).round(4) + 0.0).tolist(),
                strict=True,
            )
        ]


def _type(name: str) -> str:
    low = name.lower()
    number = _NUMBERS.get(low)
    return _WRITTEN.get(low) or ("Misc" if number is None else TYPES[number])
