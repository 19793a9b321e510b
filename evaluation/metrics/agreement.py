"""How alike two runs over one sequence without ground truth are: one is taken for the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import DetectionError
from ...runtime.formats.mot import read_mot_results
from ...runtime.formats.mots import read_mots
from .davis import LabelMap, jaccard
from .mot import Rows, score_mot
from .mots import score_mots

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
