"""The tasks of `cli track`: what each is asked for, its head, and where its results go."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import RequestError
from .heads.config import HeadConfig, MotConfig, VosConfig
from .heads.mask_configs import MotsConfig, PoseConfig, PosetrackConfig
from .heads.sot_config import SotConfig
from .heads.viewer_starts import STARTS
from .runtime.backends import find_backend
from .runtime.graph_runner import GraphRunner
from .runtime.head import Head
from .runtime.init_object import labels_to_start
from .runtime.init_pose import poses_from_file
from .runtime.mots_sink import MotsRows
from .runtime.observers import MOTION, Observer, open_observer
from .runtime.pose_sink import PoseFile
from .runtime.recording import check_minutes
from .runtime.sinks import MaskFolder, MotFile, Sink
from .runtime.sot_sink import SotFile
from .runtime.sources import SourceInfo


@dataclass(frozen=True, slots=True)
class TrackRequest:
    """What the user asked for.

    Attributes:
        source: As on the command line.
        task: A key of `HEADS`.
        config: The task's parameters.
        bundle: Folder of the bundle.
        output: Folder of the results.
        backend: One of `runtime.backends.BACKENDS`.
        threads: CPU threads; 0 takes all that the process may use.
        init: Mask, box or pose file, `X,Y,W,H` or `select`, for tasks that start from the first
            frame.
        detections: File of detections.
        detector: `motion` or an ONNX model.
        detector_classes: Classes that a model's detections are kept of; None: all, or people alone
            with a model of persons.
        detector_confidence: Lowest score of a model's detections; None: its default.
        detector_backend: What runs ONNX models besides the bundle's, `cpu` or `cuda`; None: as the
            backend's row of the table has it.
        person_pose_model: ONNX model that says the pose in every box.
        person_mask_model: ONNX model that says the person's mask in every box.
        fps: Frames per second of images, or in place of what a video says.
        max_frames: How many frames at most.
        save_video: Whether `video.mp4` is written.
        segment_minutes: Length of the files that results and video are cut into; None: one file.
        show: Whether a window is opened.
        overwrite: Whether results of an earlier run are replaced.
        startable: Whether viewers may start the task, so that `init` can be left out.
        realtime: Whether a file plays at its own pace, dropping what is not taken in time.
        freeze_s: A live source is reconnected after so long without a frame.
        give_up_s: A live source has ended after so long without a frame; None: it never does.
        batch: Most frames of several sources in one pass of the backbone.
    """

    source: str
    task: str
    config: HeadConfig
    bundle: Path
    output: Path
    backend: str = "cpu"
    threads: int = 0
    init: str | None = None
    detections: Path | None = None
    detector: str | None = None
    detector_classes: tuple[int, ...] | None = None
    detector_confidence: float | None = None
    detector_backend: str | None = None
    person_pose_model: Path | None = None
    person_mask_model: Path | None = None
    fps: float | None = None
    max_frames: int | None = None
    save_video: bool = False
    segment_minutes: float | None = None
    show: bool = False
    overwrite: bool = False
    startable: bool = False
    realtime: bool = False
    freeze_s: float = 5.0
    give_up_s: float | None = None
    batch: int = 1


def _mot(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.mot import MotHead

    if not isinstance(request.config, MotConfig):
        raise TypeError(f"task mot with {type(request.config).__name__}")
    return MotHead(graphs, request.config, info.fps or 30.0)


def _vos(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.vos import VosHead

    if not isinstance(request.config, VosConfig) or request.init is None or info.size_hw is None:
        raise TypeError(f"task vos with {type(request.config).__name__} and init {request.init}")
    labels, refine = labels_to_start(request.init, info.size_hw)
    return VosHead(graphs, labels, request.config, refine)


def _sot(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:  # noqa: ARG001
    from .heads.sot import SotHead
    from .runtime.init_box import box_from_text

    if not isinstance(request.config, SotConfig) or request.init is None:
        raise TypeError(f"task sot with {type(request.config).__name__} and init {request.init}")
    return SotHead(graphs, box_from_text(request.init), request.config)


def _mots(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.mots import MotsHead

    if not isinstance(request.config, MotsConfig):
        raise TypeError(f"task mots with {type(request.config).__name__}")
    return MotsHead(graphs, request.config, info.fps or 30.0)


def _posetrack(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.posetrack import PosetrackHead

    if not isinstance(request.config, PosetrackConfig):
        raise TypeError(f"task posetrack with {type(request.config).__name__}")
    return PosetrackHead(graphs, request.config, info.fps or 30.0)


def _pose(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.pose import PoseHead

    if not isinstance(request.config, PoseConfig) or request.init is None:
        raise TypeError(f"task pose with {type(request.config).__name__} and init {request.init}")
    people = poses_from_file(Path(request.init), info.size_hw)
    return PoseHead(graphs, people.keypoints, request.config, people.ids)


HEADS: dict[str, Callable[[GraphRunner, TrackRequest, SourceInfo], Head]] = {
    "sot": _sot,
    "mot": _mot,
    "vos": _vos,
    "mots": _mots,
    "posetrack": _posetrack,
    "pose": _pose,
}
"""How the head of each task is made."""

FIRST_FRAME = {
    "sot": "object's box in the first frame: give --init X,Y,W,H, a file, or select to draw it",
    "vos": "object's mask in the first frame: give --init MASK.png, X,Y,W,H, or select "
    "to draw a box",
    "pose": "people's joints in the first frame: give --init FILE.json (PoseTrack18 or COCO)",
}
"""What tasks that see no detections start from."""

RESULTS: dict[str, tuple[str, Callable[[Path], Sink]]] = {
    "sot": ("tracks.txt", SotFile),
    "mot": ("tracks.txt", MotFile),
    "vos": ("masks", MaskFolder),
    "mots": ("tracks.txt", MotsRows),
    "posetrack": ("tracks.json", PoseFile),
    "pose": ("tracks.json", PoseFile),
}
"""Where the results of each task go."""


PERSON_MODELS = {
    "posetrack": ("--pose-model", "person_pose_model"),
    "mots": ("--mask-model", "person_mask_model"),
}
"""Which model of persons a task may have: its flag, and its field of `TrackRequest`."""


def check_request(request: TrackRequest) -> None:
    """Find what contradicts itself before anything is opened.

    Raises:
        RequestError: Names the flags.
    """
    if request.task in FIRST_FRAME:
        if request.init is None and not (request.startable and request.task in STARTS):
            raise RequestError(f"task {request.task} starts from the {FIRST_FRAME[request.task]}")
        if request.detections is not None or request.detector is not None:
            raise RequestError(
                f"task {request.task} takes no detections: leave out --detections/--detector"
            )
    elif request.init is not None:
        raise RequestError(
            f"task {request.task} takes no --init: give --detections FILE or --detector NAME"
        )
    elif (request.detections is None) == (request.detector is None):
        got = "none" if request.detector is None else "both"
        raise RequestError(
            f"task {request.task} takes --detections FILE or --detector motion|MODEL.onnx, "
            f"got {got}"
        )
    if request.segment_minutes is not None:
        check_minutes(request.segment_minutes)
    _check_person_models(request)
    if request.detector in (None, MOTION) and (
        request.detector_classes is not None or request.detector_confidence is not None
    ):
        raise RequestError(
            "--detector-classes and --detector-confidence belong to --detector MODEL.onnx"
        )
    if request.max_frames is not None and request.max_frames < 1:
        raise RequestError(f"--max-frames {request.max_frames}: expected 1 or more")
    if not (math.isfinite(request.freeze_s) and request.freeze_s > 0):
        raise RequestError(f"--reconnect-after {request.freeze_s:g}: expected seconds above 0")
    if request.give_up_s is not None and not (
        math.isfinite(request.give_up_s) and request.give_up_s >= 0
    ):
        raise RequestError(f"--give-up {request.give_up_s:g}: expected seconds of 0 or more")


def _check_person_models(request: TrackRequest) -> None:
    """Find a model that the task does not take, and a detector that needs one."""
    for task, (flag, name) in PERSON_MODELS.items():
        if task != request.task and getattr(request, name) is not None:
            raise RequestError(f"{flag} belongs to --task {task}, got --task {request.task}")
    _, name = PERSON_MODELS.get(request.task, ("", "detector"))
    if request.detector is None or getattr(request, name) is not None:
        return
    if request.task == "posetrack":
        raise RequestError(
            "task posetrack tracks poses, and --detector gives boxes: add --pose-model FILE.onnx"
        )
    if request.detector != MOTION:
        raise RequestError(
            "task mots tracks masks, and --detector MODEL.onnx gives boxes: add --mask-model "
            "FILE.onnx, or give --detector motion"
        )


def observer_of(request: TrackRequest, head: Head) -> Observer | None:
    if not head.needs_observations:
        return None
    return open_observer(
        detections=request.detections,
        detector=request.detector,
        confidence=request.detector_confidence,
        classes=request.detector_classes,
        pose_model=request.person_pose_model,
        mask_model=request.person_mask_model,
        device=request.detector_backend or find_backend(request.backend).onnx_device,
        threads=request.threads,
    )
