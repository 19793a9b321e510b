"""Damaged rows are left out with file and line; a file of more bad than good ones is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.formats.rle import encode_rle

from ....support.frames import frame

MASK = np.zeros((48, 64), np.bool_)
MASK[10:30, 20:40] = True
JOINTS = [20, 20, 0.9, 30, 30, 0.9] * 8 + [40, 40, 0.9]


def lines(*rows):
    return "\n".join(rows) + "\n"


KITTI = "0 {} Car 0 0 -10 {} 10 40 40 -1 -1 -1 -1000 -1000 -1000 -10 0.9"
GOOD = {
    "mot": lambda k: f"1,-1,{k + 1},1,20,20,0.9",
    "kitti": lambda k: KITTI.format(k, k),
    "columns": lambda k: f"0,{k},5,40,40,0.9",
    "yolo": lambda k: f"0 0.{k + 3} 0.5 0.2 0.2 0.9",
    "mots": lambda k: f"1 {k} 2 48 64 {encode_rle(np.roll(MASK, k, 1))}",
}
HEADS = {"columns": ["frame,x_min,y_min,x_max,y_max,confidence"]}
BAD = {
    "mot": ["1,-1,x,1,20,20,0.9", "1,-1,5,1,0,20,0.9"],
    "kitti": ["0 1 Car 0 0", KITTI.format(1, 50)],
    "columns": ["0,1,5,,40,0.9", "zero,1,5,40,40,0.9"],
    "yolo": ["0 0.5 0.5 0.2 inf 0.9", "0 0.5 0.5 0 0.2 0.9"],
    "mots": ["1 9 2 48 64 PP", "1 9 2 48 x PP3"],
}


def entry(k, image=0, **other):
    return {"image_id": image, "bbox": [k, 1, 20, 20], "score": 0.9, **other}


def full(*entries):
    images = [{"id": 0, "file_name": "a_0.jpg"}, {"id": 1, "file_name": "a_1.jpg"}]
    return {"images": images, "annotations": list(entries), "categories": []}


JSON_FILES = {
    "coco-results": lambda good, bad: [*map(entry, good), *(entry(k, "x") for k in bad)],
    "coco": lambda good, bad: full(*map(entry, good), *(entry(k, 7) for k in bad)),
    "posetrack": lambda good, bad: full(
        *(entry(k, keypoints=JOINTS) for k in good), *(entry(k, keypoints=[1]) for k in bad)
    ),
    "alphapose": lambda good, bad: (
        [{"image_id": "0.jpg", "keypoints": JOINTS, "box": [k, 1, 20, 20]} for k in good]
        + [{"image_id": "0.jpg", "keypoints": [1, 2]} for _ in bad]
    ),
    "openpose": lambda good, bad: {
        "people": [{"pose_keypoints_2d": [20 + k, 20, 0.9, 40, 40, 0.9] + [0] * 69} for k in good]
        + [{"pose_keypoints_2d": [1, 2, 3]} for _ in bad]
    },
}


def content_of(kind, good, bad):
    if kind in JSON_FILES:
        return json.dumps(JSON_FILES[kind](range(good), range(bad)))
    rows = [GOOD[kind](k) for k in range(good)] + [BAD[kind][k % 2] for k in range(bad)]
    return lines(*HEADS.get(kind, []), *rows)


ALL = [*GOOD, *JSON_FILES]


@pytest.mark.parametrize("kind", ALL)
def test_damaged_rows_are_left_out_and_counted(opened, kind):
    name = "det_0_keypoints.json" if kind in JSON_FILES else "det_0.txt"
    file = opened(content_of(kind, 3, 2), name, file_format=kind)
    assert len(file.detect(frame(0))) == 3
    note = next(note for note in file.notes() if "damaged" in note)
    place = {"mot": "line 4", "columns": "line 5", "kitti": "line 4", "mots": "line 4"}
    assert note.startswith("2 damaged rows left out (at ")
    assert f"{name}, {place.get(kind, '')}" in note
    assert file.dropped()["damaged"] == 2
    with pytest.raises(DetectionError, match=name):
        opened(content_of(kind, 3, 2), name, file_format=kind, strict=True)


@pytest.mark.parametrize("kind", ALL)
def test_more_bad_rows_than_good_ones_are_an_error(opened, kind):
    name = "det_0_keypoints.json" if kind in JSON_FILES else "det_0.txt"
    with pytest.raises(DetectionError, match="3 of 5 rows are damaged") as caught:
        opened(content_of(kind, 2, 3), name, file_format=kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ALL)
def test_a_format_is_recognised_by_its_content(opened, kind):
    """Whatever the file is called, and with a damaged row behind the good ones."""
    file = opened(content_of(kind, 3, 1), "anything.dat")
    known = type(opened(content_of(kind, 3, 0), "other.dat", file_format=kind))
    assert type(file) is known
    assert len(file.detect(frame(0))) == 3
