"""Masks of a person-mask model: `--mask-model NAME|FOLDER|FILE.onnx`.

A bundle's graph, `mask`, takes `crops` (N, h, w, 3) uint8 BGR and gives `masks` (N, h', w'), the
probabilities of a person over the crop.  Of a file, the mask is the one float output with a single
channel and the input's ratio of sides, (N, h, w, 1), (N, 1, h, w) or (N, h, w): BlazePose's third
output, for instance.  Whether it holds logits or probabilities is asked of the model itself, with
one black crop when it is opened.

What lies far outside the box is not the person the box is about, and is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import UnitrackError
from ...records import Detections, FloatArray, Frame, UInt8Array
from ..boxes import clip_boxes
from ..bundle.spec import MASK_GRAPH, GraphSpec
from .layouts.base import sigmoid
from .topdown import CropModel, ModelKind

KIND = ModelKind(
    "--mask-model",
    MASK_GRAPH,
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
        path: Its bundle, or its ONNX file.
        backend: A key of `registry.BACKENDS`; a file runs in ONNX Runtime on its device.
        threads: Of the CPU; 0 takes as many as this process may use.

    Attributes:
        crops: What it takes.
        place: Which of its outputs is the mask.
        map_hw: Height and width of that.
        logits: Whether it holds logits, and not probabilities.

    Raises:
        DetectionError: There is no such file, or the model is of no known format.
        BundleError: The bundle is damaged.
        BackendError: The backend cannot load or run it.
    """

    descriptions: tuple[str, ...] = ()

    def __init__(self, path: Path, *, backend: str = "cpu", threads: int = 0) -> None:
        self._model = CropModel(KIND, path, backend=backend, threads=threads)
        self.crops = self._model.input
        mask = find_mask(self._model.spec, self.crops.size_hw)
        if mask is None:
            raise self._model.refuse()
        self.place, self.map_hw = mask
        self._boxes = self._empty = 0
        self.logits = False
        try:
            self.logits = not self._model.decoded and self._gives_logits()
        except UnitrackError:
            self.close()
            raise

    def _gives_logits(self) -> bool:
        # Probabilities are never outside [0, 1]; logits of what no person is are far below 0.
        black = np.zeros((*self.crops.size_hw, 3), np.uint8)
        answer = self._model.run([black], [self.place], "a black crop")[0]
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
        crops, shown, outputs = self._model.look(frame, seen, [self.place], MARGIN)
        masks = np.zeros((len(seen), *frame.size_hw), np.bool_)
        # Before they are scaled: logits of a thousand would outweigh their neighbours.
        sure = self._sure(outputs[0]) if crops else ()
        for crop, row, shares in zip(crops, np.flatnonzero(shown), sure, strict=True):
            near = _near(seen.boxes_xyxy[row], frame.size_hw)
            masks[row][near] = crop.mask_to_source(shares, frame.size_hw)[near]
        self._boxes += len(seen)
        self._empty += len(seen) - int(masks.any(axis=(1, 2)).sum())
        return replace(seen, masks=masks)

    def _sure(self, values: FloatArray) -> FloatArray:
        """The output as probabilities (N, h', w')."""
        values = values.reshape(-1, *self.map_hw)
        return sigmoid(values) if self.logits else values

    def read(self, crops_bgr: Sequence[UInt8Array]) -> FloatArray:
        """Masks in crops, (h, w, 3) uint8 BGR of the model's size: (N, h', w') probabilities."""
        values = self._model.run(crops_bgr, [self.place], "a crop")[0]
        return self._sure(values)

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
