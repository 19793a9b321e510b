"""Top-down models: they look at one person at a time, in a crop around its box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import DetectionError, UnitrackError
from ...records import BoolArray, Detections, FloatArray, Frame, IntArray, UInt8Array
from ..boxes import clip_boxes, rows_in_image
from ..bundle.bundle import Bundle
from ..bundle.spec import GraphSpec
from ..inference.base import Engine, to_host
from ..inference.onnxruntime import OnnxRuntimeEngine
from ..inference.registry import find_backend
from ..inference.runner import GraphRunner
from ..paths import is_file, is_folder
from .base import Detector
from .image import ImageInput, find_normalisation


@dataclass(frozen=True, slots=True)
class PersonCrop:
    """A rectangle of an image, scaled to a model's input.

    Coordinates are continuous, pixel (0, 0) covers [0, 1) x [0, 1), in the image as in the crop.

    Attributes:
        left: First column of the image; may be negative.
        top: First row of the image; may be negative.
        size_hw: Height and width in source pixels, at least 1.
        model_hw: Height and width of the model's input in pixels.
    """

    left: int
    top: int
    size_hw: tuple[int, int]
    model_hw: tuple[int, int]

    @staticmethod
    def about(
        box_xyxy: FloatArray, image_hw: tuple[int, int], model_hw: tuple[int, int], margin: float
    ) -> PersonCrop | None:
        """The crop about the visible part of a box.

        Args:
            box_xyxy: (4,) left, top, right, bottom in source pixels.
            image_hw: Height and width of the image.
            model_hw: Height and width of the model's input.
            margin: How much longer the crop is than the box, as a share of the longer side; 0.25
                leaves an eighth on either side.

        Returns:
            The crop, or None where the box lies wholly outside the image. It is never larger
            than `1 + margin` images, however large the box.
        """
        if not rows_in_image(box_xyxy[None], image_hw)[0]:
            return None
        left, top, right, bottom = clip_boxes(box_xyxy.astype(np.float64)[None], image_hw)[0]
        ratio = model_hw[0] / model_hw[1]
        width = max(right - left, (bottom - top) / ratio) * (1 + margin)
        size_hw = max(1, round(width * ratio)), max(1, round(width))
        return PersonCrop(
            int(np.floor((left + right - size_hw[1] + 1) / 2)),
            int(np.floor((top + bottom - size_hw[0] + 1) / 2)),
            size_hw,
            model_hw,
        )

    def cut(self, image: UInt8Array) -> UInt8Array:
        """The crop of an image.

        Args:
            image: (H, W, 3) uint8, which the crop overlaps.

        Returns:
            (h, w, 3) uint8 of the model's size, in the image's order of colours.
        """
        rows, columns = self._inside(image.shape[:2])
        padded = cv2.copyMakeBorder(
            image[rows, columns],
            rows.start - self.top,
            self.top + self.size_hw[0] - rows.stop,
            columns.start - self.left,
            self.left + self.size_hw[1] - columns.stop,
            cv2.BORDER_CONSTANT,
            value=(0, 0, 0),
        )
        return np.asarray(_resized(padded, self.model_hw), np.uint8)

    def points_to_source(self, points_xy: FloatArray) -> FloatArray:
        """Points from crop to source pixels: (…, 2) x, y; a new float32 array, nothing clipped."""
        scale = np.array(self.size_hw[::-1]) / self.model_hw[::-1]
        return np.asarray(points_xy * scale + (self.left, self.top), np.float32)

    def mask_to_source(self, sure: FloatArray, image_hw: tuple[int, int]) -> BoolArray:
        """Where a map over the crop is above a half, in the image.

        Args:
            sure: (h, w) float32 probabilities over the crop, of any size.
            image_hw: Height and width of the image.

        Returns:
            (H, W) bool, False outside the crop.
        """
        rows, columns = self._inside(image_hw)
        large = _resized(sure, self.size_hw)
        mask = np.zeros(image_hw, np.bool_)
        mask[rows, columns] = (
            large[
                rows.start - self.top : rows.stop - self.top,
                columns.start - self.left : columns.stop - self.left,
            ]
            > 0.5
        )
        return mask

    def _inside(self, image_hw: tuple[int, ...]) -> tuple[slice, slice]:
        """Rows and columns of the image that the crop shows."""
        height, width = image_hw
        return (
            slice(max(self.top, 0), min(self.top + self.size_hw[0], height)),
            slice(max(self.left, 0), min(self.left + self.size_hw[1], width)),
        )


def _resized(image: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[Any]:
    # Area averaging, or what is thinner than a pixel of the model's would flicker.
    smaller = size_hw[0] < image.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, size_hw[::-1], interpolation=how)


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

    def feed(self, crops_bgr: Sequence[UInt8Array], normalise: str) -> npt.NDArray[Any]:
        """Crops (h, w, 3) uint8 BGR as the graph takes them.

        Args:
            crops_bgr: At least one.
            normalise: A key of `image.NORMALISATIONS`, for floats; whole numbers are RGB 0 to 255.
        """
        how = find_normalisation(normalise if RANGES[self.dtype] == 1 else "rgb-255")
        image = ImageInput(self.name, self.dtype, self.channels_last, False, self.size_hw)
        return np.stack([image.feed(crop, how) for crop in crops_bgr])


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
        flag: The option that names its file or bundle.
        graph: Of its bundle.
        name: What it is called.
        outputs: What its outputs are expected to be.
    """

    flag: str
    graph: str
    name: str
    outputs: str


class CropModel:
    """A model of persons, loaded.

    Args:
        kind: For messages.
        path: Its bundle, or its ONNX file.
        backend: A key of `registry.BACKENDS`; a file runs in ONNX Runtime on its device.
        threads: Of the CPU; 0 takes as many as this process may use.

    Attributes:
        spec: Its inputs and outputs.
        input: The only one of its inputs.
        decoded: Whether it is a bundle's graph: crops as they are, and what was found in them.

    Raises:
        DetectionError: There is no such file, or the model does not take crops.
        BundleError: The bundle is damaged.
        BackendError: The backend cannot load it.
    """

    def __init__(
        self, kind: ModelKind, path: Path, *, backend: str = "cpu", threads: int = 0
    ) -> None:
        self._kind, self._name, self.normalise = kind, f"{kind.flag} {path}", "rgb-1"
        self.decoded = is_folder(path)
        self._engine: Engine
        if self.decoded:
            self._engine, self._close = self._open_bundle(path, backend, threads)
        elif is_file(path):
            device = find_backend(backend).onnx_device
            self._engine = OnnxRuntimeEngine(path, device=device, threads=threads)
            self._close = self._engine.close
        else:
            raise DetectionError(f"{self._name}: there is no such file")
        self.spec: GraphSpec = self._engine.spec
        crops = read_input(self.spec)
        if crops is None:
            raise self.refuse()
        self.input = crops

    def _open_bundle(
        self, path: Path, backend: str, threads: int
    ) -> tuple[Engine, Callable[[], None]]:
        bundle = Bundle.load(path)
        if self._kind.graph not in bundle.spec.graphs:
            raise DetectionError(
                f"{self._name} is the bundle of the {bundle.spec.kind} model "
                f"{bundle.spec.backbone}, expected that of a {self._kind.name} model: give it as "
                f"{bundle.spec.flags}"
            )
        graphs = GraphRunner(bundle, backend, threads)
        try:
            return graphs.engine(self._kind.graph), graphs.close
        except UnitrackError:
            graphs.close()
            raise

    def refuse(self) -> DetectionError:
        """The error for a model of another kind; gives the model back."""
        self.close()
        takes, gives = (
            ", ".join(f"{tensor.name} {tensor.describe()}" for tensor in tensors)
            for tensors in (self.spec.inputs, self.spec.outputs)
        )
        return DetectionError(
            f"{self._name} is not a {self._kind.name} model of a known format: got {takes} to "
            f"{gives}; expected one input {', '.join(RANGES)} (N, h, w, 3) or (N, 3, h, w), N open "
            f"or 1, and {self._kind.outputs}"
        )

    def run(
        self, crops_bgr: Sequence[UInt8Array], places: Sequence[int], where: str
    ) -> list[FloatArray]:
        """Look at crops, in as few calls as the model allows.

        Args:
            crops_bgr: At least one crop, (h, w, 3) uint8 BGR of the input's size.
            places: Which outputs are wanted, from 0.
            where: They are from, for messages.

        Returns:
            Those outputs, crops along the first axis.

        Raises:
            DetectionError: The model gave NaN or infinite values, or not a row a crop.
            BackendError: The backend failed.
        """
        names = [self.spec.outputs[place].name for place in places]
        parts: dict[str, list[FloatArray]] = {name: [] for name in names}
        for start in range(0, len(crops_bgr), self.input.batch):
            crops = crops_bgr[start : start + self.input.batch]
            feed = np.stack(crops) if self.decoded else self.input.feed(crops, self.normalise)
            given = self._engine.run({self.input.name: feed})
            for name in names:
                parts[name].append(to_host(given[name]))
        whole = {name: np.concatenate(part) for name, part in parts.items()}
        for name, rows in whole.items():
            if len(rows) != len(crops_bgr):
                raise DetectionError(
                    f"{self._name}: got {len(rows)} rows of {name} for {len(crops_bgr)} crops, "
                    "expected one each"
                )
            if not np.isfinite(rows).all():
                raise DetectionError(
                    f"{self._name}: the model gave NaN or infinite values for {where}; expected "
                    f"a model that takes RGB pixels of 0 to {RANGES[self.input.dtype]}"
                )
        return [whole[name] for name in names]

    def look(
        self, frame: Frame, seen: Detections, outputs: Sequence[int], margin: float
    ) -> tuple[list[PersonCrop], BoolArray, list[FloatArray]]:
        """Look at every box of a frame.

        Args:
            frame: The image.
            seen: Whose boxes.
            outputs: Which outputs are wanted, from 0.
            margin: See `PersonCrop.about`.

        Returns:
            M crops, (N,) bool of the boxes that they are of (the others lie wholly outside the
            image), and the outputs with M rows; no output where M is 0.

        Raises:
            DetectionError: The model gave NaN or infinite values, or not a row a crop.
            BackendError: The backend failed.
        """
        size_hw = self.input.size_hw
        places = [PersonCrop.about(b, frame.size_hw, size_hw, margin) for b in seen.boxes_xyxy]
        shown = np.array([place is not None for place in places], np.bool_)
        crops = [place for place in places if place is not None]
        if not crops:
            return crops, shown, []
        images = [crop.cut(frame.image) for crop in crops]
        return crops, shown, self.run(images, outputs, f"frame {frame.index}")

    def close(self) -> None:
        """Give the model back."""
        self._close()


class PersonModel(Protocol):
    """Adds poses or masks to boxes.

    Attributes:
        descriptions: What was recognised of its file, in a line each.
    """

    descriptions: tuple[str, ...] = ()

    def describe(self, frame: Frame, seen: Detections) -> Detections:
        """The same boxes and scores, with what the model sees in each."""

    def read(self, crops_bgr: Sequence[UInt8Array]) -> FloatArray:
        """Of crops (h, w, 3) uint8 BGR of the model's size, poses (N, 17, 3) or masks (N, h, w)."""

    def notes(self) -> list[str]:
        """One-line notes for the end of a run."""

    def close(self) -> None:
        """Give everything back; may be called twice."""


class TopDownDetector(Detector):
    """A detector in two steps.

    Args:
        boxes: Says where people are; closed with this one.
        model: Looks at each of them; likewise.
    """

    def __init__(self, boxes: Detector, model: PersonModel) -> None:
        self._boxes, self._model = boxes, model
        self.class_names = boxes.class_names
        self.descriptions = (*boxes.descriptions, *model.descriptions)

    def detect(self, frame: Frame) -> Detections:
        """The boxes of the first step, with poses or masks in source pixels; see the models.

        Raises:
            DetectionError: Boxes or model do not fit the source, or failed.
            BackendError: The backend failed.
        """
        return self._model.describe(frame, self._boxes.detect(frame))

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """Those of the first step."""
        return self._boxes.numbered_frames()

    def notes(self, source_frames: int | None = None) -> list[str]:
        """The notes of both steps."""
        return [*self._boxes.notes(source_frames), *self._model.notes()]

    def dropped(self) -> dict[str, int]:
        """What the first step dropped."""
        return self._boxes.dropped()

    def drop_notes(self) -> list[str]:
        """Those of the first step."""
        return self._boxes.drop_notes()

    def resize(self, scale: float) -> bool:
        """That of the first step; crops have one size."""
        return self._boxes.resize(scale)

    def save_time(self, on: bool) -> bool:
        """That of the first step."""
        return self._boxes.save_time(on)

    def close(self) -> None:
        """Give both back."""
        self._boxes.close()
        self._model.close()
