"""HOTA of keypoints as PoseTrack21 defines it: every joint by itself, at distances in head sizes.

Doering et al., "PoseTrack21: A dataset for person search, multi-object tracking and multi-person
pose tracking", CVPR 2022.  A joint of the truth counts where it is placed (x and y above 0), also
if it is hidden; one that is found, where it has a confidence too.  Ears do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...records import BoolArray, FloatArray, IntArray
from ...runtime.formats.keypoints import JOINTS, POSETRACK_JOINTS

if TYPE_CHECKING:
    from ..datasets.posetrack import Poses

Float64 = npt.NDArray[np.float64]
Pairs = tuple[IntArray, IntArray, Float64]
"""Of one frame: ids (N,) of the truth, (M,) of the results, and their similarities (N, M)."""

LIMITS: Float64 = np.arange(0.05, 0.99, 0.05)
"""Similarities from which a joint is found, HOTA's α."""

_REACH = 0.5001
"""Distance in head sizes at which two joints are no longer alike."""

COUNTED = [n for n in range(JOINTS) if not POSETRACK_JOINTS[n].endswith("_ear")]
"""The joints that PoseTrack21 scores."""


def placed(keypoints: FloatArray) -> BoolArray:
    """(...,) bool: which joints (..., 3) have a place in the image."""
    return np.asarray((keypoints[..., :2] > 0).all(axis=-1), np.bool_)


def keypoint_hota(frames: Sequence[tuple[Poses, Poses]]) -> tuple[float, dict[str, Any]]:
    """HOTA of one sequence, and what `combined_hota` makes one of several sequences of.

    Args:
        frames: Truth, with head sizes, and results of every labelled frame.

    Returns:
        The mean over `LIMITS` and joints; and for each limit the numbers of joints that are found,
        missed and too many, and the association accuracy, its mean over joints.
    """
    joints = [
        joint_counts([_pairs(true, found, joint) for true, found in frames]) for joint in COUNTED
    ]
    values = np.mean([_hota(*counts) for counts in joints])
    found, missed, wrong = (np.sum([counts[k] for counts in joints], axis=0) for k in range(3))
    together = np.mean([counts[3] for counts in joints], axis=0)
    columns = {"found": found, "missed": missed, "wrong": wrong, "together": together}
    return float(values), {name: column.tolist() for name, column in columns.items()}


def combined_hota(sequences: Iterable[dict[str, Any]]) -> float:
    """HOTA of several sequences: joints are added up, associations weighted by what is found."""
    rows = [{name: np.array(column) for name, column in one.items()} for one in sequences]
    found, missed, wrong = (
        np.sum([row[name] for row in rows], axis=0) for name in ("found", "missed", "wrong")
    )
    together = np.sum([row["together"] * row["found"] for row in rows], axis=0)
    return float(_hota(found, missed, wrong, together / np.maximum(1, found)).mean())


def joint_counts(frames: Sequence[Pairs]) -> tuple[Float64, Float64, Float64, Float64]:
    """Of one joint (19,) each, a limit: found, missed, wrong, and the association accuracy.

    In every frame the pairs of the largest sum of similarities are matched.
    """
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped,unused-ignore]

    true_ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(ids for ids, _, _ in frames)]))
    own_ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(ids for _, ids, _ in frames)]))
    matched = np.zeros((len(LIMITS), len(true_ids), len(own_ids)))
    true_count, own_count = np.zeros((len(true_ids), 1)), np.zeros((1, len(own_ids)))
    for ids, others, similar in frames:
        rows, columns = np.searchsorted(true_ids, ids), np.searchsorted(own_ids, others)
        true_count[rows, 0] += 1
        own_count[0, columns] += 1
        a, b = linear_sum_assignment(similar, maximize=True)
        enough = similar[a, b] >= LIMITS[:, None] - np.finfo(np.float64).eps
        matched[:, rows[a], columns[b]] += enough
    found = matched.sum(axis=(1, 2))
    shares = matched / np.maximum(1, true_count + own_count - matched)
    together = (matched * shares).sum(axis=(1, 2)) / np.maximum(1, found)
    return found, true_count.sum() - found, own_count.sum() - found, together


def _hota(found: Float64, missed: Float64, wrong: Float64, together: Float64) -> Float64:
    return np.asarray(np.sqrt(found / np.maximum(1, found + missed + wrong) * together), np.float64)


def _pairs(true: Poses, found: Poses, joint: int) -> Pairs:
    here = placed(true.keypoints[:, joint])
    there = placed(found.keypoints[:, joint]) & (found.keypoints[:, joint, 2] > 0)
    a = true.keypoints[here, joint, :2].astype(np.float64)
    b = found.keypoints[there, joint, :2].astype(np.float64)
    apart = np.hypot(*np.moveaxis(a[:, None] - b[None], -1, 0)) / true.head_sizes[here][:, None]
    return true.ids[here], found.ids[there], np.maximum(0, 1 - apart / _REACH)
