"""Masks of a person-mask ONNX model: `--mask-model FILE.onnx`.

The model's mask is the one float output with a single channel and the input's ratio of sides,
(N, h, w, 1), (N, 1, h, w) or (N, h, w): BlazePose's third output, for instance.  Whether it holds
logits or probabilities is asked of the model itself, with one black crop when it is opened.

What lies far outside the box is not the person the box is about, and is cut off.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import UnitrackError
from ...records import Detections, FloatArray, Frame
from ..boxes import clip_boxes
from ..bundle.spec import GraphSpec
from .topdown import CropModel, ModelKind, probability

KIND = ModelKind(
    "--mask-model",
    "person-mask",
    "exactly one output float32 (N, h, w, 1), (N, 1, h, w) or (N, h, w) of the input's ratio",
)

MARGIN = 0.25
"""What the crop is longer than the box, see `PersonCrop.about`; BlazePose was made for as much."""

REACH = 0.1
"""How far a mask may reach beyond its box on each side, as a share of the box's width and height.

With a detector's boxes on a real clip, cutting at the box itself costs 2 % of the person's joints,
and not cutting doubles what is taken from neighbours."""

_ROUNDING = 1e-3


def find_mask(spec: GraphSpec, size_hw: tuple[int, int]) -> tuple[int, tuple[int, int]] | None:
    """Which output is a mask of crops of a size, and its own size; None if not exactly one is."""
    found = []
    for place, tensor in enumerate(spec.outputs):
        sides = [size for size in tensor.shape[1:] if size != 1]
        if tensor.dtype != "float32" or not 3 <= len(tensor.shape) <= 4 or len(sides) != 2:
            continue
        height, width = sides
        if not isinstance(height, int) or not isinstance(width, int):
            continue
        if height * size_hw[1] == width * size_hw[0]:
            found.append((place, (height, width)))
    return found[0] if len(found) == 1 else None


class MaskModel:
    """Adds masks to boxes.

    Args:
        path: The ONNX file.
        device: `cpu` or `cuda`.
        threads: Of the CPU; 0 takes as many as this process may use.

    Raises:
        DetectionError: There is no such file, or the model is of no known format.
        BackendError: ONNX Runtime cannot load or run it.
    """

    descriptions: tuple[str, ...] = ()

    def __init__(self, path: Path, *, device: str = "cpu", threads: int = 0) -> None:
        self._model = CropModel(KIND, path, device=device, threads=threads)
        mask = find_mask(self._model.spec, self._model.input.size_hw)
        if mask is None:
            raise self._model.refuse()
        self._mask, self._mask_hw = mask
        self._boxes = self._empty = 0
        self._logits = False
        try:
            self._logits = self._gives_logits()
        except UnitrackError:
            self.close()
            raise

    def _gives_logits(self) -> bool:
        # Probabilities are never outside [0, 1]; logits of what no person is are far below 0.
        black = np.zeros((*self._model.input.size_hw, 3), np.uint8)
        answer = self._model.run([black], [self._mask], "a black crop")[0]
        return bool(answer.min() < -_ROUNDING or answer.max() > 1 + _ROUNDING)

    def describe(self, frame: Frame, seen: Detections) -> Detections:
        """The same boxes with the mask of the person in each.

        Args:
            frame: The image.
            seen: N boxes in source pixels; they and their scores stay as they are.

        Returns:
            With (N, H, W) masks at source size; empty where the model finds no person or a box lies
            wholly outside the image.

        Raises:
            DetectionError: The model gave NaN or infinite values.
            BackendError: The backend failed.
        """
        crops, shown, outputs = self._model.look(frame, seen, [self._mask], MARGIN)
        masks = np.zeros((len(seen), *frame.size_hw), np.bool_)
        for place, (crop, row) in enumerate(zip(crops, np.flatnonzero(shown), strict=True)):
            values = outputs[0][place].reshape(self._mask_hw)
            # Before they are scaled: logits of a thousand would outweigh their neighbours.
            sure = probability(values) if self._logits else values
            near = _near(seen.boxes_xyxy[row], frame.size_hw)
            masks[row][near] = crop.mask_to_source(sure, frame.size_hw)[near]
        self._boxes += len(seen)
        self._empty += len(seen) - int(masks.any(axis=(1, 2)).sum())
        return replace(seen, masks=masks)

    def notes(self) -> list[str]:
        """A note on boxes in which the model found no person."""
        if not self._empty:
            return []
        return [
            f"{KIND.flag}: no mask in {self._empty} of {self._boxes} boxes, which were left out"
        ]

    def close(self) -> None:
        """Give the model back."""
        self._model.close()


def _near(box_xyxy: FloatArray, size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of an image that a person's mask may cover."""
    box = box_xyxy.astype(np.float64)
    reach = np.tile(REACH * (box[2:] - box[:2]), 2) * (-1, -1, 1, 1)
    left, top, right, bottom = clip_boxes((box + reach)[None], size_hw)[0]
    return slice(int(top), int(np.ceil(bottom))), slice(int(left), int(np.ceil(right)))
