"""KITTI's tracking labels as detections, and results that TrackEval reads."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.formats.boxes.kitti import KittiWriter, read_kitti, read_kitti_rows
from unitrack_edge.runtime.formats.detections import find_format

from ....support.frames import frame

ROW = "{} {} {} 0 0 -1.57 {} {} {} {} 1.5 1.6 4 1 1 20 -1.5"


def label(index, identity, kind, box, score=""):
    return f"{ROW.format(index, identity, kind, *box)} {score}".strip() + "\n"


def test_labels_are_read_from_frame_zero_with_names(opened):
    file = opened(
        label(0, 3, "Car", (1.5, 2, 30, 40), 0.75)
        + label(0, -1, "DontCare", (0, 0, 60, 40), 0.5)
        + label(1, 4, "Pedestrian", (5, 6, 15, 46))
        + label(1, 5, "Train", (5, 6, 25, 46))
    )
    first, second = file.detect(frame(0)), file.detect(frame(1))
    assert first.boxes_xyxy.tolist() == [[1.5, 2, 30, 40]]
    assert (first.scores[0], first.name_of(first.classes[0])) == (0.75, "Car")
    assert [second.name_of(k) for k in second.classes] == ["Pedestrian", "Train"]
    assert second.is_person().tolist() == [True, False]
    assert file.notes(2) == [
        f"1 region of type DontCare of {file.path} left out: not to be tracked"
    ]


@pytest.mark.parametrize("score", ["", 0.5])
def test_the_format_is_recognised(tmp_path, score):
    path = tmp_path / "0001.txt"
    path.write_text(label(0, 1, "Van", (1, 2, 3, 4), score))
    assert find_format(path) == "kitti"


def tracks_of(index, boxes, ids, classes, names):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    found = Detections(
        boxes,
        np.full(len(boxes), 0.5, np.float32),
        np.array(classes, np.int64),
        class_names=names,
    )
    return Tracks(index, np.array(ids, np.int64), found)


NAMES = ("person", "car", "dog")


def test_results_are_read_back(tmp_path):
    path = tmp_path / "tracks.txt"
    with KittiWriter(path) as writer:
        boxes = [[1, 2, 11, 22], [-3, 4, 13, 34], [5, 5, 9, 9]]
        writer.write(frame(0), tracks_of(0, boxes, [1, 2, 9], [0, 1, 2], NAMES))
        writer.write(frame(1), tracks_of(1, [], [], [], NAMES))
        writer.write(frame(2), tracks_of(2, [[1.25, 2, 11, 22]], [1], [-1], None))
    found = read_kitti(path).detect(frame(0))
    assert found.boxes_xyxy.tolist() == boxes
    assert found.scores.tolist() == [0.5] * 3
    assert [row.type for row in read_kitti_rows(path)] == ["Pedestrian", "Car", "Misc", "Misc"]
    assert [row.identity for row in read_kitti_rows(path)] == [1, 2, 9, 1]


def test_trackeval_reads_the_results(tmp_path):
    datasets = pytest.importorskip("trackeval.datasets")
    truth, results = tmp_path / "gt" / "label_02", tmp_path / "results" / "mine" / "data"
    truth.mkdir(parents=True)
    results.mkdir(parents=True)
    (tmp_path / "gt" / "evaluate_tracking.seqmap.training").write_text("0000 empty 000000 000002\n")
    (truth / "0000.txt").write_text(
        label(0, 7, "Car", (1, 2, 41, 52)) + label(1, 7, "Car", (3, 2, 43, 52))
    )
    with KittiWriter(results / "0000.txt") as writer:
        for k in range(2):
            box = [[1 + 2 * k, 2, 41 + 2 * k, 52]]
            writer.write(frame(k), tracks_of(k, box, [3], [1], NAMES))
    dataset = datasets.Kitti2DBox(
        {
            "GT_FOLDER": str(tmp_path / "gt"),
            "TRACKERS_FOLDER": str(tmp_path / "results"),
            "TRACKERS_TO_EVAL": ["mine"],
            "PRINT_CONFIG": False,
        }
    )
    raw = dataset.get_raw_seq_data("mine", "0000")
    data = dataset.get_preprocessed_seq_data(raw, "car")
    assert (data["num_tracker_dets"], data["num_gt_dets"]) == (2, 2)
    assert [float(s[0, 0]) for s in data["similarity_scores"]] == pytest.approx([1, 1])
