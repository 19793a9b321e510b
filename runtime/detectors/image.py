"""A detector's image: how the source is scaled, placed and normalised for a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import RequestError
from ...records import BoolArray, FloatArray, UInt8Array
from ..bundle.spec import GraphSpec, TensorSpec
from ..preprocessing import Letterbox

Fit = Literal["corner", "centre", "stretch"]
"""Scaled to fit into the top left corner, or the middle; or to the whole image, ratio not kept."""

_HALF_SIZE = 0.5


@dataclass(frozen=True, slots=True)
class Normalisation:
    """x = (value − mean) / std a channel, of values from 0 to 255.

    Attributes:
        rgb: Whether red comes first, and not blue.
        mean: In the network's order of colours.
        std: Likewise.
    """

    rgb: bool
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


_FULL = (255.0, 255.0, 255.0)
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)

NORMALISATIONS: dict[str, Normalisation] = {
    "rgb-1": Normalisation(True, std=_FULL),
    "bgr-1": Normalisation(False, std=_FULL),
    "rgb-255": Normalisation(True),
    "bgr-255": Normalisation(False),
    "rgb-imagenet": Normalisation(True, _MEAN, _STD),
    "bgr-imagenet": Normalisation(False, _MEAN[::-1], _STD[::-1]),
}
"""What `--detector-normalise` takes: the order of colours, then the range of values: 0 to 1, 0 to
255, or ImageNet's mean and standard deviation."""


def find_normalisation(name: str) -> Normalisation:
    """A row of the table; raises `RequestError` for a name that is not on it."""
    if name not in NORMALISATIONS:
        raise RequestError(
            f"--detector-normalise {name}: expected one of {', '.join(NORMALISATIONS)}"
        )
    return NORMALISATIONS[name]


@dataclass(frozen=True, slots=True)
class ImageRule:
    """How a network wants its image.

    Attributes:
        normalise: A key of `NORMALISATIONS`.
        fit: Where the source's image lies.
        pad: Value of the rest, 0 to 255.
        smooth: Whether areas are averaged where more than two source pixels make one; networks
            that were measured with bilinear resizing want that.
    """

    normalise: str
    fit: Fit
    pad: int = 114
    smooth: bool = False

    def placement(self, source_hw: tuple[int, int], network_hw: tuple[int, int]) -> Letterbox:
        """Where a source's image lies in the network's, both (height, width) in pixels.

        The scaled image has whole pixels, so the two axes are scaled by slightly different factors.
        """
        if self.fit == "stretch":
            return Letterbox(source_hw, network_hw, network_hw, 0, 0)
        ratio = min(network_hw[0] / source_hw[0], network_hw[1] / source_hw[1])
        height, width = (
            min(limit, max(1, round(side * ratio)))
            for limit, side in zip(network_hw, source_hw, strict=True)
        )
        if self.fit == "corner":
            return Letterbox(source_hw, network_hw, (height, width), 0, 0)
        top, left = (network_hw[0] - height) // 2, (network_hw[1] - width) // 2
        return Letterbox(source_hw, network_hw, (height, width), top, left)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input of a graph that takes one image.

    Attributes:
        name: Its name in the graph.
        dtype: `float32`, `float16`, `uint8` or `int32`.
        channels_last: Whether it is (1, H, W, 3) and not (1, 3, H, W).
        batched: Whether it has the axis of the batch.
        size_hw: Height and width in pixels; None where one of them is open.
    """

    name: str
    dtype: str
    channels_last: bool
    batched: bool
    size_hw: tuple[int, int] | None

    def feed(self, image_bgr: UInt8Array, how: Normalisation) -> npt.NDArray[Any]:
        """(H, W, 3) uint8 BGR as the graph takes it, contiguous."""
        image = image_bgr[..., ::-1] if how.rgb else image_bgr
        if not self.channels_last:
            image = image.transpose(2, 0, 1)
        values: npt.NDArray[Any] = image
        if how.mean != (0, 0, 0) or how.std != (1, 1, 1):
            shape = (3,) if self.channels_last else (3, 1, 1)
            values = image.astype(np.float32, order="C")
            if any(how.mean):
                values -= np.array(how.mean, np.float32).reshape(shape)
            values /= np.array(how.std, np.float32).reshape(shape)
        fed = np.ascontiguousarray(values, self.dtype)
        return fed[None] if self.batched else fed


_DTYPES = ("float32", "float16", "uint8", "int32")


def read_image_input(spec: GraphSpec) -> ImageInput | None:
    """Which input of a graph is its image; None where there is not exactly one of batch 1."""
    found = [image for tensor in spec.inputs if (image := _image(tensor)) is not None]
    return found[0] if len(found) == 1 else None


def _image(tensor: TensorSpec) -> ImageInput | None:
    batched, shape = len(tensor.shape) == 4, tensor.shape[-3:]
    if tensor.dtype not in _DTYPES or len(tensor.shape) not in (3, 4):
        return None
    if batched and isinstance(tensor.shape[0], int) and tensor.shape[0] != 1:
        return None
    channels_last = shape[2] == 3 and shape[0] != 3
    # Of an input that leaves everything open, the usual order is assumed.
    open_channels = isinstance(shape[0], str) and not channels_last
    if not channels_last and shape[0] != 3 and not (open_channels and batched):
        return None
    height, width = shape[:2] if channels_last else shape[1:]
    known = isinstance(height, int) and isinstance(width, int)
    size_hw = (int(height), int(width)) if known else None
    return ImageInput(tensor.name, tensor.dtype, channels_last, batched, size_hw)


class Canvas:
    """Places images of a source in the network's image, whose memory it keeps."""

    def __init__(self, rule: ImageRule) -> None:
        self._rule = rule
        self._image = np.zeros((0, 0, 3), np.uint8)
        self._place: Letterbox | None = None

    def put(self, image: UInt8Array, network_hw: tuple[int, int]) -> tuple[UInt8Array, Letterbox]:
        """(H, W, 3) uint8 BGR of the network's size, overwritten by the next call, and where."""
        height, width = image.shape[:2]
        place = self._rule.placement((height, width), network_hw)
        if place != self._place:
            self._image = np.full((*network_hw, 3), self._rule.pad, np.uint8)
            self._place = place
        rows, columns = place.inner_hw
        # Where more than two source pixels make one, skipping some would let thin limbs flicker.
        average = self._rule.smooth and min(place.scale_xy) < _HALF_SIZE
        how = cv2.INTER_AREA if average else cv2.INTER_LINEAR
        self._image[place.top : place.top + rows, place.left : place.left + columns] = cv2.resize(
            image, (columns, rows), interpolation=how
        )
        return self._image, place


def mask_in_source(sure: FloatArray, place: Letterbox, box_xyxy: FloatArray) -> BoolArray:
    """Where a map over the network's image is above a half, in the source.

    Args:
        sure: (h, w) float32 probabilities over the whole network image, of any size.
        place: Where the source lies in the network's image.
        box_xyxy: (4,) left, top, right, bottom in source pixels; outside it, the mask is cut off.

    Returns:
        (H, W) bool at source size.
    """
    mask = np.zeros(place.source_hw, np.bool_)
    limits = np.tile(np.array(place.source_hw[::-1]), 2)
    edges = np.clip(np.concatenate([np.floor(box_xyxy[:2]), np.ceil(box_xyxy[2:])]), 0, limits)
    left, top, right, bottom = edges.astype(int)
    if right <= left or bottom <= top:
        return mask
    # From centres of source pixels to places on the map, both counted from centres.
    shares = np.array(sure.shape[::-1]) / np.array(place.network_hw[::-1])
    (across, down), (shift_x, shift_y) = (
        np.array(place.scale_xy) * shares,
        np.array((place.left, place.top)) * shares,
    )
    columns = (np.arange(left, right) + 0.5) * across + shift_x - 0.5
    rows = (np.arange(top, bottom) + 0.5) * down + shift_y - 0.5
    grid_x, grid_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    values = cv2.remap(
        np.ascontiguousarray(sure, np.float32),
        grid_x,
        grid_y,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    mask[top:bottom, left:right] = values > 0.5
    return mask
