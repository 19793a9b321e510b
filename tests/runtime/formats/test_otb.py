"""Boxes in and out as text, drawing one, and the scores of OTB worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, OutputError
from unitrack_edge.evaluation.metrics.sot import overlaps, success_auc, success_curve
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.formats.otb import OtbWriter, read_otb_boxes
from unitrack_edge.runtime.prompts import box as init_box
from unitrack_edge.runtime.prompts.box import box_from_text

FRAME = Frame(0, 0.0, np.zeros((40, 60, 3), np.uint8))


def tracks_of(*boxes_xyxy):
    count = len(boxes_xyxy)
    seen = Detections(
        np.array(boxes_xyxy, np.float32).reshape(-1, 4),
        np.ones(count, np.float32),
        np.zeros(count, np.int64),
    )
    return Tracks(0, np.arange(1, count + 1), seen)


# --- the output


def test_rows_are_otb(tmp_path):
    with OtbWriter(tmp_path / "tracks.txt") as writer:
        writer.write(FRAME, tracks_of((0, 0, 10, 20)))
        writer.write(FRAME, tracks_of((-1.001, 2.256, 9.5, 7.006)))
    assert (tmp_path / "tracks.txt").read_bytes() == (
        b"1.00,1.00,10.00,20.00\n0.00,3.26,10.50,4.75\n"
    )


def test_a_frame_is_on_the_disk_when_write_returns(tmp_path):
    writer = OtbWriter(tmp_path / "tracks.txt")
    writer.write(FRAME, tracks_of((0, 0, 1, 1)))
    assert (tmp_path / "tracks.txt").read_text() == "1.00,1.00,1.00,1.00\n"
    writer.close()


def test_lines_must_belong_to_frames(tmp_path):
    with OtbWriter(tmp_path / "tracks.txt") as writer:
        writer.write(FRAME, tracks_of())  # nothing is tracked yet
        with pytest.raises(OutputError, match="got 2 tracks, expected 1"):
            writer.write(FRAME, tracks_of((0, 0, 1, 1), (2, 2, 3, 3)))
        writer.write(FRAME, tracks_of((0, 0, 1, 1)))
    assert np.isnan(read_otb_boxes(tmp_path / "tracks.txt")[0]).all()
    assert read_otb_boxes(tmp_path / "tracks.txt")[1].tolist() == [0, 0, 1, 1]


def test_what_was_written_can_be_read_again(tmp_path):
    path = tmp_path / "tracks.txt"
    with OtbWriter(path) as writer:
        writer.write(FRAME, tracks_of((3.5, 4.25, 10.75, 20)))
    assert read_otb_boxes(path).tolist() == [[3.5, 4.25, 7.25, 15.75]]
    assert box_from_text(str(path)) == (3.5, 4.25, 7.25, 15.75)


# --- the input


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
        (b"1,2,3\n", r"line 1: got '1,2,3', expected x,y,w,h"),
        (b"1,2,3,4,5\n", "line 1"),
        (b"a,b,c,d\n", "line 1"),
        (b"1,2,3,4\n1,2,x,4\n", "line 2"),
        (b"nan,nan,nan,nan\n1,2,3,4\n", "finite"),
        (b"1,2,inf,4\n", "finite"),
        (b"1,2,0,4\n", "expected both above 0"),
        (b"1,2,3,-4\n", "expected both above 0"),
        (b"\xff\xfe\x00\x01", "is no text"),
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
    with pytest.raises(DetectionError) as caught:
        box_from_text(text)
    assert "\n" not in str(caught.value)


def test_missing_truth_is_nan(tmp_path):
    path = tmp_path / "truth.txt"
    path.write_text("1,2,3,4\nNaN,NaN,NaN,NaN\n")
    assert np.isnan(read_otb_boxes(path)).tolist() == [[False] * 4, [True] * 4]


# --- drawing


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


# --- the score


def test_overlap_by_hand():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [1, 1, 0, 5]])
    truth = np.array([[0, 0, 4, 4], [2, 0, 4, 4], [4, 0, 4, 4], [1, 1, 2, 2], [1, 1, 4, 4]])
    # Half of each shared: 8 of 24; side by side: nothing; a quarter inside: 4 of 16; no width.
    assert overlaps(boxes, truth) == pytest.approx([1, 1 / 3, 0, 1 / 4, 0])


def test_auc_by_hand():
    # 1 exceeds the 20 thresholds below it, 0.52 those from 0 to 0.5 (11), 0.01 only 0, and 0 none.
    curve = success_curve(np.array([1.0, 0.52, 0.01, 0.0]))
    assert curve.tolist() == [0.75] + [0.5] * 10 + [0.25] * 9 + [0.0]
    assert curve.mean() == pytest.approx((20 + 11 + 1 + 0) / 4 / 21)


def test_auc_of_the_truth_itself_is_all_but_the_last_threshold():
    truth = np.random.default_rng(0).uniform(1, 50, (30, 4))
    assert success_auc(truth, truth) == pytest.approx(20 / 21)


def test_frames_without_truth_do_not_count():
    truth = np.array([[0, 0, 4, 4], [np.nan] * 4])
    assert success_auc(np.array([[0, 0, 4, 4], [9, 9, 9, 9]]), truth) == pytest.approx(20 / 21)
    with pytest.raises(DetectionError, match="no frame"):
        success_auc(truth[1:], truth[1:])


def test_different_lengths_are_refused():
    with pytest.raises(DetectionError, match=r"\(3, 4\) and \(2, 4\)"):
        overlaps(np.ones((3, 4)), np.ones((2, 4)))
