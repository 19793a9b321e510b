"""What a run of `cli track` is asked for: the run, its sources, its tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..errors import RequestError
from ..heads.config import (
    HeadConfig,
)
from ..heads.interactive import STARTS
from ..runtime.detectors.base import MOTION
from ..runtime.writers.segments import check_minutes


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


FIRST_FRAME = {
    "sot": "object's box in the first frame: give --init X,Y,W,H, a file, or select to draw it",
    "vos": "object's mask in the first frame: give --init MASK.png, X,Y,W,H, or select "
    "to draw a box",
    "pose": "people's joints in the first frame: give --init FILE.json (PoseTrack18 or COCO)",
}
"""What tasks that see no detections start from."""


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
