"""What mask propagation starts from: labels, a box to cut the object out of, or a drawn box."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..records import Frame, UInt8Array
from .init_box import SELECT, draw_box, require_display
from .init_labels import cut_out, filled_box, labels_from_text, parse_box

Refine = Callable[[UInt8Array, UInt8Array], UInt8Array]
"""Makes the object's labels of the first picture and of where the object may be."""


def labels_to_start(text: str, size_hw: tuple[int, int]) -> tuple[UInt8Array, Refine | None]:
    """Read `--init` of task vos.

    Args:
        text: Path of a PNG of object ids, `X,Y,W,H` in source pixels from 0, or `select`.
        size_hw: Height and width of the source's frames.

    Returns:
        (H, W) uint8 labels; and what finds the object where those only say where to look, which
        for `select` is everywhere: it asks the user for a box first.

    Raises:
        ObservationError: Not readable, of another size, without any object, or a box outside the
            picture.
        OutputError: `select` without a display.
    """
    if text == SELECT:
        require_display()
        return np.ones(size_hw, np.uint8), draw_object
    labels = labels_from_text(text, size_hw)
    return labels, None if parse_box(text) is None else cut_out


def draw_object(image: UInt8Array, labels: UInt8Array) -> UInt8Array:  # noqa: ARG001
    """Let the user draw a box, and cut the object in it out.

    Args:
        image: (H, W, 3) uint8 BGR.
        labels: Where the object may be, not looked at.

    Returns:
        (H, W) uint8: 1 on the object, 0 elsewhere; see `init_labels.cut_out`.

    Raises:
        ObservationError: No box was drawn.
        OutputError: OpenCV cannot open a window.
    """
    frame = Frame(0, 0.0, image)
    return cut_out(image, filled_box(draw_box(frame), frame.size_hw, f"--init {SELECT}"))
