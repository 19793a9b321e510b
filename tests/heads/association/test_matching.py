"""Association on hand-made scenes: who is who, from frame to frame.

A detection is (left, top, look): a box of 40 × 80 whose points all are the unit vector of a look,
so that equal looks cost 0 and different ones 1.  A look of None has no points.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.heads.association.kalman import gating_distances
from unitrack_edge.heads.association.matching import AssociationConfig, Associator
from unitrack_edge.heads.association.tracklets import ObjectFeatures, State
from unitrack_edge.records import Detections

POINTS, CHANNELS = 4, 16


def seen(objects, classes=None, size=(40, 80)):
    """Detections and features of objects."""
    if not objects:
        return Detections.empty(), None
    corner = np.array([d[:2] for d in objects], np.float32)
    points = np.zeros((len(objects), POINTS, CHANNELS), np.float32)
    mask = np.zeros((len(objects), POINTS), np.float32)
    for row, (_, _, look) in enumerate(objects):
        if look is not None:
            points[row, :, look % CHANNELS], mask[row] = 1, 1
    detections = Detections(
        np.concatenate([corner, corner + np.array(size, np.float32)], axis=1),
        np.ones(len(objects), np.float32),
        np.array(classes or [0] * len(objects), np.int64),
    )
    return detections, ObjectFeatures(points, mask)


class World:
    """An associator that is told frame after frame and answers {row: id}."""

    def __init__(self, graphs, **config):
        self.associator = Associator(graphs, AssociationConfig(**config))
        self.frame = -1

    def __call__(self, *objects, frame=None, classes=None):
        self.frame = self.frame + 1 if frame is None else frame
        detections, features = seen(objects, classes)
        tracklets = self.associator.step(self.frame, detections, features)
        assert all(t.state is State.TRACKED for t in tracklets)
        result = {t.detection: t.id for t in tracklets}
        assert len(result) == len(tracklets), "a detection belongs to two tracklets"
        assert len(set(result.values())) == len(tracklets), "an id appears twice in a frame"
        return result


@pytest.fixture
def world(tiny):
    return lambda **config: World(tiny, **config)


A, B = (100, 100, 1), (400, 120, 2)


def moved(detection, x, y=0.0, look="same"):
    left, top, own = detection
    return left + x, top + y, own if look == "same" else look


# --- birth


def test_first_frame_counts_at_once(world):
    assert world()(A, B) == {0: 1, 1: 2}


def test_later_ones_need_a_second_match(world):
    step = world()
    assert step(A) == {0: 1}
    assert step(A, B) == {0: 1}
    assert step(A, B) == {0: 1, 1: 2}


def test_an_empty_first_frame_is_the_first_frame(world):
    step = world()
    assert step() == {}
    assert step(A) == {}
    assert step(A) == {0: 1}


def test_an_unconfirmed_one_that_is_not_seen_again_is_forgotten(world):
    step = world()
    step(A)
    step(A, B)
    step(A)
    assert step(A, B) == {0: 1}
    confirmed = step(A, B)
    assert confirmed[0] == 1
    assert confirmed[1] > 2, "the id of the forgotten one was given away again"


def test_confirmed_at_once_where_asked(world):
    step = world(confirm_at_once=True)
    step(A)
    assert step(A, B) == {0: 1, 1: 2}


def test_confirmation_looks_at_overlap_only(world):
    step = world(confirm_limit=0.7)
    step(A)
    step(A, B)
    assert step(A, moved(B, 4, look=9)) == {0: 1, 1: 2}
    step = world(confirm_limit=0.7)
    step(A)
    step(A, B)
    assert step(A, moved(B, 60)) == {0: 1}


# --- life


def test_appearance_tells_crossing_objects_apart(world):
    """Two objects swap places within the gate; overlap would swap their ids."""
    step = world()
    for x in range(0, 30, 3):
        ids = step((100 + x, 100, 1), (131 - x, 100, 2))
        assert ids == {0: 1, 1: 2}


def test_order_of_detections_means_nothing(world):
    step = world()
    assert step(A, B) == {0: 1, 1: 2}
    assert step(B, A) == {0: 2, 1: 1}


def test_gate_forbids_jumps_even_of_the_same_look(world):
    step = world()
    step(A)
    assert step(moved(A, 200)) == {}
    free = world(gate=False)
    free(A)
    assert free(moved(A, 60)) == {0: 1}


@pytest.mark.parametrize(("position_only", "quantile"), [(True, 5.9915), (False, 9.4877)])
def test_the_gate_is_chi_square_of_what_is_compared(world, position_only, quantile):
    """95 % of two numbers or of four; beyond it not even the same look matches."""
    for share, expected in ((0.99, {0: 1}), (1.01, {})):
        step = world(position_only=position_only)
        step(A)
        (tracklet,) = step.associator._tracklets
        predicted = copy.deepcopy(tracklet.filter)
        predicted.predict()
        aside = np.array([[A[0] + 1 + 20, A[1] + 40, 0.5, 80.0]])
        (one_pixel,) = gating_distances([predicted], aside, position_only=position_only)[0]
        away = np.sqrt(share * quantile / one_pixel)
        assert away > 25, "overlap is not to match them"
        assert step(moved(A, away)) == expected


def test_overlap_catches_a_changed_look(world):
    step = world()
    step(A)
    assert step(moved(A, 3, look=7)) == {0: 1}
    assert step(moved(A, 5, look=7)) == {0: 1}, "the look of the last match is what counts"


def test_overlap_has_a_limit(world):
    """A shift of 15 of 40 leaves an IoU of 25/55, of 10 one of 30/50: the limit is 0.5."""
    step = world()
    step(A)
    assert step(moved(A, 10, look=7)) == {0: 1}
    step = world()
    step(A)
    assert step(moved(A, 15, look=7)) == {}


def test_lost_and_found_keeps_its_id(world):
    step = world(buffer_frames=5)
    step(A, B)
    for _ in range(5):
        assert step(B) == {0: 2}
    assert step(A, B) == {0: 1, 1: 2}


def test_lost_for_too_long_gets_a_new_id(world):
    step = world(buffer_frames=5)
    step(A, B)
    for _ in range(6):
        step(B)
    assert [t.id for t in step.associator._tracklets] == [2]
    assert step(A, B) == {1: 2}
    assert step(A, B) == {0: 3, 1: 2}


def test_lost_ones_are_not_found_by_overlap_alone(world):
    step = world(buffer_frames=5, duplicate_limit=0.0)
    step(A, B)
    step(B)
    assert step(moved(A, 0, look=7), B) == {1: 2}


def test_ids_are_never_used_twice(world):
    step = world(buffer_frames=1)
    given_out = []
    for round_ in range(4):
        ids = [step((100, 100, look)) for look in (round_, round_)][1]
        given_out += ids.values()
        for _ in range(3):
            step()
    assert len(given_out) == 4
    assert len(set(given_out)) == 4


# --- duplicates


def test_of_a_duplicate_the_older_one_stays(world):
    """A is lost; something of another look takes its place, is confirmed, and is the younger."""
    step = world()
    for _ in range(10):
        step(A, B)
    step(B)
    other = moved(A, 0, look=7)
    assert step(other, B) == {1: 2}
    assert step(other, B) == {1: 2}
    alive = {t.id: t.state for t in step.associator._tracklets}
    assert alive == {1: State.LOST, 2: State.TRACKED}
    assert step(A, B) == {0: 1, 1: 2}


def test_a_younger_lost_one_is_removed(world):
    """B is new and lost at once, where the older A then goes."""
    step = world(buffer_frames=50)
    near = (160, 100, 2)
    for _ in range(6):
        step(A)
    step(A, near)
    assert step(A, near) == {0: 1, 1: 2}
    for x in range(0, 61, 4):
        step(moved(A, x))
    assert [t.id for t in step.associator._tracklets] == [1]


def test_no_merging_at_a_limit_of_zero(world):
    step = world(duplicate_limit=0.0)
    for _ in range(10):
        step(A, B)
    step(B)
    other = moved(A, 0, look=7)
    step(other, B)
    assert step(other, B) == {0: 3, 1: 2}


# --- classes


def test_classes_apart_never_mix(world):
    step = world(classes_apart=True)
    assert step(A, classes=[3]) == {0: 1}
    assert step(A, classes=[5]) == {}
    assert step(A, A, classes=[5, 3]) == {0: 2, 1: 1}
    assert step(A, A, classes=[3, 5]) == {0: 1, 1: 2}


def test_classes_apart_never_mix_without_motion(world):
    step = world(use_motion=False, classes_apart=True)
    assert step(A, classes=[3]) == {0: 1}
    assert step(A, classes=[5]) == {0: 2}


def test_duplicates_are_of_one_class(world):
    """A person in front of a lost bicycle is no duplicate of it."""
    step = world(confirm_at_once=True, classes_apart=True)
    for _ in range(5):
        step(A, classes=[1])
    assert step(A, classes=[0]) == {0: 2}
    assert step(A, classes=[0]) == {0: 2}


@pytest.mark.parametrize("use_motion", [True, False])
def test_a_flip_of_the_class_does_not_split_a_track(world, use_motion):
    """A van that is taken for a truck, frames long."""
    step = world(use_motion=use_motion)
    for frame, label in enumerate([7, 7, 7, 2, 2, 2, 2, 7, 2, -1, -1]):
        assert step(moved(A, 2 * frame), B, classes=[label, 0]) == {0: 1, 1: 2}


def test_the_class_of_a_track_is_that_of_most_of_its_matches(world):
    step = world()
    votes = []
    for label in [-1, 7, 2, 2, -1, -1, 7, 7]:
        step(A, classes=[label])
        votes.append(step.associator._tracklets[0].class_id)
    assert votes == [-1, 7, 7, 2, 2, 2, 2, 7], "of two with as many, the first stays"


def test_of_two_matches_that_of_its_own_class_wins(world):
    """A rider and a bicycle in one place, alike to the network, change places in the list."""
    step = world()
    other = moved(A, 2)
    assert step(A, other, classes=[0, 1]) == {0: 1, 1: 2}
    for _ in range(3):
        assert step(other, A, classes=[0, 1]) == {0: 1, 1: 2}


# --- many and none


def test_no_detection_for_many_frames(world):
    step = world(buffer_frames=3)
    step(A)
    for _ in range(200):
        assert step() == {}
    assert step.associator._tracklets == []
    assert step.associator._bank.features is None
    step(A)
    assert step(A) == {0: 2}


def test_nothing_from_the_first_frame_on(world):
    step = world()
    for _ in range(20):
        assert step() == {}


def test_five_hundred_detections(world):
    crowd = [(60 * (k % 25), 100 * (k // 25), k) for k in range(500)]
    step = world()
    want = {row: row + 1 for row in range(500)}
    assert step(*crowd) == want
    assert step(*[moved(d, 2, 1) for d in crowd]) == want
    step(A)
    assert len(step.associator._tracklets) in (500, 501)


def test_alike_objects_are_told_apart_by_motion(world):
    step = world()
    for x in range(0, 40, 4):
        assert step((100 + x, 100, 1), (500 - x, 100, 1), (100, 400 + x, 1)) == {0: 1, 1: 2, 2: 3}


# --- no points


def test_objects_without_points_match_by_overlap(world):
    step = world()
    blank = (100, 100, None)
    assert step(blank, B) == {0: 1, 1: 2}
    assert step(B, moved(blank, 3)) == {0: 2, 1: 1}
    assert step(moved(blank, 30)) == {}, "too far for overlap"


def test_all_objects_without_points(world):
    step = world()
    blank, other = (100, 100, None), (400, 120, None)
    for x in range(5):
        assert step(moved(blank, x), moved(other, -x)) == {0: 1, 1: 2}
    assert step.associator._bank.features is None


def test_objects_without_points_have_no_appearance_whatever_the_limit(world):
    step = world(use_motion=False, cost_limit=2.0)
    assert step(A) == {0: 1}
    assert step((300, 300, None)) == {0: 2}
    assert step((600, 600, 1)) == {0: 1}, "nor is a look remembered of one without any"


def test_points_lost_for_a_moment(world):
    """The look is remembered while the object shows none, and finds it again afterwards."""
    step = world()
    step(A, B)
    assert step(moved(A, 2, look=None), B) == {0: 1, 1: 2}
    step(B)
    assert step(moved(A, 14), B) == {0: 1, 1: 2}


def test_motion_alone_counts_where_appearance_weighs_nothing(world):
    step = world(appearance_weight=0.0)
    step(A, (400, 120, None))
    assert step(A, (402, 120, None)) == {0: 1, 1: 2}


# --- time


def test_dropped_frames_are_predicted_over(world):
    """At 6 px a frame: twelve frames later and 72 px on is no overlap but the right place."""
    step = world()
    for t in range(12):
        step(moved(A, 6 * t), frame=t)
    assert step(moved(A, 6 * 24), frame=24) == {0: 1}
    still = world()
    for t in range(12):
        still(moved(A, 6 * t), frame=t)
    assert still(moved(A, 6 * 24), frame=12) == {}, "without the gap it is a jump"


def test_buffer_counts_frames_of_the_source(world):
    step = world(buffer_frames=5)
    step(A, B, frame=0)
    step(B, frame=4)
    step(B, frame=8)
    assert [t.id for t in step.associator._tracklets] == [2]


@pytest.mark.parametrize(("gap", "kept"), [(2, True), (31, True), (32, False), (10**9, False)])
def test_a_gap_without_any_frame_counts_as_time(world, gap, kept):
    step = world()  # with a buffer of 30 frames
    step(A, frame=0)
    step(A, frame=1)
    assert step(A, frame=1 + gap) == ({0: 1} if kept else {}), "a new one is confirmed first"
    assert step(A, frame=2 + gap) == {0: 1 if kept else 2}


def test_a_slow_run_keeps_its_tracks(world):
    step = world()
    for frame in (0, 29, 58, 116, 174):  # steps of twice the buffer, once the pace is known
        assert step(A, frame=frame) == {0: 1}
    assert step(A, frame=174 + 30 + 58 + 1) == {}


def test_frame_numbers_may_start_anywhere(world):
    step = world()
    assert step(A, frame=7000) == {0: 1}
    assert step(A, frame=7001) == {0: 1}


# --- without motion


def test_without_motion_only_looks_count(world):
    step = world(use_motion=False)
    assert step(A, B) == {0: 1, 1: 2}
    far = (900, 700, 2)
    assert step(far, moved(A, -90, 300)) == {0: 2, 1: 1}
    assert step(moved(A, 0, 600, look=9)) == {0: 3}, "new ones count at once"
    assert step(moved(A, 0, 600, look=8)) == {}, "overlap matches nothing, but duplicates go"
    assert step(moved(A, 0, 600, look=9)) == {0: 3}


# --- manners


def scene(seed, frames=16):
    """Walkers who come and go, some of them without points or hard to tell apart."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(0, 400, (6, 2)), rng.normal(0, 5, (6, 2))
    for t in range(frames):
        objects = [
            (
                *(start[k] + speed[k] * t + rng.normal(0, 1, 2)),
                None if rng.random() < 0.1 else k % 4,
            )
            for k in range(6)
            if rng.random() < 0.75
        ]
        yield t, objects


def test_two_associators_are_independent(world):
    one, other = world(), world()
    assert one(A, B) == {0: 1, 1: 2}
    assert other(B) == {0: 1}
    assert one(A, B) == {0: 1, 1: 2}
    assert other(B) == {0: 1}


def test_reset_equals_fresh(world):
    step = world()
    fresh = [step(*objects, frame=t) for t, objects in scene(1)]
    step.associator.reset()
    again = [step(*objects, frame=t) for t, objects in scene(1)]
    assert again == fresh
    assert any(fresh)


def test_nothing_of_the_callers_is_altered(tiny):
    """Costs, boxes and features are handed over read-only; writing to them would fail."""
    run = tiny.run

    def guarded(graph, *feeds):
        outputs = run(graph, *feeds)
        for output in outputs:
            output.setflags(write=False)
        return outputs

    tiny.run = guarded
    associator = Associator(tiny, AssociationConfig())
    for t, objects in scene(2):
        detections, features = seen(objects)
        arrays = [detections.boxes_xyxy, detections.scores, detections.classes]
        arrays += [features.points, features.mask] if features else []
        for array in arrays:
            array.setflags(write=False)
        associator.step(t, detections, features)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    use_motion=st.booleans(),
    gate=st.booleans(),
    buffer=st.integers(0, 4),
)
def test_ids_are_sound_whatever_comes(seed, use_motion, gate, buffer):
    """`World` checks uniqueness in a frame; an id out of sight for too long never comes back."""
    pytest.importorskip("torch")
    from ...reference.graphs_in_torch import TorchRunner

    step = World(TorchRunner(), use_motion=use_motion, gate=gate, buffer_frames=buffer)
    last: dict[int, int] = {}
    for t, objects in scene(seed):
        result = step(*objects, frame=t)
        assert set(result) <= set(range(len(objects)))
        for identity in result.values():
            assert identity not in last or t - last[identity] <= buffer + 1
            last[identity] = t
        assert len(step.associator._tracklets) <= 6 * (buffer + 2)
