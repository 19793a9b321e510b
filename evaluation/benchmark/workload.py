"""Frames to measure with, and the prompts and detections of every task.

A workload is held in memory, so that two backends see the same frames however often they go through
it, and no decoder takes the cores from either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import SourceError
from ...heads.config import (
    MotConfig,
    MotsConfig,
    PoseConfig,
    PosetrackConfig,
    SotConfig,
    TaskConfig,
    TrackedConfig,
    VosConfig,
)
from ...records import Detections, FloatArray, Frame, IntArray, UInt8Array
from ...runtime.detectors.base import Detector
from ...runtime.head import Head
from ...runtime.inference.base import Graphs
from ...runtime.pipeline import TaskRunner
from ...runtime.sources.base import SourceBase, SourceInfo
from ...runtime.sources.open import open_source
from ..synthetic.detector import DetectorNoise, noisy_masks, noisy_poses
from ..synthetic.scene import Scene, SceneConfig, SceneTruth

TASKS = ("mot", "mots", "posetrack", "vos", "pose", "sot")
"""In the order in which they are measured; the first three see detections in every frame."""

DEFAULT_SIZE = {
    "mot": (608, 1088),
    "mots": (608, 1088),
    "posetrack": (608, 1088),
    "vos": (480, 854),
    "pose": (480, 854),
    "sot": (480, 854),
}
"""Height and width of a scene's frames: what the heads' own defaults work at."""

_FPS = 25.0
_NOISE_STREAM = 108


@dataclass(frozen=True, slots=True)
class Workload:
    """A short clip with its detections and prompts.

    Attributes:
        name: For people.
        frames: At least two, of one size.
        detected: By task, the detections of every frame.
        labels: (H, W) uint8 label map of the first frame, for `vos`.
        poses: (N, 17, 3) float32 joints of the first frame, for `pose`.
        pose_ids: (N,) int64 identities of `poses`.
        box_xywh: Of one figure in the first frame, source pixels, for `sot`.
    """

    name: str
    frames: tuple[Frame, ...]
    detected: Mapping[str, tuple[Detections, ...]]
    labels: UInt8Array
    poses: FloatArray
    pose_ids: IntArray
    box_xywh: tuple[float, float, float, float]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        return self.frames[0].size_hw

    def objects(self, task: str) -> float:
        """How many objects a task has in a frame, on average."""
        if task in self.detected:
            return float(np.mean([len(seen) for seen in self.detected[task]]))
        return {"vos": len(np.unique(self.labels)) - 1, "pose": len(self.poses)}.get(task, 1)


def scene_workload(
    frames: int, size_hw: tuple[int, int], objects: int, tasks: Sequence[str] = TASKS
) -> Workload:
    """The procedural scene.

    Args:
        frames: How many, at least two.
        size_hw: Of the frames.
        objects: Figures that take part; some may be outside the image.
        tasks: Whose detections are wanted.

    Raises:
        SourceError: A number is out of range, or no figure is in the first frame.
    """
    if frames < 2 or objects < 1:
        raise SourceError(
            f"scene: got {frames} frames and {objects} objects, expected 2 frames and 1 object "
            "or more"
        )
    scene = Scene(SceneConfig(frames, *size_hw, objects=objects))
    truth = [scene.truth(index) for index in range(frames)]
    detected = {task: tuple(_detected(scene, task, truth)) for task in TASKS[:3] if task in tasks}
    first = truth[0]
    seen = first.visible >= np.float32(0.5)
    if not seen.any():
        raise SourceError(f"scene of {objects} figures: none is in the first frame; ask for more")
    sides = first.boxes_xyxy[:, 2:] - first.boxes_xyxy[:, :2]
    target = int(np.argmax(np.prod(sides, axis=1) * first.visible))
    left, top = (float(value) for value in first.boxes_xyxy[target, :2])
    width, height = (float(value) for value in sides[target])
    return Workload(
        "procedural scene",
        tuple(scene),
        detected,
        first.label_map(),
        first.keypoints[seen],
        first.ids[seen],
        (left, top, width, height),
    )


def footage_workload(
    text: str, frames: int, objects: int, tasks: Sequence[str] = TASKS
) -> Workload:
    """Footage of the user's own, with the scene's figures as made-up detections.

    What a task costs and how exactly it is computed depend on how many objects there are and how
    large they are, not on whether a person is where the boxes are.

    Args:
        text: A source of `cli track`.
        frames: How many of its first frames at most; fewer where it ends before.
        objects: See `scene_workload`.
        tasks: Likewise.

    Raises:
        SourceError: It cannot be read, or has fewer than two frames.
    """
    with open_source(text) as source:
        taken = list(islice(source, frames))
        info = source.info
    # Reports travel with bundles: a path of this machine means nothing elsewhere.
    name = info.name if info.live else Path(info.name).name
    if len(taken) < 2:
        raise SourceError(f"{name}: got {len(taken)} frames, expected 2 or more to measure with")
    made_up = scene_workload(len(taken), taken[0].size_hw, objects, tasks)
    numbered = tuple(Frame(i, i / _FPS, frame.image, frame.name) for i, frame in enumerate(taken))
    return replace(made_up, name=name, frames=numbered)


def _detected(scene: Scene, task: str, truth: Sequence[SceneTruth]) -> Iterator[Detections]:
    noise = DetectorNoise()
    for index, real in enumerate(truth):
        rng = np.random.default_rng([0, _NOISE_STREAM, index])
        if task == "mot":
            yield scene.detections(index, noise=noise)
        elif task == "mots":
            yield noisy_masks(real.masks, real.visible, noise, rng)
        else:
            yield noisy_poses(real.keypoints, real.visible, noise, rng)


def configs_at(size_hw: tuple[int, int] | None) -> dict[str, TaskConfig]:
    """The parameters of every task, with the network's image of a size; None: their defaults.

    Association and propagation are the paper's: backends are compared by RSM of all objects in
    every frame, by whole frames, and by the crops of the authors.
    """
    tracked: dict[str, Any] = {"preset": "unitrack"}
    carried: dict[str, Any] = {}
    if size_hw is not None:
        tracked |= {"height": size_hw[0], "width": size_hw[1]}
        carried = {"short_side": 0}
    return {
        "mot": MotConfig(**tracked),
        "mots": MotsConfig(**tracked),
        "posetrack": PosetrackConfig(**tracked),
        "vos": VosConfig(focus="off", **carried),
        "pose": PoseConfig(focus="off", **carried),
        "sot": SotConfig(focus="off"),
    }


def full_and_default(
    size_hw: tuple[int, int] | None,
) -> dict[str, tuple[str, TaskConfig, TaskConfig]]:
    """Of the tasks whose default looks only where it must: the parameter, and both ways.

    Args:
        size_hw: Of the network's image of the full way; None: its default.

    Returns:
        By task: what the default has, as `focus auto`; the full method's parameters, which differ
        in that and the size alone; the default ones.
    """
    found: dict[str, tuple[str, TaskConfig, TaskConfig]] = {}
    for task, full in configs_at(size_hw).items():
        usual: Any = type(full)()
        if isinstance(full, TrackedConfig):
            image = {"height": full.height, "width": full.width}
            found[task] = "appearance auto", replace(usual, appearance="always", **image), usual
        elif getattr(usual, "focus", None) == "auto":
            found[task] = "focus auto", full, usual
    return found


def make_task_runner(
    task: str,
    graphs: Graphs,
    workload: Workload,
    size_hw: tuple[int, int] | None = None,
    config: TaskConfig | None = None,
    detector: Detector | None = None,
) -> TaskRunner:
    """A task on a workload, ready for a `Pipeline`.

    Args:
        task: One of `TASKS`.
        graphs: What runs its graphs.
        workload: Where its frames and detections come from.
        size_hw: Of the network's image; None: the head's own default.
        config: Its parameters; None: those of `configs_at`.
        detector: Finds the objects; None: the workload's own.

    Raises:
        BundleError: The bundle takes no image of that size, or lacks a graph.
        DetectionError: The first frame holds nothing to start from.
    """
    head = _make_head(config or configs_at(size_hw)[task], graphs, workload)
    if not head.needs_detections:
        return TaskRunner(task, head, None, [])
    return TaskRunner(task, head, detector or Given(workload.detected[task]), [])


def _make_head(config: TaskConfig, graphs: Graphs, workload: Workload) -> Head:
    if isinstance(config, MotConfig):
        from ...heads.mot import MotHead

        return MotHead(graphs, config, _FPS)
    if isinstance(config, MotsConfig):
        from ...heads.mots import MotsHead

        return MotsHead(graphs, config, _FPS)
    if isinstance(config, PosetrackConfig):
        from ...heads.posetrack import PosetrackHead

        return PosetrackHead(graphs, config, _FPS)
    if isinstance(config, VosConfig):
        from ...heads.vos import VosHead

        return VosHead(graphs, workload.labels, config)
    if isinstance(config, PoseConfig):
        from ...heads.pose import PoseHead

        return PoseHead(graphs, workload.poses, config, workload.pose_ids)
    if isinstance(config, SotConfig):
        from ...heads.sot import SotHead

        return SotHead(graphs, workload.box_xywh, config)
    raise TypeError(f"no workload for task {config.task}")


def there_and_back(index: int, count: int) -> int:
    """Which of `count` frames comes at a place of an endless walk 0 … count-1 … 0 … ."""
    if count < 2:
        return 0
    place = index % (2 * count - 2)
    return place if place < count else 2 * count - 2 - place


class Given(Detector):
    """A detector that returns recorded detections of the frames of an `EndlessClip`.

    Args:
        detected: Of every frame of the clip.
    """

    def __init__(self, detected: Sequence[Detections]) -> None:
        self._detected = detected

    def detect(self, frame: Frame) -> Detections:
        """What is in a frame of `EndlessClip`."""
        return self._detected[there_and_back(frame.index, len(self._detected))]


class EndlessClip(SourceBase):
    """A source that goes there and back over frames in memory, so that nothing ever jumps.

    Args:
        workload: Whose frames.
    """

    dropped = 0
    ended_early: str | None = None
    started_s: float | None = None

    def __init__(self, workload: Workload) -> None:
        self.info = SourceInfo(workload.name, "images", workload.size_hw, _FPS, None, False)
        self._frames = workload.frames
        self._next = 0

    def notes(self) -> list[str]:
        """Nothing."""
        return []

    def __next__(self) -> Frame:
        index = self._next
        self._next += 1
        shown = self._frames[there_and_back(index, len(self._frames))]
        return Frame(index, index / _FPS, shown.image, shown.name)
