"""What is said, and what is taken for something else, where a file cannot mean what it says."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.runtime.formats.reading.plausible import (
    are_percent,
    boxes_from_corners,
    counts_from_zero,
    first_of_each,
)
from unitrack_edge.runtime.formats.rle import encode_rle

from ....support.frames import frame

SIZE_HW = (100, 200)
BOXES = [(10, 20, 30, 40), (150, 30, 30, 60), (90, 50, 20, 45), (120, 10, 60, 50)]


def rows_of(boxes, frames=2, score="0.9"):
    """MOTChallenge rows; pixels from 1."""
    return "".join(
        f"{k},-1,{x + 1},{y + 1},{w},{h},{score}\n"
        for k in range(1, frames + 1)
        for x, y, w, h in boxes
    )


def corners_of(boxes):
    """The same boxes with right and bottom, from 1, where width and height belong."""
    return [(x, y, x + w + 1, y + h + 1) for x, y, w, h in boxes]


def seen(file, index=0, size_hw=SIZE_HW):
    found = file.detect(frame(index, size_hw))
    return sorted(map(tuple, np.round(found.boxes_xyxy).astype(int).tolist()))


TRUE = sorted((x, y, x + w, y + h) for x, y, w, h in BOXES)


@pytest.mark.parametrize("times", [2, 3])
def test_duplicated_boxes_are_merged(opened, times):
    file = opened(rows_of(BOXES) * times)
    assert seen(file) == TRUE
    (note,) = file.notes()
    assert note.startswith(f"{8 * (times - 1)} duplicated boxes of ")
    assert file.dropped() == {"duplicate": 8 * (times - 1)}


def test_of_duplicates_the_better_score_stays_and_of_equal_ones_the_first():
    boxes = np.array([[0, 0, 9, 9]] * 4 + [[0, 0, 9, 9.2]], np.float32)
    frames, scores = np.array([0, 0, 0, 1, 0]), np.array([0.5, 0.9, 0.9, 0.1, 0.1], np.float32)
    assert first_of_each(frames, boxes, scores).tolist() == [False, True, False, True, True]


def test_strict_takes_a_file_at_its_word(opened):
    file = opened(rows_of(BOXES) * 2, strict=True)
    assert len(seen(file)) == 2 * len(BOXES)
    assert file.notes() == []


def test_corners_in_place_of_sizes(opened):
    file = opened(rows_of(corners_of(BOXES)))
    assert seen(file) == TRUE
    (note,) = file.notes()
    assert "read as left, top, right, bottom" in note
    assert "200x100 image" in note
    entries = [{"image_id": k, "bbox": list(b)} for k in (0, 1) for b in corners_of(BOXES)]
    assert len(seen(opened(entries, "det.json"))) == len(BOXES)
    at_its_word = opened(rows_of(corners_of(BOXES)), strict=True)
    assert max(box[2] for box in seen(at_its_word)) > 300


def test_a_few_boxes_beyond_the_image_are_no_corners(opened):
    boxes = [*BOXES, (150, 60, 90, 80), (160, 50, 100, 90)]
    file = opened(rows_of(boxes))
    assert len(seen(file)) == 6
    assert file.notes() == []
    assert boxes_from_corners(np.array(TRUE, np.float32), SIZE_HW) is None
    outside = np.array([[500, 500, 520, 520]] * 9, np.float32)
    assert boxes_from_corners(outside, SIZE_HW) is None, "made for another size"


def test_shares_of_the_image_in_place_of_pixels(opened):
    shares = [(x / 200, y / 100, w / 200, h / 100) for x, y, w, h in BOXES]
    entries = [{"image_id": 0, "bbox": list(box)} for box in shares]
    file = opened(entries, "det.json")
    assert seen(file) == TRUE
    (note,) = file.notes()
    assert "shares of the image's size" in note


def test_boxes_for_a_smaller_image_are_asked_about(opened):
    walk = "".join(f"{k},-1,{3 * k},{2 * k},12,{20 + k % 2},0.9\n" for k in range(1, 25))
    file = opened(walk)
    assert len(seen(file, 3, (1080, 1920))) == 1
    (note,) = file.notes()
    assert "in the upper left" in note
    assert note.endswith("were they made for a smaller one?")
    # 1280x720 on 1920x1080: no box reaches beyond, and some reach there.
    many = [(31 * k % 1200, 17 * k % 640, 40, 80) for k in range(39)] + [(1240, 640, 40, 80)]
    shape = opened(rows_of(many, frames=4))
    assert len(seen(shape, 0, (1080, 1920))) == 40
    assert "in the upper left 1280x720 pixels of the 1920x1080 image" in shape.notes()[0]
    near = opened(walk)
    near.detect(frame(3, (100, 120)))
    assert near.notes() == []


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([97, 85, 40], True),
        ([97.25, 85.5, 40], True),
        ([99.912, 93.1234, 70.5], True),
        ([0.97, 0.85], False),
        ([55.137, 44.2431, 88.123], False),
        ([133.2, 44.2], False),
        ([-0.15, 97], False),
        ([60, 20, 10], False),
        ([], False),
    ],
)
def test_percent_is_told_from_margins(scores, expected):
    assert are_percent(np.array(scores, np.float32)) == expected


@pytest.mark.parametrize("calibrate", [True, False])
def test_percent_and_raw_scores_are_said(opened, calibrate):
    file = opened(rows_of(BOXES, score="85"), calibrate_scores=calibrate)
    assert file.detect(frame(0, SIZE_HW)).scores.tolist() == pytest.approx([0.85] * 4)
    assert "scores in percent (85 to 85), divided by 100" in file.notes()[0]
    raw = opened(rows_of(BOXES, score="152.25"), calibrate_scores=calibrate)
    scores = raw.detect(frame(0, SIZE_HW)).scores.tolist()
    assert scores == pytest.approx([0.75 if calibrate else 152.25] * 4)
    assert "raw scores" in raw.notes()[0]


def test_scores_below_0_are_said_and_stay(opened):
    file = opened(rows_of(BOXES[:2], score="-2.25") + rows_of(BOXES[2:], score="0.5"))
    assert sorted(file.detect(frame(0, SIZE_HW)).scores.tolist()) == [-2.25, -2.25, 0.5, 0.5]
    (note,) = file.notes()
    assert (
        "scores below 0 (-2.25 to 0.5), no probabilities: compared with limits as they are" in note
    )
    assert opened(rows_of(BOXES, score="-1")).notes() == []  # no score is given


@pytest.mark.parametrize("corners", [True, False])
def test_corners_that_stay_in_the_image_are_asked_about(opened, corners):
    """Of objects in the upper left, right and bottom are a width and height that fit."""
    walk = [(10 + 8 * k, 40, 20, 30) for k in range(10)]
    boxes = corners_of(walk) if corners else walk
    file = opened(
        "".join(f"{k + 1},-1,{x},{y},{w},{h},0.9\n" for k, (x, y, w, h) in enumerate(boxes))
    )
    found = file.detect(frame(3, (150, 200))).boxes_xyxy[0]
    assert (found[2:] - found[:2]).tolist() == list(boxes[3][2:])
    asked = [note for note in file.notes() if "is it left, top, right, bottom in place of" in note]
    assert len(asked) == corners


def test_frames_from_zero_are_said(opened):
    file = opened("0,-1,11,21,30,40,0.9\n2,-1,13,21,30,40,0.9\n")
    assert [len(seen(file, k)) for k in range(4)] == [1, 0, 1, 0]
    (note,) = file.notes(3)
    assert note.endswith("count from 0")
    assert "frame 2 of" in file.notes(2)[1], "as the file counts"


# Frames from 0.


def frames_of(numbers, each=3):
    return np.repeat(np.array(numbers), each)


@pytest.mark.parametrize(
    ("frames", "source_frames", "from_zero"),
    [
        (frames_of(range(1, 9)), None, False),
        (frames_of(range(9)), None, True),
        (frames_of(range(9), 1), None, True),
        # One row against three a frame, three rows of five, one row of one.
        (np.append(0, frames_of(range(1, 9))), None, False),
        (np.append(frames_of([0]), frames_of(range(1, 9), 5)), None, True),
        (np.append(0, frames_of(range(1, 9), 1)), None, True),
        # Objects that come one by one: frame 1 has few, too.
        (np.concatenate([[0, 1, 1], frames_of(range(2, 9), 9)]), None, True),
        # Far from the others, and as far as others are from one another.
        (np.append(0, frames_of(range(300, 320), 1)), None, False),
        (np.append(0, frames_of(range(300, 3000, 300), 1)), None, True),
        # The source has frames 0 to 8: a file from 0 that fits, and one that goes on to 9.
        (frames_of(range(9), 1), 9, True),
        (frames_of(range(10), 1), 9, False),
        (np.append(frames_of([0], 5), frames_of(range(1, 10), 1)), 9, True),
        # Too few frames to tell.
        (np.array([0, 1, 1, 1, 2, 2, 2]), None, True),
        (np.zeros(0, np.int64), None, False),
    ],
)
def test_whether_frames_count_from_zero(frames, source_frames, from_zero):
    assert counts_from_zero(frames, source_frames) is from_zero


@pytest.mark.parametrize("kind", ["mot", "columns", "mots"])
def test_a_stray_row_of_frame_0_is_left_out_with_one_note(opened, kind):
    boxes = [(k, 10 + 9 * n, 20, 8, 30) for k in range(1, 7) for n in range(4)]
    boxes.insert(5, (0, 1, 2, 8, 9))
    rows = {
        "mot": lambda k, x, y, w, h: f"{k},-1,{x + 1},{y + 1},{w},{h},0.9",
        "columns": lambda k, x, y, w, h: f"{k},{x},{y},{x + w},{y + h},0.9",
        "mots": lambda k, x, *_: f"{k} {1000 + x} 1 2 100 {encode_rle(mask_at(x))}",
    }[kind]
    lines = [rows(*box) for box in boxes]
    if kind == "columns":
        lines.insert(0, "frame,x1,y1,x2,y2,conf")
    file = opened("\n".join(lines), "det.txt")
    size_hw = (2, 100) if kind == "mots" else (100, 200)
    assert [len(file.detect(frame(k, size_hw))) for k in range(7)] == [4] * 6 + [0]
    (note,) = file.notes(6)
    assert f"line {7 if kind == 'columns' else 6}: a row of frame 0" in note
    assert file.dropped() == {"damaged": 1}


def mask_at(x):
    mask = np.zeros((2, 100), np.bool_)
    mask[:, x : x + 5] = True
    return mask


def test_strict_takes_frame_0_at_its_word(opened):
    lines = [
        "0,-1,2,3,8,9",
        *(f"{k},-1,{9 * n + 1},21,8,30" for k in range(1, 7) for n in range(4)),
    ]
    file = opened("\n".join(lines), strict=True)
    assert [len(file.detect(frame(k, (100, 200)))) for k in (0, 1)] == [1, 4]


def test_an_image_0_that_does_not_go_with_the_others(opened):
    rows = [{"image_id": 0, "bbox": [1, 2, 8, 9]}]
    rows += [{"image_id": k, "bbox": [9 * n, 20, 8, 30]} for k in range(1, 7) for n in range(4)]
    file = opened(rows, "det.json")
    assert [len(file.detect(frame(k, (100, 200)))) for k in (0, 5)] == [4, 4]
    (note,) = file.notes(6)
    assert "1 entry of" in note
    assert "for image_id 0 not used" in note
