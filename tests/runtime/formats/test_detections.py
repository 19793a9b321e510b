"""Which kind a file of detections is, any content at all, and real files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unitrack_edge.errors import DetectionError, RequestError, UnitrackError
from unitrack_edge.records import Detections
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.formats.detections import find_format, open_detections
from unitrack_edge.runtime.formats.rle import encode_rle

from ...support.frames import frame
from .test_mots import EMPTY, MASK, mots_row

DATA = Path(os.environ.get("UNITRACK_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")


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


def test_a_folder_whose_folder_has_detections_names_it(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DetectionError, match=r"OpenPose's files \(_keypoints.json\)$"):
        open_detections(tmp_path)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a_1.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DetectionError, match=r"labels has some$"):
        open_detections(tmp_path)


def test_binary_files_and_unknown_formats(opened):
    with pytest.raises(DetectionError, match="not a text file"):
        opened(b"\x89PNG\r\n\x1a\n\xff\xff")
    with pytest.raises(DetectionError, match="expected one of mot, mots, mots-png, posetrack"):
        opened("", file_format="xml")


def test_exactly_one_origin_of_detections(tmp_path):
    with pytest.raises(RequestError, match="got no origin"):
        open_detector()
    with pytest.raises(RequestError, match="got two"):
        open_detector(detections=tmp_path / "a", detector="motion")
    with pytest.raises(RequestError, match="expected 'motion'"):
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
        notes = [note for note in detector.notes(80) if "holds raw scores" not in note]
        assert notes == []


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
