"""The detectors that `cli track` knows, and `open_detector`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DetectionError, UnitrackError
from ...records import people_of
from ..paths import is_file, model_file, model_name
from .base import MOTION, Detector

if TYPE_CHECKING:
    from .topdown import PersonModel


def open_detector(
    *,
    detections: Path | None = None,
    detector: str | None = None,
    confidence: float | None = None,
    classes: Sequence[int | str] | None = None,
    pose_model: Path | None = None,
    mask_model: Path | None = None,
    device: str = "cpu",
    threads: int = 0,
    calibrate_scores: bool = False,
    default_class: str | None = None,
) -> Detector:
    """Open what `--detections` or `--detector` names, and the model that looks at its boxes.

    Args:
        detections: A file in one of `formats.detections.FILE_FORMATS`, recognised by its contents.
        detector: `motion`, or an ONNX model: one that `cli export --detector` wrote, by its path or
            by its name in bundles/detectors, or the path of one of YOLOX's format.
        confidence: Lowest score that a model reports; None: the model's own.
        classes: Numbers from 0 or names of the classes that are reported; None: all, or people
            alone where a model of persons looks at what a detector with named classes finds.
        pose_model: A top-down ONNX model that says the pose in every box; see `pose_model`.
        mask_model: An ONNX model that says the person's mask in every box; see `mask_model`.
        device: Where an ONNX model runs, `cpu` or `cuda`.
        threads: CPU threads of an ONNX model; 0: as many as the process may use.
        calibrate_scores: Whether raw scores of a file become probabilities; see
            `formats.mot.calibrated_scores`.
        default_class: Name of the class of a file's detections that have none; see
            `formats.detections.open_detections`.

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
    try:
        boxes = _open_boxes(
            detections, detector, confidence, device, threads, calibrate_scores, default_class
        )
        boxes = _of_classes(boxes, classes, people=model is not None)
    except UnitrackError:
        if model is not None:
            model.close()
        raise
    if model is None:
        return boxes
    from .topdown import TopDownDetector

    return TopDownDetector(boxes, model)


def _of_classes(boxes: Detector, classes: Sequence[int | str] | None, *, people: bool) -> Detector:
    """A detector that reports the classes asked for; closed where they cannot be had."""
    if classes is None and not (people and boxes.class_names):
        return boxes
    from .classes import ClassFilter, class_numbers

    if classes is None:
        numbers = people_of(boxes.class_names)
        return ClassFilter(boxes, numbers, "person") if numbers else boxes
    try:
        numbers = class_numbers(classes, boxes.class_names, "--detector-classes")
    except UnitrackError:
        boxes.close()
        raise
    return ClassFilter(boxes, numbers, f"--detector-classes {','.join(map(str, classes))}")


def _open_model(
    pose_model: Path | None, mask_model: Path | None, device: str, threads: int
) -> PersonModel | None:
    if pose_model is not None:
        from .pose import PoseModel

        return PoseModel(_file_of("--pose-model", pose_model), device=device, threads=threads)
    if mask_model is not None:
        from .mask import MaskModel

        return MaskModel(_file_of("--mask-model", mask_model), device=device, threads=threads)
    return None


def _open_boxes(
    detections: Path | None,
    detector: str | None,
    confidence: float | None,
    device: str,
    threads: int,
    calibrate_scores: bool,
    default_class: str | None,
) -> Detector:
    if detector is None and detections is not None:
        from ..formats.detections import open_detections

        return open_detections(
            detections, calibrate_scores=calibrate_scores, default_class=default_class
        )
    if detector is None or detections is not None:
        raise DetectionError(
            f"got {'no' if detector is None else 'two'} origin of detections, expected one: "
            "--detections FILE, --detector motion or --detector MODEL.onnx"
        )
    if detector == MOTION:
        from .motion import MotionDetector

        return MotionDetector()
    path = _file_of("--detector", detector)
    if path.suffix.lower() != ".onnx":
        raise DetectionError(
            f"--detector {detector}: expected 'motion' (built in, for a camera that stands still), "
            "a name that `cli models` lists, or the path of a model ending in .onnx"
        )
    from .decoded import DecodedConfig, open_decoded

    settings = DecodedConfig(confidence=confidence)
    decoded = open_decoded(path, settings, device=device, threads=threads)
    if decoded is not None:
        return decoded
    from .yolox import YoloxConfig, YoloxDetector

    config = YoloxConfig()
    if confidence is not None:
        config = replace(config, confidence=confidence)
    return YoloxDetector(path, config, device=device, threads=threads)


def _file_of(flag: str, model: str | Path) -> Path:
    """The file of a model that was asked for by path or name.

    Raises:
        DetectionError: A name whose file has not been exported.
    """
    path, name = model_file(model), model_name(model)
    if name is not None and not is_file(path):
        raise DetectionError(
            f"{flag} {name}: expected 'motion', the path of a model ending in .onnx, or a name "
            f"that `cli models` lists; {path} does not exist: run `cli export --detector {name}`"
        )
    return path
