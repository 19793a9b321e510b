"""Looks: features are computed when two objects are compared, once, and are the same as ever."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from unitrack_edge.errors import BundleError
from unitrack_edge.heads.association.appearance_memory import (
    AppearanceMemory,
    Comparison,
    HostMemory,
)
from unitrack_edge.heads.association.kalman import BoxFilter
from unitrack_edge.heads.association.look_memory import DeviceLookMemory, Look, LookMemory
from unitrack_edge.heads.association.tiles import UPRIGHT, tile_of
from unitrack_edge.heads.association.tracklets import ObjectFeatures, State, Tracklet
from unitrack_edge.runtime.inference.base import IMAGE_COUNTS, Graphs, filled_count
from unitrack_edge.runtime.preprocessing import Letterbox

SCALE = np.array([100.0], np.float32)
FRAMES = 14


class Colours(Graphs):
    """A backbone that sees the colour of every cell; the similarity is another runner's."""

    def __init__(self, similarity):
        self.similarity = similarity
        self.spec = SimpleNamespace(sizes_hw=(), stride=8)
        self.images = []

    def run(self, graph, *feeds):
        if graph != "backbone":
            return self.similarity.run(graph, *feeds)
        self.images.append(feeds[0].shape)
        return (feeds[0][:, 4::8, 4::8].astype(np.float32),)


def describe(features, looks, places):
    """Two points an object, from the middle of its tile, with the number of its mask."""
    points = [features[0, top // 8 + 5 : top // 8 + 7, left // 8 + 4] for top, left in places]
    mask = np.array([look.where for look in looks], np.float32)
    points = np.stack(points)
    return ObjectFeatures(points / np.linalg.norm(points, axis=2, keepdims=True), mask)


def look(seed, *, whole=True):
    """A tile of noise."""
    tile = np.random.default_rng(seed).integers(1, 255, (*UPRIGHT, 3)).astype(np.uint8)
    where = np.array([1, 1 if whole else 0], np.float32)
    return Look(tile, Letterbox.fit(UPRIGHT, UPRIGHT), where, present=True)


@pytest.fixture
def graphs(tiny):
    return Colours(tiny)


@pytest.fixture
def memory(graphs):
    return LookMemory(graphs, 3, 0.2, describe, "rsm")


def tracklets(count=2):
    boxes = [BoxFilter(np.array([10.0 + k, 10, 0.5, 8])) for k in range(count)]
    return [Tracklet(k + 1, State.TRACKED, box, 0, 0, 0, k) for k, box in enumerate(boxes)]


def test_what_is_not_compared_costs_nothing(memory, graphs):
    people = tracklets()
    for frame in range(FRAMES):
        memory.update(people, [look(frame), look(100 + frame)], frame / 25)
    assert graphs.images == []
    assert [len(person.memory) for person in people] == [3, 3]


def test_all_that_is_compared_is_seen_once(memory, graphs):
    people = tracklets()
    for frame in range(FRAMES):
        memory.update(people, [look(frame), look(100 + frame)], frame / 25)
    new, most = [look(1000), look(1001), look(1002)], np.array([3])
    pairs = [Comparison([p], most, np.array([row])) for p, row in zip(people, (0, 2), strict=True)]
    for cost in memory.compare(pairs, new, "pooled", SCALE):
        assert cost.shape == (1, 1)
    six_and_two = [(4, *UPRIGHT, 3)] * 2
    assert graphs.images == six_and_two, "those that are remembered, and those that are new"
    assert new[1].points is None
    memory.compare(pairs, new, "pooled", SCALE)
    assert graphs.images == six_and_two
    assert new[0].image.size == 0, "the tile has done its service"


@pytest.mark.parametrize("kind", [LookMemory, DeviceLookMemory])
@pytest.mark.parametrize("computed_kind", [AppearanceMemory, HostMemory])
def test_the_same_is_remembered_as_where_all_is_computed(graphs, kind, computed_kind):
    """Whatever was compared in between, and when."""
    features = computed_kind(graphs, 3, 0.2)
    seldom, often = (kind(graphs, 3, 0.2, describe, "rsm") for _ in range(2))
    groups, most = [tracklets() for _ in range(3)], np.array([3, 2])
    for frame in range(FRAMES):
        seeds = frame, 100 + frame
        found = [look(seed, whole=frame % 2 == 0) for seed in seeds]
        computed = LookMemory(graphs, 1, 0.2, describe, "rsm").some(found, np.arange(2))
        looks = [look(seed, whole=frame % 2 == 0) for seed in seeds]

        def compared(memory, group, new):
            (cost,) = memory.compare([Comparison(group, most, np.arange(2))], new, "pooled", SCALE)
            return cost

        costs = [compared(features, groups[0], computed), compared(often, groups[1], looks)]
        if frame == FRAMES - 1:
            again = [look(seed, whole=frame % 2 == 0) for seed in seeds]
            costs += [compared(seldom, groups[2], again)]
        for cost in costs[1:]:
            np.testing.assert_allclose(cost, costs[0], atol=1e-6)
        for memory, group, new in (
            (features, groups[0], computed),
            (often, groups[1], looks),
            (seldom, groups[2], [look(seed, whole=frame % 2 == 0) for seed in seeds]),
        ):
            memory.update(group, new, frame / 25)
    assert np.isfinite(costs[2]).all()


@pytest.mark.parametrize(
    ("low", "high", "seen"),
    [
        ((64, 64), (736, 1280), (128, 80)),
        ((608, 1088), (608, 1088), (608, 1088)),
        ((64, 64), (160, 200), (128, 80)),
        ((64, 64), (128, 70), None),
    ],
)
def test_engines_get_sizes_that_they_were_built_for(graphs, low, high, seen):
    graphs.least = lambda _graph, _number, axis: low[axis - 1]
    graphs.limit = lambda _graph, _number, axis: high[axis - 1]
    memory = LookMemory(graphs, 3, 0.2, describe, "rsm")
    if seen is None:
        with pytest.raises(BundleError, match="does not fit"):
            memory.some([look(0)], np.array([0]))
        return
    memory.some([look(0)], np.array([0]))
    assert graphs.images == [(1, *seen, 3)]


def test_a_look_that_the_next_frame_replaces_is_never_scaled(graphs):
    """Of five frames within the interval the first is kept; and frames belong to others."""
    memory = LookMemory(graphs, 3, 0.2, describe, "rsm")
    (person,) = tracklets(1)
    rng = np.random.default_rng(0)
    looks = []
    for number in range(7):
        image = rng.integers(1, 255, (200, 300, 3)).astype(np.uint8)
        letterbox = tile_of((100, 50, 100 + 24, 50 + 48), image.shape[:2])
        expected = letterbox.apply(letterbox.cut_out(image))
        looks.append((Look(image, letterbox, np.ones(2, np.float32), present=True), expected))
        memory.update([person], [looks[-1][0]], number / 25)
        image[:] = 0
    memory.update([person], None, 0.3)
    cut = [number for number, (look, _) in enumerate(looks) if look.is_tile]
    assert cut == [4, 6]
    for number in cut:
        np.testing.assert_array_equal(*(looks[number][0].image, looks[number][1]))
    assert graphs.images == []


def test_a_gpu_sees_few_numbers_of_images(graphs):
    graphs.filled = filled_count
    memories = [kind(graphs, 3, 0.2, describe, "rsm") for kind in (LookMemory, DeviceLookMemory)]
    for count in (1, 3, 7, 13, 25):
        found = []
        for memory in memories:
            looks = [look(100 * count + n) for n in range(count)]
            found.append(memory.some(looks, np.arange(count)))
        np.testing.assert_array_equal(*(features.host_points() for features in found))
        assert len(found[0].mask) == len(found[1].mask) == count
    assert {shape[0] for shape in graphs.images} == set(IMAGE_COUNTS)
    assert {shape[1:3] for shape in graphs.images} == {UPRIGHT}


def test_a_device_forgets_what_nobody_is_remembered_by(graphs):
    """Rows of the last comparison and of this one are held, and of earlier ones those in use."""
    memory, people = DeviceLookMemory(graphs, 3, 0.2, describe, "rsm"), tracklets(4)
    most = np.full(4, 3)
    for frame in range(FRAMES):
        new = [look(100 * frame + k) for k in range(4)]
        memory.compare([Comparison(people, most, np.arange(4))], new, "pooled", SCALE)
        memory.update(people, new, frame / 25)
        held = sum(len(stack.mask) for stack in memory._found)
        assert held <= 4 * 3 + 4
    assert held > 4


def test_a_look_without_a_point_teaches_nothing(memory):
    (person,) = tracklets(1)
    memory.update([person], [look(0)], 0.0)
    hidden = look(1)
    hidden.present = False
    memory.update([person], [hidden], 0.04)
    assert person.memory == [0]
    person.detection = -1
    memory.update([person], None, 0.08)
    assert person.memory == [0]
