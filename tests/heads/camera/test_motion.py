"""The camera's motion from images that are moved by a known one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.heads.association.kalman import BoxFilter, move_filters, xyxy_to_xyah
from unitrack_edge.heads.camera.motion import CameraMotion

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
