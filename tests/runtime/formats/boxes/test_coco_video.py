"""COCO's JSON for videos, as results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.formats.boxes.coco_video import CocoVideoWriter
from unitrack_edge.runtime.formats.detections import find_format, open_detections

from ....support.frames import frame

BOXES = np.array([[1.25, 2, 11, 22], [3, 4, 13, 34]], np.float32)


def detections(**more):
    scores = np.array([0.5, 0.25], np.float32)
    return Detections(BOXES, scores, np.array([0, -1]), class_names=("person", "car"), **more)


@pytest.fixture
def written(tmp_path):
    def write(*found, name=""):
        path = tmp_path / "tracks.json"
        with CocoVideoWriter(path) as writer:
            for k, seen in enumerate(found):
                ids = np.array([4, 7][: len(seen)], np.int64)
                writer.write(frame(k, name=name and f"{name}{k}.png"), Tracks(k, ids, seen))
        assert [p.name for p in path.parent.iterdir()] == ["tracks.json"]
        return path

    return write


@pytest.mark.parametrize("name", ["", "cam_"])
def test_results_are_read_back(written, name):
    path = written(detections(), Detections.empty(), detections()[1:], name=name)
    assert find_format(path) == "coco"
    file = open_detections(path)
    found = [file.detect(frame(k, name=name and f"{name}{k}.png")) for k in range(3)]
    assert found[0].boxes_xyxy.tolist() == BOXES.tolist()
    assert found[0].scores.tolist() == [0.5, 0.25]
    assert [found[0].name_of(k) for k in found[0].classes] == ["person", "object"]
    assert [len(seen) for seen in found] == [2, 0, 1]


def test_pycocotools_reads_the_results(written, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    masks = np.zeros((2, 48, 64), np.bool_)
    masks[0, 2:22, 1:11] = masks[1, 4:34, 3:13] = True
    path = written(detections(masks=masks), detections())
    data = coco.COCO(str(path))
    assert sorted(data.getImgIds()) == [1, 2]
    assert [c["name"] for c in data.loadCats(data.getCatIds())] == ["object", "person"]
    first, second, *_ = data.loadAnns(data.getAnnIds(imgIds=[1]))
    assert (first["track_id"], second["track_id"], second["category_id"]) == (4, 7, 0)
    assert first["bbox"] == [1.25, 2, 9.75, 20]
    assert (data.annToMask(first) == masks[0]).all()
    assert "Done" in capsys.readouterr().out


def test_a_run_without_a_frame_is_whole(written):
    data = json.loads(written().read_text())
    assert (data["images"], data["annotations"], data["categories"]) == ([], [], [])
