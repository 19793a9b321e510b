"""The label map that a video starts from, as `--init` gives it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import ObservationError
from ..records import UInt8Array
from .palette_png import read_label_png
from .paths import exists


def labels_from_text(text: str, size_hw: tuple[int, int]) -> UInt8Array:
    """Read `--init`: a mask file, or a box.

    Args:
        text: Path of a PNG (palette or grey: pixel values are object ids, 0 is background), or
            `X,Y,W,H`: left, top, width, height in pixels of the source, from 0.
        size_hw: Height and width of the source's frames.

    Returns:
        (H, W) uint8. A box is filled as a whole; `cut_out` finds the object in it.

    Raises:
        ObservationError: Not readable, of another size, without any object, or a box outside the
            picture.
    """
    box = parse_box(text)
    if box is None:
        labels = read_label_png(Path(text))
        if labels.shape != size_hw:
            raise ObservationError(
                f"--init {text}: the mask is {labels.shape[1]}x{labels.shape[0]}, the source is "
                f"{size_hw[1]}x{size_hw[0]} (width x height): give a mask of the first frame's size"
            )
        if not labels.any():
            raise ObservationError(
                f"--init {text}: the mask is empty, every pixel is 0: mark the object with another "
                "value"
            )
        return labels
    return filled_box(box, size_hw, f"--init {text}")


def filled_box(
    box: tuple[float, float, float, float], size_hw: tuple[int, int], name: str = "box"
) -> UInt8Array:
    """A label map of one box.

    Args:
        box: Left, top, width, height in source pixels, from 0; may reach beyond the picture.
        size_hw: Height and width of the map.
        name: What messages call it.

    Returns:
        (H, W) uint8: 1 in the box, 0 elsewhere.

    Raises:
        ObservationError: No pixel lies in it.
    """
    x, y, width, height = box
    # Within the picture first: sums of large numbers may be infinite, which cannot be rounded.
    left, right = (round(min(max(0.0, edge), size_hw[1])) for edge in (x, x + width))
    top, bottom = (round(min(max(0.0, edge), size_hw[0])) for edge in (y, y + height))
    if right <= left or bottom <= top:
        raise ObservationError(
            f"{name}: the box holds no pixel of the source, which is "
            f"{size_hw[1]}x{size_hw[0]} (width x height); expected X,Y,W,H with W and H above 0"
        )
    filled = np.zeros(size_hw, np.uint8)
    filled[top:bottom, left:right] = 1
    return filled


def cut_out(image: UInt8Array, labels: UInt8Array) -> UInt8Array:
    """Find the object in a filled box by GrabCut: colours inside against colours around it.

    Args:
        image: (H, W, 3) uint8 BGR.
        labels: (H, W) uint8, 1 in one box and 0 elsewhere.

    Returns:
        (H, W) uint8: 1 on the object, which lies in the box. The box itself where no object stands
        out, that is where less than a twentieth of it would be left, or where it fills the picture
        and there is nothing to compare with.
    """
    x, y, width, height = cv2.boundingRect(labels)
    if labels.all() or min(width, height) < 2:
        return labels
    state = np.zeros(labels.shape, np.uint8)
    # GrabCut starts from k-means with random centres: the same input shall give the same mask.
    cv2.setRNGSeed(0)
    cv2.grabCut(
        np.ascontiguousarray(image),
        state,
        (x, y, width, height),
        np.zeros((1, 65)),
        np.zeros((1, 65)),
        5,
        cv2.GC_INIT_WITH_RECT,
    )
    found = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    if np.count_nonzero(found) < 0.05 * np.count_nonzero(labels):
        return labels
    return np.asarray(found, np.uint8)


def parse_box(text: str) -> tuple[float, float, float, float] | None:
    """`X,Y,W,H` as numbers; None where the text names a file.

    Raises:
        ObservationError: Four values of which one is not a finite number.
    """
    parts = text.split(",")
    if len(parts) != 4 or exists(Path(text)):
        return None
    try:
        x, y, width, height = (float(part) for part in parts)
    except ValueError:
        raise ObservationError(f"--init {text}: expected four numbers X,Y,W,H or a file") from None
    if not np.isfinite([x, y, width, height]).all():
        raise ObservationError(f"--init {text}: expected four finite numbers X,Y,W,H")
    return x, y, width, height
