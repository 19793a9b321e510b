"""Detections of a YOLOX-format ONNX model: `--detector MODEL.onnx`.

The model takes one letterboxed image, (1, 3, S, S') float32 of BGR values 0–255, and gives
(1, A, 5 + C): for every cell of the grids of stride 8, 16 and 32 a box (centre x and y relative to
the cell and logarithms of width and height, all in strides), an objectness and C class
probabilities.  The image is scaled to fit and lies in the top left corner; the rest is 114.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import Detections, FloatArray, Frame, UInt8Array
from ..boxes import nms, rows_in_image, valid_rows
from ..bundle.spec import GraphSpec
from ..inference.base import Engine, to_host
from ..inference.onnxruntime import OnnxRuntimeEngine
from ..paths import is_file
from .base import Detector
from .classes import names_of

STRIDES = (8, 16, 32)
PAD_VALUE = 114.0

_MAX_LOG_SIZE = 20.0
"""exp of this is 485 million strides; beyond it the exponential would overflow."""


@dataclass(frozen=True, slots=True)
class YoloxConfig:
    """Settings of a YOLOX detector.

    Attributes:
        confidence: Detections with objectness × class probability below this are left out.
        nms_limit: IoU above which the worse of two boxes of one class is left out.
        classes: Class numbers from 0 to report (0 is a person in COCO models); None: all.
    """

    confidence: float = 0.25
    nms_limit: float = 0.45
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in (("confidence", self.confidence), ("nms_limit", self.nms_limit)):
            if not 0 <= value <= 1:
                raise DetectionError(f"YOLOX detector: {name} is {value}, expected 0 to 1")


class YoloxDetector(Detector):
    """A detector that runs a YOLOX-format model on every frame.

    Args:
        path: The ONNX file.
        config: Settings.
        device: `cpu` or `cuda`.
        threads: Of the CPU; 0 takes as many as this process may use.

    Raises:
        DetectionError: There is no such file, or the model is of another shape.
        BackendError: ONNX Runtime cannot load it.
    """

    def __init__(
        self,
        path: Path,
        config: YoloxConfig | None = None,
        *,
        device: str = "cpu",
        threads: int = 0,
    ) -> None:
        if not is_file(path):
            raise DetectionError(f"--detector {path}: there is no such file")
        self._path, self._config = path, config or YoloxConfig()
        self._engine: Engine = OnnxRuntimeEngine(path, device=device, threads=threads)
        try:
            self._size_hw, classes = read_layout(path, self._engine.spec)
            _check_classes(path, self._config.classes, classes)
            self.class_names = names_of(classes)
        except DetectionError:
            self._engine.close()
            raise
        self._cells = grid_cells(self._size_hw)
        self._canvas = np.full((*self._size_hw, 3), PAD_VALUE, np.uint8)

    def detect(self, frame: Frame) -> Detections:
        """Detections in one frame, best score first.

        Returns:
            Boxes in source pixels, which may reach a little beyond the image.

        Raises:
            DetectionError: The model gave NaN or infinite values.
        """
        pixels, scale_xy = self._letterbox(frame.image)
        spec = self._engine.spec
        output = self._engine.run({spec.inputs[0].name: pixels})[spec.outputs[0].name]
        raw: npt.NDArray[Any] = to_host(output)[0]
        if raw.shape[0] != len(self._cells):
            raise DetectionError(
                f"--detector {self._path}: got {raw.shape[0]} cells, expected {len(self._cells)}"
            )
        if not np.isfinite(raw).all():
            raise DetectionError(
                f"--detector {self._path}: the model gave NaN or infinite values for frame "
                f"{frame.index}; expected a model that takes BGR pixels of 0 to 255"
            )
        found = decode(raw, self._cells, self._config, scale_xy)
        boxes = found.boxes_xyxy
        found = found[rows_in_image(boxes, frame.size_hw)]
        kept = nms(found.boxes_xyxy, found.scores, self._config.nms_limit, found.classes)
        return found[kept]

    def _letterbox(self, image: UInt8Array) -> tuple[FloatArray, tuple[float, float]]:
        """(1, 3, S, S') float32 network input, and network pixels per source pixel in x and y."""
        height, width = image.shape[:2]
        ratio = min(self._size_hw[0] / height, self._size_hw[1] / width)
        # Whole pixels, so the two axes are scaled by slightly different factors.
        inner_hw = max(1, int(height * ratio)), max(1, int(width * ratio))
        self._canvas[...] = int(PAD_VALUE)
        self._canvas[: inner_hw[0], : inner_hw[1]] = cv2.resize(
            image, inner_hw[::-1], interpolation=cv2.INTER_LINEAR
        )
        pixels = self._canvas.transpose(2, 0, 1)[None].astype(np.float32, order="C")
        return pixels, (inner_hw[1] / width, inner_hw[0] / height)

    def close(self) -> None:
        """Give the model back."""
        self._engine.close()


def read_layout(path: Path, spec: GraphSpec) -> tuple[tuple[int, int], int | None]:
    """Check that a graph is a YOLOX model.

    Args:
        path: Its file, for messages.
        spec: Its inputs and outputs.

    Returns:
        Input height and width, and the number of classes (None where the model leaves it open).

    Raises:
        DetectionError: The graph is of another shape; says what it has.
    """

    def refuse(expected: str) -> DetectionError:
        got = ", ".join(f"{t.name} {t.describe()}" for t in spec.inputs)
        given = ", ".join(f"{t.name} {t.describe()}" for t in spec.outputs)
        return DetectionError(
            f"--detector {path} is not a YOLOX model: got {got} to {given}, expected {expected}"
        )

    wanted = "one input float32 (1, 3, S, S) and one output float32 (1, A, 5 + classes)"
    if len(spec.inputs) != 1 or len(spec.outputs) != 1:
        raise refuse(wanted)
    image, output = spec.inputs[0], spec.outputs[0]
    if image.dtype != "float32" or output.dtype != "float32":
        raise refuse(wanted)
    if len(image.shape) != 4 or len(output.shape) != 3 or image.shape[1] != 3:
        raise refuse(wanted)
    if any(isinstance(batch, int) and batch != 1 for batch in (image.shape[0], output.shape[0])):
        raise refuse("a batch of 1")
    height, width = image.shape[2:]
    largest = STRIDES[-1]
    if not isinstance(height, int) or not isinstance(width, int):
        raise refuse("a fixed input size: export the detector with one")
    if min(height, width) < largest or height % largest or width % largest:
        raise refuse(f"an input height and width that are multiples of {largest}")
    cells, channels = output.shape[1:]
    expected = sum((height // s) * (width // s) for s in STRIDES)
    if isinstance(cells, int) and cells != expected:
        raise refuse(f"{expected} cells of strides 8, 16 and 32 in the output")
    if isinstance(channels, int) and channels < 6:
        raise refuse("at least 6 output channels: 4 of the box, objectness, classes")
    return (height, width), channels - 5 if isinstance(channels, int) else None


def _check_classes(path: Path, asked: tuple[int, ...] | None, classes: int | None) -> None:
    if asked is None or classes is None:
        return
    unknown = [label for label in asked if not 0 <= label < classes]
    if unknown:
        raise DetectionError(
            f"--detector-classes: got {unknown}, but {path} has classes 0 to {classes - 1}"
        )


def grid_cells(size_hw: tuple[int, int]) -> FloatArray:
    """(A, 3) float32 of column, row and stride of every cell, strides ascending, row by row."""
    levels = []
    for stride in STRIDES:
        rows, columns = np.indices((size_hw[0] // stride, size_hw[1] // stride))
        sizes = np.full(rows.size, stride)
        levels.append(np.stack([columns.ravel(), rows.ravel(), sizes], axis=1))
    return np.concatenate(levels).astype(np.float32)


def decode(
    raw: FloatArray, cells: FloatArray, config: YoloxConfig, scale_xy: tuple[float, float]
) -> Detections:
    """Turn the network's numbers into boxes, before suppression.

    Args:
        raw: (A, 5 + C) float32: centre x, y and log width, height per cell, objectness, classes.
        cells: (A, 3) from `grid_cells`.
        config: Threshold and classes.
        scale_xy: Network pixels per source pixel.

    Returns:
        The cells above the threshold: boxes in source pixels, scores, classes.
    """
    labels = raw[:, 5:].argmax(axis=1).astype(np.int64)
    scores = raw[:, 4] * np.take_along_axis(raw[:, 5:], labels[:, None], axis=1)[:, 0]
    rows = scores >= config.confidence
    if config.classes is not None:
        rows &= np.isin(labels, config.classes)
    raw, cells, scores, labels = raw[rows], cells[rows], scores[rows], labels[rows]
    centres = (raw[:, :2] + cells[:, :2]) * cells[:, 2:]
    halves = np.exp(np.minimum(raw[:, 2:4], _MAX_LOG_SIZE)) * cells[:, 2:] / 2
    scale = np.array([*scale_xy, *scale_xy], np.float32)
    boxes = (np.concatenate([centres - halves, centres + halves], axis=1) / scale).astype(
        np.float32
    )
    valid = valid_rows(boxes)
    return Detections(boxes[valid], scores[valid], labels[valid])
