"""How well poses were tracked: on boxes about the joints, and joint by joint.

Two measures, since two are in use.  HOTA, IDF1, MOTA and switches are those of boxes about the
joints seen, a tenth larger on each side, matched at IoU 0.5.  MOTA@PCKh follows PoseTrack: every
joint is tracked by itself, right within half a head's size of the truth, and the mean of the
joints' MOTA is taken; it needs the truth's head sizes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runtime.boxes import iou_matrix
from ..runtime.pose_format import JOINTS, POSETRACK_JOINTS, pose_boxes, seen_joints
from .datasets import Sequence
from .metrics import trackeval_data, trackeval_metrics
from .posetrack_data import Poses, labelled_frames
from .scores import Score
from .trackeval_scores import combine, score_of

BOX_COLUMNS = ("HOTA", "IDF1", "MOTA", "FP", "FN", "IDs")
JOINT_COLUMN = "MOTA@PCKh"
COLUMNS = (*BOX_COLUMNS, JOINT_COLUMN)

Similarity = npt.NDArray[np.float64]


def score_posetrack(sequence: Sequence, results: Path) -> list[Score]:
    """Scores of one sequence.

    Args:
        sequence: With truth.
        results: PoseTrack18 JSON with `track_id`.

    Raises:
        ObservationError: A file is malformed, or the results are of other images.
        UnitrackError: TrackEval is not installed.
    """
    if sequence.truth is None:
        return []
    frames = list(labelled_frames(sequence, results))
    ids, result_ids = [true.ids for true, _ in frames], [found.ids for _, found in frames]
    boxes = score_of(trackeval_data(ids, result_ids, [_box_iou(*f) for f in frames]), BOX_COLUMNS)
    known = all(np.isfinite(true.head_sizes).all() for true, _ in frames)
    joints = _joint_counts(frames) if known else {}
    return [_with_joints(boxes, joints)]


def combine_posetrack(scores: list[Score]) -> Score:
    """One score for several sequences; joints only where all of them have them."""
    boxes = combine([Score(_boxes_only(s), s.group, s.counts) for s in scores])
    (_, clear, _) = trackeval_metrics()
    joints: dict[str, Any] = {}
    if all(score.counts["joints"] for score in scores):
        for name in POSETRACK_JOINTS:
            every = {
                str(n): score.counts["joints"][name]
                for n, score in enumerate(scores)
                if name in score.counts["joints"]
            }
            if every:
                joints[name] = _plain(clear.combine_sequences(every))
    return _with_joints(boxes, joints)


def _boxes_only(score: Score) -> dict[str, float]:
    return {name: value for name, value in score.values.items() if name != JOINT_COLUMN}


def _with_joints(boxes: Score, joints: dict[str, Any]) -> Score:
    mota = [counts["MOTA"] for counts in joints.values()]
    values = {**boxes.values, JOINT_COLUMN: sum(mota) / len(mota) if mota else math.nan}
    return Score(values, boxes.group, {**boxes.counts, "joints": joints}, boxes.notes)


def _box_iou(true: Poses, found: Poses) -> Similarity:
    boxes, others = pose_boxes(true.keypoints)[0], pose_boxes(found.keypoints)[0]
    return np.asarray(iou_matrix(boxes, others), np.float64)


def _joint_counts(frames: list[tuple[Poses, Poses]]) -> dict[str, Any]:
    """CLEAR's counts of every joint that is in the truth at all."""
    (_, clear, _) = trackeval_metrics()
    counts = {}
    for joint in range(JOINTS):
        parts = [_joint_frame(true, found, joint) for true, found in frames]
        if any(len(ids) for ids, _, _ in parts):
            ids, result_ids, similar = (list(part) for part in zip(*parts, strict=True))
            data = trackeval_data(ids, result_ids, similar)
            counts[POSETRACK_JOINTS[joint]] = _plain(clear.eval_sequence(data))
    return counts


def _joint_frame(true: Poses, found: Poses, joint: int) -> tuple[Any, Any, Similarity]:
    here, there = (seen_joints(poses.keypoints[:, joint]) for poses in (true, found))
    a = true.keypoints[here, joint, :2].astype(np.float64)
    b = found.keypoints[there, joint, :2].astype(np.float64)
    apart = np.hypot(*np.moveaxis(a[:, None] - b[None], -1, 0))
    # TrackEval matches from 0.5 on: there the joint is half a head's size away.
    similar = np.maximum(0, 1 - apart / true.head_sizes[here][:, None])
    return true.ids[here], found.ids[there], similar


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in fields.items()}
