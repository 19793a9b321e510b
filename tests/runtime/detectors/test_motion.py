from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.boxes import iou_matrix
from unitrack_edge.runtime.detectors.motion import MotionConfig, MotionDetector
from unitrack_edge.runtime.detectors.open import open_detector

LEARN = MotionConfig().learn_frames


def scene(objects, frames=25, size_hw=(240, 320), seed=3):
    """A noisy, textured, still background; `objects(i)` are the boxes shown in frame i."""
    rng = np.random.default_rng(seed)
    background = rng.integers(60, 160, (size_hw[0] // 8, size_hw[1] // 8, 3))
    background = np.kron(background, np.ones((8, 8, 1)))
    shades = rng.integers(170, 250, (50, 3))
    for index in range(frames):
        image = background + rng.normal(0, 2, background.shape)
        for shade, (left, top, right, bottom) in zip(shades, objects(index), strict=False):
            image[top:bottom, left:right] = shade
        yield Frame(index, index / 25, np.clip(image, 0, 255).astype(np.uint8))


def crossing(index):
    x = 10 + 8 * index
    return [(x, 40, x + 30, 110), (280 - x, 150, 310 - x, 200)] if index >= LEARN else []


def test_moving_objects_are_found_with_masks():
    with open_detector(detector="motion") as detector:
        for frame in scene(crossing):
            found = detector.detect(frame)
            truth = np.array(crossing(frame.index), np.float32).reshape(-1, 4)
            assert len(found) == len(truth)
            if len(truth):
                assert (iou_matrix(truth, found.boxes_xyxy).max(axis=1) > 0.8).all()
                assert found.masks.shape == (2, 240, 320)
                areas = found.masks.sum(axis=(1, 2))
                assert areas[0] >= areas[1]
                shown = np.zeros((240, 320), bool)
                for left, top, right, bottom in crossing(frame.index):
                    shown[top:bottom, left:right] = True
                union = found.masks.any(axis=0)
                assert (union & shown).sum() / (union | shown).sum() > 0.85
        assert detector.notes(25) == []


def test_a_frame_larger_than_the_working_size():
    def one(index):
        return [(40 + 20 * index, 200, 120 + 20 * index, 380)] if index >= LEARN else []

    detector = MotionDetector()
    for frame in scene(one, 14, (480, 800)):
        found = detector.detect(frame)
    assert found.masks.shape == (1, 480, 800)
    assert iou_matrix(np.array(one(13), np.float32), found.boxes_xyxy)[0, 0] > 0.8


def test_a_still_scene_shows_nothing():
    detector = MotionDetector()
    assert sum(len(detector.detect(frame)) for frame in scene(lambda _: [], 40)) == 0


def test_nothing_is_reported_while_learning():
    def always(index):
        return [(20 + 10 * index, 50, 60 + 10 * index, 120)]

    detector = MotionDetector(MotionConfig(learn_frames=4))
    counts = [len(detector.detect(frame)) for frame in scene(always, 8)]
    assert counts[:4] == [0] * 4
    assert all(counts[4:])


def test_fragments_one_above_the_other_are_one_object():
    def person(index):
        x = 20 + 8 * index
        parts = [(x, 40, x + 24, 70), (x, 78, x + 24, 120), (x + 90, 40, x + 114, 120)]
        return parts if index >= LEARN else []

    detector = MotionDetector()
    for frame in scene(person, LEARN + 6):
        found = detector.detect(frame)
    x = 20 + 8 * (LEARN + 5)
    expected = np.array([[x, 40, x + 24, 120], [x + 90, 40, x + 114, 120]], np.float32)
    assert len(found) == 2
    assert (iou_matrix(expected, found.boxes_xyxy).max(axis=1) > 0.8).all()


def test_specks_are_too_small():
    def speck(index):
        return [(100, 100, 108, 108)] if index >= LEARN else []

    large = MotionDetector(MotionConfig(min_area=0.002))
    small = MotionDetector(MotionConfig(min_area=0.0002))
    frames = list(scene(speck, LEARN + 2))
    assert [len(large.detect(frame)) for frame in frames][-1] == 0
    assert [len(small.detect(frame)) for frame in frames][-1] == 1


def test_the_largest_objects_are_kept():
    def many(index):
        if index < LEARN:
            return []
        return [(10 + 60 * k, 40, 30 + 60 * k, 60 + 10 * k) for k in range(5)]

    detector = MotionDetector(MotionConfig(max_objects=2))
    for frame in scene(many, LEARN + 1):
        found = detector.detect(frame)
    assert sorted(found.boxes_xyxy[:, 0].round(-1)) == [190, 250]


def test_too_few_frames_to_learn_from_are_noted():
    detector = MotionDetector()
    for frame in scene(lambda _: [], 6):
        assert len(detector.detect(frame)) == 0
    assert detector.notes(6) == [
        "--detector motion reported nothing: its first 10 frames teach it the background, and "
        "there were 6"
    ]
    assert MotionDetector().notes() == []


def test_a_camera_that_moves_is_noted():
    detector = MotionDetector()
    for frame in scene(lambda _: [], LEARN):
        detector.detect(frame)
    flash = Frame(LEARN, 0.4, np.full((240, 320, 3), 255, np.uint8))
    assert len(detector.detect(flash)) == 0
    (note,) = detector.notes()
    assert "nothing in 1 of 1 frames" in note
    assert "camera that stands still" in note


def test_shadows_belong_to_the_background():
    detector = MotionDetector()
    frames = list(scene(lambda _: [], LEARN + 1))
    for frame in frames[:-1]:
        detector.detect(frame)
    image = frames[-1].image.copy()
    image[50:150, 60:160] = (image[50:150, 60:160] * 0.8).astype(np.uint8)
    assert len(detector.detect(Frame(LEARN, 0.4, image))) == 0


def test_the_same_frames_give_the_same_detections():
    runs = []
    for _ in range(2):
        detector = MotionDetector()
        runs.append([detector.detect(frame) for frame in scene(crossing)])
    for one, other in zip(*runs, strict=True):
        assert one.boxes_xyxy.tobytes() == other.boxes_xyxy.tobytes()
        assert one.masks is other.masks is None or (one.masks == other.masks).all()


def test_a_new_picture_size_starts_learning_again():
    detector = MotionDetector(MotionConfig(learn_frames=2))
    for frame in scene(lambda _: [], 5):
        detector.detect(frame)
    counts = [len(detector.detect(frame)) for frame in scene(crossing, 15, (240, 400))]
    assert counts == [0] * LEARN + [2] * 5


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 700), (700, 2)])
def test_odd_picture_sizes(size_hw):
    detector = MotionDetector(MotionConfig(learn_frames=0))
    for value in (0, 255, 0):
        image = np.full((*size_hw, 3), value, np.uint8)
        assert len(detector.detect(Frame(0, 0.0, image))) <= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"open_size": 4},
        {"join_width": 0},
        {"min_area": 1.5},
        {"max_objects": 256},
        {"history": 0},
        {"variance_threshold": float("nan")},
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(DetectionError, match=next(iter(settings))):
        MotionConfig(**settings)
