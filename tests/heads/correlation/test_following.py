"""Following by appearance: what has moved is found where it is, and nothing is told otherwise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from unitrack_edge.errors import BundleError
from unitrack_edge.heads.association.tiles import UPRIGHT
from unitrack_edge.heads.correlation.following import Follower, displacement
from unitrack_edge.runtime.inference.base import Graphs

STRIDE, MARGIN = 8, 2
ROWS, COLUMNS = (side // STRIDE for side in UPRIGHT)


def world(seed=0, smooth=0):
    """(40, 40, 16) unit points; with `smooth`, neighbours are alike."""
    points = np.random.default_rng(seed).normal(size=(40, 40, 16))
    for axis in (0, 1) * smooth:
        points = (np.roll(points, 1, axis) + 2 * points + np.roll(points, -1, axis)) / 4
    return (points / np.linalg.norm(points, axis=2, keepdims=True)).astype(np.float32)


def window(points, top, left):
    return points[top : top + ROWS, left : left + COLUMNS]


@pytest.mark.parametrize(("right", "down"), [(0, 0), (1, 0), (-1, 1), (0, -1)])
def test_what_moved_by_cells_is_found_there(right, down):
    points = world()
    found = displacement(window(points, 10, 10), window(points, 10 - down, 10 - right), MARGIN)
    assert found == pytest.approx((right, down), abs=0.2)


def test_parts_of_a_cell_are_told():
    points = world(smooth=4)
    half = (points + np.roll(points, 1, axis=1)) / 2  # half a cell to the right
    half /= np.linalg.norm(half, axis=2, keepdims=True)
    right, down = displacement(window(points, 10, 10), window(half, 10, 10), MARGIN)
    assert 0.25 < right < 0.75
    assert down == pytest.approx(0, abs=0.1)


def test_nothing_is_told_of_what_is_at_the_rim_or_looks_the_same_everywhere():
    points = world()
    assert displacement(window(points, 10, 10), window(points, 8, 10), MARGIN) is None
    flat = np.broadcast_to(points[:1, :1], (ROWS, COLUMNS, 16))
    assert displacement(flat, flat, MARGIN) is None
    noise = np.random.default_rng(3).normal(size=flat.shape) * 0.02
    noisy = flat + noise.astype(np.float32)
    noisy /= np.linalg.norm(noisy, axis=2, keepdims=True)
    assert displacement(noisy, noisy, MARGIN) is None


def test_nothing_is_told_where_the_way_back_leads_elsewhere():
    """What is seen one cell to the right is of two places, of which the template's is the other."""
    template = window(world(), 10, 10).copy()
    seen = window(world(1), 10, 10).copy()
    middle = slice(MARGIN, ROWS - MARGIN), slice(MARGIN, COLUMNS - MARGIN)
    moved = middle[0], slice(MARGIN + 1, COLUMNS - MARGIN + 1)
    seen[moved] = template[middle]
    assert displacement(template, seen, MARGIN) == pytest.approx((1, 0), abs=0.2)
    beside = middle[0], slice(0, COLUMNS - 2 * MARGIN)
    mixed = template[middle] + 2 * template[beside]
    seen[moved] = mixed / np.linalg.norm(mixed, axis=2, keepdims=True)
    assert displacement(template, seen, MARGIN) is None


class Colours(Graphs):
    """A backbone that sees the colours of a cell's pixels, as a direction."""

    def __init__(self, stride=STRIDE):
        self.spec = SimpleNamespace(sizes_hw=(), stride=stride)
        self.images = []

    def run(self, graph, *feeds):
        assert graph == "backbone"
        self.images.append(feeds[0].shape)
        count, height, width, _ = feeds[0].shape
        cells = feeds[0].astype(np.float32).reshape(count, height // 8, 8, width // 8, 8, 3) - 128
        points = cells.transpose(0, 1, 3, 2, 4, 5).reshape(count, height // 8, width // 8, -1)
        length = np.linalg.norm(points, axis=3, keepdims=True)
        return (points / np.maximum(length, 1e-6),)


def picture(left, top, seed=5):
    """(240, 320, 3): a figure of 48 × 96 coarse blocks before grey."""
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 4, 3)).astype(np.uint8)
    image = np.full((240, 320, 3), 128, np.uint8)
    image[top : top + 96, left : left + 48] = blocks.repeat(12, axis=0).repeat(12, axis=1)
    return image


def box(left, top):
    return np.array([left, top, left + 48, top + 96], np.float32)


def centre(left, top):
    return (left + 24, top + 48)


@pytest.mark.parametrize("away", [(0, 0), (5, 3), (-8, 6), (7, -9)])
def test_a_box_goes_to_its_object(away):
    right, down = away
    follower = Follower(Colours(), lambda _pixels: None)
    follower.remember(picture(100, 60), [7], box(100, 60)[None], 1)
    image = picture(100 + right, 60 + down)
    rows, centres = follower.find(image, [3, 7], np.stack([box(200, 60), box(100, 60)]))
    assert rows.tolist() == [1], "of 3 nothing is known"
    assert centres[0] == pytest.approx(centre(100 + right, 60 + down), abs=2)


def test_the_frame_of_the_detection_may_be_overwritten():
    follower = Follower(Colours(), lambda _pixels: None)
    first = picture(100, 60)
    follower.remember(first, [7], box(100, 60)[None], 1)
    first[:] = 0
    _, centres = follower.find(picture(104, 60), [7], box(100, 60)[None])
    assert centres[0] == pytest.approx(centre(104, 60), abs=2)


def test_tiles_are_seen_once_and_counted():
    pixels, graphs = [], Colours()
    follower = Follower(graphs, pixels.append)
    follower.remember(picture(100, 60), [7], box(100, 60)[None], 1)
    assert graphs.images == []
    for _ in range(2):
        follower.find(picture(102, 60), [7], box(100, 60)[None])
    # The tile of the detection, and then that of each frame.
    assert graphs.images == [(2, 128, 80, 3), (1, 128, 80, 3)]
    assert pixels == [2 * 128 * 80, 128 * 80]


def test_what_was_missed_keeps_its_looks_and_others_are_forgotten():
    follower = Follower(Colours(), lambda _pixels: None)
    both = np.stack([box(100, 60), box(200, 60)])
    follower.remember(picture(100, 60), [7, 8], both, 2)
    follower.remember(picture(10, 60), [7], both[:1], 0)
    rows, centres = follower.find(picture(104, 60), [8, 7], both[::-1])
    assert rows.tolist() == [1]
    assert centres[0] == pytest.approx(centre(104, 60), abs=2)


def test_what_is_outside_the_image_is_not_looked_for():
    graphs = Colours()
    follower = Follower(graphs, lambda _pixels: None)
    here, far, further = (box(left, 60) for left in (100, 400, 500))
    follower.remember(picture(100, 60), [7, 8], np.stack([here, far]), 2)
    assert len(follower.find(picture(100, 60), [7, 8], np.stack([far, further]))[0]) == 0
    assert graphs.images == []


def test_who_overlaps_another_is_not_looked_for():
    """Now or in the frame of the detection: 24 of 48 pixels are an IoU of 0.33, 28 one of 0.41."""
    for first, now in (
        ((100, 124), (100, 124)),
        ((100, 120), (100, 180)),
        ((100, 180), (100, 120)),
    ):
        follower = Follower(Colours(), lambda _pixels: None)
        follower.remember(picture(100, 60), [7, 8], np.stack([box(left, 60) for left in first]), 2)
        boxes = np.stack([box(left, 60) for left in now])
        rows, _ = follower.find(picture(100, 60), [7, 8], boxes)
        assert (0 in rows) == (first == now)


def test_features_that_are_too_coarse_are_refused():
    with pytest.raises(BundleError, match="stride 16 or finer, the bundle has 32"):
        Follower(Colours(32), lambda _pixels: None)
