"""The tasks: one row each with its head, its results and what it starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..heads.config import (
    MotConfig,
    MotsConfig,
    PoseConfig,
    PosetrackConfig,
    SotConfig,
    VosConfig,
)
from ..runtime.detectors.base import Detector
from ..runtime.detectors.open import open_detector
from ..runtime.formats.davis import MaskWriter
from ..runtime.formats.mot import MotWriter
from ..runtime.formats.mots import MotsWriter
from ..runtime.formats.otb import OtbWriter
from ..runtime.formats.posetrack import PoseTrackWriter
from ..runtime.head import Head
from ..runtime.inference.registry import find_backend
from ..runtime.inference.runner import GraphRunner
from ..runtime.prompts.mask import labels_to_start
from ..runtime.prompts.pose import poses_from_file
from ..runtime.sources.base import SourceInfo
from ..runtime.writers.base import Writer
from .config import TrackRequest


def _mot(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from ..heads.mot import MotHead

    if not isinstance(request.config, MotConfig):
        raise TypeError(f"task mot with {type(request.config).__name__}")
    return MotHead(graphs, request.config, info.fps or 30.0)


def _vos(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from ..heads.vos import VosHead

    if not isinstance(request.config, VosConfig) or request.init is None or info.size_hw is None:
        raise TypeError(f"task vos with {type(request.config).__name__} and init {request.init}")
    labels, refine = labels_to_start(request.init, info.size_hw)
    return VosHead(graphs, labels, request.config, refine)


def _sot(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:  # noqa: ARG001
    from ..heads.sot import SotHead
    from ..runtime.prompts.box import box_from_text

    if not isinstance(request.config, SotConfig) or request.init is None:
        raise TypeError(f"task sot with {type(request.config).__name__} and init {request.init}")
    return SotHead(graphs, box_from_text(request.init), request.config)


def _mots(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from ..heads.mots import MotsHead

    if not isinstance(request.config, MotsConfig):
        raise TypeError(f"task mots with {type(request.config).__name__}")
    return MotsHead(graphs, request.config, info.fps or 30.0)


def _posetrack(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from ..heads.posetrack import PosetrackHead

    if not isinstance(request.config, PosetrackConfig):
        raise TypeError(f"task posetrack with {type(request.config).__name__}")
    return PosetrackHead(graphs, request.config, info.fps or 30.0)


def _pose(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from ..heads.pose import PoseHead

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


RESULTS: dict[str, tuple[str, Callable[[Path], Writer]]] = {
    "sot": ("tracks.txt", OtbWriter),
    "mot": ("tracks.txt", MotWriter),
    "vos": ("masks", MaskWriter),
    "mots": ("tracks.txt", MotsWriter),
    "posetrack": ("tracks.json", PoseTrackWriter),
    "pose": ("tracks.json", PoseTrackWriter),
}
"""Where the results of each task go."""


def detector_of(request: TrackRequest, head: Head) -> Detector | None:
    if not head.needs_detections:
        return None
    return open_detector(
        detections=request.detections,
        detector=request.detector,
        confidence=request.detector_confidence,
        classes=request.detector_classes,
        pose_model=request.person_pose_model,
        mask_model=request.person_mask_model,
        device=request.detector_backend or find_backend(request.backend).onnx_device,
        threads=request.threads,
    )
