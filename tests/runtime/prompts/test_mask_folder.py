"""Masks of several frames: found by the frames' names, or by their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png
from unitrack_edge.runtime.prompts.mask_folder import MaskFolder
from unitrack_edge.runtime.sources.base import SourceInfo

from ...support.frames import frame


def write(folder, **labels):
    for name, label in labels.items():
        values = np.zeros((48, 64), np.uint8)
        values[4:9, 4:9] = label
        values[20:, 20:] = 255  # DAVIS' void
        (folder / f"{name[1:]}.png").write_bytes(encode_palette_png(values, davis_palette()))
    return MaskFolder(folder)


def test_by_the_names_of_the_images(tmp_path):
    masks = write(tmp_path, _00010=1, _00020=2)
    assert masks(frame(0, name="00005.jpg")) is None
    assert set(np.unique(masks(frame(1, name="00010.jpg")))) == {0, 1}
    assert set(np.unique(masks(frame(3, name="00020.jpg")))) == {0, 2}


def test_by_numbers_from_0_where_frames_have_no_names(tmp_path):
    masks = write(tmp_path, _00003=1)
    assert [masks(frame(k)) is None for k in range(5)] == [True, True, True, False, True]


def test_another_size_and_other_files_are_refused(tmp_path):
    (tmp_path / "note.txt").write_text("")
    with pytest.raises(DetectionError, match="a folder without masks, expected a PNG for each"):
        MaskFolder(tmp_path)
    masks = write(tmp_path, _00000=1)
    with pytest.raises(DetectionError, match=r"00000\.png: the mask is 64x48, the source is 32x24"):
        masks(frame(0, (24, 32)))
    (tmp_path / "00000.png").write_bytes(b"no PNG")
    with pytest.raises(DetectionError, match="not a PNG"):
        MaskFolder(tmp_path)


def source(count, names=None, *, live=False, counted=True):
    return SourceInfo(
        *("a", "images", (48, 64), 25.0, count), live=live, counted=counted, names=names
    )


NAMES = tuple(f"img_{number}.jpg" for number in (3, 4, 5))


@pytest.mark.parametrize(
    ("info", "masks", "expected"),
    [
        (source(3, NAMES), ["_other_7", "_other_9"], "img_3.png to img_5.png"),
        (source(3, NAMES), ["_img_6"], "img_3.png to img_5.png"),
        (source(3), ["_00003", "_00007"], "00000.png to 00002.png"),
        (source(3, counted=False), ["_00900"], "00000.png to 00002.png"),
    ],
)
def test_masks_of_no_frame_are_refused(tmp_path, info, masks, expected):
    folder = write(tmp_path, **dict.fromkeys(masks, 1))
    got = " to ".join(f"{name[1:]}.png" for name in masks)
    with pytest.raises(DetectionError) as caught:
        folder.check(info)
    assert f"--init {tmp_path}: got {got}, expected" in str(caught.value)
    assert f"expected {expected} as the source has 3 frames: no mask" in str(caught.value)


def test_masks_that_are_left_over_are_said(tmp_path):
    folder = write(tmp_path, _img_4=1, _img_6=1, _img_8=1)
    (note,) = folder.check(source(3, NAMES))
    assert note.startswith(f"2 masks of --init {tmp_path}: got img_6.png to img_8.png, expected")


@pytest.mark.parametrize(
    ("info", "masks"),
    [
        (source(3, NAMES), ["_img_3", "_img_5"]),
        (source(3, NAMES), ["_mask"]),  # by their order, where images have other names
        (source(3), ["_00000"]),
        (source(3, counted=False), ["_00004"]),
        (source(None, live=True), ["_00900"]),
    ],
)
def test_masks_of_frames_need_no_line(tmp_path, info, masks):
    assert write(tmp_path, **dict.fromkeys(masks, 1)).check(info) == []


def test_masks_that_go_by_their_order_are_said(tmp_path):
    folder = write(tmp_path, _ball=1, _car=2)
    (note,) = folder.check(source(3, NAMES))
    assert "have no numbers: they were taken in order, 'ball.png' as the first frame" in note


def test_images_that_are_no_pngs_are_said(tmp_path):
    folder = write(tmp_path, _img_3=1)
    assert folder.check(source(3, NAMES)) == []
    (tmp_path / "img_5.JPG").write_bytes(b"")
    (note,) = MaskFolder(tmp_path).check(source(3, NAMES))
    assert note == f"1 image of --init {tmp_path}, from img_5.JPG on: not used, masks are PNGs"
