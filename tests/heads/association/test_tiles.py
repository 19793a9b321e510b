"""Tiles: every object at the size that its features need, an image each."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.errors import BundleError
from unitrack_edge.export.graphs.profiles import dimension_ranges
from unitrack_edge.heads.association.tiles import (
    IMAGE_SIZES,
    LONG_SIDE,
    LYING,
    MARGIN,
    MOST_ENLARGED,
    SQUARE,
    UPRIGHT,
    batches_for,
    images_of,
    one_below_another,
    tile_of,
)
from unitrack_edge.runtime.inference.base import IMAGE_COUNTS, Graphs, filled_count
from unitrack_edge.runtime.preprocessing import PAD_VALUE

FRAME = 480, 640


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((100, 100, 140, 200), UPRIGHT),
        ((100, 100, 200, 140), LYING),
        ((100, 100, 200, 200), SQUARE),
        ((0, 0, 160, 400), UPRIGHT),
    ],
)
def test_an_object_fills_its_tile_whatever_its_size(box, size):
    tile = tile_of(box, FRAME)
    assert tile.network_hw == size
    found = tile.to_network(np.array(box, np.float32))
    inner = np.subtract(size, 2 * MARGIN)
    shares = (found[3] - found[1]) / inner[0], (found[2] - found[0]) / inner[1]
    assert max(shares) == pytest.approx(1, abs=0.03)
    centre = (found[:2] + found[2:]) / 2
    assert centre == pytest.approx(np.array(size[::-1]) / 2, abs=1.5)


def test_the_smallest_are_enlarged_four_times_only():
    found = tile_of((100, 100, 104, 110), FRAME).to_network(np.array([100, 100, 104, 110.0]))
    assert found[3] - found[1] == pytest.approx(10 * MOST_ENLARGED, rel=0.05)


def test_what_is_outside_the_frame_is_padding():
    image = np.full((*FRAME, 3), 200, np.uint8)
    tile = tile_of((-20, 100, 20, 200), FRAME)
    cut = tile.apply(tile.cut_out(image))
    assert cut.shape == (*UPRIGHT, 3)
    column = cut[UPRIGHT[0] // 2, :, 0]
    assert (column[: UPRIGHT[1] // 2 - 1] == 128).all()
    assert (column[UPRIGHT[1] // 2 + 1 :] == 200).all()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-200, 700),
    st.floats(-200, 500),
    st.floats(0, 900),
    st.floats(0, 900),
    st.tuples(st.integers(1, 500), st.integers(1, 700)),
)
def test_any_box_has_a_tile(left, top, width, height, frame_hw):
    tile = tile_of((left, top, left + width, top + height), frame_hw)
    cut = tile.apply(tile.cut_out(np.zeros((*frame_hw, 3), np.uint8)))
    assert cut.shape[:2] in (UPRIGHT, LYING, SQUARE)


def coloured(shapes):
    """Tiles of one colour each, from 1."""
    return [np.full((*shape, 3), k + 1, np.uint8) for k, shape in enumerate(shapes)]


@pytest.mark.parametrize("count", [1, 2, 5, 24, 40])
def test_every_tile_is_in_one_image_once(count):
    kinds = [UPRIGHT, LYING, UPRIGHT, SQUARE]
    tiles = coloured([kinds[k % 4] for k in range(count)])
    seen = []
    for image, chosen, places in images_of(tiles):
        assert image.shape[1:3] in IMAGE_SIZES
        for k, (top, left) in zip(chosen, places, strict=True):
            height, width = tiles[k].shape[:2]
            assert (top % 8, left % 8) == (0, 0), "cells of the tile are cells of the image"
            assert (image[0, top : top + height, left : left + width] == k + 1).all()
        assert {0, *chosen} >= {0, *(np.unique(image[image != 128]) - 1)}
        seen += chosen
    assert sorted(seen) == list(range(count))


def test_a_tile_is_an_image_of_its_own():
    """What an object looks like does not hang on who else is looked at."""
    tiles = coloured([UPRIGHT, SQUARE, LYING, UPRIGHT])
    for image, (k,), places in images_of(tiles):
        np.testing.assert_array_equal(image[0], tiles[k])
        assert places == [(0, 0)]


@pytest.mark.parametrize(
    ("count", "calls"), [(1, [2]), (2, [2]), (3, [4]), (8, [8]), (9, [8, 2]), (21, [8, 8, 8])]
)
def test_on_a_gpu_few_numbers_of_images_are_given_at_once(count, calls):
    """Images of nothing fill them up, so that engines meet few shapes."""
    tiles = coloured([UPRIGHT] * count)
    seen, given = [], []
    for images, chosen, places in images_of(tiles, batches=IMAGE_COUNTS):
        given.append(len(images))
        (whole,) = one_below_another(images)
        for k, (top, left) in zip(chosen, places, strict=True):
            found = whole[top : top + UPRIGHT[0], left : left + UPRIGHT[1]]
            np.testing.assert_array_equal(found, tiles[k])
        assert (images[len(chosen) :] == PAD_VALUE).all()
        seen += chosen
    assert given == calls
    assert sorted(seen) == list(range(count))


def test_tiles_of_every_proportions_are_given_apart():
    tiles = coloured([UPRIGHT, LYING, SQUARE, LYING])
    found = {i.shape: chosen for i, chosen, _ in images_of(tiles, batches=IMAGE_COUNTS)}
    assert found == {(2, *UPRIGHT, 3): [0], (2, *LYING, 3): [1, 3], (2, *SQUARE, 3): [2]}


class Limited(Graphs):
    """A device whose graphs take so many images and rows of feature maps."""

    spec = SimpleNamespace(stride=8)

    def __init__(self, images, rows):
        self.limits = {("backbone", 0): images, ("box_features", 1): rows}

    def filled(self, count):
        return filled_count(count)

    def limit(self, graph, _number, axis):
        return self.limits[graph, axis]


@pytest.mark.parametrize(
    ("images", "rows", "batches"),
    [
        (None, None, [2, 4, 8]),
        (8, 128, [2, 4, 8]),
        (8, 92, [2, 4]),  # engines of before
        (2, 128, [2]),
        (8, 76, [2, 4]),
        (1, 128, [1]),
        (8, 8, [1]),
    ],
)
def test_engines_are_given_as_many_as_they_take(images, rows, batches):
    assert batches_for(Limited(images, rows), "box_features") == batches


@pytest.mark.parametrize("sizes", [(), ((80, 80), (608, 1088))])
def test_engines_are_built_for_the_largest_number(sizes):
    ranges = dimension_ranges(sizes, 8)
    graphs = Limited(ranges["batch"][2], ranges["map_rows"][2])
    assert batches_for(graphs, "box_features") == list(IMAGE_COUNTS)
    least = ranges["height"][0], ranges["width"][0]
    for size in IMAGE_SIZES:
        assert np.greater_equal(size, least).all()
        assert ranges["map_rows"][0] * 8 <= size[0] * IMAGE_COUNTS[0]
        assert ranges["cols"][0] * 8 <= size[1] <= ranges["cols"][2] * 8


def test_a_bundle_of_fixed_sizes_is_used_as_it_is():
    tiles = coloured([UPRIGHT] * 5)
    images = list(images_of(tiles, [(608, 1088), (136, 176)]))
    assert [image.shape[1:3] for image, _, _ in images] == [(608, 1088)]
    images = list(images_of(tiles, [(136, 176)]))
    assert [len(chosen) for _, chosen, _ in images] == [2, 2, 1]


def test_an_image_too_small_for_a_tile_is_an_error():
    with pytest.raises(BundleError, match="does not fit into the bundle's images of"):
        list(images_of(coloured([UPRIGHT]), [(64, 64)]))


def test_sizes_are_whole_cells():
    for size in (UPRIGHT, LYING, SQUARE, *IMAGE_SIZES):
        assert size[0] % 8 == size[1] % 8 == 0, size
    assert UPRIGHT[0] == LONG_SIDE + 2 * MARGIN
