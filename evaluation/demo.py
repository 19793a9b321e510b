"""The demo: a procedural clip whose truth is known, tracked and scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ObservationError
from ..runtime.palette_png import read_label_png
from .metrics import MotScores, score_mot, vos_j_mean
from .mot_truth import read_mot_results, read_mot_truth
from .scene_files import SceneFiles


@dataclass(frozen=True, slots=True)
class VosScore:
    """Mask propagation against the truth: J averaged over `objects` objects of the first frame."""

    j_mean: float
    objects: int


def score_boxes(clip: SceneFiles, results: Path, frames: int) -> MotScores:
    """Score `tracks.txt` against the clip's truth over its first `frames` frames."""
    return score_mot(read_mot_results(results), read_mot_truth(clip.truth), range(frames))


def score_masks(clip: SceneFiles, results: Path, frames: int) -> VosScore:
    """Score a folder of masks against the clip's truth over its first `frames` frames.

    Objects that enter after the first frame were not given to the tracker, and do not count.

    Raises:
        ObservationError: Fewer than three frames, which J-mean is not defined for.
    """
    if frames < 3:
        raise ObservationError(f"scoring masks needs 3 frames or more, got {frames}")
    given = np.unique(read_label_png(clip.init_mask))
    names = [f"{index:05d}.png" for index in range(frames)]
    found = [read_label_png(results / name) for name in names]
    truth = [read_label_png(clip.masks / name) for name in names]
    truth = [np.where(np.isin(labels, given), labels, 0) for labels in truth]
    return VosScore(vos_j_mean(found, truth), int(np.count_nonzero(given)))
