"""Scores of a task's results on the procedural clip, against its exact truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import DetectionError
from ...records import BoolArray, FloatArray, IntArray, Tracks
from ...runtime.boxes import xyxy_to_xywh
from ...runtime.formats.davis import read_label_png
from ...runtime.formats.keypoints import pose_boxes
from ...runtime.formats.mot import read_mot_results, read_mot_truth
from ...runtime.formats.mots import MaskRows
from ...runtime.formats.rle import encode_rle
from ..metrics.davis import vos_j_mean
from ..metrics.mot import MotScores, Rows, rows_of_tracks, score_mot
from ..metrics.mots import score_mots
from ..metrics.pose import pck
from ..metrics.sot import success_auc
from .files import MIN_TRUTH_VISIBLE, SceneFiles
from .scene import Scene, SceneTruth


@dataclass(frozen=True, slots=True)
class VosScore:
    """Mask propagation against the truth: J averaged over `objects` objects of the first frame."""

    j_mean: float
    objects: int


def score_boxes(clip: SceneFiles, results: Path, frames: int) -> MotScores:
    """Score `tracks.txt` against the clip's truth over its first `frames` frames."""
    return score_mot(read_mot_results(results), read_mot_truth(clip.truth), range(frames))


def score_masks(clip: SceneFiles, results: Path, frames: int) -> VosScore:
    """Score a folder of masks against the clip's truth over its first `frames` frames.

    Objects that enter after the first frame were not given to the tracker, and do not count.

    Raises:
        DetectionError: Fewer than three frames, which J-mean is not defined for.
    """
    if frames < 3:
        raise DetectionError(f"scoring masks needs 3 frames or more, got {frames}")
    given = np.unique(read_label_png(clip.init_mask))
    names = [f"{index:05d}.png" for index in range(frames)]
    found = [read_label_png(results / name) for name in names]
    truth = [read_label_png(clip.masks / name) for name in names]
    truth = [np.where(np.isin(labels, given), labels, 0) for labels in truth]
    return VosScore(vos_j_mean(found, truth), int(np.count_nonzero(given)))


TARGET = 2
"""The figure that `sot` follows."""


def score(scene: Scene, task: str, tracks: Sequence[Tracks]) -> str:
    """The scores of a task on the first frames of a scene, against the exact truth.

    Args:
        scene: The clip.
        task: A task.
        tracks: Of the frames 0, 1, …; at least three.

    Returns:
        The names and values of the task's usual metrics.

    Raises:
        UnitrackError: TrackEval is not installed.
    """
    truth = [_asked(scene.truth(index)) for index in range(len(tracks))]
    return _SCORES[task](tracks, truth)


def _asked(truth: SceneTruth) -> SceneTruth:
    """The figures that a tracker could find."""
    seen: BoolArray = truth.visible >= MIN_TRUTH_VISIBLE
    return replace(
        truth,
        ids=truth.ids[seen],
        boxes_xyxy=truth.boxes_xyxy[seen],
        visible=truth.visible[seen],
        masks=truth.masks[seen],
        keypoints=truth.keypoints[seen],
    )


def _score_sot(tracks: Sequence[Tracks], truth: Sequence[SceneTruth]) -> str:
    boxes = np.full((len(truth), 4), np.nan)
    for row, real in enumerate(truth):
        place = np.flatnonzero(real.ids == TARGET)
        if len(place):
            boxes[row] = xyxy_to_xywh(real.boxes_xyxy[place].astype(np.float64))[0]
    found = np.concatenate([t.detections.boxes_xyxy for t in tracks]).astype(np.float64)
    return f"AUC {success_auc(xyxy_to_xywh(found), boxes):.3f}"


def _score_vos(tracks: Sequence[Tracks], truth: Sequence[SceneTruth]) -> str:
    given = truth[0].ids
    labels = [real.label_map() for real in truth]
    labels = [np.where(np.isin(found, given), found, 0) for found in labels]
    found = [t.label_map for t in tracks if t.label_map is not None]
    return f"J {vos_j_mean(found, labels):.3f} over {len(given)} objects"


def _score_mot(tracks: Sequence[Tracks], truth: Sequence[SceneTruth]) -> str:
    return _tracked(
        rows_of_tracks(tracks), {real.frame_index: (real.ids, real.boxes_xyxy) for real in truth}
    )


def _score_posetrack(tracks: Sequence[Tracks], truth: Sequence[SceneTruth]) -> str:
    """On boxes around the joints."""
    real = {}
    for frame in truth:
        boxes, shown = pose_boxes(frame.keypoints)
        real[frame.frame_index] = frame.ids[shown], boxes[shown]
    return _tracked(rows_of_tracks(tracks), real)


def _tracked(results: Rows, truth: Rows) -> str:
    scores = score_mot(results, truth)
    return (
        f"HOTA {scores.hota:.3f}  IDF1 {scores.idf1:.3f}  MOTA {scores.mota:.3f}  "
        f"{scores.id_switches} id switches"
    )


def _score_mots(tracks: Sequence[Tracks], truth: Sequence[SceneTruth]) -> str:
    found = {
        t.frame_index: _mask_rows(t.ids, t.detections.masks)
        for t in tracks
        if t.detections.masks is not None
    }
    real = {t.frame_index: _mask_rows(t.ids, t.masks) for t in truth}
    scores = score_mots(found, real)
    return (
        f"HOTA {scores.hota:.3f}  IDF1 {scores.idf1:.3f}  sMOTSA {scores.smotsa:.3f}  "
        f"{scores.id_switches} id switches"
    )


def _mask_rows(ids: IntArray, masks: BoolArray) -> MaskRows:
    size = masks.shape[1], masks.shape[2]
    return MaskRows(ids, size, tuple(encode_rle(mask).encode() for mask in masks))


def _score_pose(tracks: Sequence[Tracks], truth: Sequence[SceneTruth]) -> str:
    """Over the joints that were given and can be seen."""
    given = {int(k): p[:, 2] > 0 for k, p in zip(truth[0].ids, truth[0].keypoints, strict=True)}
    found, real = [], []
    for track, frame in zip(tracks[1:], truth[1:], strict=True):
        seen = track.detections.keypoints
        places = dict(zip(track.ids.tolist(), seen if seen is not None else [], strict=True))
        for identity, joints in zip(frame.ids.tolist(), frame.keypoints, strict=True):
            if identity in given:
                asked: FloatArray = joints * given[identity][:, None]
                real.append(asked)
                found.append(places.get(identity, np.zeros_like(joints)))
    return f"PCK@0.2 {pck(np.stack(found), np.stack(real)):.3f} over {len(given)} people"


_SCORES: dict[str, Callable[[Sequence[Tracks], Sequence[SceneTruth]], str]] = {
    "sot": _score_sot,
    "vos": _score_vos,
    "mot": _score_mot,
    "mots": _score_mots,
    "posetrack": _score_posetrack,
    "pose": _score_pose,
}
