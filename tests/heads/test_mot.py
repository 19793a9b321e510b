"""The box head: scores on the made-up clip, what it reports, and odd detections."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import UnitrackError
from unitrack_edge.evaluation.metrics.mot import rows_of_tracks, score_mot
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import MotConfig
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.preprocessing import FeatureExtractor, FeatureMap, Letterbox

SIZE = (192, 320)
SETTINGS = {"height": 192, "width": 320, "min_area": 50.0}


@pytest.fixture(scope="module")
def clip():
    """Frames, noisy detections and truth of four walkers, two of whom hide one another."""
    scene = Scene(SceneConfig(frames=60, height=SIZE[0], width=SIZE[1], objects=4, seed=0))
    truth = {}
    frames, detections = [], []
    for i in range(len(scene)):
        frames.append(scene.frame(i))
        detections.append(scene.detections(i))
        true = scene.truth(i)
        shown = true.visible > 0.3
        truth[i] = true.ids[shown], true.boxes_xyxy[shown]
    return frames, detections, truth


def run(runner, head, frames, detections):
    extractor = FeatureExtractor(runner)
    return [
        head.step(
            frame,
            extractor.extract(*extractor.prepare(frame, head.network_hw(frame.size_hw))),
            seen,
        )
        for frame, seen in zip(frames, detections, strict=True)
    ]


def as_bytes(tracked):
    return [t.ids.tobytes() + t.detections.boxes_xyxy.tobytes() for t in tracked]


@pytest.fixture(scope="module")
def tracked(lite_runner, clip):
    head = MotHead(lite_runner, MotConfig(**SETTINGS), fps=25)
    return run(lite_runner, head, clip[0], clip[1])


def test_scores_of_the_clip(tracked, clip):
    """Measured: IDF1 0.968, MOTA 0.930, 2 switches."""
    scores = score_mot(rows_of_tracks(tracked), clip[2])
    assert scores.idf1 > 0.938
    assert scores.mota > 0.90
    assert scores.id_switches <= 3


def test_same_input_same_bytes_and_reset_is_a_new_beginning(lite_runner, clip, tracked):
    frames, detections = clip[0][:8], clip[1][:8]
    head = MotHead(lite_runner, MotConfig(**SETTINGS), fps=25)
    first = as_bytes(run(lite_runner, head, frames, detections))
    head.reset()
    assert as_bytes(run(lite_runner, head, frames, detections)) == first
    assert as_bytes(tracked[:8]) == first


def test_looking_only_where_it_decides_gives_the_same_identities(lite_runner, clip):
    """Measured: 2.5 % of the pixels of whole frames."""
    head = MotHead(lite_runner, MotConfig(min_area=50.0), fps=25)
    tracks = [head.step(frame, None, seen) for frame, seen in zip(*clip[:2], strict=True)]
    scores = score_mot(rows_of_tracks(tracks), clip[2])
    assert scores.idf1 > 0.938
    assert scores.id_switches <= 3
    assert not head.needs_features
    assert 0 < head.backbone_pixels < 0.05 * len(tracks) * 608 * 1088


# --- without a backbone: features are noise that stands still


PAPER = {"preset": "unitrack", "min_area": 0.0, "max_aspect": 0.0}


class Stage:
    """A head before a still image of 160 × 240, told detections as (box, score, class)."""

    def __init__(self, graphs, fps=30.0, **config):
        self.head = MotHead(graphs, MotConfig(**(PAPER | config)), fps)
        points = np.random.default_rng(0).standard_normal((1, 20, 30, graphs.spec.channels))
        points /= np.linalg.norm(points, axis=-1, keepdims=True)
        letterbox = Letterbox.fit((160, 240), (160, 240))
        self.features = FeatureMap(points.astype(np.float32), letterbox, 8)
        self.index = -1

    def __call__(self, *boxes, scores=None, classes=None, names=None):
        self.index += 1
        frame = Frame(self.index, self.index / 25, np.zeros((160, 240, 3), np.uint8))
        detections = Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array([0.9] * len(boxes) if scores is None else scores, np.float32),
            np.array([0] * len(boxes) if classes is None else classes, np.int64),
            class_names=names,
        )
        return self.head.step(frame, self.features, detections)


TALL, WIDE, SMALL = (20, 20, 50, 100), (60, 100, 160, 140), (200, 20, 205, 30)


def test_reports_boxes_scores_and_classes_of_the_frame(tiny):
    tracks = Stage(tiny)(TALL, WIDE, scores=[0.8, 0.6], classes=[0, 2])
    assert list(tracks.ids) == [1, 2]
    assert tracks.detections.boxes_xyxy == pytest.approx(np.array([TALL, WIDE], np.float32))
    assert tracks.detections.scores == pytest.approx([0.8, 0.6])
    assert list(tracks.detections.classes) == [0, 2]


def test_low_scores_are_left_out(tiny):
    tracks = Stage(tiny, confidence=0.5)(TALL, WIDE, SMALL, scores=[0.49, 0.5, 3.0])
    assert tracks.detections.scores == pytest.approx([0.5, 3.0])


def test_small_boxes_and_wide_people_are_tracked_and_not_reported(tiny):
    people = {"names": ("person",)}
    stage = Stage(tiny, min_area=200.0, max_aspect=1.6)
    assert list(stage(SMALL, WIDE, TALL, **people).ids) == [3]
    assert list(stage(SMALL, WIDE, TALL, **people).ids) == [3]
    stage = Stage(tiny)
    assert list(stage(SMALL, WIDE, TALL, **people).ids) == [1, 2, 3]


@pytest.mark.parametrize(
    ("label", "names", "reported"),
    [
        (0, ("person", "car"), False),
        (1, ("car", "Pedestrian"), False),
        (1, ("person", "car"), True),
        (0, None, True),
        (-1, ("person",), True),
        (7, ("person",), True),
    ],
)
def test_only_what_is_named_a_person_may_not_be_wide(tiny, label, names, reported):
    stage = Stage(tiny, max_aspect=1.6)
    assert len(stage(WIDE, classes=[label], names=names)) == reported


def test_what_is_dropped_is_counted(tiny):
    stage = Stage(tiny, min_area=200.0, max_aspect=1.6)
    people, outside = {"names": ("person",)}, (300, 20, 340, 100)
    for _ in range(3):
        stage(SMALL, WIDE, TALL, outside, scores=[0.9, 0.9, 0.9, 0.2], **people)
    stage(TALL, (150, 20, 180, 100), scores=[0.9, 0.4], **people)
    stage(TALL, (150, 20, 180, 100), **people)
    assert stage.head.dropped() == {
        "outside": 3,
        "confidence": 1,
        "unmatched": 1,
        "min_area": 3,
        "max_aspect": 3,
    }
    notes = stage.head.drop_notes()
    assert "1 detection not tracked: score below --mot-confidence 0.5" in notes
    assert "3 boxes not reported: people wider than --mot-max-aspect 1.6" in notes
    stage.head.reset()
    assert stage.head.dropped() == {}


def test_a_track_reports_the_class_of_most_of_its_matches(tiny):
    stage = Stage(tiny)
    shown = [stage(TALL, classes=[label]).detections.classes.tolist() for label in [7, 2, 7, 2, 2]]
    assert shown == [[7], [7], [7], [7], [2]]


def test_boxes_outside_the_picture(tiny):
    """Wholly outside: left out. Partly: tracked, and not cut off."""
    stage = Stage(tiny)
    outside, partly = (300, 20, 340, 100), (-15, 20, 15, 100)
    for _ in range(3):
        tracks = stage(outside, partly)
        assert list(tracks.ids) == [1]
        assert tracks.detections.boxes_xyxy[0] == pytest.approx(partly, abs=0.5)


def test_absurd_boxes_cost_nothing(tiny):
    """A detection may be larger than any image; memory must not grow with it."""
    stage = Stage(tiny)
    for size in (1e4, 1e7, 1e12):
        tracks = stage((-size, -size, size, size), TALL, (10, 10, 10 + 1e-3, 10 + 1e-3))
        assert np.isfinite(tracks.detections.boxes_xyxy).all()
        assert 2 in tracks.ids


def test_no_detection(tiny):
    stage = Stage(tiny)
    for _ in range(50):
        assert len(stage()) == 0
    frame = Frame(99, 4.0, np.zeros((160, 240, 3), np.uint8))
    assert len(stage.head.step(frame, stage.features, None)) == 0


def test_five_hundred_detections_in_one_frame(tiny):
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, (230, 130), (500, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 30, (500, 2))], axis=1)
    stage = Stage(tiny, roi_height=1, roi_width=2)
    stage(TALL)
    stage(*boxes)
    tracks = stage(*boxes)
    assert len(tracks) > 300
    assert len(set(tracks.ids)) == len(tracks)


@pytest.mark.parametrize(("fps", "kept"), [(30.0, True), (10.0, False)])
def test_buffer_is_counted_at_thirty_frames_a_second(tiny, fps, kept):
    """6 frames at 30 FPS are a fifth of a second: 2 frames at 10 FPS."""
    stage = Stage(tiny, fps=fps, buffer=6.0)
    stage(TALL, WIDE)
    for _ in range(5):
        stage(WIDE)
    stage(TALL, WIDE)
    ids = list(stage(TALL, WIDE).ids)
    assert sorted(ids) == ([1, 2] if kept else [2, 3])


def test_two_heads_are_independent(tiny):
    one, other = Stage(tiny), Stage(tiny)
    assert list(one(TALL, WIDE).ids) == [1, 2]
    assert list(other(WIDE).ids) == [1]
    assert list(one(WIDE, TALL).ids) == [1, 2]


def test_one_network_size_for_all_sources(tiny):
    head = MotHead(tiny, MotConfig())
    assert head.network_hw((480, 640)) == head.network_hw((2160, 3840)) == (608, 1088)


@pytest.mark.parametrize(
    "wrong",
    [
        {"roi_height": 0},
        {"height": 16},
        {"appearance_weight": 1.1},
        {"appearance_weight": float("nan")},
        {"buffer": -1.0},
        {"buffer": float("nan")},
        {"buffer": float("inf")},
        {"rsm_scale": 0.0},
        {"rsm_scale": float("nan")},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(UnitrackError, match="expected"):
        MotConfig(**wrong)


def shaken_scene(steps):
    """Frames of a texture that jumps by as many pixels along x, and four boxes that jump with it.

    A jump is as long as the boxes are apart, so that place alone takes each for its neighbour.
    """
    rng, boxes = np.random.default_rng(3), []
    texture = cv2.resize(
        rng.integers(0, 256, (12, 32, 3), np.uint8), (640, 240), interpolation=cv2.INTER_CUBIC
    )
    frames, x = [], 160
    for index, step in enumerate(steps):
        x += step
        image = np.ascontiguousarray(texture[:, 320 - x : 640 - x])
        frames.append(Frame(index, index / 25, image))
        left = x - 40 + 24.0 * np.arange(4)
        corners = np.stack([left, np.full(4, 60.0)], axis=1)
        rows = np.concatenate([corners, corners + np.array([20, 60])], axis=1).astype(np.float32)
        boxes.append(Detections(rows, np.full(4, 0.9, np.float32), np.zeros(4, np.int64)))
    return frames, boxes


@pytest.mark.parametrize("motion", ["off", "flow", "auto"])
def test_identities_go_with_a_camera_that_is_said_to_move(lite_runner, motion):
    frames, boxes = shaken_scene([0, 0, 24, -24, 24, 0, -24])
    config = MotConfig(appearance_weight=0.0, camera_motion=motion)
    head = MotHead(lite_runner, config, fps=25)
    pairs = list(zip(frames, boxes, strict=True))
    ids = [head.step(frame, None, seen).ids.tolist() for frame, seen in pairs]
    assert (ids == [[1, 2, 3, 4]] * len(frames)) == (motion != "off")
    # The next video has another first frame.
    head.reset()
    assert [head.step(frame, None, seen).ids.tolist() for frame, seen in pairs] == ids


@pytest.mark.parametrize("motion", ["flow", "auto"])
def test_between_detections_boxes_go_with_the_camera(lite_runner, motion):
    frames, boxes = shaken_scene([0, 0, 24, -12, 0])
    head = MotHead(lite_runner, MotConfig(appearance_weight=0.0, camera_motion=motion), fps=25)
    for frame, seen in zip(frames[:2], boxes[:2], strict=True):
        head.step(frame, None, seen)
    for frame, seen in zip(frames[2:4], boxes[2:4], strict=True):
        carried = head.predict(frame)
        assert np.abs(carried.detections.boxes_xyxy - seen.boxes_xyxy).max() < 1
    assert head.step(frames[4], None, boxes[4]).ids.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("every", [1, 3])
def test_of_a_camera_that_stands_still_nothing_is_other_than_with_none(lite_runner, every):
    """People walk, and the sensor has noise; to the last bit, between detections too."""
    rng, found = np.random.default_rng(5), []
    ground = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), (320, 240)).astype(int)
    images = []
    for index in range(30):
        image = np.clip(ground + rng.normal(0, 3, ground.shape), 0, 255).astype(np.uint8)
        image[60:140, 20 + 4 * index : 60 + 4 * index] = 30
        images.append(image)
    for motion in ("off", "auto"):
        config = MotConfig(appearance_weight=0.0, camera_motion=motion)
        head = MotHead(lite_runner, config, fps=25)
        rows = []
        for index, image in enumerate(images):
            frame, left = Frame(index, index / 25, image), 20 + 4.0 * index
            box = np.array([[left, 60, left + 40, 140]], np.float32) + np.float32(0.3 * (index % 5))
            seen = Detections(box, np.full(1, 0.9, np.float32), np.zeros(1, np.int64))
            tracks = head.predict(frame) if index % every else head.step(frame, None, seen)
            rows.append(tracks.detections.boxes_xyxy.tobytes() + tracks.ids.tobytes())
        found.append(rows)
    assert found[0] == found[1]


def test_a_camera_whose_motion_cannot_be_seen_is_noted(lite_runner):
    head = MotHead(lite_runner, MotConfig(camera_motion="flow"), fps=25)
    for index in range(3):
        head.step(Frame(index, index / 25, np.zeros((60, 80, 3), np.uint8)), None, None)
    assert head.drop_notes() == [
        "camera motion not seen in 2 frames, and taken for none: too few corners that go one way"
    ]
