"""Objects cut out of their frame, each at the size that its features need.

A feature is asked for a few cells of an object only, so the object is scaled until it spans that
many, whatever its size in the source and whatever the frame's: one tile an object.  A backbone
sees further than a tile's margin, so every tile is an image of its own, and what an object looks
like does not hang on who else is looked at.  Several are given in one call, which costs less.
Where a backbone takes larger images only, tiles stand side by side in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

import numpy as np

from ...errors import BundleError
from ...records import UInt8Array
from ...runtime.inference.base import IMAGE_COUNTS, Array, Graphs
from ...runtime.preprocessing import PAD_VALUE, Letterbox

LONG_SIDE = 96
"""Pixels of an upright object's height in its tile: 12 cells."""

MARGIN = 16
"""Pixels of surroundings on every side, which the backbone looks at too."""

MOST_ENLARGED = 4.0
"""No object is enlarged more: there is nothing more to see."""

UPRIGHT = LONG_SIDE + 2 * MARGIN, LONG_SIDE // 2 + 2 * MARGIN
LYING = UPRIGHT[1], UPRIGHT[0]
SQUARE = (LONG_SIDE * 2 // 3 + 2 * MARGIN,) * 2
"""Height and width of the tiles of objects of each kind of proportions."""

_MOST_ON_HOST = 4
"""Images of a call on a CPU: for as many or for 8 it takes 0.8 (EfficientNet-Lite0) to 1.0 times
(ResNet-18, two threads) the processor time of one by one, to the same bits."""

Size = tuple[int, int]
Place = tuple[int, int]
"""Of a tile in an image: top, left."""


IMAGE_SIZES = SQUARE, UPRIGHT, LYING
"""Height and width of the images that tiles are put into: one each."""


def tile_of(box_xyxy: Sequence[float], frame_hw: Size, size_hw: Size | None = None) -> Letterbox:
    """Where the tile of an object lies in its frame.

    Args:
        box_xyxy: The object: left, top, right, bottom, in source pixels, partly in the frame.
        frame_hw: Height and width of the frame.  What is outside is padding.
        size_hw: Height and width of the tile; None: of what suits the box's proportions.
    """
    left, top, right, bottom = box_xyxy
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    size = size_hw or SQUARE
    if size_hw is None and max(width, height) > sqrt(2) * min(width, height):
        size = UPRIGHT if height > width else LYING
    scale = min((size[0] - 2 * MARGIN) / height, (size[1] - 2 * MARGIN) / width, MOST_ENLARGED)
    y = _axis((top + bottom) / 2, size[0], scale, frame_hw[0])
    x = _axis((left + right) / 2, size[1], scale, frame_hw[1])
    return Letterbox((y[1], x[1]), size, (y[3], x[3]), y[2], x[2], (x[0], y[0]))


def _axis(centre: float, size: int, scale: float, limit: int) -> tuple[int, int, int, int]:
    """One axis of a tile: its part of the frame (begin, length) and of the tile (begin, length)."""
    length = max(1, round(size / scale))
    begin = round(centre - length / 2)
    first = min(max(begin, 0), limit - 1)
    last = min(max(begin + length, first + 1), limit)
    place = min(max(0, round((first - begin) * size / length)), size - 1)
    inner = min(max(1, round((last - first) * size / length)), size - place)
    return first, last - first, place, inner


def images_of(
    tiles: Sequence[UInt8Array], sizes_hw: Sequence[Size] = (), batches: Sequence[int] = (1,)
) -> Iterator[tuple[UInt8Array, list[int], list[Place]]]:
    """Put tiles into images: one each, where there are images of its size.

    Others stand side by side, in the smallest image that holds all, or as many as any does.

    Args:
        tiles: (h, w, 3) uint8 each.
        sizes_hw: Image sizes that may be used; empty: `IMAGE_SIZES`.
        batches: Numbers of images that may be given at once, the smallest first; those that are
            left over are of nothing.

    Yields:
        Images (B, H, W, 3) uint8, the numbers of the tiles that are in them and their places, as if
        one image lay below the other (`one_below_another`).

    Raises:
        BundleError: No size holds a tile.
    """
    sizes = sorted(sizes_hw or IMAGE_SIZES, key=lambda size: (size[0] * size[1], size))
    # High ones first, so that rows waste little.
    waiting = sorted(range(len(tiles)), key=lambda k: (-tiles[k].shape[0], -tiles[k].shape[1], k))
    for size in sizes:
        own = [k for k in waiting if tiles[k].shape[:2] == size]
        waiting = [k for k in waiting if tiles[k].shape[:2] != size]
        while own:
            count = next((count for count in batches if count >= len(own)), batches[-1])
            chosen, own = own[:count], own[count:]
            image = np.full((count, *size, 3), PAD_VALUE, np.uint8)
            for row, k in enumerate(chosen):
                image[row] = tiles[k]
            yield image, chosen, [(row * size[0], 0) for row in range(len(chosen))]
    while waiting:
        shapes = [tiles[k].shape for k in waiting]
        size, places = max(
            ((size, _placed(shapes, size)) for size in sizes), key=lambda found: len(found[1])
        )
        if not places:
            raise BundleError(
                f"an object's tile of {shapes[0][:2]} (height, width) does not fit into the "
                f"bundle's images of {sizes[-1]}: export it without --size, or give "
                "--mot-appearance always (or that of the task)"
            )
        chosen, waiting = waiting[: len(places)], waiting[len(places) :]
        image = np.full((1, *size, 3), PAD_VALUE, np.uint8)
        for k, (top, left) in zip(chosen, places, strict=True):
            height, width = tiles[k].shape[:2]
            image[0, top : top + height, left : left + width] = tiles[k]
        yield image, chosen, places


def one_below_another(features: Array) -> Array:
    """The feature maps of images (B, rows, cols, C) as one map (1, B · rows, cols, C).

    In memory nothing changes: whoever looks at the cells of one image alone is given them.
    """
    images, rows, columns, channels = features.shape
    return features.reshape((1, images * rows, columns, channels)) if images > 1 else features


def _placed(shapes: Sequence[Sequence[int]], size: Size) -> list[Place]:
    """Places of the first shapes, row by row, until there is no room for the next one."""
    places: list[Place] = []
    top = left = deepest = 0
    for height, width, *_ in shapes:
        if left + width > size[1]:
            top, left = deepest, 0
        if left + width > size[1] or top + height > size[0]:
            break
        places.append((top, left))
        left, deepest = left + width, max(deepest, top + height)
    return places


def sizes_for(graphs: Graphs) -> list[Size]:
    """Image sizes for tiles that the backbone takes: engines are built from a size to a size."""
    if graphs.spec.sizes_hw:
        return list(graphs.spec.sizes_hw)
    low = [graphs.least("backbone", 0, axis) for axis in (1, 2)]
    high = [graphs.limit("backbone", 0, axis) for axis in (1, 2)]
    sizes = {(max(h, low[0]), max(w, low[1])) for h, w in IMAGE_SIZES}
    within = [(h, w) for h, w in sizes if h <= (high[0] or h) and w <= (high[1] or w)]
    return sorted(within or [(high[0] or low[0], high[1] or low[1])])


def batches_for(graphs: Graphs, describes: str | None = None) -> list[int]:
    """How many tiles may be looked at in one call, the smallest number first.

    Where counts are filled up so that shapes recur, a few numbers; else any up to a few.

    Args:
        graphs: Runs `backbone` and `describes`.
        describes: The graph that is given the feature maps one below another; None: none is.
    """
    if graphs.filled(1) == 1:
        return list(range(1, _MOST_ON_HOST + 1))
    most = graphs.limit("backbone", 0, 0) or IMAGE_COUNTS[-1]
    rows = None if describes is None else graphs.limit(describes, 0, 1)
    if rows is not None:
        most = min(most, rows * graphs.spec.stride // UPRIGHT[0])
    return [count for count in IMAGE_COUNTS if count <= most] or [1]
