"""Metrics against cases worked out by hand."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, UnitrackError
from unitrack_edge.evaluation.metrics.davis import jaccard, vos_j_mean
from unitrack_edge.evaluation.metrics.mot import rows_of_tracks, score_mot
from unitrack_edge.records import Detections, Tracks

DATA = Path(os.environ.get("UNITRACK_DATA", Path(__file__).parents[4] / "shared" / "data"))

Rows = dict[int, tuple[np.ndarray, np.ndarray]]


def _mask(*cells: tuple[int, int], size: tuple[int, int] = (4, 5)) -> np.ndarray:
    mask = np.zeros(size, np.bool_)
    for row, column in cells:
        mask[row, column] = True
    return mask


def _line(identities: dict[int, int], box: tuple[float, ...] = (10, 20, 20, 40)) -> Rows:
    """One box a frame: frame number to its id."""
    return {
        frame: (np.array([k], np.int64), np.array([box], np.float32))
        for frame, k in identities.items()
    }


def test_jaccard_is_intersection_over_union() -> None:
    three, two = _mask((0, 0), (0, 1), (1, 0)), _mask((0, 1), (3, 4))
    assert jaccard(three, two) == pytest.approx(1 / 4)
    assert jaccard(two, three) == pytest.approx(1 / 4)
    assert jaccard(three, three) == 1
    assert jaccard(three, ~three) == 0


def test_jaccard_of_empty_masks() -> None:
    empty, one = _mask(), _mask((2, 2))
    assert jaccard(empty, empty) == 1
    assert jaccard(one, empty) == jaccard(empty, one) == 0


def test_jaccard_against_the_definition_on_random_masks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random((2, 6, 7)) < 0.4
        first, second = ({tuple(p) for p in np.argwhere(m)} for m in (a, b))
        assert jaccard(a, b) == pytest.approx(len(first & second) / len(first | second))


def test_jaccard_refuses_masks_of_two_sizes() -> None:
    with pytest.raises(DetectionError, match="differ in size"):
        jaccard(_mask(), _mask(size=(4, 6)))


def test_j_mean_leaves_out_the_first_and_the_last_frame() -> None:
    full, half, none = _mask((0, 0), (0, 1)), _mask((0, 0)), _mask((3, 3))
    assert vos_j_mean([none, half, full, none], [full] * 4) == pytest.approx((0.5 + 1) / 2)


def test_j_mean_averages_over_objects_and_frames() -> None:
    truth = np.zeros((2, 4), np.uint8)
    truth[0, :2], truth[1, :] = 1, 7
    wrong = truth.copy()
    wrong[0, 0] = 0  # object 1: 1/2
    wrong[1, 0] = 9  # object 7: 3/4, and 9 is no object of the truth
    assert vos_j_mean([truth, wrong, truth, truth], [truth] * 4) == pytest.approx(
        (1 / 2 + 3 / 4 + 1 + 1) / 4
    )
    gone = np.zeros_like(truth)  # an object out of sight and not predicted is right
    assert vos_j_mean([truth, gone, truth], [truth, gone, truth]) == 1


def test_j_mean_refuses_what_it_cannot_score() -> None:
    one = _mask((0, 0))
    with pytest.raises(DetectionError, match="at least 3"):
        vos_j_mean([one] * 2, [one] * 2)
    with pytest.raises(DetectionError, match="3 predicted and 4 true"):
        vos_j_mean([one] * 3, [one] * 4)
    with pytest.raises(DetectionError, match="all empty"):
        vos_j_mean([one] * 3, [_mask()] * 3)


def test_perfect_tracks_score_one() -> None:
    truth = {
        f: (np.array([4, 9], np.int64), np.array([[f, 0, f + 9, 20], [50, 5, 70, 60]], np.float32))
        for f in range(6)
    }
    renamed = {f: (np.array([100, 2], np.int64), boxes) for f, (_, boxes) in truth.items()}
    scores = score_mot(renamed, truth)
    for name in ("hota", "deta", "assa", "idf1", "mota", "motp"):
        assert getattr(scores, name) == pytest.approx(1), name
    assert (scores.id_switches, scores.fp, scores.fn, scores.tp) == (0, 0, 0, 12)
    assert (scores.frames, scores.truth_ids, scores.result_ids) == (6, 2, 2)


def test_one_switch_halfway() -> None:
    truth = _line(dict.fromkeys(range(10), 1))
    scores = score_mot(_line({f: 1 if f < 5 else 2 for f in range(10)}), truth)
    assert scores.id_switches == 1
    assert scores.mota == pytest.approx(1 - 1 / 10)
    assert scores.idf1 == pytest.approx(2 * 5 / (2 * 5 + 5 + 5))
    assert scores.deta == pytest.approx(1)
    assert scores.assa == pytest.approx(5 / (10 + 5 - 5))
    assert scores.hota == pytest.approx(math.sqrt(0.5))


def test_misses_and_false_alarms() -> None:
    truth = _line(dict.fromkeys(range(10), 1))
    results = _line(dict.fromkeys(range(8), 1)) | _line({8: 2, 9: 2}, (300, 300, 320, 340))
    scores = score_mot(results, truth)
    assert (scores.tp, scores.fp, scores.fn, scores.id_switches) == (8, 2, 2, 0)
    assert scores.mota == pytest.approx((8 - 2) / 10)
    assert scores.idf1 == pytest.approx(2 * 8 / (2 * 8 + 2 + 2))
    assert scores.deta == pytest.approx(8 / 12)
    assert scores.assa == pytest.approx(8 / 10)
    assert scores.hota == pytest.approx(math.sqrt(8 / 12 * 8 / 10))


def test_boxes_that_fit_badly_count_up_to_their_overlap() -> None:
    truth = _line(dict.fromkeys(range(4), 1), (0, 0, 10, 10))
    scores = score_mot(_line(dict.fromkeys(range(4), 5), (0, 0, 7, 10)), truth)  # IoU 0.7
    assert scores.hota == pytest.approx(14 / 19)  # right at 0.05 ... 0.70 of 0.05 ... 0.95
    assert scores.deta == pytest.approx(14 / 19)
    assert scores.motp == pytest.approx(0.7)
    assert scores.mota == 1
    loose = score_mot(_line(dict.fromkeys(range(4), 5), (0, 0, 4, 10)), truth)  # IoU 0.4
    assert (loose.tp, loose.fp, loose.fn) == (0, 4, 4)
    assert loose.mota == pytest.approx(-1)
    assert loose.hota == pytest.approx(8 / 19)


def test_no_results_and_no_truth() -> None:
    truth = _line(dict.fromkeys(range(5), 1))
    nothing = score_mot({}, truth)
    assert (nothing.hota, nothing.idf1, nothing.mota) == (0, 0, 0)
    assert (nothing.fn, nothing.fp, nothing.frames) == (5, 0, 5)
    assert score_mot(truth, {}).fp == 5
    assert score_mot({}, {}).truth_boxes == 0


def test_only_the_frames_asked_for_are_scored() -> None:
    truth = _line(dict.fromkeys(range(10), 1))
    results = _line({f: 1 if f < 5 else 2 for f in range(10)})
    scores = score_mot(results, truth, frames=range(5))
    assert (scores.frames, scores.truth_boxes, scores.id_switches) == (5, 5, 0)
    assert scores.hota == pytest.approx(1)


def test_an_id_twice_in_a_frame_is_an_error() -> None:
    twice = {0: (np.array([3, 3], np.int64), np.array([[0, 0, 1, 1], [2, 2, 3, 3]], np.float32))}
    with pytest.raises(DetectionError, match="results, frame 1: an id appears twice"):
        score_mot(twice, _line({0: 1}))
    with pytest.raises(DetectionError, match="expected \\(1, 4\\)"):
        score_mot(_line({0: 1}), {0: (np.array([1]), np.zeros((2, 4), np.float32))})


def test_tracks_are_taken_as_they_are() -> None:
    boxes = np.array([[0, 0, 4, 4], [5, 5, 9, 9]], np.float32)
    seen = Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int64))
    rows = rows_of_tracks([Tracks(3, np.array([2, 8]), seen), Tracks(4, np.zeros(0, np.int64))])
    assert rows[3][0].tolist() == [2, 8]
    assert score_mot(rows, {3: rows[3]}).hota == pytest.approx(1)


def test_without_trackeval_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    with pytest.raises(UnitrackError, match=r"pip install 'unitrack-edge\[eval\]'"):
        score_mot({}, {})
