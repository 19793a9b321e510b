"""HOTA, CLEAR and IDF1 of boxes through TrackEval."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import FloatArray, IntArray, Tracks
from .scores import run_trackeval, trackeval_data

Rows = Mapping[int, tuple[IntArray, FloatArray]]
"""Frame number (from 0) to the ids (N,) and boxes_xyxy (N, 4) in it; empty frames may be absent."""


@dataclass(frozen=True, slots=True)
class MotScores:
    """How well a tracker did on one clip. Ratios are 0 to 1, MOTA may be negative.

    Attributes:
        hota: HOTA, the mean over the similarity thresholds 0.05, 0.10 ... 0.95.
        deta: Detection accuracy, the same mean.
        assa: Association accuracy, the same mean.
        idf1: F1 of identities, at threshold 0.5.
        mota: CLEAR's accuracy, at threshold 0.5.
        motp: Mean IoU of the matched boxes, at threshold 0.5.
        id_switches: How often a true object changed its matched id.
        tp: Matched boxes, at threshold 0.5.
        fp: Boxes that match no truth.
        fn: True boxes that were missed.
        frames: Frames scored.
        truth_boxes: True boxes in them.
        result_boxes: The tracker's boxes in them.
        truth_ids: True identities.
        result_ids: The tracker's identities.
    """

    hota: float
    deta: float
    assa: float
    idf1: float
    mota: float
    motp: float
    id_switches: int
    tp: int
    fp: int
    fn: int
    frames: int
    truth_boxes: int
    result_boxes: int
    truth_ids: int
    result_ids: int


def score_mot(results: Rows, truth: Rows, frames: Collection[int] | None = None) -> MotScores:
    """Score tracks against truth by the IoU of boxes, with TrackEval's metrics.

    Every row counts. TrackEval's rule for pedestrians (results that match people behind glass,
    on vehicles, and the like are neither right nor wrong) is not applied, so MOT16 and later
    score a little lower here than on the benchmark's server.

    Args:
        results: What the tracker says.
        truth: What is right; see `formats.mot.read_mot_truth`.
        frames: Frame numbers (from 0) to score; by default all that occur in either.

    Raises:
        UnitrackError: TrackEval is not installed.
        DetectionError: An id appears twice in a frame, or arrays do not fit one another.
    """
    numbers = sorted(set(results) | set(truth) if frames is None else set(frames))
    data = _trackeval_data(results, truth, numbers)
    hota, clear, identity = run_trackeval(data)
    return MotScores(
        hota=float(np.mean(hota["HOTA"])),
        deta=float(np.mean(hota["DetA"])),
        assa=float(np.mean(hota["AssA"])),
        idf1=float(identity["IDF1"]),
        mota=float(clear["MOTA"]),
        motp=float(clear["MOTP"]),
        id_switches=int(clear["IDSW"]),
        tp=int(clear["CLR_TP"]),
        fp=int(clear["CLR_FP"]),
        fn=int(clear["CLR_FN"]),
        frames=len(numbers),
        truth_boxes=int(data["num_gt_dets"]),
        result_boxes=int(data["num_tracker_dets"]),
        truth_ids=int(data["num_gt_ids"]),
        result_ids=int(data["num_tracker_ids"]),
    )


def rows_of_tracks(tracks: Iterable[Tracks]) -> dict[int, tuple[IntArray, FloatArray]]:
    """A tracker's output in the form that `score_mot` takes."""
    return {t.frame_index: (t.ids, t.detections.boxes_xyxy) for t in tracks}


def _trackeval_data(results: Rows, truth: Rows, numbers: Sequence[int]) -> dict[str, Any]:
    nothing = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    true_rows = [_checked("truth", n, *truth.get(n, nothing)) for n in numbers]
    result_rows = [_checked("results", n, *results.get(n, nothing)) for n in numbers]
    similarities = [_box_iou(a, b) for (_, a), (_, b) in zip(true_rows, result_rows, strict=True)]
    return trackeval_data(
        [ids for ids, _ in true_rows], [ids for ids, _ in result_rows], similarities
    )


def _checked(
    name: str, number: int, ids: IntArray, boxes_xyxy: FloatArray
) -> tuple[IntArray, FloatArray]:
    if boxes_xyxy.shape != (len(ids), 4):
        raise DetectionError(
            f"{name}, frame {number + 1}: {len(ids)} ids and boxes of shape {boxes_xyxy.shape}, "
            f"expected ({len(ids)}, 4)"
        )
    if len(np.unique(ids)) != len(ids):
        raise DetectionError(
            f"{name}, frame {number + 1}: an id appears twice in {sorted(int(v) for v in ids)}"
        )
    return ids, boxes_xyxy


def _box_iou(a: FloatArray, b: FloatArray) -> npt.NDArray[np.float64]:
    # In float64, unlike the runtime's: an IoU of exactly 0.7 must not fall below the threshold.
    first, second = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(
        first[..., :2], second[..., :2]
    )
    inter = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (first, second)]
    union = areas[0] + areas[1] - inter
    return np.asarray(inter / np.where(union > 0, union, 1.0), np.float64)
