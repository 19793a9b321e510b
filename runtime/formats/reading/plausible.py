"""What boxes and scores of a detection file most likely are, where they cannot be what they say.

Every function answers None (or no remark) for a file that is what it seems to be.  Whoever changes
something by an answer says so in a note.
"""

from __future__ import annotations

import numpy as np

from ....records import BoolArray, FloatArray, IntArray
from ...boxes import Boxes, valid_rows

LEAST_ROWS = 4
"""Fewer boxes do not say what a file means."""

_MOST = 0.95
_MEDIAN_ODDS = 3.0
"""What the odds of the median detection of a file are taken to be: right three times in four."""


def first_of_each(frames: IntArray, boxes_xyxy: Boxes, scores: FloatArray) -> BoolArray:
    """Which rows to keep so that no frame has one box twice, to a hundredth of a pixel.

    Args:
        frames: (M,) the rows' frames.
        boxes_xyxy: (M, 4).
        scores: (M,): of equal boxes the one of the best score is kept, of equal scores the first.

    Returns:
        (M,) bool.
    """
    kept = np.ones(len(frames), np.bool_)
    if len(frames) < 2:
        return kept
    places = np.round(boxes_xyxy.astype(np.float64), 2)
    keys = np.column_stack([frames.astype(np.float64), places])
    order = np.lexsort((-scores, *keys.T))
    kept[order[1:]] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    return kept


def counts_from_zero(frames: IntArray, source_frames: int | None = None) -> bool:
    """Whether a file's frames, which should count from 1, count from 0.

    They do where one is 0, unless that one does not go with the others: frame 0 has at most a third
    of the rows that frame 1 and the median frame have; or it is far from the others, which have no
    such gap among them; or the file has one frame more than the source, the last of which has as
    many rows as frame 0.

    Args:
        frames: (M,) the rows' frames.
        source_frames: How many the source has; None where that is not certain.
    """
    numbers, rows = np.unique(frames, return_counts=True)
    if not len(numbers) or numbers[0] != 0 or len(numbers) <= LEAST_ROWS:
        return bool(len(numbers) and numbers[0] == 0)
    others, first, rest = numbers[1:], int(rows[0]), rows[1:]
    sparse = others[0] == 1 and 3 * first <= min(int(rest[0]), float(np.median(rest)))
    alone = others[0] > 10 * int(np.diff(others).max())
    one_more = others[-1] == source_frames and first <= rest[-1]
    return not (sparse or alone or one_more)


def calibrated_scores(scores: FloatArray) -> FloatArray:
    """Raw scores as probabilities; scores of which none is above 1 are probabilities already.

    Public detection files hold margins of classifiers, from below 0 to above 100.  The odds of a
    detection are taken to be in proportion to its score, and those of the file's median detection
    to be 3:1, as they are where a detector is run at a usual threshold: `p = o / (1 + o)` with
    `o = 3 · score / median`.  Scores of 0 and less become 0.

    Args:
        scores: (N,) float32.

    Returns:
        (N,) float32.
    """
    if not (scores > 1).any():
        return scores
    positive = np.maximum(scores.astype(np.float64), 0.0)
    odds = _MEDIAN_ODDS * positive / float(np.median(positive[positive > 0]))
    calibrated: FloatArray = (odds / (1.0 + odds)).astype(np.float32)
    return calibrated


def are_percent(scores: FloatArray) -> bool:
    """Whether scores are percentages: of 0 to 100, above 1, and rounded as people do or near 100.

    Margins of classifiers have many digits and end anywhere.
    """
    if not len(scores) or scores.min() < 0 or not 75 <= scores.max() <= 100:
        return False
    hundredths = scores.astype(np.float64) * 100
    rounded = bool((np.abs(hundredths - np.round(hundredths)) < 0.01).all())
    return rounded or bool(scores.max() > 95 and np.median(scores) > 50)


def scores_as_probabilities(scores: FloatArray, calibrate: bool) -> tuple[FloatArray, str | None]:
    """Scores between 0 and 1, and what was said in the file, for a note.

    Args:
        scores: (N,) float32.
        calibrate: Whether raw scores become probabilities, see `calibrated_scores`; if not, they
            stay as they are.

    Returns:
        (N,) float32, and None where nothing is to be said.
    """
    if not (scores > 1).any():
        if not (scores < 0).any():
            return scores, None
        span = f"({scores.min():g} to {scores.max():g})"
        return scores, f"scores below 0 {span}, no probabilities: compared with limits as they are"
    span = f"({scores.min():g} to {scores.max():g})"
    if are_percent(scores):
        return scores / np.float32(100), f"scores in percent {span}, divided by 100"
    if not calibrate:
        return scores, f"raw scores {span}, compared with limits as they are"
    return (
        calibrated_scores(scores),
        f"raw scores {span}, taken as odds: the median score is probability 0.75",
    )


def boxes_from_corners(
    boxes_xyxy: FloatArray, size_hw: tuple[int, int], origin: float = 0.0
) -> FloatArray | None:
    """The boxes of a file that has right and bottom where its format has width and height.

    So it is where many boxes reach markedly beyond the image, and nearly all lie in it once they
    are read as corners, which boxes with a width and height hardly do: only those near the upper
    left corner are wider than their left edge is far.

    Args:
        boxes_xyxy: (M, 4) as its format says, `origin` taken off.
        size_hw: Of the image.
        origin: What the file calls the first pixel.

    Returns:
        (M, 4) float32; None where the boxes are as the format says, or of no meaning either way.
    """
    if len(boxes_xyxy) < LEAST_ROWS:
        return None
    limits = np.array(size_hw[::-1], np.float64)
    boxes = boxes_xyxy.astype(np.float64)
    beyond = (boxes[:, 2:] > 1.05 * limits + 2).any(axis=1)
    if 4 * int(np.count_nonzero(beyond)) <= len(boxes):
        return None
    # Width and height stand there as they are, from the same first pixel as left and top.
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] - origin], axis=1)
    fits = valid_rows(corners) & (corners[:, 2:] <= 1.02 * limits + 2).all(axis=1)
    if int(np.count_nonzero(fits)) < _MOST * len(boxes):
        return None
    # Those that make no box at all stay what they are: far outside, and left out as such.
    return np.asarray(np.where(fits[:, None], corners, boxes), np.float32)


def perhaps_corners(frames: IntArray, boxes_xyxy: FloatArray, size_hw: tuple[int, int]) -> bool:
    """Whether boxes with a width and height could have right and bottom in their place.

    Then every width is larger than the left edge is far, and every height than the top edge, also
    of boxes that are away from the upper left corner, where others hardly are so large.

    Args:
        frames: (M,) the boxes' frames.
        boxes_xyxy: (M, 4) as the format says.
        size_hw: Of the image.
    """
    if len(np.unique(frames)) < 4 or len(np.unique(np.round(boxes_xyxy), axis=0)) < 8:
        return False
    places, sides = boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    away = (places > np.array(size_hw[::-1], np.float32) / 4).any(axis=1)
    return bool((sides > places).all() and 2 * int(np.count_nonzero(away)) >= len(boxes_xyxy))


def boxes_from_shares(
    boxes_xyxy: FloatArray, size_hw: tuple[int, int], origin: float = 0.0
) -> FloatArray | None:
    """The boxes in pixels of a file that has shares of the image's size instead.

    Args:
        boxes_xyxy: (M, 4), `origin` taken off.
        size_hw: Of the image.
        origin: What the file calls the first pixel.

    Returns:
        (M, 4) float32; None where the boxes are in pixels.
    """
    shares = boxes_xyxy.astype(np.float64) + origin
    if len(shares) < LEAST_ROWS or max(size_hw) < 8:
        return None
    if shares.min() < -0.5 or shares.max() > 1.5 or (shares[:, 2:] - shares[:, :2]).max() > 1.05:
        return None
    pixels = shares * np.array([*size_hw[::-1], *size_hw[::-1]], np.float64)
    return np.asarray(pixels, np.float32)


def small_corner(
    frames: IntArray, boxes_xyxy: FloatArray, size_hw: tuple[int, int]
) -> tuple[int, int] | None:
    """Height and width of the corner of the image that all boxes lie in, if it is a small one.

    Boxes that were made on a smaller copy of the source lie so: in its upper left half, or, of
    many boxes, in an upper left part of about the image's own shape.  None where they are spread
    further, or where too few, in too few frames and places, could tell.
    """
    if len(np.unique(frames)) < 4 or len(np.unique(np.round(boxes_xyxy), axis=0)) < 8:
        return None
    right, bottom = boxes_xyxy[:, 2:].max(axis=0).tolist()
    across, down = right / size_hw[1], bottom / size_hw[0]
    half = max(across, down) <= 0.5
    alike = len(boxes_xyxy) >= 50 and max(across, down) <= 0.75 and abs(across - down) <= 0.05
    if min(across, down) <= 0 or not (half or alike):
        return None
    return int(np.ceil(bottom)), int(np.ceil(right))
