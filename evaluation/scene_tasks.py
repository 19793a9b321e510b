"""What each task starts from in a scene, as files: noisy masks and poses, first box and joints.

    masks.txt          noisy masks of every frame, MOTS rows, for `--task mots`
    poses.json         noisy poses of every frame, PoseTrack18, for `--task posetrack`
    init_box.txt       one figure's true box in the first frame, an OTB row, for `--task sot`
    init_poses.json    all true joints of the first frame, PoseTrack18, for `--task pose`

Boxes for `mot` and the first mask for `vos` are written by `scene_files`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SourceError
from ..records import Frame, IntArray, Observations, Tracks
from ..runtime.mots_sink import MotsRows
from ..runtime.pose_sink import PoseFile
from ..runtime.sot_sink import SotFile
from .scene import Scene, SceneTruth
from .scene_detector import DetectorNoise, noisy_masks, noisy_poses


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """Where the starts of the tasks are.

    Attributes:
        masks: `masks.txt`.
        poses: `poses.json`.
        init_box: `init_box.txt`.
        init_poses: `init_poses.json`.
    """

    masks: Path
    poses: Path
    init_box: Path
    init_poses: Path


def write_task_files(
    scene: Scene,
    folder: Path,
    *,
    target: int,
    seed: int = 0,
    noise: DetectorNoise | None = None,
) -> TaskFiles:
    """Write what every task of a scene starts from.

    Args:
        scene: The clip.
        folder: Where to; it exists.
        target: Id of the figure whose box is given.
        seed: Seed of the detectors' errors.
        noise: How the detectors of masks and poses err.

    Returns:
        The paths of what was written.

    Raises:
        SourceError: The target is not in the first frame.
        OutputError: Something could not be written.
    """
    noise = noise or DetectorNoise()
    names = ("masks.txt", "poses.json", "init_box.txt", "init_poses.json")
    files = TaskFiles(*(folder / name for name in names))
    with MotsRows(files.masks) as masks, PoseFile(files.poses) as poses:
        for index in range(len(scene)):
            frame, truth = scene.frame(index), scene.truth(index)
            rng = np.random.default_rng([seed, 108, index])
            masks.write(
                frame, _numbered(index, noisy_masks(truth.masks, truth.visible, noise, rng))
            )
            found = noisy_poses(truth.keypoints, truth.visible, noise, rng)
            poses.write(frame, _numbered(index, found))
    first, truth = scene.frame(0), scene.truth(0)
    _write_box(files.init_box, first, truth, target)
    with PoseFile(files.init_poses) as people:
        people.write(first, Tracks(0, truth.ids, _observed(truth)))
    return files


def _write_box(path: Path, first: Frame, truth: SceneTruth, target: int) -> None:
    (rows,) = np.nonzero(truth.ids == target)
    if not len(rows):
        raise SourceError(
            f"scene: figure {target} is not in its first frame, expected one of "
            f"{truth.ids.tolist()}"
        )
    with SotFile(path) as box:
        box.write(first, Tracks(0, np.ones(1, np.int64), _observed(truth)[rows]))


def _observed(truth: SceneTruth) -> Observations:
    """The truth as a detector without error would report it."""
    count = len(truth.ids)
    scores, classes = np.ones(count, np.float32), np.zeros(count, np.int64)
    return Observations(truth.boxes_xyxy, scores, classes, keypoints=truth.keypoints)


def _numbered(index: int, seen: Observations) -> Tracks:
    """Detections in the form that sinks take: numbers that say nothing about identity."""
    ids: IntArray = np.arange(1, len(seen) + 1)
    return Tracks(index, ids, seen)
