"""Masks of several frames: found by the frames' names, or by their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png
from unitrack_edge.runtime.prompts.mask_folder import MaskFolder

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
