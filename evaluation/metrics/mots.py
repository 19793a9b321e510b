"""HOTA, CLEAR and IDF1 of tracks that are masks, through TrackEval."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import BoolArray, IntArray
from ...runtime.formats.mots import MaskRows
from .scores import run_trackeval, trackeval_data

MATCHED = 0.5
"""IoU from which on a result matches a truth."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MotsScores:
    """How well a tracker did on one clip. Ratios are 0 to 1, MOTSA and sMOTSA may be negative.

    Attributes:
        hota: HOTA, the mean over the similarity thresholds 0.05, 0.10 ... 0.95.
        deta: Detection accuracy, the same mean.
        assa: Association accuracy, the same mean.
        idf1: F1 of identities, at threshold 0.5.
        smotsa: MOTSA with every match counted by its IoU.
        motsa: CLEAR's accuracy, at threshold 0.5.
        motsp: Mean IoU of the matched masks.
        id_switches: How often a true object changed its matched id.
        tp: Matched masks.
        fp: Masks that match no truth.
        fn: True masks that were missed.
    """

    hota: float
    deta: float
    assa: float
    idf1: float
    smotsa: float
    motsa: float
    motsp: float
    id_switches: int
    tp: int
    fp: int
    fn: int


def score_mots(
    results: Mapping[int, MaskRows],
    truth: Mapping[int, MaskRows],
    frames: Collection[int] | None = None,
) -> MotsScores:
    """Score tracks against truth by the IoU of masks, with TrackEval's metrics.

    As on the benchmark's server, results that match no truth and lie by more than half in a region
    to ignore do not count.

    Args:
        results: What the tracker says; see `formats.mots.read_mots`.
        truth: What is right.
        frames: Frame numbers (from 0) to score; by default all that occur in either.

    Raises:
        UnitrackError: TrackEval is not installed.
        DetectionError: Masks of different sizes in one frame.
    """
    numbers = sorted(set(results) | set(truth) if frames is None else set(frames))
    parts = [compare_frame(number, results.get(number), truth.get(number)) for number in numbers]
    data = trackeval_data(
        [part[0] for part in parts], [part[1] for part in parts], [part[2] for part in parts]
    )
    hota, clear, identity = run_trackeval(data)
    return MotsScores(
        hota=float(np.mean(hota["HOTA"])),
        deta=float(np.mean(hota["DetA"])),
        assa=float(np.mean(hota["AssA"])),
        idf1=float(identity["IDF1"]),
        smotsa=float(clear["sMOTA"]),
        motsa=float(clear["MOTA"]),
        motsp=float(clear["MOTP"]),
        id_switches=int(clear["IDSW"]),
        tp=int(clear["CLR_TP"]),
        fp=int(clear["CLR_FP"]),
        fn=int(clear["CLR_FN"]),
    )


def compare_frame(
    number: int, result: MaskRows | None, truth: MaskRows | None
) -> tuple[IntArray, IntArray, Float64]:
    """Ids of the truth (N,), ids of the results that count (M,), and their IoUs (N, M).

    Args:
        number: The frame's, for messages.
        result: What the tracker says; None: nothing.
        truth: What is right, with the regions to ignore.

    Raises:
        DetectionError: Masks of different sizes.
    """
    known = truth or result
    if known is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0))
    truth = truth or MaskRows(np.zeros(0, np.int64), known.size_hw, ())
    result = result or MaskRows(np.zeros(0, np.int64), known.size_hw, ())
    if truth.size_hw != result.size_hw:
        raise DetectionError(
            f"frame {number + 1}: true masks are {truth.size_hw}, the results' {result.size_hw} "
            "(height, width)"
        )
    found = result.masks()
    overlap = mask_iou(truth.masks(), found)
    counts = np.asarray((overlap >= MATCHED).any(axis=0), np.bool_)
    if truth.ignored:
        inside = (found & truth.ignored_region()).sum(axis=(1, 2))
        counts |= inside <= 0.5 * found.sum(axis=(1, 2))
    else:
        counts[:] = True
    return truth.ids, result.ids[counts], overlap[:, counts]


def mask_iou(masks_a: BoolArray, masks_b: BoolArray) -> Float64:
    """(N, M) float64 intersection over union of (N, H, W) and (M, H, W); 0 where both are empty."""
    flat_a, flat_b = (
        masks.reshape(len(masks), masks.shape[1] * masks.shape[2]).astype(np.float32)
        for masks in (masks_a, masks_b)
    )
    # Whole numbers below 2^24 are exact in float32, and no image of the data sets has more.
    inter = (flat_a @ flat_b.T).astype(np.float64)
    area_a = np.count_nonzero(masks_a, axis=(1, 2)).astype(np.float64)
    area_b = np.count_nonzero(masks_b, axis=(1, 2)).astype(np.float64)
    union = area_a[:, None] + area_b[None] - inter
    overlap: Float64 = inter / np.where(union > 0, union, 1.0)
    return overlap
