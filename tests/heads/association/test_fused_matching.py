"""Association by appearance memory on hand-made scenes: who is who, from frame to frame.

A detection is (left, top, look) or (left, top, look, score): a box of 40 × 80 whose points all are
the unit vector of a look, so that equal looks cost 0 and different ones 1.  A look of None has no
points.
"""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.heads.association.appearance_memory import AppearanceMemory, HostMemory
from unitrack_edge.heads.association.fused_matching import (
    FusedAssociator,
    FusedConfig,
    best_others,
    groups,
)
from unitrack_edge.heads.association.kalman import (
    WALKING,
    BoxFilter,
    advance_filters,
    update_filters,
    xyxy_to_xyah,
)
from unitrack_edge.heads.association.tracklets import ObjectFeatures, State, Tracklet, select_rows
from unitrack_edge.records import Detections
from unitrack_edge.runtime.inference.base import Graphs, to_host

POINTS, CHANNELS, FPS = 4, 16, 25.0


def seen(detections):
    """Detections and their features."""
    if not detections:
        return Detections.empty(), None
    corner = np.array([d[:2] for d in detections], np.float32)
    points = np.zeros((len(detections), POINTS, CHANNELS), np.float32)
    mask = np.zeros((len(detections), POINTS), np.float32)
    for row, (_, _, look, *_) in enumerate(detections):
        if look is not None:
            points[row, :, look % CHANNELS], mask[row] = 1, 1
    detections = Detections(
        np.concatenate([corner, corner + np.array([40, 80], np.float32)], axis=1),
        np.array([d[3] if len(d) > 3 else 0.9 for d in detections], np.float32),
        np.zeros(len(detections), np.int64),
    )
    return detections, ObjectFeatures(points, mask)


class Counting(Graphs):
    """Passes graphs on, and keeps how many looks were compared with how many detections."""

    def __init__(self, graphs):
        self.spec = graphs.spec
        self.compared = []
        self._graphs = graphs

    def run(self, graph, *feeds):
        if graph == "rsm":
            self.compared.append((len(feeds[0]), len(feeds[2])))
        return self._graphs.run(graph, *feeds)


class World:
    """An associator that is given frame after frame and answers {row: id}."""

    def __init__(self, graphs, **config):
        self.associator = FusedAssociator(graphs, replace(FusedConfig(fps=FPS), **config))
        self.frame = -1

    def __call__(self, *detections, frame=None, time_s=None):
        self.frame = self.frame + 1 if frame is None else frame
        now = self.frame / FPS if time_s is None else time_s
        found = self.associator.step(self.frame, now, *seen(detections))
        assert all(t.state is State.TRACKED for t in found)
        ids = {t.detection: t.id for t in found}
        assert len(ids) == len(found) == len(set(ids.values()))
        return ids


@pytest.fixture
def world(tiny):
    return lambda **config: World(tiny, **config)


A, B = (100, 100, 1), (400, 120, 2)


def moved(detection, x, y=0.0, look="same", score=0.9):
    left, top, own = detection[:3]
    return left + x, top + y, own if look == "same" else look, score


# --- start and confirm


def test_first_frame_counts_at_once_and_later_ones_need_a_second_match(world):
    step = world()
    assert step(A) == {0: 1}
    assert step(A, B) == {0: 1}
    assert step(A, B) == {0: 1, 1: 2}


def test_tracks_start_from_a_score_of_their_own(world):
    step = world(confirm_at_once=True)
    assert step(moved(A, 0, score=0.55)) == {}, "matched from 0.5 on, started from 0.6 on"
    assert step(moved(A, 0, score=0.65)) == {0: 1}
    assert step(moved(A, 1, score=0.55)) == {0: 1}


def test_a_second_detection_of_the_same_object_starts_no_track(world):
    for overlaps, expected in ((True, {0: 1, 1: 2}), (False, {0: 1, 1: 2, 2: 3})):
        step = world(confirm_at_once=True)
        step(A, B)
        double = moved(A, 12 if overlaps else 26, look=5, score=0.8)
        assert step(A, B, double) == expected
    step = world(confirm_at_once=True)
    assert step(moved(A, 12, score=0.8), A) == {1: 1}, "of two newcomers the better one"


def test_crowds_are_matched_by_place_where_comparing_them_would_take_too_long(tiny):
    """Nine people shoulder to shoulder, by two looks in turns: all overlap their neighbours."""
    counting = Counting(tiny)
    compared = counting.compared
    for most, expected in ((81, 81), (20, 0), (0, 0)):
        compared.clear()
        step = World(counting, most_pairs=most, clear_margin=0.7)
        people = [(100 + 25 * n, 100, n % 2) for n in range(9)]
        ids = {n: n + 1 for n in range(9)}
        assert step(*people) == ids
        for t in range(1, 6):
            assert step(*(moved(person, 2 * t) for person in people)) == ids
            assert sum(n * m for n, m in compared) <= max(most, 0)
            if t == 1:
                assert sum(n * m for n, m in compared) == expected
            compared.clear()


def test_a_crowd_is_compared_by_fewer_looks_before_less_is_clear(tiny):
    """Nine of five looks each, who sway too much to be clear; the first one is missed once.

    All five looks of all nine with nine detections are 405 pairs.  Otherwise of the eight that were
    seen the newest look counts, and three of the one that was missed.
    """
    counting = Counting(tiny)
    for most, looks in ((405, 45), (404, 11)):
        step = World(counting, most_pairs=most, memory_interval_s=1 / FPS)
        for t in range(8):
            people = [(100 + 25 * n + 2 * (t % 2), 100, n % 2) for n in range(9)]
            step(*people[t == 6 :])
        assert counting.compared[-1] == (looks, 9)


def test_more_strangers_than_may_be_compared_are_matched_by_place(world):
    """Five looks that are lost, and five that come: 25 pairs, or none."""
    for most in (25, 24):
        step = world(most_pairs=most, reach=100.0, memory=1, other_cost=0.0)
        people = [(100 + 200 * n, 100, n) for n in range(5)]
        step(*people)
        step()
        came = [moved(person, 60) for person in people]
        assert step(*came) == ({n: n + 1 for n in range(5)} if most == 25 else {})


def test_turning_back_costs_more_than_going_on(world):
    """Two strangers as far before and behind of where the walker is expected: it goes on."""
    step = world(direction_weight=0.05)
    for t in range(8):
        step((100 + 8 * t, 100, None))
    last = 100 + 8 * 7
    tracklet = step.associator._tracklets[0]
    step.associator._boxes = xyxy_to_xyah(
        np.array([[last + d, 100, last + d + 40, 180] for d in (20, -20, 0)], np.float32)
    )
    pairs = np.zeros(3, np.int64), np.arange(3)
    ahead, back, still = step.associator._direction_cost(*pairs)
    assert -0.05 < ahead < -0.03
    assert back == pytest.approx(-ahead)
    assert still == 0
    assert tracklet.path[-1][0] - tracklet.path[0][0] == pytest.approx(0.12)


def test_low_scores_keep_a_track_and_start_none(world):
    step = world()
    assert step(A) == {0: 1}
    assert step(moved(A, 3, score=0.2), moved(B, 0, score=0.2)) == {0: 1}
    assert step(moved(A, 6, score=0.05)) == {}, "below every threshold"


# --- match


def test_appearance_tells_crossing_objects_apart(world):
    step = world()
    for x in range(0, 60, 3):
        assert step((100 + x, 100, 1), (160 - x, 100, 2)) == {0: 1, 1: 2}


def test_motion_cannot_veto(world):
    """A jump to where no filter would look: appearance is alike, and half the cost is overlap."""
    step = world()
    step(A)
    assert step(moved(A, 85)) == {0: 1}


def test_nobody_jumps_across_the_image(world):
    """Further than `reach` heights in no time and `reach_per_s` a second: not looked at."""
    for frames_lost, far, expected in ((0, 100, {}), (5, 100, {0: 1}), (5, 250, {})):
        step = world()
        step(A)
        for _ in range(frames_lost):
            step()
        assert step(moved(A, far)) == expected


def test_overlap_keeps_an_object_that_turned(world):
    """A cost of 1 for the look and 0.14 for the place is within the limit."""
    step = world(other_cost=0.0)
    step(A)
    assert step(moved(A, 3, look=7)) == {0: 1}


def test_a_stranger_in_the_place_of_a_lost_object_gets_an_id_of_its_own(world):
    step = world(confirm_at_once=True, duplicate_limit=0.0)
    for _ in range(5):
        step(A, B)
    for _ in range(3):
        step(B)
    assert step(moved(A, 35, look=7), B) == {0: 3, 1: 2}
    assert step(moved(A, 35, look=7), B, A) == {0: 3, 1: 2, 2: 1}


def test_objects_without_points_match_by_overlap(world):
    step = world()
    blank = (100, 100, None)
    assert step(blank, B) == {0: 1, 1: 2}
    assert step(B, moved(blank, 3)) == {0: 2, 1: 1}
    assert [bool(t.memory) for t in step.associator._tracklets] == [False, True]


@pytest.mark.parametrize(("apart", "found"), [(True, 0), (False, 1)])
def test_classes_mix_where_they_may(tiny, apart, found):
    associator = FusedAssociator(tiny, FusedConfig(classes_apart=apart))
    detections, features = seen([A])
    associator.step(0, 0.0, detections, features)
    other = replace(detections, classes=np.array([5]))
    assert len(associator.step(1, 0.04, other, features)) == found


# --- memory


def test_an_earlier_look_finds_an_object_again(world):
    """Half hidden before it was lost: the last look is another's, an earlier one is its own."""
    ids = {}
    for memory in (1, 5):
        step = world(memory=memory, other_cost=0.0)
        for _ in range(10):
            step(A, B)
        step(moved(A, 0, look=9), B)
        for _ in range(5):
            step(B)
        ids[memory] = step(moved(A, 60), B)
    assert ids == {1: {1: 2}, 5: {0: 1, 1: 2}}


@pytest.mark.parametrize("kind", [AppearanceMemory, HostMemory])
def test_snapshots_are_an_interval_apart_and_nothing_else_is_held(tiny, kind):
    memory = kind(tiny, 3, 0.2)
    box = BoxFilter(np.array([10.0, 10, 0.5, 8]))
    tracklet = Tracklet(1, State.TRACKED, box, 0, 0, 0, 0)

    def kept():
        return memory._remembered(np.array(tracklet.memory)).points[:, 0, 0].tolist()

    frames = []
    for frame in range(12):
        points = np.full((4, 2, CHANNELS), frame, np.float32)
        memory.update([tracklet], ObjectFeatures(points, np.ones((4, 2), np.float32)), frame / 25)
        frames.append(weakref.ref(points))
        del points
    assert kept() == [11, 9, 4], "snapshots of 0, 5 and 10 are renewed until the next is due"
    tracklet.detection = -1
    for frame in range(12, 16):
        memory.update([tracklet], None, frame / 25)
        assert kept() == [11, 9, 4]
    assert not any(frame() is not None for frame in frames), "features of others are forgotten"
    memory.update([], None, 16 / 25)
    assert tracklet.memory
    with pytest.raises((KeyError, ValueError)):
        kept()


# --- lose, coast, forget


def test_lost_and_found_within_the_buffer(world):
    step = world(buffer_s=0.2)
    step(A, B)
    for _ in range(5):
        assert step(B) == {0: 2}
    assert step(A, B) == {0: 1, 1: 2}
    for _ in range(6):
        step(B)
    assert step(A, B) == {1: 2}, "a new one, to be confirmed"


def test_coasting_is_short_and_follows_motion(world):
    step = world(coast_s=0.08)
    for t in range(8):
        step(moved(A, 10 * t))
    lefts = []
    for _ in range(4):
        step()
        lefts.append([float(t.filter.box_xyxy()[0]) for t in step.associator.coasting])
    assert [len(found) for found in lefts] == [1, 1, 0, 0]
    assert lefts[0][0] == pytest.approx(180, abs=5)
    assert lefts[1][0] == pytest.approx(190, abs=7)


def test_what_was_seen_twice_only_does_not_coast(world):
    step = world()
    step(A)
    step(A)
    step()
    assert step.associator.coasting == []


# --- time


def test_filters_move_by_the_time_that_passed(world):
    """6 px a frame, then half a second without any: the look is new, so place decides."""
    for look, time_s, expected in ((1, 24 / FPS, {0: 1}), (7, 24 / FPS, {0: 1}), (7, 12 / FPS, {})):
        step = world(other_cost=0.0)
        for t in range(12):
            step(moved(A, 6 * t))
        assert step(moved(A, 6 * 24, look=look), time_s=time_s) == expected


@pytest.mark.parametrize(("least_change", "expected"), [(0.25, {0: 1}), (1.0, {})])
def test_a_box_that_is_half_hidden_before_it_is_lost_is_not_believed(world, least_change, expected):
    """A walker's box stops for two frames at somebody's edge; place alone finds it again.

    JDE's noise believes the box that stopped, and looks 15 px behind: overlap is half at 13.
    """
    step = world(other_cost=0.0, least_change=least_change)
    for t in range(28):
        step(moved(A, 4 * min(t, 25)))
    assert step(moved(A, 4 * 40, look=7), frame=40) == expected


def test_filters_are_as_agile_as_all_boxes_are(world):
    """A camera that shakes moves every box; one box that jumps is no camera."""
    rng = np.random.default_rng(0)
    places = [(100 + 150 * n, 100, n) for n in range(3)]
    step, least = world(), FusedConfig().least_change

    def run(frames, jump_of):
        for _ in range(frames):
            jumps = jump_of()
            step(*(moved(place, *jump) for place, jump in zip(places, jumps, strict=True)))
        return step.associator._change

    assert run(30, lambda: rng.normal(0, 1, (3, 2))) == least
    assert run(30, lambda: [*rng.normal(0, 1, (2, 2)), rng.normal(0, 12, 2)]) == least
    assert run(30, lambda: [rng.normal(0, 12, 2)] * 3) > 2 * least
    assert run(60, lambda: [rng.normal(0, 60, 2)] * 3) <= 1.0
    assert run(60, lambda: rng.normal(0, 1, (3, 2))) == least
    step.associator.reset()
    assert step.associator._change == least


def test_a_camera_of_which_not_all_is_known_may_have_moved_anything(world):
    step, still = world(), np.eye(2, 3)
    step(moved(A, 0))
    changes = []
    for certain in (True, False):
        step.associator.follow_camera(still, certain=certain)
        changes.append(step.associator._change)
    assert changes == [FusedConfig().least_change, 1.0]


def test_velocities_are_the_images_once_a_camera_follows_an_object(world):
    """Two stand still; the image goes 100 px a second to the right, and one of them is known."""
    step = world()
    for _ in range(12):
        step(moved(A, 0), moved(B, 0))
    step.associator.redirect(
        np.array([[0, 0, 100.0], [0, 0, 0]]), np.array([1]), np.array([[50.0, 25.0]])
    )
    found = [t.filter.mean[4:6] for t in step.associator._tracklets]
    assert found[0] == pytest.approx([2.0, 1.0])
    assert found[1] == pytest.approx([4.0, 0.0], abs=0.01)


@pytest.mark.parametrize("fps", [5.0, 12.5, 25.0, 50.0])
def test_filters_count_seconds_whatever_the_frame_rate_is_called(world, fps):
    """A frame every fifth of a second, of a source of 5 frames a second or of more."""
    boxes = []
    for rate in (25.0, fps):
        step = world(fps=rate)
        for n in range(8):
            assert step(moved(A, 9 * n), frame=round(n * rate / 5), time_s=n / 5) == {0: 1}
        boxes.append(step.associator._tracklets[0].box)
    np.testing.assert_allclose(boxes[0], boxes[1], rtol=1e-6)


def moving_filters():
    """Three filters that have seen objects of different heights move."""
    filters = [BoxFilter(np.array([50.0, 50, 0.5, h]), WALKING) for h in (20.0, 80.0, 300.0)]
    for x in range(1, 8):
        for number, box in enumerate(filters):
            box.predict()
            box.update(np.array([50.0 + 4 * x * number, 50 - x, 0.5, box.mean[3]]))
    return filters


def assert_equal_filters(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-9, atol=1e-9)


def test_filters_move_and_learn_together_as_one_by_one():
    together, alone = moving_filters(), moving_filters()
    steady = [False, True, False]
    boxes = xyxy_to_xyah(np.array([[3, 9, 30, 99], [7, 1, 44, 88], [0, 0, 9, 300]], np.float32))
    advance_filters(together, 3, steady)
    update_filters(together, boxes)
    for box, is_steady, measured in zip(alone, steady, boxes, strict=True):
        for _ in range(3):
            box.predict(height_is_steady=is_steady)
        box.update(measured)
    assert_equal_filters(together, alone)
    advance_filters([], 1, [])
    update_filters([], boxes[:0])


def test_parts_of_a_frame_are_time_too():
    whole, parts = moving_filters(), moving_filters()
    advance_filters(whole, 1, [False] * 3)
    advance_filters(parts, 0.25, [False] * 3)
    advance_filters(parts, 0.75, [False] * 3)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.mean, other.mean)


@pytest.mark.parametrize("every", [1, 5])
def test_buffers_count_seconds_whatever_the_frame_rate(world, every):
    """Lost for 0.8 s of a buffer of 1 s, and for 1.4 s."""
    for lost_s, kept in ((0.8, True), (1.4, False)):
        step = world(buffer_s=1.0)
        frame = 0
        for _ in range(10):
            step(A, B, frame=(frame := frame + every))
        for _ in range(round(lost_s * FPS / every)):
            step(B, frame=(frame := frame + every))
        assert any(t.id == 1 for t in step.associator._tracklets) == kept


def test_a_camera_that_comes_back_after_an_hour_begins_anew(world):
    step = world()
    step(A, frame=0)
    step(A, frame=1)
    assert step(A, frame=90_000) == {}
    assert step(A, frame=90_001) == {0: 2}


def test_clocks_that_stand_still_count_frames(world):
    step = world(buffer_s=0.2)
    step(A, B, time_s=0.0)
    for _ in range(6):
        step(B, time_s=0.0)
    assert [t.id for t in step.associator._tracklets] == [2]


@settings(max_examples=20, deadline=None)
@given(gaps=st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0, 6.0]), min_size=5, max_size=20))
def test_frames_at_any_distance_in_time(gaps):
    """Nothing is to be seen of the looks, so place alone decides, and every frame has its own gap.

    A walker goes up to 36 px between two frames, 40 px wide: with filters that moved by frames
    instead of by time, boxes would overlap too little.  The numbers of the frames say nothing.
    """
    step, now = World(runner()), 0.0
    for _ in range(8):
        now += 1.0
        assert step((100 + 6 * now, 100, None), time_s=now / FPS) == {0: 1}
    for gap in gaps:
        now += gap
        assert step((100 + 6 * now, 100, None), time_s=now / FPS) == {0: 1}


def test_buffers_count_seconds_where_frames_come_slower_and_slower(world):
    """A hole of 1.2 s, in 30 frames of 0.04 s or in 3 of 0.4 s, is within 2 s; 2.4 s are not."""
    for gap_s, frames, kept in (
        (0.04, 30, True),
        (0.4, 3, True),
        (0.4, 6, False),
        (0.04, 60, False),
    ):
        step, now = world(), 0.0
        for _ in range(5):
            step(A, B, time_s=(now := now + 0.04))
        for _ in range(frames):
            step(B, time_s=(now := now + gap_s))
        assert any(t.id == 1 for t in step.associator._tracklets) == kept


def test_coasting_counts_seconds(world):
    for gap_s, shown in ((0.02, 5), (0.04, 2), (0.1, 1), (0.2, 0)):
        step, now = world(coast_s=0.1), 0.0
        for t in range(8):
            step(moved(A, 2 * t), time_s=(now := now + 0.04))
        found = []
        for _ in range(8):
            step(time_s=(now := now + gap_s))
            found.append(len(step.associator.coasting))
        assert found == [1] * shown + [0] * (8 - shown)


# --- properties


def scene(seed, frames=14):
    """Walkers who come and go, with scores, some of them without points."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(0, 400, (6, 2)), rng.normal(0, 5, (6, 2))
    for t in range(frames):
        yield [
            (
                *(start[k] + speed[k] * t + rng.normal(0, 1, 2)),
                None if rng.random() < 0.1 else k % 4,
                float(rng.uniform(0.05, 1)),
            )
            for k in range(6)
            if rng.random() < 0.8
        ]


def runner():
    pytest.importorskip("torch")
    from ...reference.graphs_in_torch import TorchRunner

    return TorchRunner()


def identities(frames, orders=None, shift=(0.0, 0.0), **config):
    """Ids of every frame by the detection's place in `frames`."""
    step = World(runner(), **config)
    result = []
    for number, detections in enumerate(frames):
        order = range(len(detections)) if orders is None else orders[number]
        given = [
            (detections[k][0] + shift[0], detections[k][1] + shift[1], *detections[k][2:])
            for k in order
        ]
        ids = step(*given)
        result.append({list(order)[row]: identity for row, identity in ids.items()})
    return result


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_permuting_the_detections_of_a_frame_changes_no_identity(seed):
    frames = list(scene(seed))
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(detections)).tolist() for detections in frames]
    assert identities(frames, orders) == identities(frames)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), x=st.integers(-2000, 2000), y=st.integers(-2000, 2000))
def test_translating_a_whole_sequence_changes_no_identity(seed, x, y):
    # Places on a grid of 1/8 px, so that float32 keeps them exactly.
    frames = [
        [(round(8 * d[0]) / 8, round(8 * d[1]) / 8, *d[2:]) for d in detections]
        for detections in scene(seed)
    ]
    assert identities(frames, shift=(x, y)) == identities(frames)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), buffer=st.sampled_from([0.0, 0.08, 0.5]))
def test_ids_are_sound_and_runs_are_equal(seed, buffer):
    frames = list(scene(seed))
    result = identities(frames, buffer_s=buffer)
    assert identities(frames, buffer_s=buffer) == result
    last: dict[int, int] = {}
    for t, ids in enumerate(result):
        for identity in ids.values():
            assert identity not in last or (t - last[identity]) / FPS <= buffer + 0.041
            last[identity] = t


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_one_side_alone_makes_no_impossible_pair_possible(weight):
    """Also where nothing is to be seen, or too far away: 0 times infinity is no number."""
    for ids in identities(list(scene(3)), appearance_weight=weight, reach=0.5, reach_per_s=0.5):
        assert len(ids) == len(set(ids.values()))


# --- engines of limited size


class OnDevice:
    """An array that is not on the host."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def to_host(self):
        return self.array


class Engine(Graphs):
    """A runner of `select` alone, for stacks of up to `most` objects on a device."""

    def __init__(self, most):
        self.most, self.calls = most, 0

    def limit(self, graph, input_index, axis):
        assert (graph, axis) == ("select", 0)
        assert input_index in (0, 1, 2)
        return self.most

    def run(self, graph, first, second, rows):
        assert graph == "select"
        self.calls += 1
        return (OnDevice(np.concatenate([first.array, second.array])[rows]),)


def random_objects(count, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, POINTS, CHANNELS)).astype(np.float32)
    return ObjectFeatures(points, (rng.random((count, POINTS)) < 0.9).astype(np.float32))


@pytest.mark.parametrize(("most", "calls"), [(100, 1), (3, 0)])
def test_rows_are_selected_where_they_are_or_on_the_host(most, calls):
    stacks, rows = [random_objects(5, 3), random_objects(4, 4)], np.array([8, 0, 3, 5])
    host = select_rows(Engine(0), stacks, rows)
    engine = Engine(most)
    device = [ObjectFeatures(OnDevice(stack.points), stack.mask) for stack in stacks]
    chosen = select_rows(engine, device, rows)
    assert engine.calls == calls
    np.testing.assert_array_equal(to_host(chosen.points), host.points)
    np.testing.assert_array_equal(host.points, np.concatenate([s.points for s in stacks])[rows])
    np.testing.assert_array_equal(chosen.mask, host.mask)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 3))
def test_engines_of_limited_size_change_no_identity(seed, most):
    """Tracklets, detections and the rows of `select` in parts, or all at once."""
    frames = list(scene(seed))

    class Small(Graphs):
        def __init__(self):
            self.graphs = runner()

        def limit(self, graph, input_index, axis):
            assert axis == 0
            return most if graph in ("rsm", "select") and input_index < 3 else None

        def run(self, graph, *feeds):
            if graph == "rsm":
                assert max(len(feed) for feed in feeds[:4]) <= most
            return self.graphs.run(graph, *feeds)

    results = []
    for graphs in (runner(), Small()):
        step = World(graphs, clear_overlap=2.0)
        results.append([step(*detections) for detections in frames])
    assert results[0] == results[1]


# --- clear pairs


def test_clear_pairs_are_matched_without_appearance(tiny):
    """Two people apart need no comparison; where a third comes near one of them, they do."""
    counting = Counting(tiny)
    compared = counting.compared
    step = World(counting, confirm_at_once=True)
    assert step(A, B) == {0: 1, 1: 2}
    assert step(moved(B, 2), moved(A, 3)) == {0: 2, 1: 1}
    assert compared == []
    near = moved(A, 26, look=5)
    assert step(moved(A, 6), moved(B, 4), near) == {0: 1, 1: 2, 2: 3}
    assert compared == [(1, 2)]


def links(seed):
    """A few links between up to six rows and columns, those of a row side by side."""
    rng = np.random.default_rng(seed)
    linked = rng.random(rng.integers(1, 7, 2)) < rng.choice([0.1, 0.3, 0.6, 1.0])
    # Few values, so that there are equal ones, and some below zero.
    return linked, rng.choice([-0.1, 0.2, 0.5, 0.9], linked.shape), np.nonzero(linked)


@pytest.mark.parametrize("seed", range(200))
def test_the_best_other_of_a_line_is_at_least_zero(seed):
    linked, values, places = links(seed)
    for lines, mask, own in ((values, linked, places[0]), (values.T, linked.T, places[1])):
        found = best_others(own, values[places])
        where = places if lines is values else places[::-1]
        for answer, line, place in zip(found.tolist(), *where, strict=True):
            others = np.delete(lines[line], place)[np.delete(mask[line], place)]
            assert answer == max(0.0, *others.tolist(), 0.0)


@pytest.mark.parametrize("seed", range(200))
def test_groups_hang_together_and_nothing_hangs_between_them(seed):
    linked, _, places = links(seed)
    found = list(groups(*places))
    part = np.full(linked.shape[0], -1)
    for number, (rows, columns) in enumerate(found):
        part[rows] = number
        outside = np.delete(linked, rows, axis=0)
        assert not outside[:, columns].any()
        assert linked[rows].any(axis=0).nonzero()[0].tolist() == columns.tolist()
        # From the first row, all others are reached.
        reached = {rows[0]}
        for _ in rows:
            near = linked[sorted(reached)].any(axis=0)
            reached |= set(np.flatnonzero(linked[:, near].any(axis=1)).tolist())
        assert sorted(reached) == rows.tolist()
    assert (part >= 0).tolist() == linked.any(axis=1).tolist()
    assert [rows[0] for rows, _ in found] == sorted(rows[0] for rows, _ in found)


@pytest.mark.parametrize("seed", range(50))
def test_groups_count_the_pairs_of_looks_and_columns_and_name_those_of_two(seed):
    linked, _, places = links(seed)
    looks = np.random.default_rng(seed).integers(0, 6, linked.shape[0])
    found = groups(*places)
    assert found.pairs(looks).tolist() == [looks[rows].sum() * len(cols) for rows, cols in found]
    expected = [
        (number, rows[0], columns[0])
        for number, (rows, columns) in enumerate(found)
        if len(rows) == len(columns) == 1
    ]
    assert list(zip(*found.twos(), strict=True)) == expected
