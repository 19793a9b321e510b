"""Lines of `--jsonl` as detections: what was written is what is found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.events import FrameEvent
from unitrack_edge.runtime.formats.detections import find_format
from unitrack_edge.runtime.formats.jsonl import track_line

from ...support.frames import frame

SIZE_HW = 48, 64


def lines(path, *tracks_of_frames, source="clip.mp4", task="mot"):
    text = "".join(
        track_line(FrameEvent(source, frame(index, SIZE_HW), {task: tracks}, {}, 0))
        for index, tracks in tracks_of_frames
    )
    path.write_text(text, "utf-8")
    return path


def tracks(index, *ids, predicted=None, **more):
    boxes = np.array([[5 * k, 3, 5 * k + 4.25, 20.5] for k in ids], np.float32).reshape(-1, 4)
    seen = Detections(
        boxes,
        np.array([k / 10 for k in ids], np.float32),
        np.array([k % 3 for k in ids], np.int64),
        class_names=("person", "", "Hund é"),
        **more,
    )
    return Tracks(index, np.array(ids, np.int64), seen, predicted=predicted)


def read(path, **options):
    return open_detector(detections=path, **options)


def test_what_is_written_is_read(tmp_path):
    masks = np.zeros((2, *SIZE_HW), np.bool_)
    masks[0, 3:9, 5:9], masks[1, 10:, 10:14] = True, True
    joints = np.arange(2 * 17 * 3, dtype=np.float32).reshape(2, 17, 3) / 64
    written = tracks(2, 1, 2, masks=masks, keypoints=joints)
    path = lines(tmp_path / "tracks.jsonl", (0, tracks(0)), (2, written), (3, tracks(3, 5)))
    with read(path) as detector:
        found = [detector.detect(frame(index, SIZE_HW)) for index in range(5)]
        assert detector.notes(5) == []
    assert [len(seen) for seen in found] == [0, 0, 2, 1, 0]
    seen = written.detections
    assert np.array_equal(found[2].boxes_xyxy, seen.boxes_xyxy)
    assert found[2].scores == pytest.approx(seen.scores, abs=1e-4)
    assert found[2].classes.tolist() == [1, 2]
    assert found[2].name_of(2) == "Hund é"
    assert np.array_equal(found[2].masks, masks)
    assert found[2].keypoints == pytest.approx(joints, abs=1e-3)
    assert found[3].masks is None


def test_it_is_known_by_its_content(tmp_path):
    path = lines(tmp_path / "tracks.json", (0, tracks(0, 1)))
    assert find_format(path) == "jsonl"
    whole = path.read_text()
    path.write_text("\n" + whole[:-5] + "\n" + whole)
    assert find_format(path) == "jsonl"


def test_masks_keep_their_rows_where_boxes_are_merged_or_lie_outside(tmp_path):
    masks = np.zeros((4, *SIZE_HW), np.bool_)
    for row in range(4):
        masks[row, row, row] = True
    seen = Detections(
        np.array([[90, 9, 99, 20], [1, 1, 9, 9], [1, 1, 9, 9], [20, 1, 29, 9]], np.float32),
        np.array([0.9, 0.2, 0.8, 0.7], np.float32),
        np.zeros(4, np.int64),
        masks=masks,
    )
    path = lines(tmp_path / "t.jsonl", (0, Tracks(0, np.arange(1, 5), seen)))
    with read(path) as detector:
        found = detector.detect(frame(0, SIZE_HW))
        assert found.scores == pytest.approx([0.8, 0.7])
        assert [np.argwhere(mask).tolist() for mask in found.masks] == [[[2, 2]], [[3, 3]]]
        assert detector.dropped() == {"duplicate": 1, "outside_image": 1}


def test_what_motion_put_there_is_no_detection_and_is_counted(tmp_path):
    guessed = tracks(1, 1, 2, predicted=np.array([False, True]))
    with read(lines(tmp_path / "t.jsonl", (0, tracks(0, 1, 2)), (1, guessed))) as detector:
        assert [len(detector.detect(frame(k, SIZE_HW))) for k in (0, 1)] == [2, 1]
        (note,) = detector.notes(2)
        assert "1 track of" in note
        assert "no detection stands behind" in note


def test_a_torn_line_is_left_out_with_its_number(tmp_path):
    """As a killed run leaves it."""
    path = lines(tmp_path / "t.jsonl", *((k, tracks(k, 1)) for k in range(4)))
    path.write_text(path.read_text()[:-20])
    with read(path) as detector:
        assert len(detector.detect(frame(2, SIZE_HW))) == 1
        assert len(detector.detect(frame(3, SIZE_HW))) == 0
        assert "1 damaged row left out (at line 4)" in detector.notes(4)[0]
    with pytest.raises(DetectionError, match="line 4: not valid JSON"):
        read(path, strict=True)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"frame": -1}, "expected a 'frame' from 0"),
        ({"tracks": [3]}, "expected 'tracks', a list of objects"),
        ({"tracks": [{"box": [1, 2, 3], "score": 1}]}, "expected 4 finite numbers in 'box'"),
        ({"tracks": [{"box": [9, 9, 3, 3], "score": 1}]}, "box without area"),
        ({"tracks": [{"box": [1, 1, 3, 3], "class": "a"}]}, "whole number from -1 in 'class'"),
        ({"tracks": [{"box": [1, 1, 3, 3], "mask": {"size": [4, 4]}}]}, "run lengths as text"),
        (
            {"tracks": [{"box": [1, 1, 3, 3], "mask": {"size": [4, 4], "counts": "0"}}]},
            "RLE does not describe",
        ),
        ({"tracks": [{"box": [1, 1, 3, 3], "keypoints": [[1, 2]]}]}, "3 finite numbers"),
    ],
)
def test_damaged_lines(tmp_path, change, problem):
    path = lines(tmp_path / "t.jsonl", (0, tracks(0, 1)))
    good = path.read_text()
    path.write_text(good + json.dumps(json.loads(good) | change) + "\n")
    with read(path) as detector:
        assert len(detector.detect(frame(0, SIZE_HW))) == 1
        assert problem in detector.notes(1)[0]
        assert "line 2" in detector.notes(1)[0]


@pytest.mark.parametrize(
    ("second", "hint"),
    [
        ({"source": "b.mp4"}, r'select\(.source == "clip.mp4"\)'),
        ({"task": "mots"}, r"\.tracks \|="),
    ],
)
def test_two_sources_or_tasks_are_not_one(tmp_path, second, hint):
    path = lines(tmp_path / "t.jsonl", (0, tracks(0, 1)))
    other = lines(tmp_path / "u.jsonl", (1, tracks(1, 2)), **second)
    path.write_text(path.read_text() + other.read_text())
    with pytest.raises(DetectionError, match=f"line 2: .*expected tracks of one .*{hint}"):
        read(path)


def test_tracks_made_for_another_size_are_refused(tmp_path):
    far = [(k, tracks(k, *range(7, 12))) for k in range(3)]
    with (
        read(lines(tmp_path / "t.jsonl", *far)) as detector,
        pytest.raises(DetectionError, match="made for another image size"),
    ):
        detector.detect(frame(0, (20, 24)))
    masks = np.ones((1, *SIZE_HW), np.bool_)
    path = lines(tmp_path / "m.jsonl", (0, tracks(0, 1, masks=masks)))
    with (
        read(path) as detector,
        pytest.raises(
            DetectionError, match=r"line 1: got a mask of 48x64 .* expected the source's 30x40"
        ),
    ):
        detector.detect(frame(0, (30, 40)))


def test_masks_say_the_size_that_boxes_alone_leave_open(tmp_path):
    for more, asked in (({}, True), ({"masks": np.ones((2, 96, 128), np.bool_)}, False)):
        written = [(k, tracks(k, k + 1, k + 2, **more)) for k in range(8)]
        with read(lines(tmp_path / "t.jsonl", *written)) as detector:
            assert len(detector.detect(frame(0, (96, 128)))) == 2
            assert any("made for a smaller one" in note for note in detector.notes()) is asked


def test_no_tracks_are_no_detections_with_a_note(tmp_path):
    with read(lines(tmp_path / "t.jsonl", (0, tracks(0)), (1, tracks(1)))) as detector:
        assert len(detector.detect(frame(0, SIZE_HW))) == 0
        assert detector.notes(2) == [f"{tmp_path / 't.jsonl'} holds no detections"]


def test_lines_of_boxes_with_names_are_a_table(tmp_path):
    rows = [
        {"frame": k, "x1": 1, "y1": 2, "x2": 9, "y2": 9, "conf": 0.5, "label": "dog"}
        for k in range(3)
    ]
    path = tmp_path / "boxes.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"frame": 3, "x1"')
    with read(path) as detector:
        found = [detector.detect(frame(k, SIZE_HW)) for k in range(4)]
        assert [len(seen) for seen in found] == [1, 1, 1, 0]
        assert found[0].name_of(int(found[0].classes[0])) == "dog"
        assert "1 damaged row left out (at line 4)" in detector.notes(4)[0]
