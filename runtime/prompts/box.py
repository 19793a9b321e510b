"""The box that a video starts from, as `--init` gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ...errors import DetectionError, OutputError, RequestError
from ...records import Frame
from ..formats.otb import Box, read_otb_boxes
from ..formats.text import parse_number
from ..paths import exists, is_folder
from ..writers.window import has_display

SELECT = "select"
"""The word in place of a box that lets the user draw one."""

_EXPECTED = "expected a box X,Y,W,H, or a file whose first row is one"
_TITLE = "Draw a box around the object, then press Enter (c: cancel)"


def box_from_text(text: str) -> Box | Callable[[Frame], Box]:
    """Read `--init`.

    Args:
        text: `X,Y,W,H` in source pixels from 0, the path of a file whose first row is an OTB box,
            or `select`.

    Returns:
        The box; for `select`, what shows a frame and lets the user draw it.

    Raises:
        RequestError: Numbers that are no box, or a folder.
        DetectionError: The file is not there, or holds no box: the line says what there is instead.
        OutputError: `select` without a display.
    """
    if text == SELECT:
        require_display()
        return draw_box
    box = parse_box(text)
    if box is None:
        path = Path(text)
        if text and is_folder(path):
            raise RequestError(f"--init {text}: a folder; {_EXPECTED}")
        if not text or not exists(path):
            raise DetectionError(f"--init {text}: there is no such file; {_EXPECTED}")
        box = _first_row(path)
    if not (box[2] > 0 and box[3] > 0):
        raise DetectionError(
            f"--init {text}: the box is {box[2]:g} wide and {box[3]:g} high, expected both above 0"
        )
    return box


def require_display() -> None:
    """Check that there is a display before a window is opened.

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
        DetectionError: None was drawn.
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
        raise DetectionError(f"--init {SELECT}: no box was drawn")
    return float(x), float(y), float(width), float(height)


def _first_row(path: Path) -> Box:
    boxes = read_otb_boxes(path)
    if not len(boxes) or not np.isfinite(boxes[0]).all():
        got = "is empty" if not len(boxes) else "does not begin with a box of finite numbers"
        raise DetectionError(f"--init {path}: the file {got}, expected a row x,y,w,h")
    x, y, width, height = boxes[0].tolist()
    return x, y, width, height


def parse_box(text: str) -> tuple[float, float, float, float] | None:
    """`X,Y,W,H` as numbers; None where the text names a file.

    Raises:
        RequestError: Four values of which one is not a finite number, or more or fewer numbers.
    """
    parts = text.split(",")
    if exists(Path(text)):
        return None
    if len(parts) != 4:
        if len(parts) > 1 and all(parse_number(part) is not None for part in parts):
            raise RequestError(
                f"--init {text}: got {len(parts)} numbers, expected four, X,Y,W,H, or a file"
            )
        return None
    try:
        x, y, width, height = (float(part) for part in parts)
    except ValueError:
        raise RequestError(f"--init {text}: expected four numbers X,Y,W,H or a file") from None
    if not np.isfinite([x, y, width, height]).all():
        raise RequestError(f"--init {text}: expected four finite numbers X,Y,W,H")
    if width <= 0 or height <= 0:
        raise RequestError(
            f"--init {text}: the box is {width:g} wide and {height:g} high, expected X,Y,W,H with "
            "W and H above 0"
        )
    return x, y, width, height
