"""The detectors and detection files that `cli track` knows, and `open_detector`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DetectionError, UnitrackError
from ..formats.coco import CocoFile, is_coco_results
from ..formats.mot import read_mot
from ..formats.mots import MotsFile
from ..formats.posetrack import PosetrackFile
from ..formats.text import DetectionFile, parse_number, read_lines
from .base import MOTION, PERSON, Detector

if TYPE_CHECKING:
    from .topdown import PersonModel


FILE_FORMATS: dict[str, Callable[[Path], DetectionFile]] = {
    "mot": read_mot,
    "mots": MotsFile,
    "posetrack": PosetrackFile,
    "coco-results": CocoFile,
}
"""Readers of detection files by the format's name."""


def open_detector(
    *,
    detections: Path | None = None,
    detector: str | None = None,
    confidence: float | None = None,
    classes: tuple[int, ...] | None = None,
    pose_model: Path | None = None,
    mask_model: Path | None = None,
    device: str = "cpu",
    threads: int = 0,
) -> Detector:
    """Open what `--detections` or `--detector` names, and the model that looks at its boxes.

    Args:
        detections: A file in one of `FILE_FORMATS`, told apart by its contents.
        detector: `motion`, or the path of a YOLOX-format ONNX model.
        confidence: Lowest score that a YOLOX model reports; None: `YoloxConfig`'s.
        classes: Class numbers from 0 that a YOLOX model reports; None: all, or `PERSON` alone where
            a model of persons looks at them.
        pose_model: A top-down ONNX model that says the pose in every box; see `pose_model`.
        mask_model: An ONNX model that says the person's mask in every box; see `mask_model`.
        device: Where an ONNX model runs, `cpu` or `cuda`.
        threads: CPU threads of an ONNX model; 0: as many as the process may use.

    Raises:
        DetectionError: Not one of detections and detector is given, or both models of persons; a
            file is absent, damaged or of no known format, or a model is not of the kind expected.
        BackendError: A model cannot be loaded.
    """
    if pose_model is not None and mask_model is not None:
        raise DetectionError(
            f"--pose-model {pose_model} and --mask-model {mask_model}: expected one of them a task"
        )
    model = _open_model(pose_model, mask_model, device, threads)
    if model is None:
        return _open_boxes(detections, detector, confidence, classes, device, threads)
    from .topdown import TopDownDetector

    try:
        people = (PERSON,) if classes is None else classes
        boxes = _open_boxes(detections, detector, confidence, people, device, threads)
    except UnitrackError:
        model.close()
        raise
    return TopDownDetector(boxes, model)


def _open_model(
    pose_model: Path | None, mask_model: Path | None, device: str, threads: int
) -> PersonModel | None:
    if pose_model is not None:
        from .pose import PoseModel

        return PoseModel(pose_model, device=device, threads=threads)
    if mask_model is not None:
        from .mask import MaskModel

        return MaskModel(mask_model, device=device, threads=threads)
    return None


def _open_boxes(
    detections: Path | None,
    detector: str | None,
    confidence: float | None,
    classes: tuple[int, ...] | None,
    device: str,
    threads: int,
) -> Detector:
    if (detections is None) == (detector is None):
        raise DetectionError(
            f"got {'no' if detector is None else 'two'} origin of detections, expected one: "
            "--detections FILE, --detector motion or --detector MODEL.onnx"
        )
    if detections is not None:
        return open_detections(detections)
    if detector == MOTION:
        from .motion import MotionDetector

        return MotionDetector()
    if detector is None or Path(detector).suffix.lower() != ".onnx":
        raise DetectionError(
            f"--detector {detector}: expected 'motion' (built in, for a camera that stands still) "
            "or the path of a YOLOX model ending in .onnx"
        )
    from .yolox import YoloxConfig, YoloxDetector

    config = YoloxConfig(classes=classes)
    if confidence is not None:
        config = replace(config, confidence=confidence)
    return YoloxDetector(Path(detector), config, device=device, threads=threads)


def open_detections(
    path: Path, *, file_format: str | None = None, first_frame: int | None = None
) -> DetectionFile:
    """Read a file of detections.

    Args:
        path: The file.
        file_format: A key of `FILE_FORMATS`; None looks at the file.
        first_frame: Number of the first frame in a MOTS file, 0 or 1; None finds out.

    Raises:
        DetectionError: The file is absent, damaged, or of no known format.
    """
    name = file_format or find_format(path)
    if name not in FILE_FORMATS:
        raise DetectionError(f"format {name!r}: expected one of {', '.join(FILE_FORMATS)}")
    if name == "mots":
        return MotsFile(path, first_frame)
    return FILE_FORMATS[name](path)


def find_format(path: Path) -> str:
    """Notify the formats of detection files apart.

    JSON files end in `.json` or begin with a bracket; one that begins with a list of objects is of
    COCO results, any other PoseTrack's.  Of the text formats, only MOTS has rows of six columns
    without a comma whose last is not a number; an empty file counts as MOTChallenge.

    Raises:
        DetectionError: The file is absent or not text.
    """
    json_format = "coco-results" if is_coco_results(path) else "posetrack"
    if path.suffix.lower() == ".json":
        return json_format
    for _, line in read_lines(path):
        if line[0] in "{[":
            return json_format
        if "," in line:
            return "mot"
        fields = line.split()
        if len(fields) == 6 and parse_number(fields[5]) is None:
            return "mots"
    return "mot"
