"""OTB's text format: one box a frame."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError, OutputError
from ...records import Frame, Tracks
from ..boxes import xyxy_to_xywh
from ..writers.base import RowWriter
from .text import read_text

Box = tuple[float, float, float, float]
"""Left, top, width, height in source pixels, from 0."""

_BETWEEN = re.compile(r"[\s,;]+")


def read_otb_boxes(path: Path) -> npt.NDArray[np.float64]:
    """Read a file of OTB rows `x,y,w,h`, separated by commas, tabs or blanks.

    Empty lines at the end are passed over.

    Returns:
        (N, 4) float64: left, top, width, height in pixels from 0; NaN where the file says so.

    Raises:
        DetectionError: Not readable, or a row is not four numbers (file and line are named).
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise DetectionError(
            f"{path} cannot be read ({error.strerror}): give a file of x,y,w,h rows, or X,Y,W,H"
        ) from None
    except ValueError:  # of the text's bytes, or a null byte in the name
        raise DetectionError(f"{path} is no text: expected rows x,y,w,h") from None
    lines = text.rstrip().splitlines()
    boxes = np.array([_row(path, number, line) for number, line in enumerate(lines, 1)])
    return boxes.reshape(-1, 4) - (1.0, 1.0, 0.0, 0.0)


def _row(path: Path, number: int, line: str) -> list[float]:
    parts = _BETWEEN.split(line.strip())
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != 4:
        raise DetectionError(
            f"{path}, line {number}: got {line[:60]!r}, expected the numbers x,y,w,h"
        )
    return values


class OtbWriter(RowWriter):
    """OTB rows `x,y,w,h`: line n belongs to the n-th frame.

    OTB calls the corner pixel of the image (1, 1), so x = left + 1 and y = top + 1; w and h are
    lengths.
    """

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """One line; `NaN,NaN,NaN,NaN` where nothing is tracked yet.

        Raises:
            OutputError: Several tracks: a line has no id that would tell them apart.
        """
        if not len(tracks):
            return ["NaN,NaN,NaN,NaN\n"]
        if len(tracks) != 1:
            raise OutputError(f"frame {frame.index}: got {len(tracks)} tracks, expected 1")
        box = xyxy_to_xywh(tracks.detections.boxes_xyxy.astype(np.float64))[0]
        x, y, width, height = np.round(box + np.array([1.0, 1.0, 0.0, 0.0]), 2) + 0.0  # no "-0.00"
        return [f"{x:.2f},{y:.2f},{width:.2f},{height:.2f}\n"]
