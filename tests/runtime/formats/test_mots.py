"""MOTS text: masks of people and cars."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.formats import mots as mots_file
from unitrack_edge.runtime.formats.mots import MotsFile
from unitrack_edge.runtime.formats.rle import encode_rle

from ...support.frames import frame

MASK = np.zeros((48, 64), np.bool_)
MASK[5:20, 30:41] = True
EMPTY = encode_rle(np.zeros_like(MASK))


def mots_row(number, label=2, mask=MASK):
    return f"{number} 2001 {label} {mask.shape[0]} {mask.shape[1]} {encode_rle(mask)}\n"


def test_mots_masks_and_their_boxes(opened):
    file = opened(mots_row(1) + mots_row(1, label=10) + mots_row(3, label=1, mask=~MASK))
    assert isinstance(file, MotsFile)
    found = file.detect(frame(0))
    assert (found.masks == MASK[None]).all()
    assert found.boxes_xyxy.tolist() == [[30, 5, 41, 20]]
    assert (found.scores.tolist(), found.classes.tolist()) == ([1], [2])
    assert len(file.detect(frame(1))) == 0
    assert (file.detect(frame(2)).masks == ~MASK[None]).all()
    assert "frame 3 of " in file.notes(2)[0]
    assert file.notes(3) == []


def test_mots_frames_from_zero(opened):
    assert len(opened(mots_row(0) + mots_row(1)).detect(frame(1))) == 1
    assert len(opened(mots_row(1)).detect(frame(1))) == 0
    assert len(opened(mots_row(1), first_frame=0).detect(frame(1))) == 1
    with pytest.raises(DetectionError, match="line 1: frame 0, expected frames from 1"):
        opened(mots_row(0), first_frame=1)


def test_mots_of_another_size_names_line_and_sizes(opened):
    file = opened(mots_row(1) + mots_row(7, mask=MASK.T.copy()))
    with pytest.raises(DetectionError, match=r"line 2: got a mask of 64x48 .* 48x64"):
        file.detect(frame(0))


def test_empty_masks_are_noted(opened):
    file = opened(mots_row(1) + f"1 2 2 48 64 {EMPTY}\n" + f"2 2 2 48 64 {EMPTY}\n")
    assert len(file.detect(frame(0))) == 1
    (note,) = file.notes(2)
    assert note.startswith("2 empty masks of ")
    assert note.endswith("the first at line 2")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1 1 2 48 64", "6 columns"),
        ("1 1 2 48 64 ab cd", "6 columns"),
        ("x 1 2 48 64 " + EMPTY, "whole"),
        ("1 x 2 48 64 " + EMPTY, "whole"),
        ("1 1 2.5 48 64 " + EMPTY, "whole"),
        ("-1 1 2 48 64 " + EMPTY, "frame and class from 0"),
        ("1 1 2 0 64 " + EMPTY, "from 1"),
        ("1 1 2 48 65 " + EMPTY, "add up to 3072"),
        ("1 1 2 48 64 " + encode_rle(MASK)[:-1], "RLE"),
        ("1 1 2 48 64 p" + EMPTY, "character 1"),
        ("1 1 2 100000000 64 " + EMPTY, "pixels"),
    ],
)
def test_a_malformed_mots_row_is_named_when_the_file_is_opened(opened, row, problem):
    with pytest.raises(DetectionError, match=rf"det\.txt, line 2: .*{problem}") as caught:
        opened(f"{mots_row(1)}{row}\n", file_format="mots", strict=True)
    assert "\n" not in str(caught.value)


def test_too_many_masks_for_the_memory(opened, monkeypatch):
    monkeypatch.setattr(mots_file, "MAX_FRAME_BYTES", 3 * MASK.size)
    assert len(opened(mots_row(1) * 3).detect(frame(0))) == 3
    with pytest.raises(DetectionError, match="4 masks in one frame, expected at most 3"):
        opened(mots_row(1) * 4).detect(frame(0))
