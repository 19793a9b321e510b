"""The tasks: one row each with its parameters, its head, its results and what it starts from.

A new task is one row of `TASKS` and one head. Heads, readers of prompts and writers are imported
when they are made, so that a run loads what it uses and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import RequestError, one_line
from ..heads.config import (
    MotConfig,
    MotsConfig,
    PoseConfig,
    PosetrackConfig,
    SotConfig,
    TaskConfig,
    VosConfig,
)
from ..records import UInt8Array
from ..runtime.head import Head
from ..runtime.inference.base import Graphs
from ..runtime.paths import is_folder
from ..runtime.sources.base import SourceInfo
from ..runtime.writers.base import Writer

DEFAULT_FPS = 30.0
"""Taken for a source that does not say how fast it is."""

Init: TypeAlias = "str | Path | npt.ArrayLike | None"
"""What a task starts from: a text or file as `--init` takes it, or the thing itself: a box (x, y,
w, h) in source pixels from 0, an (H, W) map of labels 0 to 255, (N, K, 3) keypoints."""

DETECT = "detect"
"""`--init detect` and `--init detect:CLASS`: start from the first object that a detector finds."""


def starts_from_detector(init: Init) -> bool:
    """Whether a task is to start from what a detector finds."""
    return isinstance(init, str) and (init == DETECT or init.startswith(f"{DETECT}:"))


def class_to_start_from(init: Init) -> str | None:
    """CLASS of `detect:CLASS`; None for any class."""
    name = str(init).partition(":")[2].strip() if starts_from_detector(init) else ""
    return name or None


MakeHead = Callable[[Graphs, Any, Init, SourceInfo], Head]
"""Makes a head of the graphs, the task's config, what it starts from, and the source's facts."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task.

    Attributes:
        config: Class of its parameters, which become options `--TASK-PARAMETER`.
        make_head: See `MakeHead`.
        result: Name of its file or folder of results.
        open_writer: Opens the writer of the results, given their path.
        prompt: What it needs of the first frame and how `--init` gives it; None for tasks that take
            detections of every frame.
        person_model: Which of the models that look at one person at a time it may have: `pose`,
            `mask`, or None.
        needs_person_model: Whether boxes alone do not do, so that a detector of boxes, where there
            is one, needs that model.
        interactive: Whether a viewer of the live page can start it.
    """

    config: type[TaskConfig]
    make_head: MakeHead
    result: str
    open_writer: Callable[[Path], Writer]
    prompt: str | None = None
    person_model: str | None = None
    needs_person_model: bool = False
    interactive: bool = False


def open_head(
    graphs: Graphs,
    config: TaskConfig,
    init: Init,
    info: SourceInfo,
    least_score: float | None = None,
) -> Head:
    """The head of a task.

    Args:
        graphs: Runs its graphs.
        config: Its parameters.
        init: What it starts from; None for tasks that take detections of every frame.
        info: The source's facts.
        least_score: Of the detection that a task starts from; None: the default.

    Raises:
        UnitrackError: It cannot start from that, or the bundle does not fit.
    """
    if not starts_from_detector(init) or TASKS[config.task].prompt is None:
        return TASKS[config.task].make_head(graphs, config, init, info)
    from ..heads.detected import LEAST_SCORE, DetectedHead

    least = LEAST_SCORE if least_score is None else least_score
    return DetectedHead(config, graphs, str(init), class_to_start_from(init), least)


def _mot(graphs: Graphs, config: MotConfig, _init: Init, info: SourceInfo) -> Head:
    from ..heads.mot import MotHead

    return MotHead(graphs, config, info.fps or DEFAULT_FPS)


def _mots(graphs: Graphs, config: MotsConfig, _init: Init, info: SourceInfo) -> Head:
    from ..heads.mots import MotsHead

    return MotsHead(graphs, config, info.fps or DEFAULT_FPS)


def _posetrack(graphs: Graphs, config: PosetrackConfig, _init: Init, info: SourceInfo) -> Head:
    from ..heads.posetrack import PosetrackHead

    return PosetrackHead(graphs, config, info.fps or DEFAULT_FPS)


def _sot(graphs: Graphs, config: SotConfig, init: Init, _info: SourceInfo) -> Head:
    from ..heads.sot import SotHead
    from ..runtime.prompts.box import box_from_text

    box = box_from_text(str(init)) if isinstance(init, str | Path) else _four(_numbers(init))
    return SotHead(graphs, box, config)


def _vos(graphs: Graphs, config: VosConfig, init: Init, info: SourceInfo) -> Head:
    from ..heads.vos import VosHead
    from ..runtime.prompts.mask import labels_to_start

    if isinstance(init, str | Path):
        text = str(init)
    else:
        given = _numbers(init)
        if given.ndim == 2:
            return VosHead(graphs, _labels(given), config)
        text = ",".join(map(str, _four(given)))
    if is_folder(Path(text)):
        from ..runtime.prompts.mask_folder import MaskFolder

        masks = MaskFolder(Path(text))
        return VosHead(graphs, masks, config, notes=masks.check(info))
    # Who opens a source reads its first frame.
    labels, refine = labels_to_start(text, info.size_hw or (0, 0))
    return VosHead(graphs, labels, config, refine)


def _pose(graphs: Graphs, config: PoseConfig, init: Init, info: SourceInfo) -> Head:
    from ..heads.pose import PoseHead
    from ..runtime.prompts.pose import poses_from_file

    if not isinstance(init, str | Path):
        given = _numbers(init).astype(np.float32)
        if given.ndim != 3 or given.shape[2] != 3:
            raise RequestError(
                f"init: got numbers of shape {given.shape}, expected poses of shape (N, K, 3): "
                "x, y, confidence"
            )
        return PoseHead(graphs, given, config)
    people = poses_from_file(Path(init), info.size_hw)
    return PoseHead(graphs, people.keypoints, config, people.ids)


def _numbers(init: Init) -> npt.NDArray[Any]:
    """What was given as numbers: a list, a tensor on the host, an array."""
    try:
        array = np.asarray(init)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RequestError(f"init: got {type(init).__name__}: {one_line(error)}") from error
    if array.dtype.kind not in "buif":
        raise RequestError(f"init: got {type(init).__name__}, expected numbers, a text or a path")
    return array


def _four(given: npt.NDArray[Any]) -> tuple[float, float, float, float]:
    """A box that was given as numbers."""
    if given.shape != (4,):
        raise RequestError(
            "a task starts from a box of four numbers x, y, w, h, got numbers of shape "
            f"{given.shape}"
        )
    x, y, width, height = given.astype(np.float64).tolist()
    return x, y, width, height


def _labels(given: npt.NDArray[Any]) -> UInt8Array:
    """An (H, W) map of labels, which are whole numbers from 0 to 255."""
    with np.errstate(invalid="ignore"):
        labels = given.astype(np.uint8)
    if (labels != given).any():
        raise RequestError(
            f"init: a label map of {given.dtype} holds more than whole numbers from 0 to 255"
        )
    return labels


def _mot_rows(path: Path) -> Writer:
    from ..runtime.formats.mot import MotWriter

    return MotWriter(path)


def _mots_rows(path: Path) -> Writer:
    from ..runtime.formats.mots import MotsWriter

    return MotsWriter(path)


def _poses(path: Path) -> Writer:
    from ..runtime.formats.posetrack import PoseTrackWriter

    return PoseTrackWriter(path)


def _boxes(path: Path) -> Writer:
    from ..runtime.formats.otb import OtbWriter

    return OtbWriter(path)


def _masks(path: Path) -> Writer:
    from ..runtime.formats.davis import MaskWriter

    return MaskWriter(path)


def _kitti_rows(path: Path) -> Writer:
    from ..runtime.formats.boxes.kitti import KittiWriter

    return KittiWriter(path)


def _coco_video(path: Path) -> Writer:
    from ..runtime.formats.boxes.coco_video import CocoVideoWriter

    return CocoVideoWriter(path)


def _yolo_labels(path: Path) -> Writer:
    from ..runtime.formats.boxes.yolo import YoloWriter

    return YoloWriter(path)


def _csv_rows(path: Path) -> Writer:
    from ..runtime.formats.boxes.columns import CsvWriter

    return CsvWriter(path)


RESULT_FORMATS: dict[str, tuple[str, Callable[[Path], Writer]]] = {
    "mot": ("tracks.txt", _mot_rows),
    "kitti": ("tracks.txt", _kitti_rows),
    "coco-video": ("tracks.json", _coco_video),
    "yolo": ("labels", _yolo_labels),
    "csv": ("tracks.csv", _csv_rows),
}
"""What `--format` writes in place of a task's own results: the boxes of its tracks, by name of the
format, with the file's or folder's name and what opens its writer."""

TASKS: dict[str, TaskSpec] = {
    "sot": TaskSpec(
        *(SotConfig, _sot, "tracks.txt", _boxes),
        prompt="object's box in the first frame: give --init X,Y,W,H, a file, detect, or select "
        "to draw it",
        interactive=True,
    ),
    "vos": TaskSpec(
        *(VosConfig, _vos, "masks", _masks),
        prompt="object's mask in the first frame: give --init MASK.png, X,Y,W,H, a folder of "
        "masks, detect, or select to draw a box",
        interactive=True,
    ),
    "mot": TaskSpec(MotConfig, _mot, "tracks.txt", _mot_rows),
    "mots": TaskSpec(
        *(MotsConfig, _mots, "tracks.txt", _mots_rows),
        person_model="mask",
        needs_person_model=True,
    ),
    "posetrack": TaskSpec(
        *(PosetrackConfig, _posetrack, "tracks.json", _poses),
        person_model="pose",
        needs_person_model=True,
    ),
    "pose": TaskSpec(
        *(PoseConfig, _pose, "tracks.json", _poses),
        prompt="people's joints in the first frame: give --init FILE.json (PoseTrack18 or COCO) or "
        "detect",
        person_model="pose",
        needs_person_model=True,
    ),
}
"""By name, in the order in which documents list them."""
