"""Detections in MOTChallenge's text format.

Rows are `frame,id,x,y,w,h[,score[,class[,…]]]`, separated by commas, tabs or spaces.  Frames count
from 1, and so do pixels: the box's left edge is x − 1 and its top edge y − 1.

* The id is not used: giving identities is what the tracking heads are for.
* A file without scores, or with −1 in every row, has all scores 1.  Otherwise scores are taken as
  they are, negative ones too, since some detectors give them.
* The eighth column is the class where rows have 8 or 9 columns (−1: class 0, like no column).
  Rows of 10 columns end with three world coordinates, and their class is 0.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import ObservationError
from ..records import Observations
from .boxes import xywh_to_xyxy
from .detection_files import (
    TableFile,
    first_invalid,
    parse_number,
    parse_whole,
    read_lines,
    row_error,
)

_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_COLUMNS = "frame,id,x,y,w,h[,score[,class,...]]"


def read_mot(path: Path) -> TableFile:
    """Read a MOTChallenge file whole.

    Raises:
        ObservationError: The file cannot be read, or a row is malformed; names the line.
    """
    lines, rows = [], []
    for line, text in read_lines(path):
        lines.append(line)
        rows.append(_parse_row(path, line, text))
    table = np.array(rows, np.float64).reshape(-1, 7)
    # In float64: from a large x, float32 could not take 1 away.
    boxes = xywh_to_xyxy(table[:, 1:5] - np.array([1.0, 1.0, 0.0, 0.0])).astype(np.float32)
    bad = first_invalid(boxes)
    if bad is not None:
        raise ObservationError(f"{path}, line {lines[bad]}: box too far out or too small to exist")
    scores = table[:, 5].astype(np.float32)
    if (scores == -1).all():
        scores = np.ones_like(scores)
    return TableFile(
        path,
        table[:, 0].astype(np.int64) - 1,
        Observations(boxes, scores, table[:, 6].astype(np.int64)),
        np.array(lines, np.int64),
    )


def _parse_row(path: Path, line: int, text: str) -> tuple[float, ...]:
    fields = _SEPARATOR.split(text)
    values = [parse_number(field) for field in fields]
    numbers = [value for value in values if value is not None]
    if len(numbers) < max(6, len(fields)):
        raise row_error(path, line, f"expected finite numbers {_COLUMNS}", text)
    if numbers[0] != int(numbers[0]) or numbers[0] < 1:
        raise row_error(path, line, "expected a whole frame number from 1", text)
    if numbers[4] <= 0 or numbers[5] <= 0:
        raise row_error(path, line, "expected a width and height above 0", text)
    label = parse_whole(fields[7]) if len(fields) in (8, 9) else -1
    if label is None or label < -1:
        raise row_error(path, line, "expected a whole class number from 0, or -1", text)
    score = numbers[6] if len(numbers) > 6 else -1.0
    return (numbers[0], *numbers[2:6], score, max(label, 0))
