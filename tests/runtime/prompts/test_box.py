"""A box as text, from a file, or drawn."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, OutputError, RequestError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.formats.otb import read_otb_boxes
from unitrack_edge.runtime.prompts import box as init_box
from unitrack_edge.runtime.prompts.box import box_from_text, parse_box

FRAME = Frame(0, 0.0, np.zeros((40, 60, 3), np.uint8))


@pytest.mark.parametrize("text", ["11,21,30,40", "11\t21\t30\t40", "11, 21 ,30, 40", "11 21 30 40"])
@pytest.mark.parametrize("end", ["\r\n", "\n", ""])
def test_a_row_of_a_file_counts_pixels_from_one(tmp_path, text, end):
    path = tmp_path / "truth.txt"
    path.write_bytes((text + end + ("5,6,7,8" + end if end else "")).encode())
    assert box_from_text(str(path)) == (10, 20, 30, 40)
    expected = [[10, 20, 30, 40], [4, 5, 7, 8]] if end else [[10, 20, 30, 40]]
    assert read_otb_boxes(path).tolist() == expected


def test_numbers_on_the_command_line_count_pixels_from_zero():
    assert box_from_text("10,20.5,30,40") == (10, 20.5, 30, 40)
    assert box_from_text("-3,-4,30,40") == (-3, -4, 30, 40)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"1,2,3\n", r"line 1: got '1,2,3', expected the numbers x,y,w,h"),
        (b"1,2,3,4,5\n", "line 1"),
        (b"a,b,c,d\n", "line 1"),
        (b"1,2,3,4\n1,2,x,4\n", "line 2"),
        (b"nan,nan,nan,nan\n1,2,3,4\n", "finite"),
        (b"1,2,inf,4\n", "finite"),
        (b"1,2,0,4\n", "expected both above 0"),
        (b"1,2,3,-4\n", "expected both above 0"),
        (b"\xff\xfe\x00\x01", "line 1"),
        (b"\x80\x81", "is no text"),
    ],
    ids=str,
)
def test_files_that_hold_no_box(tmp_path, content, message):
    path = tmp_path / "truth.txt"
    path.write_bytes(content)
    with pytest.raises(DetectionError, match=message) as caught:
        box_from_text(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["nowhere.txt", "1,2,3", "1,2,x,4", "1,2,nan,4", "1,2,0,4", ""])
def test_text_that_is_no_box(text):
    expected = RequestError if "," in text else DetectionError  # of a file that is not there
    with pytest.raises(expected) as caught:
        box_from_text(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "count"), [("1,2", 2), ("1,2,3", 3), ("1,2,3,4,5.5", 5)])
def test_another_number_of_numbers_is_no_file(text, count):
    for read in (box_from_text, parse_box):
        with pytest.raises(RequestError, match=f"got {count} numbers, expected four, X,Y,W,H"):
            read(text)


def test_a_file_may_be_called_like_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1,2,3").write_text("11,21,30,40\n")
    assert box_from_text("1,2,3") == (10, 20, 30, 40)


def test_without_a_display_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(init_box, "has_display", lambda: False)
    with pytest.raises(OutputError, match=r"--init select: there is no display.*X,Y,W,H"):
        box_from_text("select")


def test_a_box_is_drawn_on_the_frame(monkeypatch):
    shown, answers = [], [(3, 4, 5, 6), (0, 0, 0, 0)]
    monkeypatch.setattr(init_box, "has_display", lambda: True)
    monkeypatch.setattr(
        init_box.cv2, "selectROI", lambda *given: [shown.append(given[1]), answers.pop(0)][1]
    )
    monkeypatch.setattr(init_box.cv2, "destroyWindow", lambda _title: None)
    draw = box_from_text("select")
    assert draw(FRAME) == (3.0, 4.0, 5.0, 6.0)
    assert shown[0] is FRAME.image
    with pytest.raises(DetectionError, match="no box was drawn"):
        draw(FRAME)


def test_a_window_that_does_not_open_is_said_in_one_line(monkeypatch):
    def fail(*_given):
        raise init_box.cv2.error("no\nwindow")

    monkeypatch.setattr(init_box, "has_display", lambda: True)
    monkeypatch.setattr(init_box.cv2, "selectROI", fail)
    with pytest.raises(OutputError, match="cannot open a window") as caught:
        box_from_text("select")(FRAME)
    assert "\n" not in str(caught.value)
