from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unitrack_edge.errors import DetectionError, UnitrackError
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.formats import mots as mots_file
from unitrack_edge.runtime.formats.detections import find_format, open_detections
from unitrack_edge.runtime.formats.mots import MotsFile
from unitrack_edge.runtime.formats.rle import encode_rle

DATA = Path(os.environ.get("UNITRACK_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")


def frame(index=0, size_hw=(48, 64), name=""):
    return Frame(index, index / 25, np.zeros((*size_hw, 3), np.uint8), name)


@pytest.fixture
def opened(tmp_path):
    """Write a file of detections and open it."""

    def write_and_open(content, name="det.txt", **keywords):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return open_detections(path, **keywords)

    return write_and_open


# MOTChallenge


def test_mot_rows_become_zero_based_boxes(opened):
    rows = "2,-1,11,21,5,6,0.5,3,1\n1,-1,1,1,64,48,-0.25,-1,-1\n"
    file = opened(rows)
    first, second, third = (file.detect(frame(i)) for i in range(3))
    assert first.boxes_xyxy.tolist() == [[0, 0, 64, 48]]
    assert second.boxes_xyxy.tolist() == [[10, 20, 15, 26]]
    assert (first.scores[0], second.scores[0]) == (-0.25, 0.5)
    assert (first.classes[0], second.classes[0]) == (0, 3)
    assert len(third) == 0
    assert file.notes(2) == []


@pytest.mark.parametrize(
    "text",
    [
        "1,-1,11,21,5,6,0.5\r\n\r\n1,-1,12,21,5,6,0.5\r\n",
        "1\t-1\t11\t21\t5\t6\t0.5\n1\t-1\t12\t21\t5\t6\t0.5",
        " 1 -1  11 21 5 6 0.5 \n1 -1 12 21 5 6 0.5\n",
        "\ufeff1, -1, 11, 21, 5, 6, 0.5\n1.0, -1, 12, 21, 5, 6, 0.5\n",
    ],
)
def test_mot_separators(opened, text):
    boxes = opened(text).detect(frame()).boxes_xyxy
    assert boxes.tolist() == [[10, 20, 15, 26], [11, 20, 16, 26]]


def test_scores_that_are_missing_are_one(opened):
    assert opened("1,1,2,3,4,5\n").detect(frame()).scores.tolist() == [1]
    assert opened("1,1,2,3,4,5,-1\n1,1,9,3,4,5,-1\n").detect(frame()).scores.tolist() == [1, 1]
    mixed = opened("1,1,2,3,4,5,-1\n1,1,9,3,4,5,-2\n")
    assert mixed.detect(frame()).scores.tolist() == [-1, -2]


def test_world_coordinates_are_no_class(opened):
    assert opened("1,1,2,3,4,5,1,7.25,8.5,9\n").detect(frame()).classes.tolist() == [0]


@pytest.mark.parametrize(
    "row",
    [
        "1,-1,10,10,5",
        "1,-1,10,10,5,x,1",
        "1,-1,10,,5,5,1",
        "1,-1,10,10,5,5,1,",
        "1,-1,nan,10,5,5,1",
        "1,-1,10,inf,5,5,1",
        "1,-1,10,10,5,5,nan",
        "1,-1,10,10,0,5,1",
        "1,-1,10,10,5,-5,1",
        "0,-1,10,10,5,5,1",
        "-3,-1,10,10,5,5,1",
        "1.5,-1,10,10,5,5,1",
        "1,-1,10,10,5,5,1,0.5,1",
        "1,-1,10,10,5,5,1,-2,1",
        "1,-1,1e30,10,5,5,1",
        "1,-1,9e8,10,1e-6,5,1",
        "frame,id,x,y,w,h,score",
    ],
)
def test_a_malformed_mot_row_is_named(opened, row):
    with pytest.raises(DetectionError, match=r"det\.txt, line 3: ") as caught:
        opened(f"1,-1,10,10,5,5,1\n\n{row}\n")
    assert "\n" not in str(caught.value)


def test_boxes_outside_are_left_out_with_a_note(opened):
    rows = ["1,-1,1,1,9,9,1"] * 4 + ["1,-1,-8,-8,12,12,1", "2,-1,65,1,9,9,1", "1,-1,-9,1,9,9,1"]
    file = opened("\n".join(rows))
    assert len(file.detect(frame(0))) == 5
    assert file.detect(frame(0)).boxes_xyxy[-1].tolist() == [-9, -9, 3, 3]
    assert len(file.detect(frame(1))) == 0
    (note,) = file.notes(2)
    assert note.startswith("2 boxes of ")
    assert note.endswith("outside the image left out, the first at line 6")


def test_boxes_made_for_another_picture_size(opened):
    rows = [f"{i},-1,{i * 60},{i * 30},50,90,1" for i in range(1, 31)]
    file = opened("\n".join(rows))
    assert len(file.detect(frame(5, (1080, 1920)))) == 1
    with pytest.raises(DetectionError, match=r"boxes lie outside the source's 640x480 image"):
        file.detect(frame(5, (480, 640)))


def test_frames_beyond_the_end_are_noted(opened):
    file = opened("".join(f"{i},-1,1,1,9,9,1\n" for i in range(1, 81)))
    file.detect(frame(0))
    (note,) = file.notes(71)
    assert note.startswith("detections for frames 72-80 of ")
    assert note.endswith("not used (9 rows): the source has 71 frames")
    assert "frame 80 of " in file.notes(79)[0]
    assert file.notes(80) == file.notes(None) == []


@pytest.mark.parametrize("text", ["", "\n \r\n", "\ufeff"])
def test_an_empty_file_is_zero_detections(opened, text):
    file = opened(text)
    assert all(len(file.detect(frame(i))) == 0 for i in range(300))
    assert len(file.notes(300)) == 1
    assert "no detections" in file.notes(300)[0]


def test_five_hundred_detections_in_one_frame_and_none_in_many(opened):
    rows = [f"900,-1,{1 + i % 50},{1 + i // 50},10,10,0.{i % 9 + 1}" for i in range(500)]
    file = opened("\n".join(rows))
    assert sum(len(file.detect(frame(i))) for i in range(899)) == 0
    assert len(file.detect(frame(899))) == 500


# MOTS

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
        opened(f"{mots_row(1)}{row}\n", file_format="mots")
    assert "\n" not in str(caught.value)


def test_too_many_masks_for_the_memory(opened, monkeypatch):
    monkeypatch.setattr(mots_file, "MAX_FRAME_BYTES", 3 * MASK.size)
    assert len(opened(mots_row(1) * 3).detect(frame(0))) == 3
    with pytest.raises(DetectionError, match="4 masks in one frame, expected at most 3"):
        opened(mots_row(1) * 4).detect(frame(0))


# PoseTrack18


def person(image_id, seen=((10, 12, 0.5), (30, 32, 0.75)), **more):
    joints = [value for joint in seen for value in joint] + [0] * (51 - 3 * len(seen))
    return {"image_id": image_id, "category_id": 1, "keypoints": joints, **more}


def video(*persons, images=3, **more):
    listed = [
        {"id": 70 + i, "frame_id": 70 + i, "file_name": f"v/{i:05d}.jpg", **more}
        for i in range(images)
    ]
    return {"images": listed, "annotations": list(persons)}


def test_posetrack_boxes_scores_and_joints(opened):
    file = opened(
        video(
            person(70, bbox=[5, 6, 30, 31], score=0.9),
            person(70),
            person(71, scores=[0.25] * 17),
            person(71, seen=[(4, 5, 2)]),
        ),
        "det.json",
    )
    found = file.detect(frame(0))
    # Without a box: joints from 10 to 30 and 12 to 32, a tenth of 20 px more on each side.
    assert found.boxes_xyxy.tolist() == [[5, 6, 35, 37], [8, 10, 32, 34]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.625])
    assert found.keypoints.shape == (2, 17, 3)
    assert found.keypoints[0, 1].tolist() == [30, 32, 0.75]
    assert not found.keypoints[0, 2:].any()
    second = file.detect(frame(1))
    assert second.keypoints[0, :3, 2].tolist() == [0.25, 0.25, 0]
    assert second.keypoints[1, 0].tolist() == [4, 5, 1]
    assert second.boxes_xyxy[1].tolist() == [3.5, 4.5, 4.5, 5.5]
    assert len(file.detect(frame(9))) == 0


def test_posetrack_frames_by_name_and_by_order(opened):
    content = video(person(71), person(72))
    by_name = opened(content, "det.json")
    assert len(by_name.detect(frame(0, name="00001.jpg"))) == 1
    assert len(by_name.detect(frame(1, name="other.jpg"))) == 0
    assert "1 image of" in by_name.notes(2)[0]
    assert "v/00002.jpg" in by_name.notes(2)[0]
    assert by_name.notes(None) == []
    by_order = opened(content, "det.json")
    assert [len(by_order.detect(frame(i, name=f"x{i}.png"))) for i in range(3)] == [0, 1, 1]
    assert "frame 3 of" in by_order.notes(2)[0]
    with pytest.raises(DetectionError, match="number 4 of the source but image 3"):
        by_order.detect(frame(3, name="00002.jpg"))


def test_posetrack_order_is_by_frame_id(opened):
    content = video(person(70))
    content["images"].reverse()
    assert len(opened(content, "det.json").detect(frame(0))) == 1
    for image in content["images"]:
        image["frame_id"] = 5
    assert len(opened(content, "det.json").detect(frame(2))) == 1


def test_posetrack_of_several_videos_is_refused(opened):
    content = video(person(70))
    for image in content["images"]:
        image["file_name"] = f"{image['id']}/00000.jpg"
    with pytest.raises(DetectionError, match=r"3 images are called '00000\.jpg'"):
        opened(content, "det.json").detect(frame(0, name="00000.jpg"))


def test_posetrack_of_another_picture_size(opened):
    file = opened(video(person(70), width=64, height=47), "det.json")
    with pytest.raises(DetectionError, match=r"'v/00000\.jpg' is 64x47 there, .* is 64x48"):
        file.detect(frame(0))


def test_posetrack_person_without_anything_is_noted(opened):
    file = opened(video(person(70, seen=()), person(70)), "det.json")
    assert len(file.detect(frame(0))) == 1
    assert file.notes(3)[0].startswith("1 annotation of ")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "line 1: not valid JSON"),
        ("[]", "'images'"),
        ({"images": []}, "'annotations'"),
        ({"images": [1], "annotations": []}, "'images'"),
        ({"images": [{}], "annotations": []}, "'id'"),
        ({"images": [{"id": 1}, {"id": 1}], "annotations": []}, "at most once"),
        (video(person(1)), "annotation 1: image_id 1"),
        (video(person([])), "annotation 1: image_id"),
        (video(person(70), person(70, bbox=[1, 2, 3])), "annotation 2: expected 4"),
        (video(person(70, bbox=[1, 2, 0, 3])), "annotation 1: got width 0"),
        (video(person(70, bbox=[1, 2, "a", 3])), "annotation 1: expected 4"),
        (video(person(70, bbox=[1, 2, float("nan"), 3])), "annotation 1: expected 4"),
        (video(person(70, bbox=[1, 2, 10**400, 3])), "annotation 1: expected 4"),
        (video(person(70, keypoints=[1, 2, 3])), "annotation 1: expected 51"),
        (video(person(70, scores=[1])), "annotation 1: expected 17"),
        (video(person(70, score="x")), "annotation 1: expected 1"),
        ("[" * 100_000, "nested"),
    ],
)
def test_malformed_posetrack_files(opened, content, problem):
    with pytest.raises(DetectionError, match=problem) as caught:
        opened(content, "det.json")
    assert "\n" not in str(caught.value)


# Telling formats apart, and any content at all


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        ("1,1,2,3,4,5\n", "a.txt", "mot"),
        ("1 1 2 3 4 5\n", "a.txt", "mot"),
        ("1 1 2 3 4 5 0.5\n", "a.csv", "mot"),
        ("", "a.txt", "mot"),
        (mots_row(1), "a.txt", "mots"),
        ("1 1 2 3 3 9\n" + mots_row(1), "a.txt", "mots"),
        ('\n {"images": []}', "a.txt", "posetrack"),
        ("", "a.json", "posetrack"),
    ],
)
def test_formats_are_told_apart(tmp_path, content, name, expected):
    path = tmp_path / name
    path.write_text(content)
    assert find_format(path) == expected


@pytest.mark.parametrize("name", ["absent.txt", "absent.json", "folder"])
def test_files_that_cannot_be_read(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DetectionError, match="--detections"):
        open_detections(tmp_path / name)


def test_binary_files_and_unknown_formats(opened):
    with pytest.raises(DetectionError, match="not a text file"):
        opened(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(DetectionError, match="expected one of mot, mots, posetrack"):
        opened("", file_format="coco")


def test_exactly_one_origin_of_detections(tmp_path):
    with pytest.raises(DetectionError, match="got no origin"):
        open_detector()
    with pytest.raises(DetectionError, match="got two"):
        open_detector(detections=tmp_path / "a", detector="motion")
    with pytest.raises(DetectionError, match="expected 'motion'"):
        open_detector(detector="motino")


FIELDS = st.one_of(
    st.integers(-3, 99).map(str),
    st.floats().map(str),
    st.text(st.characters(min_codepoint=32, max_codepoint=120), max_size=6),
    st.sampled_from([EMPTY, encode_rle(MASK), "1e999", "48", "64", ""]),
)
LINES = st.lists(FIELDS, min_size=5, max_size=11)
TEXTS = st.builds(
    lambda rows, separator, end: end.join(separator.join(row) for row in rows),
    st.lists(LINES, max_size=5),
    st.sampled_from([",", " ", "\t", ", "]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
POSETRACK = st.fixed_dictionaries(
    {
        "images": st.lists(
            st.fixed_dictionaries(
                {"id": st.integers(0, 2)},
                optional={"frame_id": JSON, "file_name": JSON, "width": JSON, "height": JSON},
            ),
            max_size=2,
        ),
        "annotations": st.lists(
            st.fixed_dictionaries(
                {"image_id": st.integers(0, 1) | JSON},
                optional={
                    "bbox": st.lists(st.floats() | st.integers(-5, 30), min_size=4, max_size=4),
                    "keypoints": st.lists(st.floats() | JSON, min_size=51, max_size=51)
                    | st.lists(st.integers(-5, 60), min_size=51, max_size=51),
                    "scores": JSON,
                    "score": JSON | st.floats(),
                },
            ),
            max_size=3,
        ),
    }
)


def result_or_error(path, content, file_format):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8", newline="")
    try:
        with open_detections(path, file_format=file_format) as file:
            for index in range(2):
                assert isinstance(file.detect(frame(index, name="a")), Detections)
            lines = file.notes(2)
    except UnitrackError as error:
        lines = [str(error)]
    assert all("\n" not in line for line in lines)


fuzz = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzz
@given(content=st.binary(max_size=80) | TEXTS)
@pytest.mark.parametrize("file_format", [None, "mot", "mots", "posetrack"])
def test_any_bytes_end_in_a_result_or_an_error(tmp_path, file_format, content):
    result_or_error(tmp_path / "fuzz.txt", content, file_format)


@fuzz
@given(content=JSON | POSETRACK)
def test_any_json_ends_in_a_result_or_an_error(tmp_path, content):
    result_or_error(tmp_path / "fuzz.json", json.dumps(content), None)


# Real files


@needs_data
@pytest.mark.parametrize(
    ("name", "size_hw", "rows"),
    [
        ("mot/TUD-Campus/det/det.txt", (480, 640), 344),
        ("mots/composite-dev/det/det.txt", (480, 854), 241),
        ("posetrack/060470979/det.json", (540, 960), 93),
    ],
)
def test_real_files_are_read_whole(name, size_hw, rows):
    with open_detector(detections=DATA / name) as detector:
        found = [detector.detect(frame(i, size_hw)) for i in range(80)]
        assert sum(map(len, found)) == rows
        assert detector.notes(80) == []


@needs_data
def test_kitti_counts_from_zero_and_agrees_with_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    path = DATA / "mots" / "KITTI-mini-0001" / "gt" / "gt.txt"
    rows = [line.split() for line in path.read_text().splitlines()]
    rows = [row for row in rows if row[0] == "0" and row[2] != "10"]
    found = open_detections(path).detect(frame(0, (375, 1242)))
    assert len(found) == len(rows) > 3
    for row, mask in zip(rows, found.masks, strict=True):
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        assert theirs.decode() == row[5]
