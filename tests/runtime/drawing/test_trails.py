"""Trails: where each identity came from."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.drawing.annotate import draw_tracks
from unitrack_edge.runtime.drawing.colors import color_of
from unitrack_edge.runtime.drawing.trails import Trails


def at(index, *places):
    """Identities 1, 2, … with their feet at places."""
    boxes = np.array([(x - 5, y - 20, x + 5, y) for x, y in places], np.float32).reshape(-1, 4)
    count = len(boxes)
    seen = Detections(boxes, np.ones(count, np.float32), np.zeros(count, np.int64))
    return Tracks(index, np.arange(1, count + 1), seen)


def test_a_straight_way_stays_straight():
    trails = Trails()
    for index in range(8):
        found = trails.update(at(index, (10 + 2 * index, 50), (100, 60)))
    assert found[1] == pytest.approx(np.array([(10 + 2 * k, 50) for k in range(8)]))
    assert found[2] == pytest.approx(np.array([(100, 60)] * 8))


def test_a_shaky_way_is_smoothed_and_ends_where_it_ends():
    trails = Trails()
    for index in range(21):
        found = trails.update(at(index, (10 + index, 50 + 4 * (index % 2))))[1]
    assert found[0].tolist() == [10, 50]
    assert found[-1].tolist() == [30, 50]
    assert np.abs(found[6:15, 1] - 52).max() < 0.5


def test_old_places_are_forgotten():
    trails = Trails(length=3)
    for index in range(6):
        found = trails.update(at(index, (index, 50)))
    assert len(found[1]) == 3
    assert trails.update(at(9)) == {}
    assert len(trails.update(at(10, (0, 50)))[1]) == 1


def test_the_same_frame_again_changes_nothing():
    trails = Trails()
    trails.update(at(0, (10, 50)))
    once = trails.update(at(1, (12, 50)))
    again = trails.update(at(1, (12, 50)))
    assert np.array_equal(once[1], again[1])


def test_a_trail_is_drawn_in_its_color_and_harmless_far_away():
    grey = np.full((120, 160, 3), 127, np.uint8)
    way = {1: np.array([(20, 100.5), (90, 100.5)], np.float32), 7: np.array([(0, 0)], np.float32)}
    drawn = draw_tracks(grey, at(0, (90, 60)), trails=way)
    assert np.abs(drawn[100, 70] - np.array(color_of(1))).max() < 30
    assert (drawn[5, 5] == 127).all()
    far = {1: np.array([(-1e9, 50), (1e9, 50), (20, 50)], np.float32)}
    assert draw_tracks(grey, at(0, (90, 60)), trails=far).shape == grey.shape
