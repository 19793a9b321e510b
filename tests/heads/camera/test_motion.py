"""The camera's motion from images that are moved by a known one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.heads.association.kalman import BoxFilter, move_filters, xyxy_to_xyah
from unitrack_edge.heads.camera.motion import CameraMotion, Patches
from unitrack_edge.heads.camera.reference import Reference

SIZE = (240, 320)
NOBODY = np.zeros((0, 4), np.float32)


def similarity(x=0.0, y=0.0, degrees=0.0, zoom=1.0):
    """(2, 3) about the middle of the image."""
    motion = cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), degrees, zoom)
    motion[:, 2] += x, y
    return motion


@pytest.fixture(scope="module")
def scene():
    """A texture that is larger than the image on every side."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    return cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)


def seen(scene, motion):
    """What a camera sees that moved so; (160, 120) of the scene is the image's corner before."""
    shift = np.array([[1, 0, -160], [0, 1, -120], [0, 0, 1.0]])
    return cv2.warpAffine(scene, motion @ shift, SIZE[::-1])


def corners_off(found, wanted):
    """Pixels by which two motions differ in the image's corners."""
    height, width = SIZE
    ends = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1.0]])
    return np.abs(ends @ (found - wanted).T).max()


@pytest.mark.parametrize(
    "motion",
    [
        similarity(12.3, -7.6),
        similarity(degrees=3.0),
        similarity(zoom=1.06),
        similarity(-5.0, 4.0, -2.0, 0.97),
        similarity(60.0, 30.0),
    ],
)
def test_shift_turn_and_zoom_are_found(scene, motion):
    camera = CameraMotion()
    for one in (similarity(), motion):
        camera.watch(seen(scene, one), NOBODY)
    assert corners_off(camera.take(), motion) < 0.5
    assert np.array_equal(camera.take(), similarity())
    assert camera.unknown == 0


def test_frames_add_up_until_they_are_taken(scene):
    camera, last = CameraMotion(), similarity(-14.0, 5.0, 4.0)
    for motion in (similarity(), similarity(-7.0, 2.0, 2.0), last):
        camera.watch(seen(scene, motion), NOBODY)
    boxes = np.array([[100, 80, 140, 160]], np.float32)
    wanted = np.tile(last @ (120, 120, 1), 2) + np.array([-20, -40, 20, 40])
    assert np.allclose(camera.moved(boxes), [wanted], atol=0.5)
    assert corners_off(camera.take(), last) < 0.5


def test_a_camera_that_stands_still_moves_nothing_at_all(scene):
    camera, rng = CameraMotion(), np.random.default_rng(1)
    for _ in range(4):
        noisy = seen(scene, similarity()) + rng.normal(0, 3, (*SIZE, 3))
        camera.watch(np.clip(noisy, 0, 255).astype(np.uint8), NOBODY)
    assert np.array_equal(camera.take(), similarity())


def test_objects_that_fill_most_of_the_image_do_not_move_the_camera(scene):
    camera = CameraMotion()
    for shift in (0, 6):
        image = seen(scene, similarity())
        image[20:220, 40:260] = seen(scene[::-1], similarity(shift))[20:220, 40:260]
        camera.watch(image, np.array([[40, 20, 260, 220]], np.float32))
    assert np.array_equal(camera.take(), similarity())
    assert camera.unknown == 0


def test_what_cannot_be_told_is_no_motion_and_counted(scene):
    camera = CameraMotion()
    blank = np.full((*SIZE, 3), 90, np.uint8)
    for image in (blank, blank, seen(scene, similarity()), seen(scene, similarity())[:200]):
        camera.watch(image, NOBODY)
    assert np.array_equal(camera.take(), similarity())
    assert camera.unknown == 3


def test_same_images_same_motion(scene):
    cameras = CameraMotion(), CameraMotion()
    for camera in cameras:
        for motion in (similarity(), similarity(9.0, 3.0, 1.0, 1.02)):
            camera.watch(seen(scene, motion), NOBODY)
    assert np.array_equal(cameras[0].take(), cameras[1].take())


@pytest.mark.parametrize("motion", [similarity(30, -8), similarity(degrees=90, zoom=1.5)])
def test_a_moved_filter_is_one_that_saw_all_boxes_where_they_are_moved_to(motion):
    """Noise is in proportion to the height, and alike along x and y."""
    turn, zoom = motion[:, :2], np.sqrt(np.linalg.det(motion[:, :2]))
    boxes = np.array([[100, 60, 130, 130], [104, 61, 135, 132], [109, 61, 139, 134]], np.float32)
    before = xyxy_to_xyah(boxes)
    after = before.copy()
    after[:, :2] = before[:, :2] @ turn.T + motion[:, 2]
    after[:, 3] *= zoom
    filters = BoxFilter(before[0]), BoxFilter(after[0])
    for measured in zip(before[1:], after[1:], strict=True):
        for one, box in zip(filters, measured, strict=True):
            one.predict()
            one.update(box)
    move_filters(filters[:1], motion)
    assert np.allclose(filters[0].mean, filters[1].mean, rtol=1e-9)
    assert np.allclose(filters[0].covariance, filters[1].covariance, rtol=1e-9)


@pytest.fixture
def flows(monkeypatch):
    """How often corners were followed."""
    calls, follow = [], cv2.calcOpticalFlowPyrLK

    def counted(*given):
        calls.append(1)
        return follow(*given)

    monkeypatch.setattr(cv2, "calcOpticalFlowPyrLK", counted)
    return calls


def watched(scene, motions, camera, boxes=NOBODY, noise=3.0):
    """What the camera is said to do in every frame, of a scene that is seen with noise."""
    rng, found = np.random.default_rng(2), []
    for motion in motions:
        image = seen(scene, motion) + rng.normal(0, noise, (*SIZE, 3))
        camera.watch(np.clip(image, 0, 255).astype(np.uint8), boxes)
        found.append((camera.moves, camera.take()))
    return found


def test_of_a_camera_that_stands_still_no_corner_is_followed(scene, flows):
    """Whoever walks through the image, and however its light changes slowly."""
    camera = CameraMotion(always=False)
    for index in range(40):
        image = np.clip(seen(scene, similarity()).astype(int) + index, 0, 255).astype(np.uint8)
        image[60:200, 5 * index : 5 * index + 90] = seen(scene[::-1], similarity())[60:200, :90]
        camera.watch(image[:, :320], np.array([[5 * index, 60, 5 * index + 90, 200]], np.float32))
        assert not camera.moves
        assert np.array_equal(camera.take(), similarity())
    assert not flows


@pytest.mark.parametrize("jerk", [similarity(20, -6), similarity(60, 30), similarity(degrees=4)])
def test_a_jerk_is_seen_at_once_and_followed_until_all_is_calm(scene, jerk, flows):
    camera = CameraMotion(always=False)
    found = watched(scene, [similarity()] * 30 + [jerk] * 40, camera)
    assert not any(moves for moves, _ in found[:30])
    assert found[30][0]
    assert corners_off(found[30][1], jerk) < 0.5
    assert all(np.array_equal(motion, similarity()) for _, motion in found[31:])
    # It may jerk again for a while, and that is looked for; then patches are enough.
    assert [moves for moves, _ in found[31:]] == [True] * 24 + [False] * 15
    # After 60 pixels corners are looked for twice: where they were, and by the image as a whole.
    assert 1 + 24 <= len(flows) <= 1 + 24 + 3


def test_a_jerk_in_the_frame_after_a_long_calm_is_all_of_it(scene):
    """What patches said of the frames between is that nothing moved, however many they are."""
    camera = CameraMotion(always=False)
    slow = [similarity(0.01 * index) for index in range(30)]
    found = watched(scene, [*slow, similarity(12, 0)], camera)
    assert found[-1][0]
    assert corners_off(found[-1][1], similarity(12, 0)) < 0.5


def test_a_slow_pan_is_left_to_the_filters(scene):
    """0.3 of 320 pixels a frame, a third of what boxes of 20 pixels are off by anyway."""
    found = watched(
        scene, [similarity(0.3 * index) for index in range(60)], CameraMotion(always=False)
    )
    assert not any(moves for moves, _ in found)
    assert all(np.array_equal(motion, similarity()) for _, motion in found)


def test_a_cut_moves_nothing(scene):
    camera = CameraMotion(always=False)
    for shown in (scene, scene, scene[::-1, ::-1], scene[::-1, ::-1]):
        camera.watch(seen(shown, similarity()), NOBODY)
        assert not camera.moves
        assert np.array_equal(camera.take(), similarity())
    assert camera.unknown == 0


def test_another_size_of_image_moves_nothing(scene):
    camera = CameraMotion(always=False)
    for image in (seen(scene, similarity()), seen(scene, similarity())[:200, :300]):
        camera.watch(np.ascontiguousarray(image), NOBODY)
        assert not camera.moves


@pytest.mark.parametrize("shift", [1.0, 3.0, 24.0, 100.0])
def test_patches_tell_that_another_place_is_seen(scene, shift):
    """Far away it looks quite other, and one step of Lucas-Kanade's says nothing of how far."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(20, 220, (64, 2)).astype(np.float32)
    patches = Patches(seen(scene, similarity()), corners, np.ones(2))
    assert patches.stand_still(seen(scene, similarity(0.1)), NOBODY)
    assert not patches.stand_still(seen(scene, similarity(shift)), NOBODY)
    # Too few are beside an object to tell.
    everywhere = np.array([[0, 0, 320, 240]], np.float32)
    assert not patches.stand_still(seen(scene, similarity()), everywhere)


def judged(places, motions, fps=25):
    """What is said after each frame of one object, (N, 2) centres in the images."""
    reference, said = Reference(), []
    for index, (place, x) in enumerate(zip(places, motions, strict=True)):
        reference.follow(similarity(x))
        box = np.concatenate([np.array(place) - 20, np.array(place) + 20])[None]
        reference.see(index / fps, np.array([7]), box)
        reference.judge()
        said.append(reference.in_image)
    return reference, said


def test_what_walks_while_the_camera_shakes_keeps_its_way_in_the_scene():
    rng = np.random.default_rng(0)
    motions = rng.normal(0, 12, 40)
    places = [(100 + 2 * index + x, 100) for index, x in enumerate(np.cumsum(motions))]
    reference, said = judged(places, motions)
    assert not any(said)
    ids, velocities = reference.velocities()
    assert ids.tolist() == [7]
    assert velocities == pytest.approx(np.array([[50.0, 0.0]]), abs=1e-6)


def test_what_a_camera_follows_faster_and_faster_keeps_its_place_in_the_image():
    motions = -2.0 * np.arange(40)
    reference, said = judged([(100, 100)] * 40, motions)
    assert said[-1]
    assert said == sorted(said)
    assert reference.velocities()[1] == pytest.approx(np.zeros((1, 2)), abs=1e-9)


def test_nothing_is_judged_across_a_frame_whose_motion_is_not_known():
    reference, _ = judged([(100, 100)] * 9, -2.0 * np.arange(9))
    reference.forget()
    reference.see(1.0, np.array([7]), np.array([[500.0, 80, 540, 120]]))
    assert not reference.judge()


def test_a_camera_that_follows_an_object_moves_no_track(scene):
    """From then on; how fast the object is in the image then goes with what is said."""
    camera, turns = CameraMotion(always=False), []
    box = np.array([[140, 100, 180, 140]], np.float32)
    for index in range(24):
        image = seen(scene, similarity(0.7 * index**2 - 140))
        image[100:140, 140:180] = 90
        camera.watch(image, box)
        motion = camera.take()
        turns.append(camera.judge(index / 25, np.array([1]), box))
        if any(turn is not None for turn in turns[:-1]):
            assert np.array_equal(motion, similarity())
            assert not camera.certain
    ((field, ids, velocities),) = (turn for turn in turns if turn is not None)
    assert ids.tolist() == [1]
    assert velocities == pytest.approx(np.zeros((1, 2)), abs=1e-6)
    # Where the image went, of which the scene's velocities knew nothing.
    assert (field @ (160, 120, 1))[0] > 100
