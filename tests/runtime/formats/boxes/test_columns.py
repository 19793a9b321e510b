"""Boxes in named columns: CSV and JSON, read and written."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.formats.boxes.columns import CsvWriter
from unitrack_edge.runtime.formats.detections import find_format, open_detections

from ....support.frames import frame

SINK = "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,class_name,frame_index"
ROWS = ("10,20,40,60,2,0.75,,car,0", '12,20,42,60,0,0.5,7,"a, b",1')


def test_supervision_csv(opened):
    file = opened("\n".join((SINK, *ROWS)) + "\n", "out.csv")
    assert find_format(file.path) == "columns"
    first, second = file.detect(frame(0)), file.detect(frame(1))
    assert first.boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    assert (first.scores[0], first.classes[0], first.name_of(2)) == (0.75, 2, "car")
    assert second.name_of(0) == "a, b"
    assert file.notes(2) == []


def test_supervision_json_with_numbers_as_texts(opened):
    names = SINK.split(",")
    rows = [dict(zip(names, row, strict=True)) for row in csv.reader(ROWS)]
    rows[1] |= {"x_min": 12.0, "confidence": None, "class_id": "", "class_name": "dog"}
    file = opened(rows, "out.json")
    assert find_format(file.path) == "columns"
    assert file.detect(frame(0)).boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    second = file.detect(frame(1))
    assert (second.scores[0], second.name_of(second.classes[0])) == (1.0, "dog")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("frame,x1,y1,x2,y2,score", "1,10,20,40,60,0.5"),
        ("Frame ID;Left;Top;Right;Bottom;Conf", "1;10;20;40;60;0.5"),
        ("score\tframe_number\tbbox_x1\tbbox_y1\tbbox_x2\tbbox_y2", "0.5\t1\t10\t20\t40\t60"),
        ("frame,x,y,width,height,prob", "1,10,20,30,40,0.5"),
        ("frame,x_center,y_center,w,h,prob", "1,25,40,30,40,0.5"),
        ("frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z", "1,-1,11,21,30,40,0.5,-1,-1,-1"),
    ],
)
def test_columns_are_known_by_their_names(opened, header, row):
    found = opened(f"{header}\n{row}\n").detect(frame(0))
    assert found.boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    assert found.scores.tolist() == [0.5]


def test_a_column_must_say_the_frame(opened):
    with pytest.raises(DetectionError, match="no column says the frame") as caught:
        opened("x_min,y_min,x_max,y_max,class_id,confidence,tracker_id\n1,2,3,4,0,0.5,\n")
    assert "custom_data" in str(caught.value)


def test_classes_by_name_alone(opened):
    file = opened("frame,x1,y1,x2,y2,label\n1,1,2,30,40,car\n1,5,2,35,40,person\n1,9,2,35,40,car\n")
    found = file.detect(frame(0))
    assert [found.name_of(k) for k in found.classes] == ["car", "person", "car"]
    assert found.is_person().tolist() == [False, True, False]


def test_results_are_read_back(tmp_path):
    boxes = np.array([[1.25, 2, 11, 22], [3, 4, 13, 34]], np.float32)
    found = Detections(
        boxes,
        np.array([0.5, 0.25], np.float32),
        np.array([1, -1]),
        class_names=("", 'a "b",\nc'),
    )
    path = tmp_path / "tracks.csv"
    with CsvWriter(path) as writer:
        writer.write(frame(0), Tracks(0, np.array([4, 7]), found))
        writer.write(frame(1), Tracks(1, np.zeros(0, np.int64)))
        shown = Tracks(2, np.array([7]), found[1:], predicted=np.ones(1, np.bool_))
        writer.write(frame(2), shown)
    file = open_detections(path)
    back = file.detect(frame(0))
    assert back.boxes_xyxy.tolist() == boxes.tolist()
    assert (back.scores.tolist(), back.classes.tolist()) == ([0.5, 0.25], [1, -1])
    assert back.name_of(1) == 'a "b", c'
    assert [len(file.detect(frame(k))) for k in range(1, 4)] == [0, 1, 0]
    rows = list(csv.DictReader(path.open()))
    assert [(row["tracker_id"], row["time"], row["predicted"]) for row in rows] == [
        ("4", "0.0000", "0"),
        ("7", "0.0000", "0"),
        ("7", "0.0800", "1"),
    ]


def test_boxes_of_images_that_are_named(opened):
    """As TensorFlow's tools write them: width and height are the image's, corners the box."""
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    rows += [f"shots/f_{k:03d}.jpg,200,100,car,{10 + k},20,{40 + k},60" for k in (7, 3)]
    file = opened("\n".join([*rows, ",200,100,car,1,2,3,4"]), "labels.csv")
    assert file.numbered_frames() is None
    assert len(file.detect(frame(0, name="f_001.jpg"))) == 0
    found = file.detect(frame(2, name="f_003.jpg"))
    assert found.boxes_xyxy.tolist() == [[13, 20, 43, 60]]
    assert found.name_of(found.classes[0]) == "car"
    damaged, unused = file.notes(9)
    assert "line 4: expected a number in column filename" in damaged
    assert "detections for 1 image" in unused


def test_commas_as_decimal_points(opened):
    file = opened("frame;x1;y1;x2;y2;conf\n0;10,5;20;40,25;60;0,75\n", "out.csv")
    found = file.detect(frame(0))
    assert found.boxes_xyxy.tolist() == [[10.5, 20, 40.25, 60]]
    assert found.scores[0] == 0.75
