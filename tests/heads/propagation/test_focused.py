"""Propagation within regions is propagation: the same labels, wherever the regions lie."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.heads.propagation.focused import FocusedPropagator, KeyList, Patch, relaid
from unitrack_edge.heads.propagation.propagator import Propagator
from unitrack_edge.runtime.preprocessing import Region

from ...support.tolerance import assert_within

ROWS, COLS, CHANNELS = 14, 18, 16
WHOLE = Region(0, 0, ROWS, COLS, 8)
SETTINGS = {"top_k": 5, "temperature": 0.05, "radius": 4.0, "memory": 2}
# Without favour of the first frame, this is the paper's propagation.
PLAIN = {**SETTINGS, "favour": 0.0}
BACKGROUND = np.array([1, 0], np.float32)
# Sums of float32 in other orders, where the fifth key is hardly nearer than the sixth.
ERROR = 1e-3


def frames(count, seed=0):
    """(1, rows, cols, C) unit points that drift from frame to frame."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(ROWS, COLS, CHANNELS))
    shown = []
    for _ in range(count):
        points = points + 0.2 * rng.normal(size=points.shape)
        unit = points / np.linalg.norm(points, axis=2, keepdims=True)
        shown.append(unit[None].astype(np.float32))
    return shown


def first_labels():
    labels = np.zeros((ROWS, COLS, 2), np.float32)
    labels[4:9, 5:11, 1] = 1
    labels[..., 0] = 1 - labels[..., 1]
    return labels


def cut(features, region):
    rows = slice(region.top, region.top + region.rows)
    cols = slice(region.left, region.left + region.cols)
    return Patch(region, np.ascontiguousarray(features[:, rows, cols]))


def part(cells, region):
    rows = slice(region.top, region.top + region.rows)
    return cells[rows, region.left : region.left + region.cols]


def started(tiny, patch, labels):
    focused = FocusedPropagator(tiny, BACKGROUND, **PLAIN)
    focused.start(patch, labels)
    focused.restart(patch, labels)
    return focused


def test_a_region_that_is_the_whole_frame_gives_what_the_whole_frame_gives(tiny):
    shown, labels = frames(5), first_labels()
    whole = Propagator(tiny, ROWS, COLS, **SETTINGS)
    whole.start(shown[0], labels.reshape(-1, 2))
    focused = started(tiny, Patch(WHOLE, shown[0]), labels)
    for features in shown[1:]:
        cells, alike = focused.step(Patch(WHOLE, features), np.ones((ROWS, COLS), np.bool_))
        expected = whole.step(features).reshape(ROWS, COLS, 2)
        assert_within(cells, expected, ERROR)
        best = (features.reshape(-1, CHANNELS) @ shown[0].reshape(-1, CHANNELS).T).max(axis=1)
        assert_within(alike, best.reshape(ROWS, COLS), ERROR)


def test_only_wanted_cells_are_labelled_and_they_are_labelled_alike(tiny):
    shown, labels = frames(2), first_labels()
    wanted = np.zeros((ROWS, COLS), np.bool_)
    wanted[3:8, 2:7] = True
    some, _ = started(tiny, Patch(WHOLE, shown[0]), labels).step(Patch(WHOLE, shown[1]), wanted)
    every, _ = started(tiny, Patch(WHOLE, shown[0]), labels).step(
        Patch(WHOLE, shown[1]), np.ones_like(wanted)
    )
    assert_within(some[wanted], every[wanted], ERROR)
    assert (some[~wanted] == BACKGROUND).all()


def test_regions_that_move_change_nothing_where_the_memory_is_known(tiny):
    """Cells further from the regions' borders than the radius see the same recent cells."""
    shown, labels = frames(4), first_labels()
    whole = started(tiny, Patch(WHOLE, shown[0]), labels)
    moving = started(tiny, Patch(WHOLE, shown[0]), labels)
    regions = [Region(0, 0, 14, 16, 8), Region(0, 1, 13, 17, 8), Region(0, 0, 14, 18, 8)]
    for features, region in zip(shown[1:], regions, strict=True):
        all_cells = np.ones((ROWS, COLS), np.bool_)
        expected, _ = whole.step(Patch(WHOLE, features), all_cells)
        got, _ = moving.step(cut(features, region), part(all_cells, region))
        inner = slice(0, 6), slice(5, 8)  # in the whole frame's cells
        here = inner[0], slice(5 - region.left, 8 - region.left)
        assert_within(got[here], expected[inner], ERROR)


def test_cells_that_memory_does_not_know_are_background(tiny):
    """The region moves to where nothing was seen but the first frame."""
    shown, labels = frames(2), np.zeros((ROWS, 8, 2), np.float32)
    labels[..., 0] = 1
    left, right = Region(0, 0, ROWS, 8, 8), Region(0, 9, ROWS, 8, 8)
    focused = started(tiny, cut(shown[0], left), labels)
    cells, _ = focused.step(cut(shown[1], right), np.ones((ROWS, 8), np.bool_))
    assert (cells.argmax(axis=2) == 0).all()
    assert (focused.last_labels(left) == BACKGROUND).all()


@pytest.mark.parametrize(("likeness", "kept"), [(0.95, False), (0.5, True)])
def test_the_first_frame_overrules_recent_ones_while_it_is_up_to_date(tiny, likeness, kept):
    """Recent labels say object where the first frame's say background; which are believed?"""
    (now,) = frames(1)
    off = np.roll(now, 1, axis=3) - now * (np.roll(now, 1, axis=3) * now).sum(axis=3, keepdims=True)
    off /= np.linalg.norm(off, axis=3, keepdims=True)
    first = (likeness * now + np.sqrt(1 - likeness**2) * off).astype(np.float32)
    nothing, everything = (np.tile(np.float32(one), (ROWS, COLS, 1)) for one in ((1, 0), (0, 1)))
    focused = FocusedPropagator(tiny, BACKGROUND, **SETTINGS)
    focused.start(Patch(WHOLE, first), nothing)
    focused.restart(Patch(WHOLE, now), everything)
    cells, _ = focused.step(Patch(WHOLE, now), np.ones((ROWS, COLS), np.bool_))
    assert ((cells[..., 1] > 0.5) == kept).mean() > 0.95


def test_what_another_object_won_is_not_remembered(tiny):
    shown, labels = frames(2), first_labels()
    focused = started(tiny, Patch(WHOLE, shown[0]), labels)
    before, _ = focused.step(Patch(WHOLE, shown[1]), np.ones((ROWS, COLS), np.bool_))
    taken = np.zeros((ROWS, COLS), np.float32)
    taken[4:9, 5:8] = 1
    taken[6, 9] = 0.75
    assert min(before[6, 6, 1], before[6, 9, 1]) > 0.5
    focused.give_up(taken)
    after = focused.last_labels(WHOLE)
    assert_within(after[..., 1], np.minimum(before[..., 1], 1 - taken), 1e-6)
    assert_within(after.sum(axis=2), np.ones((ROWS, COLS)), 1e-6)


def test_a_search_finds_the_first_frames_cells_anywhere(tiny):
    """The object's cells stand elsewhere, in a frame of another pitch and shape."""
    (shown,), labels = frames(1), first_labels()
    keys = KeyList(tiny, Patch(WHOLE, shown), labels)
    other = frames(1, seed=9)[0][:, :10, :12].copy()
    other[0, 2:7, 3:9] = shown[0, 4:9, 5:11]
    focused = started(tiny, Patch(WHOLE, shown), labels)
    cells, alike = focused.search(Patch(Region(0, 0, 10, 12, 20), other), keys)
    found = cells[..., 1] > 0.5
    assert found[2:7, 3:9].mean() > 0.9
    assert_within(alike[2:7, 3:9], np.ones((5, 6)), ERROR)
    assert alike[7:].max() < 0.95


@pytest.mark.parametrize("fill", [None, BACKGROUND])
def test_cells_are_laid_where_another_region_wants_them(fill):
    old, new = Region(2, 3, 4, 5, 8), Region(4, 1, 6, 5, 8)
    cells = np.arange(4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2) + 1
    laid = relaid(cells, old, new, fill)
    np.testing.assert_array_equal(laid[0:2, 2:5], cells[2:4, 0:3])
    rest = np.ones((6, 5), np.bool_)
    rest[0:2, 2:5] = False
    assert (laid[rest] == (0 if fill is None else fill)).all()


def test_a_step_needs_a_beginning(tiny):
    focused = FocusedPropagator(tiny, BACKGROUND, **SETTINGS)
    with pytest.raises(RuntimeError, match="before"):
        focused.step(Patch(WHOLE, frames(1)[0]), np.ones((ROWS, COLS), np.bool_))
