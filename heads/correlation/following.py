"""Where objects went in frames without detections, by how they look.

The backbone sees the tile of each object twice: once in the last frame with detections, and then in
every frame without, where motion takes its box.  Cells that the box covers in the first are laid on
the second in all places that a tile's margin leaves; where they are most alike tells how far off
motion was.  Nothing is told by a place at the rim, since a better one may lie beyond it, nor where
others are hardly less alike, nor where the way back does not lead to the same cells, nor where
objects overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BundleError
from ...records import BoolArray, FloatArray, IntArray, UInt8Array
from ...runtime.boxes import clip_boxes, iou_matrix, valid_rows
from ...runtime.inference.base import Graphs, to_host
from ...runtime.preprocessing import Letterbox
from ..association.tiles import (
    MARGIN,
    batches_for,
    images_of,
    one_below_another,
    sizes_for,
    tile_of,
)
from .geometry import vertex

_CONTACT = 0.35
"""Objects whose boxes overlap by more (IoU) are not looked for: what is seen may be the other one.
Of people in TUD five frames later, half of the places found are within 0.01 to 0.03 heights; where
boxes overlap by 0.1 or more, one in ten is off by 0.1."""

_CLEAR = 0.05
"""By how much the likeness at the best place must exceed the mean of those at the rim.  Of a plain
surface it is alike everywhere; of 98 in 100 people in TUD-Campus it is 0.1 or more."""

_BACK = 0.5
"""Cells by which the way back may miss."""

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(slots=True)
class Template:
    """An object in the last frame in which it was detected.

    Attributes:
        image: (h, w, 3) uint8: its tile's part of that frame.
        letterbox: From the frame to the tile.
        box_xyxy: (4,) the object there, in source pixels.
        cells: (rows, cols, C) features of the tile, once they were needed.
    """

    image: UInt8Array
    letterbox: Letterbox
    box_xyxy: FloatArray
    cells: Float32 | None = None


class Follower:
    """Follows the objects of one video from one detection to the next.

    Args:
        graphs: Runs `backbone`.
        count: Called with the pixels of all images that the backbone sees.

    Raises:
        BundleError: The features are too coarse to tell places apart.
    """

    def __init__(self, graphs: Graphs, count: Callable[[int], object]) -> None:
        self._graphs, self._count = graphs, count
        self._stride = graphs.spec.stride
        self._margin = MARGIN // self._stride
        if self._margin < 1:
            raise BundleError(
                f"objects are followed by appearance in features of stride {MARGIN} or finer, the "
                f"bundle has {self._stride}: leave out --mot-between (or that of the task)"
            )
        self._sizes, self._batches = sizes_for(graphs), batches_for(graphs)
        self._templates: dict[int, Template] = {}

    def remember(
        self, image: UInt8Array, ids: Sequence[int], boxes_xyxy: FloatArray, seen: int
    ) -> None:
        """Keep the tiles of a frame with detections.

        Args:
            image: (H, W, 3) uint8; what is needed of it is copied.
            ids: Of N objects; what is known of others is forgotten.
            boxes_xyxy: (N, 4) in source pixels.
            seen: How many of them, the first ones, were detected; others keep what they had.
        """
        known = self._templates
        self._templates = {k: known[k] for k in ids[seen:] if k in known}
        free = valid_rows(clip_boxes(boxes_xyxy, image.shape[:2])) & _alone(boxes_xyxy)
        for k, box, good in zip(ids[:seen], boxes_xyxy, free.tolist(), strict=False):
            if good:
                letterbox = tile_of(box.tolist(), image.shape[:2])
                part = letterbox.cut_out(image).copy()
                self._templates[k] = Template(part, letterbox, box)

    def find(
        self, image: UInt8Array, ids: Sequence[int], boxes_xyxy: FloatArray
    ) -> tuple[IntArray, Float64]:
        """Look for objects about the places where motion takes them.

        Args:
            image: (H, W, 3) uint8.
            ids: Of N objects.
            boxes_xyxy: (N, 4) where they should be, in source pixels.

        Returns:
            The rows of those M whose place is clear, and their (M, 2) centres x, y.
        """
        free = valid_rows(clip_boxes(boxes_xyxy, image.shape[:2])) & _alone(boxes_xyxy)
        rows = [row for row, k in enumerate(ids) if free[row] and k in self._templates]
        templates = [self._templates[ids[row]] for row in rows]
        boxes = boxes_xyxy[rows]
        places = [
            tile_of(box.tolist(), image.shape[:2], template.letterbox.network_hw)
            for box, template in zip(boxes, templates, strict=True)
        ]
        new = [template for template in templates if template.cells is None]
        tiles = [template.letterbox.apply(template.image) for template in new]
        tiles += [place.apply(place.cut_out(image)) for place in places]
        cells = self._features(tiles)
        for template, own in zip(new, cells, strict=False):
            template.cells, template.image = own, template.image[:0].copy()
        shifts = [
            self._shift(*pair)
            for pair in zip(templates, boxes, places, cells[len(new) :], strict=True)
        ]
        found = [k for k, shift in enumerate(shifts) if shift is not None]
        centres = [_centre(boxes[k]) + shift for k, shift in enumerate(shifts) if shift is not None]
        return np.array(rows, np.int64)[found], np.array(centres, np.float64).reshape(-1, 2)

    def _features(self, tiles: Sequence[UInt8Array]) -> list[Float32]:
        """(rows, cols, C) of each tile."""
        found: dict[int, Float32] = {}
        for images, chosen, places in images_of(tiles, self._sizes, self._batches):
            (features,) = self._graphs.run("backbone", images)
            whole = np.asarray(to_host(one_below_another(features))[0], np.float32)
            for k, (top, left) in zip(chosen, places, strict=True):
                height, width = tiles[k].shape[:2]
                part = slice(top, top + height), slice(left, left + width)
                rows, columns = (
                    slice(p.start // self._stride, p.stop // self._stride) for p in part
                )
                found[k] = whole[rows, columns].copy()
            self._count(images.size // 3)
        return [found[k] for k in range(len(tiles))]

    def _shift(
        self, template: Template, box: FloatArray, place: Letterbox, cells: Float32
    ) -> Float64 | None:
        """How far a box is from its object: right and down in source pixels; None: not clear."""
        if template.cells is None:
            return None
        cells_away = displacement(template.cells, cells, self._margin)
        if cells_away is None:
            return None
        # A tile has whole source pixels, so that its box is not quite in the middle.
        was, now = (
            _centre(letterbox.to_network(one.astype(np.float64)))
            for letterbox, one in ((template.letterbox, template.box_xyxy), (place, box))
        )
        away = np.array(cells_away) * self._stride + was - now
        return np.asarray(away / np.array(place.scale_xy), np.float64)


def displacement(template: Float32, seen: Float32, margin: int) -> tuple[float, float] | None:
    """How far what is in the middle of one tile has moved in another.

    Args:
        template: (rows, cols, C) unit points.
        seen: The same.
        margin: Cells of surroundings on every side, 1 or more: as far it may have moved.

    Returns:
        Cells to the right and down; None where that is not clear.
    """
    alike = _laid_on(template, seen, margin, (margin, margin))
    cell, part = _peak(alike)
    rim = np.ones(alike.shape, np.bool_)
    rim[1:-1, 1:-1] = False
    if rim[tuple(cell)] or alike.max() - alike[rim].mean() < _CLEAR:
        return None
    # These cells are those of the middle, and a part of a cell beside.
    back, rest = _peak(_laid_on(seen, template, margin, (int(cell[0]), int(cell[1]))))
    if np.abs(back + rest + part - margin).max() > _BACK:
        return None
    down, right = (cell + part - margin).tolist()
    return right, down


def _laid_on(template: Float32, seen: Float32, margin: int, corner: tuple[int, int]) -> Float64:
    """How alike the template's cells from a corner on are to those of all places, at most 1.

    The middle counts more than the rim, which shows surroundings.

    Returns:
        (2 · margin + 1, 2 · margin + 1).
    """
    height, width = (side - 2 * margin for side in template.shape[:2])
    line_y, line_x = (np.hanning(side + 2)[1:-1] for side in (height, width))
    weights = np.outer(line_y, line_x)
    weights = (weights / weights.sum())[..., None].astype(np.float32)
    part = template[corner[0] : corner[0] + height, corner[1] : corner[1] + width] * weights
    places = range(2 * margin + 1)
    # Not a product of NumPy's BLAS: its threads would spin beside those of the backbone.
    return np.array(
        [
            [np.einsum("yxc,yxc->", part, seen[y : y + height, x : x + width]) for x in places]
            for y in places
        ],
        np.float64,
    )


def _peak(alike: Float64) -> tuple[IntArray, Float64]:
    """Row and column of the largest value, (2,), and how far beside it the peak lies, in cells."""
    cell = np.array(np.unravel_index(int(alike.argmax()), alike.shape), np.int64)
    row, column = cell.tolist()
    part = [vertex(alike[:, column], row), vertex(alike[row], column)]
    return cell, np.array(part, np.float64)


def _alone(boxes_xyxy: FloatArray) -> BoolArray:
    """(N,) bool: boxes of which no other covers much."""
    overlap = np.array(iou_matrix(boxes_xyxy, boxes_xyxy))
    np.fill_diagonal(overlap, 0.0)
    return np.asarray(overlap.max(axis=1, initial=0.0) < _CONTACT, np.bool_)


def _centre(box_xyxy: npt.NDArray[np.floating[Any]]) -> Float64:
    return np.asarray((box_xyxy[:2] + box_xyxy[2:]) / 2, np.float64)
