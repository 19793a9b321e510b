"""Files of detections that other tools write, and results that they read, as a user runs them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from unitrack_edge.runtime.formats.detections import open_detections

from ...support.command_line import report_of, rows_of, run_cli
from ...support.frames import frame

SIZE_HW = (96, 128)
FRAMES = 5
NETWORK = ("--mot-height", 96, "--mot-width", 128)
NAMES = ("", "person", "", "car")


def boxes_at(k):
    """Left, top, width, height and class of two objects; the second is wide."""
    return [(8 + 4 * k, 10, 20, 50, 1), (100 - 6 * k, 66, 26, 16, 3)]


OBJECTS = [(k, *box) for k in range(FRAMES) for box in boxes_at(k)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder of images in which two textured blocks move."""
    folder = tmp_path_factory.mktemp("clip") / "walk"
    folder.mkdir()
    rng = np.random.default_rng(5)
    blocks = [rng.integers(0, 255, (h, w, 3), np.uint8) for _, _, w, h, _ in boxes_at(0)]
    for k in range(FRAMES):
        image = np.full((*SIZE_HW, 3), 90, np.uint8)
        for block, (x, y, w, h, _) in zip(blocks, boxes_at(k), strict=True):
            image[y : y + h, x : x + w] = block[:, : 128 - x]
        cv2.imwrite(str(folder / f"{k + 1:06d}.png"), image)
    return folder


@pytest.fixture
def tracked(quick_bundle, clip, tmp_path):
    """Tracks the clip on detections; answers what was said and the folder of results."""

    def run(detections, *more, task="mot"):
        output = tmp_path / "out"
        said = run_cli(
            *("track", clip, "--task", task, "--detections", detections, "--overwrite"),
            *("--bundle", quick_bundle.path, "--output", output, *NETWORK, *more),
        )
        return said, output

    return run


def mot(rows=OBJECTS, score=0.9, tail=""):
    return [f"{k + 1},-1,{x + 1},{y + 1},{w},{h},{score}{tail}" for k, x, y, w, h, _ in rows]


def coco(**changes):
    return [
        {"image_id": k + 1, "category_id": c, "bbox": [x, y, w, h], "score": 0.9, **changes}
        for k, x, y, w, h, c in OBJECTS
    ]


HEADER = "frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z"
NOTES = {
    "plain": (mot(), ""),
    "header": ([HEADER, *mot(tail=",-1,-1,-1")], ""),
    "comma": (mot(tail=","), ""),
    "coco": (coco(), ""),
    "twice": ([row for row in mot() for _ in range(2)], "10 duplicated boxes"),
    "empty box": ([*mot(), "3,-1,10,10,0,20,0.9"], "line 11: expected a width and height above 0"),
    "corners": (
        mot([(k, x, y, x + w + 1, y + h + 1, 1) for k, x, y, w, h, _ in OBJECTS]),
        "read as",
    ),
    "percent": (mot(score=90), "percent"),
}


@pytest.mark.parametrize("kind", list(NOTES))
def test_two_objects_are_two_ids(tracked, tmp_path, kind):
    content, note = NOTES[kind]
    path = tmp_path / "det.txt"
    path.write_text("\n".join(content) if isinstance(content[0], str) else json.dumps(content))
    said, output = tracked(path)
    rows = rows_of(output)
    assert set(rows[:, 1]) == {1, 2}
    assert len(rows) == 2 * FRAMES
    assert set(rows[:, 7]) == ({1, 3} if kind == "coco" else {-1})
    notes = [line for line in said.splitlines() if line.startswith("note: ")]
    assert len(notes) == bool(note)
    assert note in "".join(notes)
    assert report_of(output)["notes"] == [line.removeprefix("note: ") for line in notes]


def test_labels_of_yolo(tracked, tmp_path):
    (tmp_path / "labels").mkdir()
    for k in range(FRAMES):
        rows = [
            f"{c} {(x + w / 2) / 128} {(y + h / 2) / 96} {w / 128} {h / 96} 0.9"
            for x, y, w, h, c in boxes_at(k)
        ]
        (tmp_path / "labels" / f"walk_{k + 1}.txt").write_text("\n".join(rows))
    _, output = tracked(tmp_path / "labels")
    assert {tuple(row) for row in rows_of(output)[:, [1, 7]]} == {(1, 1), (2, 3)}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("[]", "holds no detections"),
        ("40,-1,9,11,20,50,0.9\n", "mot: 0 objects, because "),
        ("\n".join(mot(score=0.3)), "10 detections not reported: score below"),
    ],
)
def test_no_object_has_a_reason(tracked, tmp_path, content, line):
    path = tmp_path / "det.json"
    path.write_text(content) if content == "[]" else (path := tmp_path / "det.txt").write_text(
        content
    )
    said, output = tracked(path)
    assert len(rows_of(output)) == 0
    assert line in said


def test_strict_refuses_a_damaged_row(tracked, tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("\n".join([*mot(), "3,-1,10,10,0,20,0.9"]))
    said = run_cli("track", tmp_path, "--task", "mot", "--strict", status=2)
    assert "--strict belongs to --detections FILE" in said
    with pytest.raises(AssertionError, match="line 11: expected a width"):
        tracked(path, "--strict")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("mot", "tracks.txt"),
        ("kitti", "tracks.txt"),
        ("coco-video", "tracks.json"),
        ("yolo", "labels"),
        ("csv", "tracks.csv"),
    ],
)
def test_results_in_the_form_of_other_tools(tracked, clip, tmp_path, name, written):
    path = tmp_path / "det.txt"
    path.write_text("\n".join(mot()))
    _, output = tracked(path, "--format", name, "--detections-class", "car")
    found = [p.name for p in output.iterdir()]
    assert sorted(found) == sorted([written, "run.json"])
    file = open_detections(output / written)
    for k, image in enumerate(sorted(clip.iterdir())):
        seen = file.detect(frame(k, SIZE_HW, image.name))
        assert len(seen) == 2
        for x, y, w, h, _ in boxes_at(k):
            near = np.abs(seen.boxes_xyxy - [x, y, x + w, y + h]).max(axis=1)
            assert near.min() < 2.5
    # What a run has written, a later one with another form removes.
    tracked(path)
    assert sorted(p.name for p in output.iterdir()) in (
        ["run.json", "tracks.txt"],
        ["labels", "run.json", "tracks.txt"],
    )
