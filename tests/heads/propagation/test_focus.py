"""Which region of a frame is looked at, and in how large cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.heads.propagation.focus import Focus, FocusNumbers
from unitrack_edge.runtime.preprocessing import Region

HD = 1080, 1920
NUMBERS = FocusNumbers()


def box_at(x, y, width, height):
    return np.array([x, y, x + width, y + height], np.float64)


def choose(focus, x, y, width, height, before=None):
    return focus.choose(box_at(x, y, width, height), np.sqrt(width * height), before)


@settings(max_examples=150, deadline=None)
@given(
    frame=st.tuples(st.integers(16, 2200), st.integers(16, 4000)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    size=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
)
def test_a_region_holds_the_object_and_lies_in_the_frame(frame, place, size):
    focus = Focus(frame, 8, 480)
    height, width = np.maximum(np.array(size) * frame, 1)
    top, left = np.array(place) * (np.array(frame) - (height, width))
    region = choose(focus, left, top, width, height)
    rows, cols = focus.grid_hw(region.pitch)
    assert region.letterbox(frame, 8).network_hw == (region.rows * 8, region.cols * 8)
    for first, count, whole, low, high in (
        (region.top, region.rows, rows, top, top + height),
        (region.left, region.cols, cols, left, left + width),
    ):
        assert count == whole or count % NUMBERS.multiple == 0
        assert 0 <= first <= first + count <= whole
        assert first == 0 or low / region.pitch - first >= NUMBERS.margin
        beyond = first + count - high / region.pitch
        assert first + count == whole or beyond >= NUMBERS.margin - 1e-6
    most = max(NUMBERS.budget, 1) * focus.whole.rows * focus.whole.cols
    assert region.rows * region.cols <= most or region.pitch >= focus.whole.pitch
    assert region.pitch >= 8 / NUMBERS.enlarged


def test_the_whole_frame_has_the_usual_size():
    assert Focus((480, 854), 8, 480).whole == Region(0, 0, 60, 107, 8)
    assert Focus(HD, 8, 480).whole == Region(0, 0, 60, 107, 18)
    assert Focus(HD, 8, 0).whole == Region(0, 0, 135, 240, 8)
    assert Focus((100, 60), 8, 480).whole == Region(0, 0, 13, 8, 8)


def test_small_objects_are_seen_in_finer_cells_and_large_ones_in_coarser():
    focus = Focus(HD, 8, 480)
    pitches = [choose(focus, 200, 100, side, side).pitch for side in (20, 60, 200, 500, 900)]
    assert pitches == sorted(pitches)
    assert pitches[0] <= 4  # 1080p is not made smaller for it
    assert pitches[2] < focus.whole.pitch < pitches[4]
    for side, pitch in zip((60, 200, 500, 900), pitches[1:], strict=True):
        assert NUMBERS.fewest * 0.9 <= side / pitch <= NUMBERS.cells * 1.1


@pytest.mark.parametrize(
    ("side", "cells"),
    [(72, 14), (216, 12 * 1.4), (324, (18 * 30) ** 0.5), (504, (28 * 30) ** 0.5), (720, 30)],
)
def test_how_many_cells_lie_along_an_object(side, cells):
    """Of 1080p, whose whole frame gives it a cell for 18 pixels: 4, 12, 18, 28 and 40."""
    pitch = choose(Focus(HD, 8, 480), 200, 100, side, side).pitch
    assert abs(side / cells - pitch) <= 0.5


def test_objects_share_the_budget():
    frame = (480, 854)
    alone, many = Focus(frame, 8, 480), Focus(frame, 8, 480, objects=12)
    place = 300, 200, 60, 120
    assert choose(many, *place).pitch > choose(alone, *place).pitch
    region = choose(many, *place)
    assert region.rows * region.cols <= NUMBERS.budget * 60 * 107 / 12


def test_a_region_stays_while_it_serves():
    focus = Focus(HD, 8, 480)
    region = choose(focus, 800, 400, 100, 200)
    assert choose(focus, 803, 398, 101, 202, region) is region
    moved = choose(focus, 1000, 400, 100, 200, region)
    assert moved.pitch == region.pitch
    assert moved.left > region.left
    grown = choose(focus, 700, 300, 300, 600, region)
    assert grown.pitch > region.pitch
