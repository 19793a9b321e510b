"""A made-up detector: the truth with jitter, misses, false alarms and scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..records import FloatArray, Observations


@dataclass(frozen=True, slots=True)
class DetectorNoise:
    """How the made-up detector of a scene errs.

    Attributes:
        jitter: Standard deviation of each box edge, in box widths or heights.
        miss: Chance of missing a figure in full view; it grows as less of it shows.
        min_visible: Figures of which less shows are never found.
        false_alarms: Expected false detections in a frame.
    """

    jitter: float = 0.03
    miss: float = 0.04
    min_visible: float = 0.3
    false_alarms: float = 0.15


def noisy_detections(
    boxes_xyxy: FloatArray,
    visible: FloatArray,
    size_hw: tuple[int, int],
    noise: DetectorNoise,
    rng: np.random.Generator,
) -> Observations:
    """What an imperfect detector reports, in no telling order.

    Args:
        boxes_xyxy: (N, 4) float32 true boxes in source pixels.
        visible: (N,) float32 share of each object that shows.
        size_hw: Height and width of the picture.
        noise: How the detector errs.
        rng: Where its errors come from.

    Returns:
        Boxes with scores in (0, 1], class 0, without masks and keypoints.
    """
    boxes: list[FloatArray] = []
    scores: list[float] = []
    for box, share in zip(boxes_xyxy, visible, strict=True):
        draw, edges, blur = rng.random(), rng.normal(0.0, noise.jitter, 4), rng.normal(0, 0.05)
        missed = noise.miss + 0.5 * (1.0 - float(share)) ** 2
        if share < noise.min_visible or draw < missed:
            continue
        size = np.tile(box[2:] - box[:2], 2)
        boxes.append((box + edges.clip(-0.2, 0.2) * size).astype(np.float32))
        scores.append(float(np.clip(0.62 + 0.33 * share + blur, 0.05, 1.0)))
    for _ in range(int(rng.poisson(noise.false_alarms))):
        boxes.append(_false_alarm(size_hw, rng))
        scores.append(float(rng.uniform(0.2, 0.65)))
    if not boxes:
        return Observations.empty()
    order = rng.permutation(len(boxes))
    return Observations(
        np.stack(boxes)[order],
        np.array(scores, np.float32)[order],
        np.zeros(len(boxes), np.int64),
    )


def _false_alarm(size_hw: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    height, width = size_hw
    tall = rng.uniform(0.15, 0.45) * height
    wide = tall * rng.uniform(0.3, 0.6)
    x, y = rng.uniform(0, width - wide), rng.uniform(0.2 * height, height - tall)
    return np.array([x, y, x + wide, y + tall], np.float32)
