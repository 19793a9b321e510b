"""Frames without detections: motion carries boxes, masks and poses on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from unitrack_edge.heads.config import MotConfig, MotsConfig, PosetrackConfig
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.heads.mots import MotsHead
from unitrack_edge.heads.posetrack import PosetrackHead
from unitrack_edge.records import Detections, Frame

from ...support.people import noise_features, person

SIZE = 160, 240
STEP = 4


def frame(index):
    return Frame(index, index / 25, np.zeros((*SIZE, 3), np.uint8))


def seen(index, step=STEP):
    """A box, mask and pose of 30 × 80 that goes `step` pixels to the right a frame."""
    left = 20 + step * index
    mask = np.zeros((1, *SIZE), np.bool_)
    mask[0, 30:110, left : left + 30] = True
    return Detections(
        np.array([[left, 30, left + 30, 110]], np.float32),
        np.array([0.9], np.float32),
        np.array([0]),
        mask,
        person(left, 30)[None],
        ("person",),
    )


HEADS = [(MotHead, MotConfig), (MotsHead, MotsConfig), (PosetrackHead, PosetrackConfig)]


@pytest.fixture(params=HEADS, ids=["mot", "mots", "posetrack"])
def make(request, tiny):
    head, config = request.param
    # Noise that stands still: the gate and the overlap decide.
    return lambda **given: head(tiny, config(**given), 25.0)


@pytest.fixture(params=HEADS, ids=["mot", "mots", "posetrack"])
def make_quick(request, quick_runner):
    """The same on a backbone, a convolution of the image."""
    head, config = request.param
    return lambda **given: head(quick_runner, config(**given), 25.0)


@pytest.fixture
def features(tiny):
    return noise_features(SIZE, tiny.spec.channels)


@pytest.mark.parametrize("preset", ["unitrack", "memory"])
def test_tracks_go_on_where_they_went(make, features, preset):
    head = make(preset=preset)
    for index in range(12):
        detected = head.step(frame(index), features, seen(index))
    assert detected.ids.tolist() == [1]
    assert detected.predicted is None
    for index in (12, 13, 14):
        tracks, true = head.predict(frame(index)), seen(index)
        assert tracks.ids.tolist() == [1]
        assert tracks.predicted.tolist() == [True]
        assert tracks.frame_index == index
        assert tracks.detections.boxes_xyxy == pytest.approx(true.boxes_xyxy, abs=2)
        if tracks.detections.masks is not None:
            both = tracks.detections.masks & true.masks
            assert both.sum() > 0.85 * (tracks.detections.masks | true.masks).sum()
        if tracks.detections.keypoints is not None:
            assert tracks.detections.keypoints == pytest.approx(true.keypoints, abs=2)


def pictured(index, left):
    """A frame with a figure of many colours where it is, above a ground that stands still."""
    image = np.full((*SIZE, 3), 128, np.uint8)
    rng = np.random.default_rng(4)
    colours = rng.integers(0, 255, (8, 3, 3)).astype(np.uint8)
    ground = rng.integers(0, 255, (4, 24, 3)).astype(np.uint8)
    image[120:] = ground.repeat(10, axis=0).repeat(10, axis=1)
    image[30:110, left : left + 30] = colours.repeat(10, axis=0).repeat(10, axis=1)
    return Frame(index, index / 25, image)


@pytest.mark.parametrize("camera_motion", ["off", "flow", "auto"])
def test_tracks_go_where_they_are_seen(make_quick, camera_motion):
    """A figure that stood walks off once no detector looks for it: motion alone leaves it there."""
    make, features = make_quick, None
    heads = [make(between=b, camera_motion=camera_motion) for b in ("motion", "appearance")]
    for head in heads:
        for index in range(4):
            head.step(pictured(index, 20), features, seen(0))
    for index in range(4, 9):
        left = 20 + 3 * (index - 3)
        stays, goes = (head.predict(pictured(index, left)) for head in heads)
        assert goes.ids.tolist() == [1]
        assert goes.predicted.tolist() == [True]
    if camera_motion == "off":  # What leaves its box may be taken for the camera's motion.
        assert stays.detections.boxes_xyxy[0, 0] == pytest.approx(20, abs=2)
    assert goes.detections.boxes_xyxy[0] == pytest.approx([left, 30, left + 30, 110], abs=3)
    moved = seen(0).keypoints[0, 0, 0] + left - 20
    if goes.detections.keypoints is not None:
        assert goes.detections.keypoints[0, 0, 0] == pytest.approx(moved, abs=3)
    # The next detection, which the box that stayed does not touch any more, is of the same track.
    there = seen(0)
    there = replace(there, boxes_xyxy=there.boxes_xyxy + np.float32([left - 20, 0] * 2))
    assert heads[1].step(pictured(9, left), features, there).ids.tolist() == [1]


def test_followed_tracks_that_are_not_seen_go_on_by_motion(make_quick):
    """All frames are black: where an object is, nothing says, and it goes on as without looking."""
    make, features = make_quick, None
    plain, followed = make(), make(between="appearance")
    for head in (plain, followed):
        for index in range(12):
            head.step(frame(index), features, seen(index))
    for index in (12, 13, 14):
        one, two = (head.predict(frame(index)) for head in (plain, followed))
        assert two.detections.boxes_xyxy == pytest.approx(one.detections.boxes_xyxy, abs=0.01)
    one, two = (head.step(frame(15), features, seen(15)) for head in (plain, followed))
    assert one.ids.tolist() == two.ids.tolist() == [1]
    assert two.detections.boxes_xyxy == pytest.approx(one.detections.boxes_xyxy, abs=0.01)
    one, two = (head.step(frame(18), features, seen(18)[:0]) for head in (plain, followed))
    assert one.ids.tolist() == two.ids.tolist() == [1], "one miss is bridged"


def test_a_prediction_changes_nothing(make, features):
    plain, asked = make(), make()
    for head in (plain, asked):
        for index in range(5):
            head.step(frame(index), features, seen(index))
    for index in (5, 6, 7):
        asked.predict(frame(index))
    one, two = (head.step(frame(8), features, seen(8)) for head in (plain, asked))
    assert one.ids.tolist() == two.ids.tolist() == [1]
    assert (one.detections.boxes_xyxy == two.detections.boxes_xyxy).all()


def test_nothing_is_predicted_of_what_was_seen_twice(make, features):
    head = make()
    assert len(head.predict(frame(0))) == 0
    head.step(frame(1), features, seen(1))
    head.step(frame(2), features, seen(2))
    assert len(head.predict(frame(3))) == 1
    head.step(frame(4), features, seen(4)[:0])
    assert len(head.predict(frame(5))) == 0
    head.reset()
    assert len(head.predict(frame(6))) == 0


@pytest.mark.parametrize("every", [2, 3, 5])
def test_a_track_that_is_missed_once_does_not_blink(make, features, every):
    """Detections in every n-th frame, some of which miss the object: motion carries it to the next.

    A second miss in a row ends it: where the object is, nobody knows any more.
    """
    head = make()
    shown = {}
    for index in range(10 * every):
        true = seen(index, step=1)
        turn, between = divmod(index, every)
        given = true[:0] if turn in (4, 7, 8) else true
        tracks = head.predict(frame(index)) if between else head.step(frame(index), features, given)
        shown[index] = tracks
        if len(tracks) and (between or turn in (4, 7)):
            assert tracks.predicted.tolist() == [True]
            if turn < 3:
                continue  # The motion is not known yet.
            assert tracks.detections.boxes_xyxy == pytest.approx(true.boxes_xyxy, abs=2)
            if tracks.detections.keypoints is not None:
                assert tracks.detections.keypoints == pytest.approx(true.keypoints, abs=2)
            if tracks.detections.masks is not None:
                both = tracks.detections.masks & true.masks
                assert both.sum() > 0.75 * (tracks.detections.masks | true.masks).sum()
    missing = [index for index, tracks in shown.items() if tracks.ids.tolist() != [1]]
    assert missing == list(range(8 * every, 9 * every))


def test_a_miss_is_not_bridged_where_every_frame_has_detections(tiny, features):
    """Poses and masks are the detector's; only boxes go on for a moment (`--mot-coast`)."""
    for head_class, config in HEADS[1:]:
        head = head_class(tiny, config(), 25.0)
        for index in range(6):
            head.step(frame(index), features, seen(index))
        assert len(head.step(frame(6), features, seen(6)[:0])) == 0


def test_who_has_left_the_image_is_gone(make, features):
    head = make()
    for index in range(12):
        head.step(frame(index), features, seen(index))
    assert len(head.predict(frame(40))) == 1
    assert len(head.predict(frame(80))) == 0


def test_wide_people_are_not_predicted_either(tiny, features):
    head = MotHead(tiny, MotConfig(max_aspect=0.3), 25.0)
    head.step(frame(0), features, seen(0))
    assert len(head.predict(frame(1))) == 0
    head = MotHead(tiny, MotConfig(max_aspect=0.3), 25.0)
    head.step(frame(0), features, replace(seen(0), class_names=("car",)))
    assert len(head.predict(frame(1))) == 1
