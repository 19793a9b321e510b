"""The scores of OTB worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.evaluation.metrics.sot import overlaps, success_auc, success_curve


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
