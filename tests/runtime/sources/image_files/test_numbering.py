"""A folder's numbers are frame numbers where a file of detections speaks of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import RequestError
from unitrack_edge.runtime.formats.detections import open_detections
from unitrack_edge.runtime.formats.rle import encode_rle
from unitrack_edge.runtime.sources.image_files.numbering import numbered, numbers_in_names
from unitrack_edge.runtime.sources.open import open_source

SIZE_HW = (48, 64)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["000004.png", "000005.png", "000006.png"], (4, 5, 6)),
        (["f9.png", "f10.png"], (9, 10)),
        (["cam2_07.jpg", "cam2_09.jpg"], (7, 9)),
        (["img_0007_left.jpg", "img_0008_left.jpg"], (7, 8)),
        (["take3-0001.v2.png", "take3-0002.v2.png"], (1, 2)),
        (["000004.png"], (4,)),
        (["cam2_07.jpg"], (7,)),
        (["a.png", "b.png"], None),
        (["a1.png", "b2.png"], None),  # perhaps of two cameras
        (["1_5.png", "2_6.png"], None),  # which of them?
        (["0001.png", "0001.png"], None),
        (["2.png", "1.png"], None),
        (["1403636579763555584.png", "1403636579813555456.png"], None),
        (["0٣.png", "0٤.png"], None),
    ],
)
def test_numbers_in_names(names, numbers):
    assert numbers_in_names(names) == numbers


def mot(frames):
    return "".join(f"{n},-1,{n},5,10,10,0.9\n" for n in frames)


def coco(frames):
    rows = (f'{{"image_id": {n}, "bbox": [{n}, 5, 10, 10], "score": 0.9}}' for n in frames)
    return f"[{', '.join(rows)}]"


def mots(frames):
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[5:15, 5:15] = True
    return "".join(f"{n} 1 2 48 64 {encode_rle(mask)}\n" for n in frames)


FORMATS = {"mot.txt": mot, "coco.json": coco, "mots.txt": mots}


def folder_of(path, numbers, pattern="{:06d}.png"):
    path.mkdir()
    for number in numbers:
        cv2.imwrite(str(path / pattern.format(number)), np.full((*SIZE_HW, 3), number, np.uint8))
    return path


def run(folder, file, way=None):
    """Index, time and number of detections of each frame, and the notes on the source."""
    with open_source(str(folder)) as source, open_detections(file) as detector:
        spoken = detector.numbered_frames()
        with numbered(source, way, [("det.txt", spoken)] if spoken else []) as frames:
            rows = [
                (f.index, f.time_s, len(detector.detect(f)), int(f.image[0, 0, 0])) for f in frames
            ]
        return rows, frames.notes()


DECISIONS = [
    # By name: as MOTChallenge, whose second half this may be.
    ([4, 5, 6], range(1, 7), [1, 1, 1], "by the names of the images, 4 to 6; 3 frames of"),
    ([4, 5, 6], [4, 5, 6], [1, 1, 1], "by the names of the images, 4 to 6"),
    ([2, 3, 5, 9], range(1, 10), [1] * 4, "2 to 9 (4 of these are missing, the first is 4)"),
    ([1, 3, 5], [1, 3, 5], [1, 1, 1], "1 to 5 (2 of these are missing, the first is 2)"),
    ([3, 4, 5], [4], [0, 1, 0], "by the names of the images, 3 to 5"),
    # Names and order are the same.
    ([1, 2, 3], [1, 3], [1, 0, 1], None),
    # In order: the file counts the images and knows nothing of their names.
    ([100, 101, 102], [1, 2, 3], [1, 1, 1], "were taken in order"),
]
OF_SOME = [
    ("mots.txt", [0, 1, 2], [0, 2], [1, 0, 1], None),
    ("coco.json", [0, 1, 2], [0, 2], [1, 0, 1], None),
    ("mot.txt", [0, 1, 2], [1, 3], [1, 0, 1], None),
    ("mot.txt", [4, 5, 6], range(7), [1, 1, 1], "of the images, 4 to 6; 4 frames of"),  # from 0
    ("mot.txt", [1, 3, 5, 7], [1, 2, 3, 4], [1] * 4, "were taken in order"),
]


@pytest.mark.parametrize(
    ("name", "images", "spoken", "found", "said"),
    [*((name, *row) for name in FORMATS for row in DECISIONS), *OF_SOME],
)
def test_a_file_decides(tmp_path, name, images, spoken, found, said):
    file = tmp_path / name
    file.write_text(FORMATS[name](spoken))
    rows, notes = run(folder_of(tmp_path / "frames", images), file)
    assert [row[2] for row in rows] == found
    assert [row[3] for row in rows] == images
    assert len(notes) == (said is not None)
    if said is not None:
        assert said in notes[0]


def test_files_without_detections_decide_nothing(tmp_path):
    with open_source(str(folder_of(tmp_path / "frames", [4, 5, 6]))) as source:
        nothing = [("none.jsonl", (np.zeros(0, np.int64), 0))]
        assert numbered(source, None, nothing) is source
        assert [frame.index for frame in numbered(source, "name", nothing)] == [4, 5, 6]


def test_numbers_and_times_have_the_gaps(tmp_path):
    folder = folder_of(tmp_path / "frames", [2, 3, 6])
    (tmp_path / "det.txt").write_text(mot(range(1, 7)))
    rows, (note,) = run(folder, tmp_path / "det.txt")
    assert [row[:2] for row in rows] == [(1, 0.0), (2, 0.04), (5, 0.16)]
    assert note.endswith("; 3 frames of det.txt not among them, the first is 1")


def test_what_the_user_says(tmp_path):
    folder = folder_of(tmp_path / "frames", [4, 5, 6])
    (tmp_path / "det.txt").write_text(mot(range(1, 7)))
    rows, notes = run(folder, tmp_path / "det.txt", "order")
    assert ([row[0] for row in rows], notes) == ([0, 1, 2], [])
    (tmp_path / "far.txt").write_text(mot([1, 2, 3]))
    assert [row[0] for row in run(folder, tmp_path / "far.txt")[0]] == [0, 1, 2]
    rows, (note,) = run(folder, tmp_path / "far.txt", "name")
    assert [row[0] for row in rows] == [3, 4, 5]
    assert "3 frames of det.txt not among them" in note


def test_without_a_file_order_counts_unless_names_are_asked_for(tmp_path):
    folder = folder_of(tmp_path / "frames", [4, 5, 6])
    with open_source(str(folder)) as source:
        assert numbered(source, None, []) is source
        assert [frame.index for frame in numbered(source, "name", [])] == [3, 4, 5]


def test_names_without_numbers_cannot_be_asked_for(tmp_path):
    (tmp_path / "frames").mkdir()
    for letter in "ab":
        cv2.imwrite(str(tmp_path / "frames" / f"{letter}.png"), np.zeros((*SIZE_HW, 3), np.uint8))
    with open_source(str(tmp_path / "frames")) as source:
        with pytest.raises(RequestError, match=r"--frame-numbers name: .* --frame-numbers order"):
            numbered(source, "name", [])
        assert numbered(source, None, []) is source


def test_pages_have_no_numbers(tmp_path):
    images = [np.full(SIZE_HW, n, np.uint8) for n in range(3)]
    assert cv2.imwritemulti(str(tmp_path / "scan_004.tif"), images)
    with open_source(str(tmp_path / "scan_004.tif")) as source:
        assert source.info.numbers is None
