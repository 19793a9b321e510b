"""Skeletons and images' features for the tests of poses."""

from __future__ import annotations

import numpy as np
from unitrack_edge.records import Detections
from unitrack_edge.runtime.formats.keypoints import pose_boxes
from unitrack_edge.runtime.preprocessing import FeatureMap, Letterbox

# PoseTrack18's joints of somebody upright, in a box of 1 × 1.
UPRIGHT = np.array(
    [
        (0.50, 0.10), (0.50, 0.18), (0.50, 0.00), (0.56, 0.08), (0.44, 0.08),
        (0.75, 0.20), (0.25, 0.20), (0.90, 0.38), (0.10, 0.38), (1.00, 0.52), (0.00, 0.52),
        (0.65, 0.54), (0.35, 0.54), (0.68, 0.76), (0.32, 0.76), (0.70, 1.00), (0.30, 1.00),
    ],
    np.float32,
)  # fmt: skip


def person(left, top, width=30, height=80, missing=()):
    """(17, 3) joints, all seen but those `missing`."""
    joints = np.ones((17, 3), np.float32)
    joints[:, :2] = UPRIGHT * (width, height) + (left, top)
    joints[list(missing)] = 0
    return joints


def people(*persons, boxes=None, scores=None):
    """Detections of persons with boxes about their joints."""
    joints = np.array(persons, np.float32).reshape(-1, 17, 3)
    count = len(joints)
    found = pose_boxes(joints)[0] if boxes is None else np.array(boxes, np.float32)
    return Detections(
        found,
        np.array([0.9] * count if scores is None else scores, np.float32),
        np.zeros(count, np.int64),
        keypoints=joints,
    )


def noise_features(size_hw, channels, seed=0, shift=0):
    """Unit points that tell every cell from every other, moved to the right by whole cells."""
    rows, cols = (-(-side // 8) for side in size_hw)
    points = np.random.default_rng(seed).standard_normal((1, rows, cols, channels))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    moved = np.roll(points, shift, axis=2).astype(np.float32)
    return FeatureMap(moved, Letterbox.fit(size_hw, size_hw), 8)
