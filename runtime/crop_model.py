"""What models that look at one person at a time share: input, batches, errors.

Such a model has one input, a batch of RGB crops, channels first or last.  Its element type says
the range: uint8 and int32 hold 0 to 255, float32 holds 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ObservationError
from ..records import BoolArray, FloatArray, Frame, Observations, UInt8Array
from .engine import to_host
from .onnxruntime_engine import OnnxRuntimeEngine
from .paths import is_file
from .person_crops import PersonCrop
from .specs import GraphSpec

BATCH = 16
"""Crops of one call at most, where the model takes any number."""

RANGES = {"uint8": 255, "int32": 255, "float32": 1}
"""The value of white by the input's element type."""


@dataclass(frozen=True, slots=True)
class CropInput:
    """The input of a model of persons.

    Attributes:
        name: Its name in the graph.
        dtype: A key of `RANGES`.
        size_hw: Height and width in pixels.
        channels_last: Whether it is (N, h, w, 3) and not (N, 3, h, w).
        batch: How many crops a call may hold.
    """

    name: str
    dtype: str
    size_hw: tuple[int, int]
    channels_last: bool
    batch: int

    def feed(self, crops_bgr: Sequence[UInt8Array]) -> npt.NDArray[Any]:
        """Crops (h, w, 3) uint8 BGR as the graph takes them."""
        pixels = np.stack(crops_bgr)[..., ::-1]
        if not self.channels_last:
            pixels = pixels.transpose(0, 3, 1, 2)
        values = pixels.astype(self.dtype, order="C")
        return values if RANGES[self.dtype] == 255 else values / np.float32(255)


def read_input(spec: GraphSpec) -> CropInput | None:
    """What a graph takes, or None where that is no batch of crops of a fixed size."""
    if len(spec.inputs) != 1:
        return None
    image = spec.inputs[0]
    if image.dtype not in RANGES or len(image.shape) != 4:
        return None
    channels_last = image.shape[3] == 3
    if not channels_last and image.shape[1] != 3:
        return None
    batch = image.shape[0]
    height, width = image.shape[1:3] if channels_last else image.shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        return None
    if isinstance(batch, int) and batch != 1:
        return None
    most = 1 if isinstance(batch, int) else BATCH
    return CropInput(image.name, image.dtype, (height, width), channels_last, most)


@dataclass(frozen=True, slots=True)
class ModelKind:
    """What messages say of a kind of model.

    Attributes:
        flag: The option that names its file.
        name: What it is called.
        outputs: What its outputs are expected to be.
    """

    flag: str
    name: str
    outputs: str


class CropModel:
    """A model of persons, loaded.

    Args:
        kind: For messages.
        path: The ONNX file.
        device: `cpu` or `cuda`.
        threads: Of the CPU; 0 takes as many as this process may use.

    Attributes:
        spec: Its inputs and outputs.
        input: The only one of its inputs.

    Raises:
        ObservationError: There is no such file, or the model does not take crops.
        BackendError: ONNX Runtime cannot load it.
    """

    def __init__(
        self, kind: ModelKind, path: Path, *, device: str = "cpu", threads: int = 0
    ) -> None:
        self._kind, self._name = kind, f"{kind.flag} {path}"
        if not is_file(path):
            raise ObservationError(f"{self._name}: there is no such file")
        self._engine = OnnxRuntimeEngine(path, device=device, threads=threads)
        self.spec: GraphSpec = self._engine.spec
        crops = read_input(self.spec)
        if crops is None:
            raise self.refuse()
        self.input = crops

    def refuse(self) -> ObservationError:
        """The error for a model of another kind; gives the model back."""
        self.close()
        takes, gives = (
            ", ".join(f"{tensor.name} {tensor.describe()}" for tensor in tensors)
            for tensors in (self.spec.inputs, self.spec.outputs)
        )
        return ObservationError(
            f"{self._name} is not a {self._kind.name} model of a known format: got {takes} to "
            f"{gives}; expected one input {', '.join(RANGES)} (N, h, w, 3) or (N, 3, h, w), N open "
            f"or 1, and {self._kind.outputs}"
        )

    def run(self, crops_bgr: Sequence[UInt8Array], place: int, where: str) -> FloatArray:
        """Look at crops, in as few calls as the model allows.

        Args:
            crops_bgr: At least one crop, (h, w, 3) uint8 BGR of the input's size.
            place: Which output is wanted, from 0.
            where: They are from, for messages.

        Returns:
            That output, crops along its first axis.

        Raises:
            ObservationError: The model gave NaN or infinite values, or not a row a crop.
            BackendError: The backend failed.
        """
        name, parts = self.spec.outputs[place].name, []
        for start in range(0, len(crops_bgr), self.input.batch):
            feed = self.input.feed(crops_bgr[start : start + self.input.batch])
            parts.append(to_host(self._engine.run({self.input.name: feed})[name]))
        whole: FloatArray = np.concatenate(parts)
        if len(whole) != len(crops_bgr):
            raise ObservationError(
                f"{self._name}: got {len(whole)} rows of {name} for {len(crops_bgr)} crops, "
                "expected one each"
            )
        if not np.isfinite(whole).all():
            raise ObservationError(
                f"{self._name}: the model gave NaN or infinite values for {where}; expected "
                f"a model that takes RGB pixels of 0 to {RANGES[self.input.dtype]}"
            )
        return whole

    def look(
        self, frame: Frame, seen: Observations, place: int, margin: float
    ) -> tuple[list[PersonCrop], BoolArray, FloatArray]:
        """Look at every box of a frame.

        Args:
            frame: The picture.
            seen: Whose boxes.
            place: Which output is wanted, from 0.
            margin: See `PersonCrop.about`.

        Returns:
            M crops, (N,) bool of the boxes that they are of (the others lie wholly outside the
            picture), and the output with M rows.

        Raises:
            ObservationError: The model gave NaN or infinite values, or not a row a crop.
            BackendError: The backend failed.
        """
        size_hw = self.input.size_hw
        places = [PersonCrop.about(b, frame.size_hw, size_hw, margin) for b in seen.boxes_xyxy]
        shown = np.array([place is not None for place in places], np.bool_)
        crops = [place for place in places if place is not None]
        if not crops:
            return crops, shown, np.zeros((0, 0), np.float32)
        images = [crop.cut(frame.image) for crop in crops]
        return crops, shown, self.run(images, place, f"frame {frame.index}")

    def close(self) -> None:
        """Give the model back."""
        self._engine.close()


def probability(logits: FloatArray) -> FloatArray:
    """The logistic function of logits of any size and shape, float32."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))), np.float32)
