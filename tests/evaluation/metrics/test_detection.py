"""Recall, precision, AP and PCKh on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.evaluation.metrics.detection import PckhCount, match_frame, score_detections


def rows(*boxes):
    return np.array(boxes, np.float32).reshape(-1, 4)


TRUE = rows([0, 0, 10, 10], [20, 0, 30, 10])


def match(boxes, scores, truth=TRUE, ignored=None):
    return match_frame(boxes, np.array(scores, np.float32), truth, ignored)


def test_a_second_detection_of_the_same_object_is_wrong():
    found = match(rows([0, 0, 10, 10], [0, 0, 10, 9], [50, 0, 60, 10]), [0.5, 0.9, 0.4])
    assert found.truth_rows.tolist() == [0, -1, -1]
    np.testing.assert_allclose(found.scores, [0.9, 0.5, 0.4])
    scores = score_detections([found])
    assert (scores.recall, scores.objects, scores.detections) == (0.5, 2, 3)
    assert scores.precision == pytest.approx(1 / 3)
    assert scores.ap == pytest.approx(0.5)


def test_what_overlaps_an_ignored_object_only_is_left_out():
    ignored = np.array([False, True])
    found = match(rows([0, 0, 10, 10], [20, 0, 30, 10]), [0.9, 0.8], ignored=ignored)
    assert found.truth_rows.tolist() == [0]
    assert found.objects == 1


def test_a_detection_in_a_crowd_is_left_out():
    """A crowd's box is far larger than any of its people."""
    crowd = np.array([False, True])
    truth = rows([0, 0, 10, 10], [20, 0, 80, 10])
    boxes = rows([0, 0, 10, 10], [30, 0, 40, 10], [16, 0, 24, 10], [10, 0, 24, 10])
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert match_frame(boxes, scores, truth, crowd, crowd).truth_rows.tolist() == [0, -1]
    assert match_frame(boxes, scores, truth, crowd).truth_rows.tolist() == [0, -1, -1, -1]


def test_a_threshold_counts_for_recall_and_not_for_ap():
    found = match(rows([0, 0, 10, 10], [50, 0, 60, 10], [20, 0, 30, 10]), [0.9, 0.6, 0.3])
    scores = score_detections([found], 0.5)
    assert (scores.recall, scores.precision) == (0.5, 0.5)
    assert scores.ap == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_nothing_found_or_nothing_there():
    nothing = score_detections([match(rows(), [])])
    assert (nothing.recall, nothing.precision, nothing.ap) == (0, 1, 0)
    nobody = score_detections([match(rows([0, 0, 1, 1]), [0.5], rows())])
    assert (nobody.recall, nobody.precision, nobody.ap) == (0, 0, 0)
    assert score_detections([]).precision == 1


def test_joints_within_half_a_head():
    truth = np.array([[0, 0, 1], [10, 0, 1], [0, 0, 0]], np.float32)
    found = np.array([[0, 4.9, 0.5], [10, 5.1, 0.5], [0, 0, 1]], np.float32)
    count = PckhCount()
    count.add(found, truth, 10.0)
    count.add(found, truth, float("nan"))
    assert (count.share([0]), count.share([1]), count.share([0, 1])) == (1, 0, 0.5)
    assert count.share([2]) == 0
