"""`--init` of task vos: a mask, a box, or one that the user draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, OutputError
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png
from unitrack_edge.runtime.prompts import box as init_box
from unitrack_edge.runtime.prompts.mask import (
    cut_out,
    filled_box,
    labels_from_text,
    labels_to_start,
)

SIZE_HW = 60, 80
OBJECT = np.s_[20:45, 30:50]


@pytest.fixture
def image():
    """A red thing on a green ground, with a little noise on both."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 30, (*SIZE_HW, 3), dtype=np.uint8)
    image[..., 1] += 120
    image[OBJECT] = rng.integers(0, 30, (25, 20, 3), dtype=np.uint8) + np.array(
        [0, 0, 200], np.uint8
    )
    return image


@pytest.fixture
def drawn(monkeypatch):
    """What the user draws, one box after the other."""
    answers = []
    monkeypatch.setattr(init_box, "has_display", lambda: True)
    monkeypatch.setattr(init_box.cv2, "selectROI", lambda *_given: answers.pop(0))
    monkeypatch.setattr(init_box.cv2, "destroyWindow", lambda _title: None)
    return answers


def test_the_object_in_a_drawn_box_is_cut_out(image, drawn):
    drawn += [(25, 15, 30, 35), (25, 15, 30, 35)]
    labels, find = labels_to_start("select", SIZE_HW)
    # Nothing is known before the first image: the object may be anywhere.
    assert labels.shape == SIZE_HW
    assert (labels == 1).all()
    found = find(image, labels)
    truth = np.zeros(SIZE_HW, np.uint8)
    truth[OBJECT] = 1
    assert found.dtype == np.uint8
    assert np.array_equal(found, truth)
    # A reset head asks again, and the same box gives the same mask.
    assert np.array_equal(find(image, labels), found)


def test_a_drawn_box_is_as_good_as_one_in_numbers(image, drawn):
    drawn.append((25, 15, 30, 35))
    _, find = labels_to_start("select", SIZE_HW)
    labels, cut = labels_to_start("25,15,30,35", SIZE_HW)
    assert cut is cut_out
    assert np.array_equal(find(image, np.ones(SIZE_HW, np.uint8)), cut(image, labels))


def test_a_mask_is_taken_as_it_is(tmp_path):
    mask = np.zeros(SIZE_HW, np.uint8)
    mask[OBJECT], mask[:5, :5] = 2, 7
    path = tmp_path / "mask.png"
    path.write_bytes(encode_palette_png(mask, davis_palette()))
    labels, find = labels_to_start(str(path), SIZE_HW)
    assert np.array_equal(labels, mask)
    assert find is None


def test_a_mask_that_is_not_there_says_what_init_takes():
    with pytest.raises(DetectionError, match=r"^--init nowhere\.png: there is no such file"):
        labels_to_start("nowhere.png", SIZE_HW)


@pytest.mark.parametrize("palette", [True, False])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 1, 2, 255), (0, 1, 2, 0)),  # DAVIS: 255 is void
        ((0, 1, 255), (0, 1, 0)),
        ((0, 3, 7, 255), (0, 3, 7, 0)),
        ((0, 85, 170, 255), (0, 85, 170, 255)),  # objects by grey values
        ((0, 127, 255), (0, 127, 255)),
        ((0, 1, 2, 3), (0, 1, 2, 3)),
    ],
)
def test_void_is_no_object(tmp_path, palette, values, expected):
    labels = np.repeat(np.array(values, np.uint8), 6)[None].repeat(8, axis=0)
    path = tmp_path / "mask.png"
    if palette:
        path.write_bytes(encode_palette_png(labels, davis_palette()))
    else:
        assert cv2.imwrite(str(path), labels)
    read, _ = labels_to_start(str(path), labels.shape)
    assert read[0, ::6].tolist() == list(expected)


@pytest.mark.parametrize("palette", [True, False])
def test_a_mask_of_255_alone_is_an_object(tmp_path, palette):
    labels = np.zeros((8, 12), np.uint8)
    labels[2:5, 3:7] = 255
    path = tmp_path / "mask.png"
    if palette:
        path.write_bytes(encode_palette_png(labels, davis_palette()))
    else:
        assert cv2.imwrite(str(path), labels)
    np.testing.assert_array_equal(labels_to_start(str(path), (8, 12))[0] > 0, labels > 0)


def test_no_box_and_no_display_are_errors(image, drawn, monkeypatch):
    drawn.append((0, 0, 0, 0))
    labels, find = labels_to_start("select", SIZE_HW)
    with pytest.raises(DetectionError, match="no box was drawn"):
        find(image, labels)
    monkeypatch.setattr(init_box, "has_display", lambda: False)
    with pytest.raises(OutputError, match=r"--init select: there is no display.*X,Y,W,H"):
        labels_to_start("select", SIZE_HW)


def test_a_box_is_cut_at_the_border_and_must_hold_a_pixel():
    assert filled_box((-5, 50, 10, 99), SIZE_HW).sum() == 5 * 10
    with pytest.raises(DetectionError, match=r"--init 80,0,5,5: .* no pixel .* 80x60"):
        filled_box((80, 0, 5, 5), SIZE_HW, "--init 80,0,5,5")


def values_scaled_smoothly():
    large = np.zeros((480, 640), np.uint8)
    cv2.circle(large, (300, 200), 120, 255, -1)
    return cv2.resize(large, (96, 72), interpolation=cv2.INTER_AREA)


def values_of_a_photograph():
    noise = np.random.default_rng(0).integers(0, 256, (72, 96), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0)


def values_after_jpeg():
    large = np.zeros((72, 96), np.uint8)
    cv2.circle(large, (40, 30), 20, 200, -1)
    return cv2.imdecode(cv2.imencode(".jpg", large)[1], cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize(
    "values", [values_scaled_smoothly, values_of_a_photograph, values_after_jpeg]
)
def test_what_is_no_map_of_objects_is_refused(tmp_path, values):
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), values())
    with pytest.raises(DetectionError, match=r"got \d+ values, most of them scattered .* nearest"):
        labels_from_text(str(path), (72, 96))


def test_many_objects_and_one_in_many_pieces_are_maps(tmp_path):
    path = tmp_path / "mask.png"
    grid = np.zeros((72, 96), np.uint8)
    for number in range(254):
        row, column = divmod(number, 24)
        grid[6 * row : 6 * row + 3, 4 * column : 4 * column + 3] = number + 1
    few = np.random.default_rng(0).integers(0, 9, (72, 96), dtype=np.uint8)
    for labels in (grid, few):
        cv2.imwrite(str(path), labels)
        assert np.array_equal(labels_from_text(str(path), (72, 96)), labels)
