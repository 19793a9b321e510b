"""A box a frame, as OTB writes them."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import OutputError
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.formats.otb import OtbWriter, read_otb_boxes
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


def test_missing_truth_is_nan(tmp_path):
    path = tmp_path / "truth.txt"
    path.write_text("1,2,3,4\nNaN,NaN,NaN,NaN\n")
    assert np.isnan(read_otb_boxes(path)).tolist() == [[False] * 4, [True] * 4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_boxes_are_read_in_the_encodings_of_all_text(encoding, tmp_path):
    path = tmp_path / "groundtruth.txt"
    path.write_text("1,2,3,4\n5,6,7,8\n", encoding=encoding)
    assert read_otb_boxes(path).tolist() == [[0, 1, 3, 4], [4, 5, 7, 8]]
