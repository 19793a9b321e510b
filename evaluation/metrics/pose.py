"""How well poses are propagated (PCK) and tracked (on boxes, and joint by joint)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import FloatArray
from ...runtime.boxes import iou_matrix
from ...runtime.formats.keypoints import (
    JOINTS,
    POSETRACK_JOINTS,
    joint_box,
    pose_boxes,
    seen_joints,
)
from .keypoint_ap import keypoint_counts, keypoint_map
from .keypoint_hota import combined_hota, keypoint_hota
from .scores import Score, combine, score_of, trackeval_data, trackeval_metrics

if TYPE_CHECKING:
    from ..datasets.base import Sequence
    from ..datasets.posetrack import Poses


def keypoint_errors(found: FloatArray, truth: FloatArray) -> npt.NDArray[np.float64]:
    """Distances of joints in sizes of their persons.

    A person's size is the longer side of the tight box of the true joints in the same frame.

    Args:
        found: (..., K, 3) x, y, confidence of the same persons; a joint that was not found is
            infinitely far.
        truth: (..., K, 3).

    Returns:
        (..., K) float64; NaN for joints that are not in the truth.

    Raises:
        DetectionError: The shapes differ.
    """
    if found.shape != truth.shape:
        raise DetectionError(
            f"keypoints to be compared differ in shape: found {found.shape}, truth {truth.shape}"
        )
    people = truth.reshape(-1, *truth.shape[-2:])
    boxes = [joint_box(person) for person in people]
    sizes = np.array([np.nan if box is None else (box[2:] - box[:2]).max() for box in boxes])
    # A true person of one joint has no size: nothing but the exact place is right.
    sizes = np.maximum(sizes, 1e-9).reshape(truth.shape[:-2])
    places = np.where(seen_joints(found)[..., None], found[..., :2], np.inf).astype(np.float64)
    true = np.where(seen_joints(truth)[..., None], truth[..., :2], np.nan).astype(np.float64)
    offset = places - true
    errors: npt.NDArray[np.float64] = np.hypot(offset[..., 0], offset[..., 1]) / sizes[..., None]
    return np.where(np.isnan(true[..., 0]), np.nan, errors)


def pck(found: FloatArray, truth: FloatArray, limit: float = 0.2) -> float:
    """Share of true joints that were found within `limit` sizes of their person.

    Args:
        found: (..., K, 3) x, y, confidence.
        truth: (..., K, 3) of the same persons and frames.
        limit: In sizes; see `keypoint_errors`.

    Raises:
        DetectionError: The shapes differ, or the truth holds no joint.
    """
    errors = keypoint_errors(found, truth)
    counted = errors[~np.isnan(errors)]
    if not len(counted):
        raise DetectionError("PCK: the truth holds no joint, there is nothing to score")
    return float((counted <= limit).mean())


BOX_COLUMNS = ("HOTA", "IDF1", "MOTA", "FP", "FN", "IDs")
JOINT_COLUMNS = ("MOTA@PCKh", "HOTA@PCKh", "mAP@PCKh")
COLUMNS = (*BOX_COLUMNS, *JOINT_COLUMNS)
Similarity = npt.NDArray[np.float64]


def score_posetrack(sequence: Sequence, results: Path) -> list[Score]:
    """Scores of one sequence.

    Args:
        sequence: With truth.
        results: PoseTrack18 JSON with `track_id`.

    Raises:
        DetectionError: A file is malformed, or the results are of other images.
        UnitrackError: TrackEval is not installed.
    """
    if sequence.truth is None:
        return []
    from ..datasets.posetrack import labelled_frames

    every = list(labelled_frames(sequence, results))
    # Who has hidden joints alone is in no box, and counts in HOTA of keypoints.
    frames = [(true.shown(), found.shown()) for true, found in every]
    ids, result_ids = [true.ids for true, _ in frames], [found.ids for _, found in frames]
    boxes = score_of(trackeval_data(ids, result_ids, [_box_iou(*f) for f in frames]), BOX_COLUMNS)
    joints = _joint_counts(frames) if _heads_known(frames) else {}
    counts: dict[str, Any] = {"joints": joints, "hota": None, "ap": None}
    hota = ap = math.nan
    if _heads_known(every):
        hota, counts["hota"] = keypoint_hota(every)
        counts["ap"] = keypoint_counts(every)
        ap = keypoint_map([counts["ap"]])
    return [_with_joints(boxes, (_mean_mota(joints), hota, ap), counts)]


def _heads_known(frames: list[tuple[Poses, Poses]]) -> bool:
    return all(np.isfinite(true.head_sizes).all() for true, _ in frames)


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
    hotas, aps = ([score.counts[name] for score in scores] for name in ("hota", "ap"))
    hota = math.nan if None in hotas else combined_hota(hotas)
    ap = math.nan if None in aps else keypoint_map(aps)
    counts = {"joints": joints, "hota": None, "ap": None}
    return _with_joints(boxes, (_mean_mota(joints), hota, ap), counts)


def _boxes_only(score: Score) -> dict[str, float]:
    return {name: value for name, value in score.values.items() if name not in JOINT_COLUMNS}


def _mean_mota(joints: dict[str, Any]) -> float:
    mota = [counts["MOTA"] for counts in joints.values()]
    return sum(mota) / len(mota) if mota else math.nan


def _with_joints(boxes: Score, values: tuple[float, ...], counts: dict[str, Any]) -> Score:
    joints = dict(zip(JOINT_COLUMNS, values, strict=True))
    return Score({**boxes.values, **joints}, boxes.group, {**boxes.counts, **counts}, boxes.notes)


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
