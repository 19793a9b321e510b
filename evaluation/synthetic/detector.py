"""Made-up detectors of boxes, masks and poses: the truth with jitter, misses, false alarms."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...records import BoolArray, Detections, FloatArray
from ...runtime.boxes import mask_boxes, valid_rows
from ...runtime.formats.keypoints import pose_boxes

CLASS_NAMES = ("person",)
"""The scene has walkers only."""


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
) -> Detections:
    """What an imperfect detector reports, in random order.

    Args:
        boxes_xyxy: (N, 4) float32 true boxes in source pixels.
        visible: (N,) float32 share of each object that shows.
        size_hw: Height and width of the image.
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
        return Detections.empty()
    order = rng.permutation(len(boxes))
    return Detections(
        np.stack(boxes)[order],
        np.array(scores, np.float32)[order],
        np.zeros(len(boxes), np.int64),
        class_names=CLASS_NAMES,
    )


def noisy_masks(
    masks: BoolArray, visible: FloatArray, noise: DetectorNoise, rng: np.random.Generator
) -> Detections:
    """What an imperfect segmenter reports: masks with uncertain edges, in random order.

    Args:
        masks: (N, H, W) bool, what can be seen of every object.
        visible: (N,) float32 share of each object that shows.
        noise: How the segmenter errs; `jitter` moves edges by that share of the mask's height.
        rng: Where its errors come from.

    Returns:
        Masks with their tight boxes, score 1, class 0.
    """
    found = [
        _ragged(masks[row], noise.jitter, rng) for row in _found_rows(visible, noise, rng).tolist()
    ]
    rough = np.stack(found) if found else np.zeros((0, *masks.shape[1:]), np.bool_)
    boxes = mask_boxes(rough)
    kept = valid_rows(boxes)
    count = int(kept.sum())
    scores, classes = np.ones(count, np.float32), np.zeros(count, np.int64)
    return Detections(boxes[kept], scores, classes, rough[kept], class_names=CLASS_NAMES)


def noisy_poses(
    keypoints: FloatArray, visible: FloatArray, noise: DetectorNoise, rng: np.random.Generator
) -> Detections:
    """What an imperfect pose estimator reports, in random order.

    Args:
        keypoints: (N, K, 3) float32 true joints: x, y in source pixels, confidence.
        visible: (N,) float32 share of each object that shows.
        noise: How the estimator errs: joints by a third of `jitter`, in body sizes, and each is
            missed with the chance `miss`.
        rng: Where its errors come from.

    Returns:
        Poses with boxes around their joints, scores in (0, 1], class 0.
    """
    rows = _found_rows(visible, noise, rng)
    found = keypoints[rows]
    size = np.ptp(pose_boxes(found)[0].reshape(-1, 2, 2), axis=1).max(axis=-1, initial=0.0)
    offsets = rng.normal(0.0, noise.jitter / 3, (*found.shape[:2], 2)).clip(-0.1, 0.1)
    seen = (found[..., 2] > 0) & (rng.random(found.shape[:2]) >= noise.miss)
    confidence = np.where(seen, rng.uniform(0.6, 1.0, seen.shape), 0.0)
    places = (found[..., :2] + offsets * size[:, None, None]) * seen[..., None]
    poses = np.concatenate([places, confidence[..., None]], axis=-1).astype(np.float32)
    boxes, shown = pose_boxes(poses)
    scores = (0.6 + 0.4 * visible[rows]).astype(np.float32)
    classes = np.zeros(len(rows), np.int64)
    people = Detections(boxes, scores, classes, keypoints=poses, class_names=CLASS_NAMES)
    return people[shown]


def _found_rows(
    visible: FloatArray, noise: DetectorNoise, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Which objects are found; those that hardly show more seldom."""
    missed = noise.miss + 0.5 * (1.0 - visible.astype(np.float64)) ** 2
    found = (visible >= noise.min_visible) & (rng.random(len(visible)) >= missed)
    return rng.permutation(np.flatnonzero(found))


def _ragged(mask: BoolArray, jitter: float, rng: np.random.Generator) -> BoolArray:
    """A mask whose edge wanders in and out by about `jitter` of its height."""
    reach = max(0.5, jitter * float(mask.any(axis=1).sum()) / 2)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), reach)
    coarse = rng.uniform(-0.35, 0.35, tuple(-(-side // 12) for side in mask.shape))
    drift = cv2.resize(coarse.astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    # Away from the object nothing is found, however the drift overshoots.
    return np.asarray((soft > 0.1) & (soft + drift > 0.5), np.bool_)


def _false_alarm(size_hw: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    height, width = size_hw
    tall = rng.uniform(0.15, 0.45) * height
    wide = tall * rng.uniform(0.3, 0.6)
    x, y = rng.uniform(0, width - wide), rng.uniform(0.2 * height, height - tall)
    return np.array([x, y, x + wide, y + tall], np.float32)
