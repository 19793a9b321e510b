"""The box that a video starts from, as `--init` gives it, and files of boxes in OTB's format.

Numbers on the command line are source pixels from 0: `--init 10,20,30,40` has its left edge at the
left edge of pixel 10.  Rows of a file are OTB's, where the corner pixel is (1, 1): the row
`11,21,30,40` is the same box.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import ObservationError, OutputError
from ..records import Frame
from .init_labels import parse_box
from .window import has_display

Box = tuple[float, float, float, float]
"""Left, top, width, height in source pixels, from 0."""

SELECT = "select"
"""The word in place of a box that lets the user draw one."""

_TITLE = "Draw a box around the object, then press Enter (c: cancel)"
_BETWEEN = re.compile(r"[\s,;]+")


def box_from_text(text: str) -> Box | Callable[[Frame], Box]:
    """Read `--init`.

    Args:
        text: `X,Y,W,H` in source pixels from 0, the path of a file whose first row is an OTB box,
            or `select`.

    Returns:
        The box; for `select`, what shows a frame and lets the user draw it.

    Raises:
        ObservationError: Not a box: the line says what there is instead.
        OutputError: `select` without a display.
    """
    if text == SELECT:
        require_display()
        return draw_box
    box = parse_box(text)
    if box is None:
        box = _first_row(Path(text))
    if not (box[2] > 0 and box[3] > 0):
        raise ObservationError(
            f"--init {text}: the box is {box[2]:g} wide and {box[3]:g} high, expected both above 0"
        )
    return box


def read_otb_boxes(path: Path) -> npt.NDArray[np.float64]:
    """Read a file of OTB rows `x,y,w,h`, separated by commas, tabs or blanks.

    Empty lines at the end are passed over.

    Returns:
        (N, 4) float64: left, top, width, height in pixels from 0; NaN where the file says so.

    Raises:
        ObservationError: Not readable, or a row is not four numbers (file and line are named).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ObservationError(
            f"{path} cannot be read ({error.strerror}): give a file of x,y,w,h rows, or X,Y,W,H"
        ) from None
    except ValueError:  # of the text's bytes, or a null byte in the name
        raise ObservationError(f"{path} is no text: expected rows x,y,w,h") from None
    lines = text.rstrip().splitlines()
    boxes = np.array([_row(path, number, line) for number, line in enumerate(lines, 1)])
    return boxes.reshape(-1, 4) - (1.0, 1.0, 0.0, 0.0)


def require_display() -> None:
    """Find out before a window is opened whether there is a screen for it.

    Raises:
        OutputError: There is none.
    """
    if not has_display():
        raise OutputError(
            f"--init {SELECT}: there is no display to draw on; give --init X,Y,W,H or a file"
        )


def draw_box(frame: Frame) -> Box:
    """Show a frame and let the user draw a box on it.

    Raises:
        ObservationError: None was drawn.
        OutputError: OpenCV cannot open a window.
    """
    try:
        x, y, width, height = cv2.selectROI(_TITLE, frame.image, False, False)
        cv2.destroyWindow(_TITLE)
    except cv2.error as error:
        raise OutputError(
            f"--init {SELECT}: OpenCV cannot open a window "
            f"({' '.join(str(error).split())[:120]}); give --init X,Y,W,H or a file"
        ) from error
    if width < 1 or height < 1:
        raise ObservationError(f"--init {SELECT}: no box was drawn")
    return float(x), float(y), float(width), float(height)


def _first_row(path: Path) -> Box:
    boxes = read_otb_boxes(path)
    if not len(boxes) or not np.isfinite(boxes[0]).all():
        got = "is empty" if not len(boxes) else "does not begin with a box of finite numbers"
        raise ObservationError(f"--init {path}: the file {got}, expected a row x,y,w,h")
    x, y, width, height = boxes[0].tolist()
    return x, y, width, height


def _row(path: Path, number: int, line: str) -> list[float]:
    parts = _BETWEEN.split(line.strip())
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != 4:
        raise ObservationError(f"{path}, line {number}: got {line[:60]!r}, expected x,y,w,h")
    return values
