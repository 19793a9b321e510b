"""Heads that start from what a detector finds."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.heads.config import PoseConfig, SotConfig, VosConfig
from unitrack_edge.heads.detected import DetectedHead
from unitrack_edge.records import Detections, Frame

from ..support.people import noise_features, people, person

SIZE = 120, 160
BOX, OTHER = (40, 30, 70, 90), (90, 20, 120, 100)


def frame(index):
    image = np.random.default_rng(0).integers(40, 90, (*SIZE, 3)).astype(np.uint8)
    image[30:90, 40:70] += 120
    return Frame(index, index / 25, image)


def found(*boxes, scores):
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.zeros(len(boxes), np.int64),
    )


NOTHING = Detections.empty()


@pytest.mark.parametrize(
    "config", [SotConfig(), VosConfig(short_side=0, focus="off")], ids=["sot", "vos"]
)
def test_the_most_probable_object_is_tracked_from_its_frame_on(quick_runner, config):
    head = DetectedHead(config, quick_runner)
    features = noise_features(SIZE, quick_runner.spec.channels)
    assert head.needs_detections
    faint = found(OTHER, scores=[0.49])
    for index, detections in enumerate([NOTHING, faint, found((-50, 0, -9, 9), scores=[0.9])]):
        tracks = head.step(frame(index), features, detections)
        assert len(tracks) == 0
        assert (tracks.label_map is None) == (config.task == "sot")
    assert (
        "never started: --init detect found nothing of score 0.5 or more in 3 frames"
        in (head.drop_notes()[0])
    )
    tracks = head.step(frame(3), features, found(OTHER, BOX, scores=[0.6, 0.8]))
    assert tracks.ids.tolist() == [1]
    assert tracks.detections.boxes_xyxy[0] == pytest.approx(BOX, abs=3)
    assert not head.needs_detections
    assert head.drop_notes() == []
    again = head.step(frame(4), features)
    assert again.detections.boxes_xyxy[0] == pytest.approx(BOX, abs=12)
    head.reset()
    assert head.needs_detections
    assert len(head.step(frame(0), features, NOTHING)) == 0


def test_a_lower_score_will_do_where_it_is_asked_for(quick_runner):
    head = DetectedHead(SotConfig(), quick_runner, least_score=0.2)
    assert len(head.step(frame(0), None, found(BOX, scores=[0.3]))) == 1


def test_all_people_with_joints_start(quick_runner):
    head = DetectedHead(PoseConfig(short_side=0), quick_runner)
    features = noise_features(SIZE, quick_runner.spec.channels)
    assert len(head.step(frame(0), features, found(BOX, scores=[0.9]))) == 0, "boxes have no joints"
    unseen = people(person(40, 30, missing=range(17)), boxes=[BOX])
    assert len(head.step(frame(1), features, unseen)) == 0
    tracks = head.step(frame(2), features, people(person(20, 20), person(90, 20)))
    assert tracks.ids.tolist() == [1, 2]
    assert head.step(frame(3), features).ids.tolist() == [1, 2]


def test_a_frame_in_which_no_detector_runs_shows_nothing(quick_runner):
    head = DetectedHead(VosConfig(), quick_runner)
    assert not head.predict(frame(0)).label_map.any()
