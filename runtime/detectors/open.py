"""The detectors that `cli track` knows, and `open_detector`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import RequestError, UnitrackError
from ...records import people_of
from ..paths import is_folder, is_model, model_file, model_name
from .base import BUILT_IN, Detector, MostDetections, OncePerFrame

if TYPE_CHECKING:
    from .topdown import PersonModel


def open_detector(
    *,
    detections: Path | None = None,
    detector: str | None = None,
    confidence: float | None = None,
    classes: Sequence[int | str] | None = None,
    classes_from: str | None = None,
    names: Path | None = None,
    layout: str | None = None,
    normalise: str | None = None,
    size_hw: tuple[int, int] | None = None,
    pose_model: Path | None = None,
    mask_model: Path | None = None,
    backend: str = "cpu",
    threads: int = 0,
    calibrate_scores: bool = False,
    default_class: str | None = None,
    strict: bool = False,
    source_frames: int | None = None,
    max_detections: int | None = None,
    shared: dict[tuple[Any, ...], Detector] | None = None,
) -> Detector:
    """Open what `--detections` or `--detector` names, and the model that looks at its boxes.

    Args:
        detections: A file or folder in one of `formats.detections.FILE_FORMATS`, recognised by its
            contents.
        detector: `motion`, or a model: its bundle, its ONNX file of a layout of `layouts.table`, or
            its name in bundles/detectors.
        confidence: Lowest score that a model reports; None: the model's own.
        classes: Numbers from 0 or names of the classes that are reported; None: all, or people
            alone where a model of persons looks at what a detector with named classes finds.
        classes_from: The option that named them, with its value; None: `--detector-classes`.
        names: File of the names of a model's classes; None: the model's own, or COCO's.
        layout: Of a model's outputs; None: recognised.
        normalise: How a model wants its image; None: as its layout does.
        size_hw: Height and width of a model's image; None: the model's own, or the source's rule.
        pose_model: Bundle, ONNX file or name of what says the pose in every box; see `pose`.
        mask_model: Likewise of what says the person's mask in every box; see `mask`.
        backend: What runs models, a key of `registry.BACKENDS`; those that are no bundles run in
            ONNX Runtime on its device.
        threads: CPU threads of an ONNX model; 0: as many as the process may use.
        calibrate_scores: Whether raw scores of a file become probabilities; see
            `formats.reading.plausible.calibrated_scores`.
        default_class: Name of the class of a file's detections that have none; see
            `formats.detections.open_detections`.
        strict: Whether a file is taken at its word, see `formats.text.ReadOptions`.
        source_frames: How many frames the source has; None where that is not certain.
        max_detections: How many in a frame at most, the highest scores; None: any number.
        shared: What finds boxes for other tasks of the source, by its settings: with the same ones
            it looks at each frame once for all of them. None: there are none.

    Raises:
        RequestError: Not one of detections and detector is given, or both models of persons; a
            model, class, size or layout of which there is none.
        DetectionError: A file is absent, damaged or of no known format, or a model is not of the
            kind expected.
        BackendError: A model cannot be loaded.
    """
    if pose_model is not None and mask_model is not None:
        raise RequestError(
            f"--pose-model {pose_model} and --mask-model {mask_model}: expected one of them a task"
        )
    model = _open_model(pose_model, mask_model, backend, threads)
    try:
        file = detections, detector, calibrate_scores, default_class, strict, source_frames
        settings = confidence, names, layout, normalise, size_hw, backend, threads
        known = None if shared is None else shared.get((file, settings))
        if known is not None:
            boxes = known
        elif detector is None or detector in BUILT_IN or detections is not None:
            boxes = _open_boxes(*file)
        else:
            from .model import open_model
            from .recognition import ModelSettings

            boxes = open_model(
                _model_of(detector),
                ModelSettings(
                    confidence=confidence,
                    names=names,
                    layout=layout,
                    normalise=normalise,
                    size_hw=size_hw,
                ),
                backend=backend,
                threads=threads,
            )
        if shared is not None and known is None:
            boxes = shared[file, settings] = OncePerFrame(boxes)
        boxes = _of_classes(boxes, classes, classes_from, people=model is not None)
        if max_detections is not None and (boxes.most is None or boxes.most > max_detections):
            boxes = MostDetections(boxes, max_detections)
    except UnitrackError:
        if model is not None:
            model.close()
        raise
    # Who asked for a model by its name knows what it is.
    if model_name(detector or "") is not None:
        boxes.descriptions = ()
    if pose_model is not None and model is not None and model_name(pose_model) is not None:
        model.descriptions = ()
    if model is None:
        return boxes
    from .topdown import TopDownDetector

    return TopDownDetector(boxes, model)


def _of_classes(
    boxes: Detector, classes: Sequence[int | str] | None, option: str | None, *, people: bool
) -> Detector:
    """A detector that reports the classes asked for; closed where they cannot be had."""
    if classes is None and not (people and boxes.class_names):
        return boxes
    from .classes import ClassFilter, class_numbers

    if classes is None:
        numbers = people_of(boxes.class_names)
        return ClassFilter(boxes, numbers, "person") if numbers else boxes
    try:
        numbers = class_numbers(classes, boxes.class_names, option or "--detector-classes")
    except UnitrackError:
        boxes.close()
        raise
    return ClassFilter(
        boxes, numbers, option or f"--detector-classes {','.join(map(str, classes))}"
    )


def _open_model(
    pose_model: Path | None, mask_model: Path | None, backend: str, threads: int
) -> PersonModel | None:
    if pose_model is not None:
        from .pose import PoseModel

        return PoseModel(_file_of("--pose-model", pose_model), backend=backend, threads=threads)
    if mask_model is not None:
        from .mask import MaskModel

        return MaskModel(_file_of("--mask-model", mask_model), backend=backend, threads=threads)
    return None


def _open_boxes(
    detections: Path | None,
    detector: str | None,
    calibrate_scores: bool,
    default_class: str | None,
    strict: bool,
    source_frames: int | None,
) -> Detector:
    """What a file holds, or what moves."""
    if detector is None and detections is not None:
        from ..formats.detections import open_detections

        return open_detections(
            detections,
            calibrate_scores=calibrate_scores,
            default_class=default_class,
            strict=strict,
            source_frames=source_frames,
        )
    if detector is None or detections is not None:
        raise RequestError(
            f"got {'no' if detector is None else 'two'} origin of detections, expected one: "
            "--detections FILE, --detector motion or --detector MODEL.onnx"
        )
    from .motion import MotionDetector

    return MotionDetector()


def _model_of(detector: str) -> Path:
    path = _file_of("--detector", detector)
    if path.suffix.lower() != ".onnx" and not is_model(path):
        raise RequestError(
            f"--detector {detector}: expected 'motion' (built in, for a camera that stands still), "
            "a name that `cli models` lists, a folder that `cli export --detector` wrote, or the "
            "path of a model ending in .onnx"
        )
    return path


def _file_of(flag: str, model: str | Path) -> Path:
    """The file or bundle of a model that was asked for by path or name.

    Raises:
        RequestError: A name whose model has not been exported, or a folder without one.
    """
    path, name = model_file(model), model_name(model)
    if name is not None and not is_model(path):
        raise RequestError(
            f"{flag} {name}: expected 'motion', the path of a model ending in .onnx, or a name "
            f"that `cli models` lists; {path} does not exist: run `cli export --detector {name}`"
        )
    if is_folder(path) and not is_model(path):
        raise RequestError(
            f"{flag} {path}: a folder without bundle.json; expected a name that `cli models` "
            "lists, the path of a model ending in .onnx, or a folder that `cli export --detector` "
            "wrote"
        )
    return path
