"""What mask propagation starts from: a label map, a box or a point to cut the object out of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ...errors import DetectionError
from ...records import BoolArray, Frame, UInt8Array
from ..formats.davis import read_label_png
from ..paths import exists
from .box import SELECT, draw_box, parse_box, require_display

_VOID = 255
"""DAVIS' value of pixels that belong to nobody."""

_MOST_OBJECTS = 100
"""A label above it says that objects are numbered by grey values, of which 255 is one."""


def without_void(labels: UInt8Array) -> UInt8Array:
    """Labels in which 255 beside objects that are counted from 1 is background, as DAVIS means it.

    Args:
        labels: (H, W) uint8. A mask of nothing else than 255 stays.

    Returns:
        (H, W) uint8.
    """
    others = np.unique(labels[(labels > 0) & (labels < _VOID)])
    if not len(others) or others[-1] > _MOST_OBJECTS:
        return labels
    return np.where(labels == _VOID, 0, labels).astype(np.uint8)


def labels_from_text(text: str, size_hw: tuple[int, int]) -> UInt8Array:
    """Read `--init`: a mask file, or a box.

    Args:
        text: Path of a PNG (palette or grey: pixel values are object ids, 0 is background, and so
            is 255 beside objects counted from 1, see `without_void`), or `X,Y,W,H`: left, top,
            width, height in pixels of the source, from 0.
        size_hw: Height and width of the source's frames.

    Returns:
        (H, W) uint8. A box is filled as a whole; `cut_out` finds the object in it.

    Raises:
        DetectionError: Not readable, of another size, without any object, or a box outside the
            image.
    """
    box = parse_box(text)
    if box is None:
        if not exists(Path(text)):
            raise DetectionError(
                f"--init {text}: there is no such file; expected a PNG of the first frame's "
                "mask, a folder of masks, or a box X,Y,W,H"
            )
        labels = read_mask(Path(text), size_hw)
        if not labels.any():
            raise DetectionError(
                f"--init {text}: the mask is empty, every pixel is 0: mark the object with another "
                "value"
            )
        return labels
    return filled_box(box, size_hw, f"--init {text}")


def read_mask(path: Path, size_hw: tuple[int, int]) -> UInt8Array:
    """The labels of a file without DAVIS' void.

    Raises:
        DetectionError: Not readable, of another size than (height, width) `size_hw`, or an image
            that is no map of objects.
    """
    labels = without_void(read_label_png(path))
    if labels.shape != size_hw:
        raise DetectionError(
            f"--init {path}: the mask is {labels.shape[1]}x{labels.shape[0]}, the source is "
            f"{size_hw[1]}x{size_hw[0]} (width x height): give a mask of the frame's size"
        )
    values = np.unique(labels[labels > 0])
    scattered = sum(_is_scattered(labels == value) for value in values) if len(values) > _FEW else 0
    if 2 * scattered > len(values):
        raise DetectionError(
            f"--init {path}: got {len(values)} values, most of them scattered over single pixels, "
            "expected one value for each object: this is a photograph, or a mask that was smoothed "
            "or compressed; scale masks to the nearest neighbour and save them as PNG"
        )
    return labels


_FEW = 8
"""Objects, each of which may have any shape."""


def _is_scattered(mask: BoolArray) -> bool:
    """Whether no connected piece is half of a mask (H, W), or whether that is a speck."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    inside = np.ascontiguousarray(mask[y : y + height, x : x + width]).view(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside)
    largest = int(stats[1:, cv2.CC_STAT_AREA].max())
    return largest < max(_SPECK, np.count_nonzero(inside) / 2)


_SPECK = 4


def filled_box(
    box: tuple[float, float, float, float], size_hw: tuple[int, int], name: str = "box"
) -> UInt8Array:
    """A label map of one box.

    Args:
        box: Left, top, width, height in source pixels, from 0; may reach beyond the image.
        size_hw: Height and width of the map.
        name: What messages call it.

    Returns:
        (H, W) uint8: 1 in the box, 0 elsewhere.

    Raises:
        DetectionError: No pixel lies in it.
    """
    x, y, width, height = box
    # Within the image first: sums of large numbers may be infinite, which cannot be rounded.
    left, right = (round(min(max(0.0, edge), size_hw[1])) for edge in (x, x + width))
    top, bottom = (round(min(max(0.0, edge), size_hw[0])) for edge in (y, y + height))
    if right <= left or bottom <= top:
        raise DetectionError(
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
        out, that is where less than a twentieth of it would be left, or where it fills the image
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


Refine = Callable[[UInt8Array, UInt8Array], UInt8Array]
"""Makes the object's labels of the first image and of where the object may be."""


def labels_to_start(text: str, size_hw: tuple[int, int]) -> tuple[UInt8Array, Refine | None]:
    """Read `--init` of task vos.

    Args:
        text: Path of a PNG of object ids, `X,Y,W,H` in source pixels from 0, or `select`.
        size_hw: Height and width of the source's frames.

    Returns:
        (H, W) uint8 labels; and what finds the object where those only say where to look, which
        for `select` is everywhere: it asks the user for a box first.

    Raises:
        DetectionError: Not readable, of another size, without any object, or a box outside the
            image.
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
        (H, W) uint8: 1 on the object, 0 elsewhere; see `cut_out`.

    Raises:
        DetectionError: No box was drawn.
        OutputError: OpenCV cannot open a window.
    """
    frame = Frame(0, 0.0, image)
    return cut_out(image, filled_box(draw_box(frame), frame.size_hw, f"--init {SELECT}"))


_REACH = 0.25
"""How far from the point the object may lie, as a share of the image's shorter side."""

_ROUNDS = 5
_LEAST, _MOST = 1.5, 0.95


def object_at(image: UInt8Array, point_xy: tuple[float, float]) -> UInt8Array:
    """Cut out what is under a point by GrabCut: the colours there against those farther away.

    Args:
        image: (H, W, 3) uint8 BGR.
        point_xy: In source pixels, from 0.

    Returns:
        (H, W) uint8: 1 on the object, which holds the point and is connected; 0 elsewhere.

    Raises:
        DetectionError: The point lies outside the image, or nothing stands out there.
    """
    height, width = image.shape[:2]
    x, y = (int(np.floor(value)) for value in point_xy)
    if not (0 <= x < width and 0 <= y < height):
        raise DetectionError(
            f"the point {x},{y} lies outside the image, which is {width}x{height} (width x height)"
        )
    reach = max(4, round(_REACH * min(height, width)))
    # Beyond the object's reach there is a border that is certainly something else.
    border = max(2, reach // 4)
    left, top = max(0, x - reach - border), max(0, y - reach - border)
    part = np.ascontiguousarray(
        image[top : y + reach + border + 1, left : x + reach + border + 1], np.uint8
    )
    labels = np.zeros((height, width), np.uint8)
    found = _cut_out(part, (x - left, y - top), reach)
    if not found.any():
        raise DetectionError(
            f"nothing stands out at the point {x},{y}: draw a box around the object instead"
        )
    labels[top : top + part.shape[0], left : left + part.shape[1]] = found
    return labels


def cutter_at(
    point_xy: tuple[float, float],
) -> Callable[[UInt8Array, UInt8Array], UInt8Array]:
    """`object_at` a point, in the form of `Refine`; the labels are not looked at."""
    return lambda image, _labels: object_at(image, point_xy)


def _cut_out(part: UInt8Array, at: tuple[int, int], reach: int) -> UInt8Array:
    """The connected object at a place of a part of the image; empty where all is alike."""
    state = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
    cv2.circle(state, at, reach, int(cv2.GC_PR_BGD), -1)
    cv2.circle(state, at, max(2, reach // 3), int(cv2.GC_PR_FGD), -1)
    cv2.circle(state, at, max(1, reach // 30), int(cv2.GC_FGD), -1)
    sure = np.count_nonzero(state == cv2.GC_FGD)
    possible = np.count_nonzero(state != cv2.GC_BGD)
    nothing = np.zeros_like(state)
    if possible == state.size:
        return nothing
    # GrabCut starts from k-means with random centres: the same click shall give the same mask.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(part, state, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    inside = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, pieces = cv2.connectedComponents(inside, connectivity=4)
    found = ((pieces == pieces[at[1], at[0]]) & (inside > 0)).astype(np.uint8)
    # Where all is alike, what was given comes back: the middle alone, or all that was possible.
    return found if _LEAST * sure < np.count_nonzero(found) < _MOST * possible else nothing
