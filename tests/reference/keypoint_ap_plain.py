"""PoseTrack21's mAP of keypoints, pose by pose and joint by joint.

A found pose and a true one agree by the share of the true one's joints that lie within half a head.
A found pose may only be the true one that it agrees with most; of those that may be the same true
one, it is the one that agrees most.  Its joints within half a head are right, and all other joints
of all found poses wrong.  A joint's AP: the confidences from high to low are thresholds, precision
at a recall is the best that is had at that recall or above, and AP the area under it.
"""

from __future__ import annotations

import math

EARS = (3, 4)


def mean_ap(frames):
    """mAP, 0 to 1.

    Args:
        frames: Of each frame the true poses as (joints, head size), and the found ones as joints:
            17 of (x, y, confidence), of which 3 and 4 are ears.
    """
    found, total = {}, {}
    for true, own in frames:
        for joints, _ in true:
            for k in range(17):
                total[k] = total.get(k, 0) + is_placed(joints[k])
        partner = partners(true, own)
        for number, joints in enumerate(own):
            for k in range(17):
                if is_placed(joints[k]):
                    mate = partner.get(number)
                    right = mate is not None and near(true[mate], joints, k)
                    found.setdefault(k, []).append((joints[k][2], right))
    counted = [k for k in range(17) if k not in EARS]
    return sum(ap(found.get(k, []), total.get(k, 0)) for k in counted) / len(counted)


def partners(true, own):
    wishes = {}
    for number, joints in enumerate(own):
        agreed = [agreement(pose, joints) for pose in true]
        if agreed:
            wishes[number] = agreed.index(max(agreed))
    partner = {}
    for mate, pose in enumerate(true):
        best = 0
        for number, wish in wishes.items():
            agreed = agreement(pose, own[number])
            if wish == mate and agreed > best:
                best = agreed
                partner = {k: v for k, v in partner.items() if v != mate} | {number: mate}
    return partner


def agreement(pose, joints):
    counted = [k for k in range(17) if k not in EARS]
    there = sum(is_placed(pose[0][k]) for k in counted)
    return sum(near(pose, joints, k) for k in counted) / there if there else 0


def is_placed(joint):
    return joint[0] > 0 and joint[1] > 0


def near(pose, joints, k):
    a, b = pose[0][k], joints[k]
    if not is_placed(a) or not is_placed(b):
        return False
    return math.dist(a[:2], b[:2]) / pose[1] <= 0.5


def ap(found, total):
    if not total:
        return 0
    curve = []
    for threshold in sorted({score for score, _ in found}, reverse=True):
        kept = [right for score, right in found if score >= threshold]
        curve.append((sum(kept) / total, sum(kept) / len(kept)))
    area = before = 0
    for number, (recall, _) in enumerate(curve):
        best = max(precision for _, precision in curve[number:])
        area += (recall - before) * best
        before = recall
    return area
