"""YOLO's label folders, read and written."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import OutputError
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.formats.boxes.yolo import YoloFolder, YoloWriter
from unitrack_edge.runtime.formats.detections import find_format, open_detections
from unitrack_edge.runtime.formats.text import ReadOptions

from ....support.frames import frame

SIZE_HW = (100, 200)


@pytest.fixture
def labels(tmp_path):
    def write(**files):
        folder = tmp_path / "labels"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.txt").write_text(text)
        return folder

    return write


def seen(file, index=0, name="", size_hw=SIZE_HW):
    found = file.detect(frame(index, size_hw, name))
    return np.round(found.boxes_xyxy, 2).tolist(), np.round(found.scores, 3).tolist()


BOX = [40, 20, 80, 80]
ROW = "2 0.3 0.5 0.2 0.6"


@pytest.mark.parametrize(
    ("rows", "scores"),
    [
        (f"{ROW}\n", [1]),
        (f"{ROW} 0.75\n", [0.75]),
        (f"{ROW} 0.75 12\n", [0.75]),
        (f"{ROW} 12", [1]),
        (f"{ROW} 1", [1]),
        ("2 0.2 0.2 0.4 0.2 0.4 0.8 0.2 0.8\n", [1]),
        ("2 0.2 0.2 0.4 0.2 0.4 0.8 0.2 0.8 0.75\n", [0.75]),
        (f"{ROW} {' '.join(['0.3 0.5 0.9'] * 17)}", [1]),
        (f"{ROW} {' '.join(['0.3 0.5 0.9'] * 17)} 0.75 3", [0.75]),
    ],
)
def test_boxes_scores_identities_polygons_and_joints(labels, rows, scores):
    folder = labels(clip_1=rows)
    assert find_format(folder) == "yolo"
    file = open_detections(folder)
    assert seen(file) == ([BOX], scores)
    found = file.detect(frame(0, SIZE_HW))
    assert found.classes.tolist() == [2]
    if found.keypoints is not None:
        assert found.keypoints[0, 0].tolist() == pytest.approx([60, 50, 0.9])


def test_files_are_found_by_number_or_by_the_image(labels):
    folder = labels(clip_1=ROW, clip_3=ROW)
    by_number = YoloFolder(folder)
    assert [len(seen(by_number, k)[0]) for k in range(3)] == [1, 0, 1]
    assert by_number.notes(3) == []
    by_name = YoloFolder(folder)
    names = ("clip_3.jpg", "clip_2.jpg", "clip_1.jpg")
    assert [len(seen(by_name, k, name)[0]) for k, name in enumerate(names)] == [1, 0, 1]
    short = YoloFolder(folder)
    seen(short)
    assert "detections for 1 image of" in short.notes(1)[0]
    assert "'clip_3': the source has no frame of that number" in short.notes(1)[0]


def test_names_of_classes(labels):
    folder = labels(clip_1=ROW)
    assert YoloFolder(folder).detect(frame(0)).class_names is None
    (folder.parent / "data.yaml").write_text("names: {0: a, 1: b, 2: person}\n")
    assert YoloFolder(folder).detect(frame(0)).is_person().all()
    (folder / "classes.txt").write_text("a\nb\ncar\n")
    found = YoloFolder(folder).detect(frame(0))
    assert (len(found), found.name_of(2)) == (1, "car")


def test_one_class_without_a_name_is_what_the_caller_says(labels):
    folder = labels(clip_1="0 0.3 0.5 0.2 0.6")
    options = ReadOptions(default_class="person")
    assert YoloFolder(folder, options).detect(frame(0)).is_person().all()


def test_one_file_of_labels(labels):
    path = (
        labels(frame_000002="0 0.3 0.5 0.2 0.6 0.5\n1 0.6 0.5 0.2 0.6 0.5\n") / "frame_000002.txt"
    )
    assert find_format(path) == "yolo"
    file = open_detections(path)
    assert [len(seen(file, k)[0]) for k in range(3)] == [0, 2, 0]


def test_labels_are_read_back(tmp_path):
    boxes = np.array([[10, 20, 60, 80], [100, 10, 190, 90]], np.float32)
    found = Detections(
        boxes,
        np.array([0.5, 0.25], np.float32),
        np.array([0, 2]),
        class_names=("person", "", "car"),
    )
    with YoloWriter(tmp_path / "labels") as writer:
        writer.write(frame(0, SIZE_HW), Tracks(0, np.array([4, 7]), found))
        writer.write(frame(1, SIZE_HW), Tracks(1, np.zeros(0, np.int64)))
        writer.write(frame(2, SIZE_HW, "a/cam.png"), Tracks(2, np.array([4]), found[:1]))
    names = sorted(path.name for path in (tmp_path / "labels").iterdir())
    assert names == ["cam.txt", "classes.txt", "frame_000001.txt"]
    (tmp_path / "labels" / "cam.txt").unlink()
    back = open_detections(tmp_path / "labels").detect(frame(0, SIZE_HW))
    assert back.boxes_xyxy == pytest.approx(boxes, abs=1e-3)
    assert back.scores.tolist() == [0.5, 0.25]
    assert [back.name_of(k) for k in back.classes] == ["person", "car"]
    (row, _) = (tmp_path / "labels" / "frame_000001.txt").read_text().splitlines()
    assert row == "0 0.175000 0.500000 0.250000 0.600000 0.5000 4"


def labelled(*classes, names=None):
    """An object of each class, side by side; None: not known."""
    boxes = np.array([[10 * k, 20, 10 * k + 8, 80] for k in range(len(classes))], np.float32)
    numbers = np.array([-1 if label is None else label for label in classes], np.int64)
    scores = np.full(len(classes), 0.5, np.float32)
    return Detections(boxes.reshape(-1, 4), scores, numbers, class_names=names)


def written(folder, *frames):
    """The classes that a folder's files have frame by frame, and the names of `classes.txt`."""
    with YoloWriter(folder) as writer:
        for index, found in enumerate(frames):
            ids = np.arange(1, len(found) + 1)
            writer.write(frame(index, SIZE_HW), Tracks(index, ids, found))
    files = sorted(folder.glob("frame_*.txt"))
    names = folder / "classes.txt"
    return (
        [[int(row.split()[0]) for row in file.read_text().splitlines()] for file in files],
        names.read_text().splitlines() if names.exists() else None,
    )


def test_a_class_that_is_not_known_is_none_that_is(tmp_path):
    """YOLO's class 0 is a person in most data sets: a track that nobody classified is no person."""
    known = ("person", "bicycle", "car")
    folder = tmp_path
    assert written(folder / "a", labelled(None)) == ([[0]], ["object"])
    assert written(folder / "b", labelled(2, None, names=known)) == ([[2, 3]], [*known, "object"])
    # Numbers without names keep theirs; classes.txt is as long as they are.
    both = written(folder / "c", labelled(4), labelled(None, 1))
    assert both == ([[4], [5, 1]], ["0", "1", "2", "3", "4", "object"])
    assert written(folder / "d", labelled(4)) == ([[4]], None)
    back = open_detections(folder / "b").detect(frame(0, SIZE_HW))
    assert [back.name_of(k) for k in back.classes] == ["car", "object"]
    assert not back.is_person().any()


def test_a_number_never_stands_for_two_classes(tmp_path):
    named = labelled(0, names=("person",))
    with YoloWriter(tmp_path / "out") as writer:
        writer.write(frame(0, SIZE_HW), Tracks(0, np.array([1]), labelled(None)))
        with pytest.raises(OutputError, match=r"frame 1: person has number 0, which objects of"):
            writer.write(frame(1, SIZE_HW), Tracks(1, np.array([2]), named))
    # What was written is right.
    assert (tmp_path / "out" / "frame_000001.txt").read_text().startswith("0 ")
    assert (tmp_path / "out" / "classes.txt").read_text() == "object\n"


@pytest.mark.parametrize("frames", [[[1 << 31, None]], [[1 << 31], [None]], [[None], [1 << 31]]])
def test_names_are_no_longer_than_can_be_read(frames, tmp_path):
    """A COCO file's `category_id` may be any number; `classes.txt` has a line for each below."""
    with pytest.raises(OutputError, match=r"class 2147483648 .* expected classes below 1048576"):
        written(tmp_path / "out", *(labelled(*found) for found in frames))
    assert (tmp_path / "out" / "classes.txt").exists() == (frames[0] == [None])
