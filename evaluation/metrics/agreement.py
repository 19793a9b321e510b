"""How alike two runs over one sequence without ground truth are: one is taken for the truth.

Runs are compared as files of results, or as tracks in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import DetectionError
from ...records import FloatArray, Tracks
from ...runtime.boxes import iou_matrix
from ...runtime.formats.mot import read_mot_results
from ...runtime.formats.mots import read_mots
from .davis import LabelMap, jaccard
from .mot import Rows, rows_of_tracks, score_mot
from .mots import score_mots
from .pose import keypoint_errors

if TYPE_CHECKING:
    from ..datasets import base as datasets


def agreement(
    format_name: str, sequence: datasets.Sequence, reference: Path, results: Path
) -> float | None:
    """Compare two results of one sequence.

    Args:
        format_name: A key of `datasets.registry.FORMATS`.
        sequence: Its truth is not looked at.
        reference: Results that are taken for the truth, in the benchmark's form.
        results: Others, in the same form.

    Returns:
        0 to 1, 1 is the same: IDF1 of tracks, mean IoU of propagated masks; None for the formats
        that cannot be tracked without a truth or a head of another kind (OTB, PoseTrack).

    Raises:
        DetectionError: The results do not fit one another.
        UnitrackError: TrackEval is not installed.
    """
    compare = AGREEMENTS.get(format_name)
    return None if compare is None else compare(sequence, reference, results)


def mask_agreement(reference: Sequence[LabelMap], results: Sequence[LabelMap]) -> float:
    """Mean IoU over frames and the objects of the reference, without the first, given frame.

    Args:
        reference: (H, W) label maps, 0 is background.
        results: As many, as large.

    Raises:
        DetectionError: Different numbers of frames, or fewer than two.
    """
    if len(reference) != len(results) or len(reference) < 2:
        raise DetectionError(
            f"masks to be compared: got {len(reference)} and {len(results)} frames, "
            "expected as many of either and at least 2"
        )
    objects = sorted({int(label) for labels in reference for label in np.unique(labels)} - {0})
    pairs = list(zip(reference[1:], results[1:], strict=True))
    overlaps = [jaccard(b == k, a == k) for a, b in pairs for k in objects]
    return float(np.mean(overlaps)) if overlaps else 1.0


def box_agreement(reference: Rows, results: Rows) -> float:
    """IDF1 of tracks of boxes against others; 1 where neither has any.

    Raises:
        UnitrackError: TrackEval is not installed.
    """
    if not reference and not results:
        return 1.0
    return score_mot(results, reference).idf1


LOST = 1.0
"""A joint that one side has lost counts as this many body sizes away."""

NEAR = 0.2
"""Two joints nearer than this many body sizes are the same place."""


def agreement_of_tracks(
    task: str, reference: Sequence[Tracks], results: Sequence[Tracks]
) -> dict[str, float]:
    """Compare what a task gave in two runs over the same frames.

    Args:
        task: Its name.
        reference: Of every frame; taken for the truth.
        results: Likewise, of the other run.

    Returns:
        0 to 1, 1 is the same. mot, mots, posetrack: `HOTA` and `IDF1` on boxes (masks and poses
        pass through these heads as they are); vos: `J`, and sot: `IoU`, the mean overlap of its
        masks or boxes; pose: `PCK`, the share of joints within 0.2 body sizes. The first frame of
        the last three is given, and left out.

    Raises:
        DetectionError: The runs do not fit one another.
        UnitrackError: TrackEval is not installed.
    """
    if task == "vos":
        return {"J": label_map_agreement(reference, results)}
    if task == "sot":
        return {"IoU": mean_overlap(reference, results)}
    if task == "pose":
        distances = joint_distances(reference, results)
        return {"PCK": float((distances <= NEAR).mean()) if len(distances) else 1.0}
    before, after = rows_of_tracks(reference), rows_of_tracks(results)
    if not before and not after:
        return {"HOTA": 1.0, "IDF1": 1.0}
    scores = score_mot(after, before)
    return {"HOTA": scores.hota, "IDF1": scores.idf1}


def label_map_agreement(reference: Sequence[Tracks], results: Sequence[Tracks]) -> float:
    """`mask_agreement` of the label maps of tracks."""
    maps = [[t.label_map for t in side if t.label_map is not None] for side in (reference, results)]
    return mask_agreement(maps[0], maps[1])


def mean_overlap(reference: Sequence[Tracks], results: Sequence[Tracks]) -> float:
    """Mean IoU of the one object's boxes, without the first, given frame."""
    overlaps = [
        float(iou_matrix(a.detections.boxes_xyxy, b.detections.boxes_xyxy)[0, 0])
        for a, b in zip(reference[1:], results[1:], strict=True)
    ]
    return float(np.mean(overlaps))


def joint_distances(reference: Sequence[Tracks], results: Sequence[Tracks]) -> FloatArray:
    """(N,) distances of joints in body sizes, `LOST` at most, without the first, given frame."""
    distances = [
        _joint_distances(_people(a), _people(b))
        for a, b in zip(reference[1:], results[1:], strict=True)
    ]
    return np.concatenate([np.zeros(0, np.float32), *distances])


def _people(tracks: Tracks) -> dict[int, FloatArray]:
    seen = tracks.detections.keypoints
    return {} if seen is None else dict(zip(tracks.ids.tolist(), seen, strict=True))


def _joint_distances(
    reference: Mapping[int, FloatArray], found: Mapping[int, FloatArray]
) -> FloatArray:
    if not reference:
        return np.zeros(0, np.float32)
    people = np.stack(list(reference.values()))
    others = np.stack([found.get(k, np.zeros_like(p)) for k, p in reference.items()])
    errors = keypoint_errors(others, people)
    return np.minimum(errors[~np.isnan(errors)], LOST).astype(np.float32)


def _masks(sequence: datasets.Sequence, reference: Path, results: Path) -> float:
    # Only files of masks need Pillow; two sides in memory are compared without it.
    from ..datasets.base import frame_names
    from ..datasets.davis import read_labels

    names = frame_names(sequence)
    first, second = ([read_labels(f / n, "") for n in names] for f in (reference, results))
    return mask_agreement(first, second)


def _boxes(sequence: datasets.Sequence, reference: Path, results: Path) -> float:
    del sequence
    return box_agreement(read_mot_results(reference), read_mot_results(results))


def _mask_tracks(sequence: datasets.Sequence, reference: Path, results: Path) -> float:
    del sequence
    first, second = read_mots(reference, 0), read_mots(results, 0)
    return score_mots(second, first).idf1 if first or second else 1.0


AGREEMENTS: dict[str, Callable[[datasets.Sequence, Path, Path], float]] = {
    "davis": _masks,
    "mot": _boxes,
    "mots": _mask_tracks,
}
"""How results are compared, by format."""
