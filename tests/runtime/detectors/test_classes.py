"""How many detections of a frame are kept, and which."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.detectors.base import Detector, MostDetections
from unitrack_edge.runtime.detectors.open import open_detector

IMAGE = np.zeros((32, 32, 3), np.uint8)


class Wild(Detector):
    """So many detections in each frame, of random scores."""

    class_names = ("car",)
    descriptions = ("wild",)

    def __init__(self, counts):
        self._counts = counts
        self._rng = np.random.default_rng(1)
        self.closed = False

    def detect(self, frame):
        count = self._counts[frame.index]
        boxes = np.tile(np.array([1, 1, 9, 9], np.float32), (count, 1))
        scores = self._rng.permutation(count).astype(np.float32) / max(count, 1)
        return Detections(boxes, scores, np.arange(count))

    def dropped(self):
        return {"score": 3}

    def drop_notes(self):
        return ["3 of low score"]

    def close(self):
        self.closed = True


def frame(index):
    return Frame(index, float(index), IMAGE)


def test_the_highest_scores_are_kept_in_their_order_and_the_rest_is_counted():
    wild = Wild([3, 1000, 5, 20])
    limited = MostDetections(wild, 5)
    counts = []
    for index in range(4):
        seen = limited.detect(frame(index))
        counts.append(len(seen))
        assert (np.diff(seen.classes) > 0).all()
        if index in (1, 3):
            count = np.float32(1000 if index == 1 else 20)
            assert sorted(seen.scores) == [np.float32(n) / count for n in np.arange(count)[-5:]]
    assert counts == [3, 5, 5, 5]
    assert limited.dropped() == {"score": 3, "max_detections": 1010}
    assert limited.drop_notes() == [
        "3 of low score",
        "1010 detections left out: the lowest scores of 2 frames with more than --max-detections 5",
    ]
    assert (limited.class_names, limited.descriptions) == (("car",), ("wild",))
    limited.close()
    assert wild.closed


def test_of_equal_scores_the_first_are_kept():
    class Equal(Wild):
        def detect(self, frame):
            seen = super().detect(frame)
            return Detections(seen.boxes_xyxy, np.full(len(seen), 0.5, np.float32), seen.classes)

    seen = MostDetections(Equal([9]), 4).detect(frame(0))
    assert seen.classes.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", [7, 50, 500])
def test_a_detector_that_cannot_find_more_is_not_limited(limit):
    with open_detector(detector="motion", max_detections=limit) as detector:
        assert isinstance(detector, MostDetections) == (limit < 50)


@pytest.mark.parametrize(("limit", "kept"), [(None, 700), (500, 500), (1, 1)])
def test_a_file_is_limited_too(limit, kept, tmp_path):
    path = tmp_path / "det.txt"
    path.write_text(
        "".join(f"1,-1,{1 + n % 26},{1 + n // 26},5,5,{n / 700:.5f}\n" for n in range(700))
    )
    with open_detector(detections=path, max_detections=limit) as detector:
        assert len(detector.detect(frame(0))) == kept
        assert detector.dropped().get("max_detections", 0) == 700 - kept
