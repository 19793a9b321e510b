"""Gaps of tracks filled afterwards, over a finished video: slow, one number after the other."""

from __future__ import annotations

import itertools

TOLERANCE_S = 0.002


def fill(frames: list[dict], seconds: float, fps: float) -> list[dict]:
    """What a track has in the frames between two in which it is detected.

    Args:
        frames: In order; `index`, `time_s`, `size_hw`, and `rows` by identity: `box` of four
            numbers, `score`, `label`, `joints` of x, y, confidence each, or None, and `predicted`:
            whether motion alone put it there.
        seconds: The longest gap, from the frame before it to the frame after it.
        fps: Where the clock stands still, frame numbers count at this rate.

    Returns:
        For each frame the rows that are put in, by identity, in place of predicted ones or not.
    """
    clock = [0.0]
    for earlier, later in itertools.pairwise(frames):
        step = later["time_s"] - earlier["time_s"]
        if step <= 0:
            step = max(1, later["index"] - earlier["index"]) / fps
        clock.append(clock[-1] + step)
    put: list[dict] = [{} for _ in frames]
    for identity in {i for frame in frames for i in frame["rows"]}:
        there = [
            k
            for k, frame in enumerate(frames)
            if identity in frame["rows"] and not frame["rows"][identity]["predicted"]
        ]
        for first, last in itertools.pairwise(there):
            sizes = {frame["size_hw"] for frame in frames[first : last + 1]}
            if clock[last] - clock[first] > seconds + TOLERANCE_S or len(sizes) > 1:
                continue
            one, other = frames[first]["rows"][identity], frames[last]["rows"][identity]
            for k in range(first + 1, last):
                share = (clock[k] - clock[first]) / (clock[last] - clock[first])
                put[k][identity] = _between(one, other, share)
    return put


def _between(one: dict, other: dict, share: float) -> dict:
    def mean(a: float, b: float) -> float:
        return a * (1 - share) + b * share

    joints = None
    if one["joints"] is not None and other["joints"] is not None:
        joints = []
        for a, b in zip(one["joints"], other["joints"], strict=True):
            seen = a[2] > 0 and b[2] > 0
            joints.append([mean(*pair) for pair in zip(a, b, strict=True)] if seen else [0.0] * 3)
    return {
        "box": [mean(*pair) for pair in zip(one["box"], other["box"], strict=True)],
        "score": mean(one["score"], other["score"]),
        "label": one["label"],
        "joints": joints,
    }
