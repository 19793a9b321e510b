"""The one layout of poses in the house, PoseTrack18's 17 joints, and what turns COCO's into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import BoolArray, FloatArray

Keypoints = npt.NDArray[np.floating[Any]]
"""(..., K, 3): x, y in pixels, confidence (<= 0: not seen)."""

_BODY = (
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
POSETRACK_JOINTS = ("nose", "head_bottom", "head_top", "left_ear", "right_ear", *_BODY)
COCO_JOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", *_BODY)

JOINTS = len(POSETRACK_JOINTS)

BOX_MARGIN = 0.1
"""What a box about joints is larger on each side, as a share of its width and height."""

CROWN = 1.6
"""How far the crown is from the shoulders, where nose, eyes and ears are at 1."""


def seen_joints(keypoints: Keypoints) -> BoolArray:
    """(..., K) bool: joints of (..., K, 3) with finite coordinates and a confidence above 0."""
    seen: BoolArray = np.isfinite(keypoints).all(axis=-1) & (keypoints[..., 2] > 0)
    return seen


def joint_box(keypoints: Keypoints) -> npt.NDArray[np.float64] | None:
    """(4,) left, top, right, bottom of the joints seen of (K, 3), tight; None without any.

    Of a single joint it has no area.
    """
    seen = keypoints[seen_joints(keypoints), :2].astype(np.float64)
    return np.concatenate([seen.min(axis=0), seen.max(axis=0)]) if len(seen) else None


def pose_boxes(keypoints: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Boxes about poses, `BOX_MARGIN` larger than the joints seen and never without area.

    Args:
        keypoints: (N, K, 3): x, y, confidence.

    Returns:
        (N, 4) float32 left, top, right, bottom, and (N,) bool: who has a joint seen; the others'
        boxes are all zero.
    """
    boxes = np.zeros((len(keypoints), 4), np.float32)
    shown = np.zeros(len(keypoints), np.bool_)
    for row, person in enumerate(keypoints):
        box = joint_box(person)
        if box is None:
            continue
        # A single joint, or joints in one line, still need a box with area.
        margin = np.maximum(BOX_MARGIN * (box[2:] - box[:2]), 0.5)
        boxes[row] = *(box[:2] - margin), *(box[2:] + margin)
        shown[row] = True
    return boxes, shown


def posetrack_from_coco(keypoints: FloatArray) -> FloatArray:
    """COCO's 17 joints in PoseTrack18's layout.

    PoseTrack18 has no eyes; its foot of the head is put between the shoulders, and its crown
    beyond the middle of nose, eyes and ears, seen from there. Either is as sure as the least sure
    joint it is made from, and not seen where one of them is not.

    Args:
        keypoints: (N, 17, 3) float32: x, y, confidence.

    Returns:
        (N, 17, 3) float32, a new array.
    """
    result = keypoints.copy()
    shoulders = keypoints[:, 5:7]
    foot = shoulders[..., :2].mean(axis=1)
    foot_sure = np.where(seen_joints(shoulders).all(axis=1), shoulders[..., 2].min(axis=1), 0)
    face = keypoints[:, :5]
    seen = seen_joints(face)
    middle = np.where(seen[..., None], face[..., :2], 0).sum(axis=1)
    middle /= np.maximum(seen.sum(axis=1), 1)[:, None]
    middle_sure = np.where(seen, face[..., 2], 1).min(axis=1)
    crown_sure = np.where(seen.any(axis=1), np.minimum(foot_sure, middle_sure), 0)
    for joint, places, sure in (
        (1, foot, foot_sure),
        (2, foot + CROWN * (middle - foot), crown_sure),
    ):
        result[:, joint] = np.where(sure[:, None] > 0, np.column_stack([places, sure]), 0)
    return np.asarray(result, np.float32)
