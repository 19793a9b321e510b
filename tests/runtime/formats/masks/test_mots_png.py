"""MOTS' masks as 16-bit PNGs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.formats.detections import find_format, open_detections

from ....support.frames import frame


def instances(*numbers, size_hw=(48, 64)):
    values = np.zeros(size_hw, np.uint16)
    for k, number in enumerate(numbers):
        values[5 : 15 + k, 10 * k : 10 * k + 8] = number
    return values


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, values in files.items():
            path = tmp_path / f"{name}.png"
            if isinstance(values, bytes):
                path.write_bytes(values)
            else:
                Image.fromarray(values).save(path)
        return tmp_path

    return write


@pytest.mark.parametrize("first", [0, 1])
def test_masks_and_classes_of_each_frame(folder, first):
    names = [f"{k + first:06d}" for k in range(3)]
    files = {names[0]: instances(1003, 2001, 10000), names[2]: instances(2001)}
    path = folder(**files, **{names[1]: instances()})
    assert find_format(path) == "mots-png"
    file = open_detections(path)
    found = [file.detect(frame(k)) for k in range(3)]
    assert [len(seen) for seen in found] == [2, 0, 1]
    assert found[0].boxes_xyxy.tolist() == [[0, 5, 8, 15], [10, 5, 18, 16]]
    assert [found[0].name_of(k) for k in found[0].classes] == ["car", "pedestrian"]
    assert (found[2].masks[0] == (instances(2001) == 2001)).all()
    assert file.notes(3) == []


def test_files_are_found_by_the_names_of_images(folder):
    file = open_detections(folder(**{"000007": instances(2001), "000008": instances()}))
    names = ("000006.jpg", "000007.jpg")
    assert [len(file.detect(frame(k, name=name))) for k, name in enumerate(names)] == [0, 1]
    assert "1 file of" in file.notes(2)[0]


def test_other_images_and_sizes_are_refused(folder):
    with pytest.raises(DetectionError, match="expected one channel"):
        open_detections(folder(a1=np.zeros((48, 64, 3), np.uint8)))
    with pytest.raises(DetectionError, match="not an image of masks"):
        open_detections(folder(a0=b"no"))
    file = open_detections(folder(a0=instances(2001, size_hw=(48, 60))))
    with pytest.raises(DetectionError, match=r"masks of 48x60 .* source's 48x64"):
        file.detect(frame(0))


def test_damaged_files_are_left_out_unless_they_are_the_most(folder):
    files = {"f0": instances(2001), "f1": b"\x89PNG", "f2": instances(2001), "f3": b"x", "f4": b"x"}
    file = open_detections(folder(**files))
    assert [len(file.detect(frame(k))) for k in range(4)] == [1, 0, 1, 0]
    assert file.notes()[0].startswith("2 damaged rows left out (at file 2, 4)")
    with pytest.raises(DetectionError, match=r"f1\.png: not an image"):
        file.detect(frame(4))
    strict = open_detections(file.path, strict=True)
    with pytest.raises(DetectionError, match=r"f1\.png"):
        strict.detect(frame(1))
