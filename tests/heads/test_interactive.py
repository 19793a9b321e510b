"""What a viewer starts: the object under a click, and a head that waits for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, RequestError
from unitrack_edge.heads.config import SotConfig, VosConfig
from unitrack_edge.heads.detected import DetectedHead
from unitrack_edge.heads.interactive import STARTS, StartedHead, started_head
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.head import Head
from unitrack_edge.runtime.pipeline import Viewer
from unitrack_edge.runtime.prompts.mask import cutter_at, object_at
from unitrack_edge.runtime.server.commands import Commands, StartCommand
from unitrack_edge.tracking.registry import TASKS

SIZE_HW = (120, 160)


def scene():
    """A noisy background and a round object of another colour."""
    rng = np.random.default_rng(3)
    image = rng.integers(40, 90, (*SIZE_HW, 3)).astype(np.uint8)
    truth = np.zeros(SIZE_HW, np.uint8)
    cv2.ellipse(truth, (90, 60), (22, 15), 20, 0, 360, 1, -1)
    object_pixels = rng.integers(150, 220, (*SIZE_HW, 3)).astype(np.uint8)
    return np.where(truth[:, :, None] > 0, object_pixels, image).astype(np.uint8), truth


@pytest.mark.parametrize("point", [(90.5, 60.5), (80, 56), (101, 63)])
def test_a_click_finds_the_object(point):
    image, truth = scene()
    found = object_at(image, point)
    assert found.dtype == np.uint8
    overlap = np.count_nonzero(found & truth) / np.count_nonzero(found | truth)
    assert overlap > 0.9
    np.testing.assert_array_equal(cutter_at(point)(image, np.ones(SIZE_HW, np.uint8)), found)


def test_a_click_into_the_corner_or_beyond():
    image, _ = scene()
    cv2.rectangle(image, (0, 0), (9, 9), (0, 0, 255), -1)
    found = object_at(image, (0, 0))
    assert found[:10, :10].mean() > 0.9
    assert found.sum() < 140
    for point in ((-1, 5), (5, -0.5), (160, 5), (5, 120)):
        with pytest.raises(DetectionError, match="outside the image, which is 160x120"):
            object_at(image, point)


@pytest.mark.parametrize("size_hw", [(1, 1), (6, 6), (60, 80), (240, 320)])
def test_a_click_where_all_is_alike(size_hw):
    noise = np.random.default_rng(0).integers(60, 120, (*size_hw, 3)).astype(np.uint8)
    for image in (np.full((*size_hw, 3), 9, np.uint8), noise):
        with pytest.raises(DetectionError, match="draw a box around the object instead"):
            object_at(image, (size_hw[1] / 2, size_hw[0] / 2))


class Counting(Head):
    """A head that says how many frames it saw, as its score."""

    def __init__(self, command=None, fails_at=None):
        self.command, self.fails_at, self.seen = command, fails_at, 0

    def network_hw(self, source_hw):
        return source_hw[0] // 2, source_hw[1] // 2

    def reset(self):
        self.seen = 0

    def step(self, frame, features, detections=None):
        del features, detections
        self.seen += 1
        if self.seen == self.fails_at:
            raise DetectionError("lies outside the image")
        box = np.array([[0, 0, 1, 1]], np.float32)
        score = np.array([self.seen], np.float32)
        return Tracks(frame.index, np.ones(1, np.int64), Detections(box, score, np.zeros(1, int)))


def frame(index):
    return Frame(index, index / 25, np.zeros((8, 10, 3), np.uint8))


def waiting_head(make, commands, said, task="sot", head=None):
    return StartedHead(make, ("dcf_update",), commands, "door", task, said.append, head)


def test_a_head_waits_for_its_command():
    commands, said = Commands(), []
    head = waiting_head(lambda command, _: Counting(command), commands, said)
    assert head.graphs_used == ("dcf_update",)
    assert len(head.step(frame(0), None)) == 0
    assert not head.needs_features
    for width in (5, 6):
        assert commands.offer(StartCommand("door", "sot", box_xywh=(1, 2, width, 4)))
    assert commands.offer(StartCommand("door", "vos", point_xy=(1, 2)))
    assert len(head.step(frame(1), None)) == 0  # starts with the next frame
    assert head.needs_features
    assert head.network_hw((8, 10)) == (4, 5)
    assert [head.step(frame(i), None).detections.scores[0] for i in (2, 3)] == [1, 2]
    assert head._head.command.box_xywh[2] == 6  # the last one
    assert len(commands.take("door", "vos")) == 1  # another task's
    commands.offer(StartCommand("door", "sot", box_xywh=(1, 2, 3, 4)))
    assert head.step(frame(4), None).detections.scores[0] == 3
    assert head.step(frame(5), None).detections.scores[0] == 1
    assert said == []


def test_a_waiting_head_of_masks_gives_empty_ones():
    head = waiting_head(None, Commands(), [], "vos")
    assert not head.needs_detections
    for tracks in (head.step(frame(0), None), head.predict(frame(1))):
        assert tracks.label_map.shape == (8, 10)
        assert not tracks.label_map.any()


def test_a_head_that_waits_for_a_detector_is_given_detections(quick_runner):
    """`--init detect` with a live view: until the object is found, or a viewer starts another."""
    first = DetectedHead(SotConfig(), quick_runner)
    head = waiting_head(lambda command, _: Counting(command), Commands(), [], head=first)
    assert head.needs_detections
    assert len(head.predict(frame(0))) == 0
    box = np.array([[1, 1, 6, 6]], np.float32)
    found = Detections(box, np.ones(1, np.float32), np.array([0]))
    assert len(head.step(frame(1), None, found)) == 1
    assert not head.needs_detections


@pytest.mark.parametrize("early", [True, False])
def test_a_command_that_cannot_be_followed_changes_nothing(early):
    def make(command, size_hw):
        assert size_hw == (8, 10)
        if early:
            raise DetectionError("lies outside the image")
        return Counting(command, fails_at=1)

    commands, said = Commands(), []
    head = waiting_head(make, commands, said, head=Counting())
    scores = []
    for index in range(5):
        if index == 1:
            commands.offer(StartCommand("door", "sot", box_xywh=(1, 2, 3, 4)))
        tracks = head.step(frame(index), None)
        scores.append(tracks.detections.scores.tolist())
    assert said == ["door: sot not started: lies outside the image"]
    assert scores == ([[1], [2], [3], [4], [5]] if early else [[1], [2], [], [3], [4]])


def test_an_error_of_a_head_that_runs_is_an_error():
    head = waiting_head(None, Commands(), [], head=Counting(fails_at=2))
    head.step(frame(0), None)
    with pytest.raises(DetectionError):
        head.step(frame(1), None)


def test_commands_check_themselves():
    for wrong in (
        {},
        {"box_xywh": (1, 1, 2, 2), "point_xy": (1, 1)},
        {"point_xy": (1, 1)},
        {"box_xywh": (1, 1, 0.5, 2)},
        {"box_xywh": (float("nan"), 1, 2, 2)},
    ):
        with pytest.raises(RequestError):
            StartCommand("door", "sot", **wrong)


@pytest.mark.parametrize(
    ("task", "config", "place"),
    [
        ("sot", SotConfig(), {"box_xywh": (68, 45, 44, 30)}),
        ("vos", VosConfig(), {"box_xywh": (64, 40, 52, 40)}),
        ("vos", VosConfig(), {"point_xy": (90, 60)}),
        ("vos", VosConfig(focus="off"), {"point_xy": (90, 60)}),
    ],
)
def test_viewers_start_the_real_heads(quick_runner, task, config, place):
    commands, said = Commands(), []
    head = started_head(config, quick_runner, commands, "door", said.append)
    assert set(head.graphs_used) <= set(quick_runner.spec.graphs)
    viewer = Viewer(quick_runner, [head])
    image, truth = scene()
    counts = []
    for index in range(4):
        if index == 1:
            commands.offer(StartCommand("door", task, box_xywh=(500, 500, 9, 9)))
        if index == 2:
            commands.offer(StartCommand("door", task, **place))
        frame = Frame(index, index / 25, image)
        views = viewer.views(frame, [head.request(frame)])
        tracks = head.step(frame, views.given(viewer.features(views))[0])
        counts.append(len(tracks))
    assert counts == [0, 0, 0, 1]
    assert len(said) == 1
    assert said[0].startswith(f"door: {task} not started: ")
    ys, xs = np.nonzero(truth)
    box = tracks.detections.boxes_xyxy[0]
    np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=3)


def test_what_viewers_can_start():
    assert set(STARTS) == {"sot", "vos"} == {n for n, spec in TASKS.items() if spec.interactive}
