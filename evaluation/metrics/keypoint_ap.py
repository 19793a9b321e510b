"""mAP of keypoints as PoseTrack21 defines it: of poses, whatever their identities are.

In every frame a found pose belongs to the true pose of which it has the largest share of joints
within half a head's size, and a true pose takes the one with the largest share of those that belong
to it.  Joints of the poses taken are right where they are that near; all others are wrong.  AP of a
joint is the area under precision over recall by the joints' confidences, all sequences together,
and mAP its mean over the 15 joints.  Which joints count is said in `keypoint_hota`, but for one
thing: what was found counts at any confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...records import BoolArray
from .detection import average_precision
from .keypoint_hota import COUNTED, placed

if TYPE_CHECKING:
    from ..datasets.posetrack import Poses

LIMIT = 0.5
"""Distance in head sizes up to which a joint is right."""

Counts = list[dict[str, Any]]
"""Of each counted joint: confidences of the `right` and of the `wrong` ones, and how many are
`true`."""


def keypoint_counts(frames: Sequence[tuple[Poses, Poses]]) -> Counts:
    """What `keypoint_map` makes a score of.

    Args:
        frames: Truth, with head sizes, and results of every labelled frame.
    """
    counts: Counts = [{"right": [], "wrong": [], "true": 0} for _ in COUNTED]
    for true, found in frames:
        here, there = placed(true.keypoints[:, COUNTED]), placed(found.keypoints[:, COUNTED])
        right = _right(true, found, here, there)
        sure = found.keypoints[:, COUNTED, 2]
        for joint, count in enumerate(counts):
            count["true"] += int(np.count_nonzero(here[:, joint]))
            for name, which in (("right", right), ("wrong", ~right)):
                count[name] += sure[there[:, joint] & which[:, joint], joint].tolist()
    return counts


def _right(true: Poses, found: Poses, here: BoolArray, there: BoolArray) -> BoolArray:
    """(M, 15) which joints of M found poses are those of N true ones.

    Args:
        true: The truth.
        found: The results.
        here: (N, 15) which joints the truth has.
        there: (M, 15) which were found.
    """
    right = np.zeros(there.shape, np.bool_)
    if not len(true) or not len(found):
        return right
    a, b = (poses.keypoints[:, COUNTED, :2].astype(np.float64) for poses in (true, found))
    apart = np.hypot(*np.moveaxis(a[:, None] - b[None], -1, 0)) / true.head_sizes[:, None, None]
    alike = (apart <= LIMIT) & here[:, None] & there[None]
    share = alike.sum(axis=2) / np.maximum(1, here.sum(axis=1))[:, None]
    belongs = share.argmax(axis=0) == np.arange(len(true))[:, None]
    share = np.where(belongs, share, 0.0)
    pose, taken = share.argmax(axis=1), share.max(axis=1) > 0
    right[pose[taken]] = alike[taken, pose[taken]]
    return right


def keypoint_map(sequences: Iterable[Counts]) -> float:
    """mAP of several sequences together, 0 to 1; a joint that the truth never has counts 0.

    Joints of equal confidence are one step of the curve: how results are sorted does not matter.
    """
    values = []
    for joints in zip(*sequences, strict=True):
        wrong, right = (np.concatenate([j[name] for j in joints]) for name in ("wrong", "right"))
        is_right = np.arange(len(wrong) + len(right)) >= len(wrong)
        total = sum(joint["true"] for joint in joints)
        values.append(average_precision(np.concatenate([wrong, right]), is_right, total))
    return float(np.mean(values))
