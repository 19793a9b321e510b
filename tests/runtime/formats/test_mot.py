"""MOTChallenge's rows: detections, truth and results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.evaluation.metrics.mot import score_mot
from unitrack_edge.runtime.formats.detections import open_detections
from unitrack_edge.runtime.formats.mot import read_mot, read_mot_results, read_mot_truth
from unitrack_edge.runtime.formats.text import ReadOptions

from ...support.frames import frame

DATA = Path(os.environ.get("UNITRACK_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")


def test_mot_rows_become_zero_based_boxes(opened):
    rows = "2,-1,11,21,5,6,0.5,3,1\n1,-1,1,1,64,48,-0.25,-1,-1\n"
    file = opened(rows)
    first, second, third = (file.detect(frame(i)) for i in range(3))
    assert first.boxes_xyxy.tolist() == [[0, 0, 64, 48]]
    assert second.boxes_xyxy.tolist() == [[10, 20, 15, 26]]
    assert (first.scores[0], second.scores[0]) == (-0.25, 0.5)
    assert (first.classes[0], second.classes[0]) == (-1, 3)
    assert first.class_names is None
    assert len(third) == 0
    (note,) = file.notes(2)
    assert "scores below 0 (-0.25 to 0.5), no probabilities" in note


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
    assert opened("1,1,2,3,4,5,1,7.25,8.5,9\n").detect(frame()).classes.tolist() == [-1]


def test_rows_without_a_class_are_what_the_caller_says(tmp_path):
    path = tmp_path / "boxes.txt"
    path.write_text("1,-1,2,3,4,5,1\n1,-1,9,3,4,5,1,3\n")
    found = read_mot(path, ReadOptions(default_class="Person")).detect(frame())
    assert found.classes.tolist() == [0, 3]
    assert found.is_person().tolist() == [True, False]


@pytest.mark.parametrize("beside", ["img1", "gt", "seqinfo.ini"])
def test_a_file_of_the_benchmark_holds_people(tmp_path, beside):
    (tmp_path / "det").mkdir()
    path = tmp_path / "det" / "det.txt"
    path.write_text("1,-1,2,3,4,5,1\n")
    assert not read_mot(path).detect(frame()).is_person().any()
    (tmp_path / beside).mkdir()
    found = read_mot(path).detect(frame())
    assert (found.classes.tolist(), found.is_person().tolist()) == ([0], [True])


@pytest.mark.parametrize(
    "row",
    [
        "1,-1,10,10,5",
        "1,-1,10,10,5,x,1",
        "1,-1,10,,5,5,1",
        "1,-1,nan,10,5,5,1",
        "1,-1,10,inf,5,5,1",
        "1,-1,10,10,5,5,nan",
        "1,-1,10,10,0,5,1",
        "1,-1,10,10,5,-5,1",
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
        opened(f"1,-1,10,10,5,5,1\n\n{row}\n", strict=True)
    assert "\n" not in str(caught.value)


def test_boxes_outside_are_left_out_with_a_note(opened):
    rows = [f"1,-1,1,1,9,{k},1" for k in (6, 7, 8, 9)] + [
        "1,-1,-8,-8,12,12,1",
        "2,-1,65,1,9,9,1",
        "1,-1,-9,1,9,9,1",
    ]
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


# Truth and results.


def _write(folder: Path, text: str) -> Path:
    path = folder / "gt.txt"
    path.write_text(text)
    return path


def test_truth_rows_by_year(tmp_path: Path) -> None:
    old = read_mot_truth(_write(tmp_path, "2,1,11,21,30,40,-1\n1,5,1,1,2,2,-1\n\n"))
    assert list(old) == [0, 1]
    assert old[1][0].tolist() == [1]
    assert old[1][1].tolist() == [[10, 20, 40, 60]]
    new = read_mot_truth(
        _write(
            tmp_path,
            "1,1,1,1,9,9,1,1,0.9\n1,2,1,1,9,9,0,1,0.9\n1,3,1,1,9,9,1,7,0.9\n1,4,1,1,9,9,1,-1,1\n",
        )
    )
    assert new[0][0].tolist() == [1, 4]
    world = read_mot_truth(
        _write(tmp_path, "1 1 1 1 9 9 1 7.5 2.5 0\n1\t2\t1\t1\t9\t9\t0\t1\t2\t0")
    )
    assert world[0][0].tolist() == [1]
    everything = read_mot_results(_write(tmp_path, "1,2,1,1,9,9,0,3,-1\n1,3,1,1,9,9,0.4,1,-1\n"))
    assert everything[0][0].tolist() == [2, 3]
    assert read_mot_truth(_write(tmp_path, "")) == {}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1,1,1,1,9", "expected finite numbers"),
        ("1,1,a,1,9,9", "expected finite numbers"),
        ("1,1,nan,1,9,9", "expected finite numbers"),
        ("0,1,1,1,9,9,1", "frame number from 1"),
        ("1,1.5,1,1,9,9,1", "whole id"),
        ("1,1,1,1,0,9,1", "above 0"),
        ("1,7,2,2,9,9,1", "id 7 appears twice in frame 1"),
    ],
)
def test_malformed_truth_names_file_and_line(tmp_path: Path, row: str, problem: str) -> None:
    path = _write(tmp_path, f"1,7,1,1,9,9,1\n{row}\n")
    with pytest.raises(DetectionError, match=rf"gt\.txt, line 2: .*{problem}"):
        read_mot_truth(path)


def test_missing_truth_is_said(tmp_path: Path) -> None:
    with pytest.raises(DetectionError, match="no such file"):
        read_mot_truth(tmp_path / "gt.txt")
    with pytest.raises(DetectionError, match="cannot be read"):
        read_mot_truth(tmp_path)


@pytest.mark.skipif(not DATA.exists(), reason="UNITRACK_DATA is absent: no real sequences here")
def test_real_truth_files() -> None:
    campus = read_mot_truth(DATA / "mot" / "TUD-Campus" / "gt" / "gt.txt")
    assert len(campus) == 71
    assert campus[0][1][0].tolist() == [398, 181, 519, 410]
    scores = score_mot(campus, campus)
    assert scores.hota == pytest.approx(1)
    assert scores.truth_boxes == sum(1 for _ in (DATA / "mot/TUD-Campus/gt/gt.txt").open())
    modern = DATA / "mot" / "MOT17-02-FRCNN" / "gt" / "gt.txt"
    kept = sum(len(ids) for ids, _ in read_mot_truth(modern).values())
    rows = [line.split(",") for line in modern.read_text().split()]
    assert kept == sum(r[6] != "0" and r[7] == "1" for r in rows)
    assert 0 < kept < len(rows)


# What people's files look like.

ROWS = ("1,-1,11,21,5,6,0.5", "2,-1,12,21,5,6,0.5")


def test_many_boxes_outside_ask_for_the_size_they_were_made_for(opened):
    inside = [f"1,-1,{k},1,9,9,1" for k in range(1, 13)]
    for far, said in ((3, False), (4, True)):
        file = opened("\n".join([*inside, *(f"2,-1,{90 + k},1,9,9,1" for k in range(far))]))
        assert len(file.detect(frame(0))) == 12
        assert file.notes(2)[0].endswith(": were they made for a larger image?") is said


def test_rows_without_an_id_are_refused(opened):
    """Read as frame,id,x,y,w,h they would be boxes less high than a pixel."""
    rows = [f"{k},{10 * k},20,30,40,0.9" for k in range(1, 5)]
    with pytest.raises(DetectionError, match=r"the height, is nowhere above 1.*lack the id"):
        opened("\n".join(rows))
    flat = [f"{k},-1,{k / 50},0.2,0.3,0.4" for k in range(1, 5)]
    assert "shares of the image" in noted(opened("\n".join(flat)))
    assert len(opened("\n".join(rows), strict=True).detect(frame(1))) == 1


def noted(file):
    file.detect(frame())
    return " ".join(file.notes())


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
HEADER = "frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z"


@pytest.mark.parametrize("columns", [6, 7, 8, 9, 10])
@pytest.mark.parametrize("end", ["", ",", " , "])
def test_six_to_ten_columns_and_a_comma_at_the_end(opened, columns, end):
    fields = ("1", "-1", "11", "21", "5", "6", "0.5", "3", "-1", "-1")
    row = ",".join(fields[:columns])
    found = opened(f"{row}{end}\n").detect(frame())
    assert found.boxes_xyxy.tolist() == [[10, 20, 15, 26]]
    assert found.scores.tolist() == [1.0 if columns == 6 else 0.5]
    assert found.classes.tolist() == [3 if columns in (8, 9) else -1]


@pytest.mark.parametrize("header", [HEADER, f"# {HEADER}", "% made by hand", "", f"\n\n{HEADER}"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_headers_comments_and_encodings(opened, header, encoding):
    text = "\r\n".join((header, ROWS[0], "# between", "", ROWS[1], ""))
    file = opened(text.encode(encoding))
    assert [file.detect(frame(k)).boxes_xyxy.tolist() for k in range(2)] == [
        [[10, 20, 15, 26]],
        [[11, 20, 16, 26]],
    ]
    assert file.notes(2) == []


def test_names_in_the_code_page_of_windows(opened):
    file = opened("# Boxen für Köln\n1,-1,11,21,5,6\n".encode("cp1252"))
    assert file.detect(frame()).boxes_xyxy.tolist() == [[10, 20, 15, 26]]
    header = "frame,x1,y1,x2,y2,class_name\n0,1,2,9,9,Rentier – Kälbchen\n"
    seen = opened(header.encode("cp1252")).detect(frame())
    assert seen.name_of(0) == "Rentier – Kälbchen"


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_a_first_row_without_a_finite_number_is_damaged_and_no_header(opened, text):
    with pytest.raises(DetectionError, match="line 1: expected finite numbers"):
        opened(",".join([text] * 6) + "\n")


def test_a_header_of_another_language_is_passed_over(opened):
    file = opened("bild,nummer,links,oben,breite,hoehe\n1,-1,11,21,5,6\n")
    assert file.detect(frame()).boxes_xyxy.tolist() == [[10, 20, 15, 26]]


@pytest.mark.parametrize(
    "row",
    [
        "1;-1;11,5;21;30;40;0,75",
        "1\t-1\t11,5\t21\t30\t40\t0,75\t",
        '"1","-1","11.5","21","30","40","0.75"',
    ],
)
def test_rows_of_spreadsheets(tmp_path, row):
    path = tmp_path / "det.txt"
    path.write_text(f"{row}\n")
    file = open_detections(path)
    found = file.detect(frame(0))
    assert found.boxes_xyxy.tolist() == [[10.5, 20, 40.5, 60]]
    assert found.scores.tolist() == [0.75]
    assert file.notes(1) == []


def test_too_few_columns_are_counted(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,10,20,30\n")
    with pytest.raises(DetectionError, match=r"line 1: expected frame,id,x,y,w,h.*, not 5 columns"):
        open_detections(path)
