"""From source frames to the network: where an image lies, and one pass of the backbone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import BundleError, SourceError
from ..records import Frame, UInt8Array
from .inference.base import Array, Graphs, takes

# The method pads with 127.5, which a uint8 image cannot hold; OpenCV rounds it to the even
# neighbour when it fills the border of a uint8 image, so 128 is what the authors' code pads.
PAD_VALUE = 128
Coordinates = TypeVar("Coordinates", bound=npt.NDArray[Any])


@dataclass(frozen=True, slots=True)
class Letterbox:
    """An image scaled into another size with its ratio kept, centred, padded with grey.

    Coordinates are continuous, pixel (0, 0) covers [0, 1) x [0, 1). The scaled image has whole
    pixels, so the two axes differ slightly in scale; both directions use the true scales and are
    exact inverses.

    Attributes:
        source_hw: Height and width of the image, in source pixels.
        network_hw: Height and width in network pixels.
        inner_hw: Height and width of the scaled image in network pixels.
        top: Rows of padding above it.
        left: Columns of padding left of it.
        origin_xy: Where the image begins in its frame, in source pixels; 0, 0 for a whole frame.
    """

    source_hw: tuple[int, int]
    network_hw: tuple[int, int]
    inner_hw: tuple[int, int]
    top: int
    left: int
    origin_xy: tuple[int, int] = (0, 0)

    @staticmethod
    def fit(source_hw: tuple[int, int], network_hw: tuple[int, int]) -> Letterbox:
        """The transform between two sizes, both (height, width) in pixels.

        Where the padding of an axis is odd, the far side gets the extra pixel.

        Raises:
            SourceError: A size below one pixel.
        """
        if min(*source_hw, *network_hw) < 1:
            raise SourceError(
                f"letterbox from {source_hw} to {network_hw} (height, width): "
                "expected sizes of at least 1 pixel"
            )
        ratio = min(network_hw[0] / source_hw[0], network_hw[1] / source_hw[1])
        height = max(1, round(source_hw[0] * ratio))
        width = max(1, round(source_hw[1] * ratio))
        top = (network_hw[0] - height) // 2
        left = (network_hw[1] - width) // 2
        return Letterbox(source_hw, network_hw, (height, width), top, left)

    def cut_out(self, image: UInt8Array) -> UInt8Array:
        """What `apply` takes, of a whole frame (H, W, 3): a view of it."""
        (left, top), (height, width) = self.origin_xy, self.source_hw
        return image[top : top + height, left : left + width]

    @property
    def is_identity(self) -> bool:
        """Whether image and network have the same size."""
        return self.source_hw == self.network_hw

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Network pixels per source pixel, along x and along y."""
        return (
            self.inner_hw[1] / self.source_hw[1],
            self.inner_hw[0] / self.source_hw[0],
        )

    def apply(self, image: UInt8Array) -> UInt8Array:
        """Scales and pads an image.

        Args:
            image: (H, W, 3) uint8 of source size.

        Returns:
            (h, w, 3) uint8 of network size; the same array, not a copy, where the sizes agree.

        Raises:
            SourceError: The image has another size than this transform.
        """
        if image.shape[:2] != self.source_hw:
            raise SourceError(
                f"letterbox: got an image of {image.shape[:2]} (height, width), "
                f"expected {self.source_hw}"
            )
        if self.is_identity:
            return image
        height, width = self.inner_hw
        if (height, width) != self.source_hw:
            image = np.asarray(
                cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
            )
        bottom = self.network_hw[0] - height - self.top
        right = self.network_hw[1] - width - self.left
        if not (self.top or bottom or self.left or right):
            return image
        padded = cv2.copyMakeBorder(
            image,
            self.top,
            bottom,
            self.left,
            right,
            cv2.BORDER_CONSTANT,
            value=(PAD_VALUE, PAD_VALUE, PAD_VALUE),
        )
        return np.asarray(padded, np.uint8)

    def to_network(self, boxes_xyxy: Coordinates) -> Coordinates:
        """Boxes from source to network pixels: (…, 4) float, left, top, right, bottom; new array.

        Nothing is clipped.
        """
        return self._map(boxes_xyxy, 2, forward=True)

    def to_source(self, boxes_xyxy: Coordinates) -> Coordinates:
        """Boxes from network to source pixels: the inverse of `to_network`."""
        return self._map(boxes_xyxy, 2, forward=False)

    def points_to_network(self, points_xy: Coordinates) -> Coordinates:
        """Points from source to network pixels: (…, 2) float, x, y; new array."""
        return self._map(points_xy, 1, forward=True)

    def points_to_source(self, points_xy: Coordinates) -> Coordinates:
        """Points from network to source pixels: the inverse of `points_to_network`."""
        return self._map(points_xy, 1, forward=False)

    def _map(self, values: Coordinates, pairs: int, *, forward: bool) -> Coordinates:
        scale, shift, origin = (
            np.tile(np.array(pair, np.float64), pairs)
            for pair in (self.scale_xy, (self.left, self.top), self.origin_xy)
        )
        there = (values - origin) * scale + shift
        mapped = there if forward else (values - shift) / scale + origin
        kept = values.dtype if np.issubdtype(values.dtype, np.floating) else np.float32
        return cast("Coordinates", mapped.astype(kept))


@dataclass(frozen=True, slots=True)
class Region:
    """Cells of a grid that is laid over the frame from its upper left corner.

    All regions of one pitch are parts of one grid, so that cells of one frame can be compared with
    those of another whatever parts of them were looked at.

    Attributes:
        top: First row.
        left: First column.
        rows: How many; those below the frame's end are padding.
        cols: How many.
        pitch: Source pixels to a cell's side. A smaller one shows more detail: where it is less
            than the network's stride, the image is enlarged.
    """

    top: int
    left: int
    rows: int
    cols: int
    pitch: int

    def letterbox(self, frame_hw: tuple[int, int], stride: int) -> Letterbox:
        """The transform from a frame to the network's image of this region.

        Raises:
            SourceError: The region begins outside the frame.
        """
        x, y = self.left * self.pitch, self.top * self.pitch
        height = min(self.rows * self.pitch, frame_hw[0] - y)
        width = min(self.cols * self.pitch, frame_hw[1] - x)
        if min(x, y) < 0 or min(height, width) < 1:
            raise SourceError(f"{self} begins outside a frame of {frame_hw} (height, width)")
        inner = tuple(max(1, round(side * stride / self.pitch)) for side in (height, width))
        network = self.rows * stride, self.cols * stride
        return Letterbox((height, width), network, (inner[0], inner[1]), 0, 0, (x, y))


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """φ of one frame.

    Attributes:
        array: (1, rows, cols, C) unit points, where the backend computed them.
        letterbox: From source pixels to the network's image.
        stride: Network pixels per cell.
    """

    array: Array
    letterbox: Letterbox
    stride: int

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape[1], self.array.shape[2]


def area_taps(
    source: int, inner: int, before: int, network: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Of which source pixels an axis of a smaller image is made, as `Letterbox.apply` does it.

    Args:
        source: Pixels of the source.
        inner: Of the scaled image, at most as many.
        before: Of the padding before it.
        network: Of the whole image.

    Returns:
        (network, taps) numbers of source pixels, and their shares, which are the lengths that a
        scaled pixel covers of each, of sum 1; 0 in the padding.
    """
    ratio = source / inner
    begin = np.arange(inner)[:, None] * ratio
    pixels = np.floor(begin + _ALMOST).astype(np.int64) + np.arange(math.ceil(ratio - _ALMOST) + 1)
    covered = np.minimum(pixels + 1, begin + ratio) - np.maximum(pixels, begin)
    covered = np.where(covered > _ALMOST, covered, 0.0)
    taps = int((covered > 0).sum(axis=1).max())
    index = np.zeros((network, taps), np.int64)
    shares = np.zeros((network, taps), np.float32)
    index[before : before + inner] = np.minimum(pixels, source - 1)[:, :taps]
    kept = covered[:, :taps]
    shares[before : before + inner] = kept / kept.sum(axis=1, keepdims=True)
    return index, shares


_ALMOST = 1e-3
"""Source pixels of which less is covered have no share, as in OpenCV: it may be rounding alone."""

_PLACES = 64
"""Transforms whose shares are kept where images are made."""


def image_graphs(graphs: Graphs) -> tuple[str, ...]:
    """The graphs that frames go through before any head's: of a device, `letterbox` too.

    Bundles that were exported before there was such a graph have none.
    """
    sent = graphs.on_device and "letterbox" in graphs.spec.graphs
    return ("letterbox", "backbone") if sent else ("backbone",)


class FeatureExtractor:
    """Letterboxes frames and runs the backbone.

    On a device that computes for itself frames are sent as they are and made smaller there, by the
    bundle's graph `letterbox`; what that graph does not take, images that are made larger, and all
    on a CPU, is OpenCV's. Images differ by one grey level at most, and in few pixels.

    Args:
        graphs: Runs `backbone`, and `letterbox` where there is one.
        on_host: Whether all images are made on the host, to be sent together.
    """

    def __init__(self, graphs: Graphs, *, on_host: bool = False) -> None:
        self._graphs = graphs
        self._stride = graphs.spec.stride
        self._sends = not on_host and "letterbox" in image_graphs(graphs)
        # In the order of use, the newest last; None: the graph does not take it.
        self._taps: dict[Letterbox, tuple[Array, ...] | None] = {}

    def prepare(self, frame: Frame, network_hw: tuple[int, int]) -> tuple[Array, Letterbox]:
        """The network's image (1, height, width, 3) uint8 of a frame, and how it was made."""
        letterbox = Letterbox.fit(frame.size_hw, network_hw)
        return self.image_of(frame, letterbox), letterbox

    def image_of(self, frame: Frame, letterbox: Letterbox) -> Array:
        """The network's image (1, height, width, 3) uint8 that a transform makes of a frame."""
        part = letterbox.cut_out(frame.image)
        taps = self._taps_of(letterbox) if self._sends else None
        if taps is None:
            return np.ascontiguousarray(letterbox.apply(part))[None]
        (image,) = self._graphs.run("letterbox", np.ascontiguousarray(part), *taps)
        return image

    def extract(self, image: Array, letterbox: Letterbox) -> FeatureMap:
        """Features of a prepared image."""
        (features,) = self._graphs.run("backbone", image)
        return FeatureMap(features, letterbox, self._stride)

    def _taps_of(self, letterbox: Letterbox) -> tuple[Array, ...] | None:
        """The other inputs of `letterbox`, where it computes; None where it does not take them."""
        place = replace(letterbox, origin_xy=(0, 0))
        if place in self._taps:
            taps = self._taps.pop(place)
        else:
            taps = self._new_taps(place)
            if len(self._taps) >= _PLACES:
                del self._taps[next(iter(self._taps))]
        self._taps[place] = taps
        return taps

    def _new_taps(self, place: Letterbox) -> tuple[Array, ...] | None:
        (height, width), (rows, columns) = place.source_hw, place.inner_hw
        if place.is_identity or rows > height or columns > width:
            return None
        down = area_taps(height, rows, place.top, place.network_hw[0])
        across = area_taps(width, columns, place.left, place.network_hw[1])
        shapes = (height, width), down[0].shape, across[0].shape
        for feed, shape in zip((0, 1, 3), shapes, strict=True):
            if not takes(self._graphs, "letterbox", feed, shape):
                return None
        return tuple(self._graphs.place(array) for array in (*down, *across))


def network_size(
    spec_sizes: tuple[tuple[int, int], ...], wanted_hw: tuple[int, int], source_hw: tuple[int, int]
) -> tuple[int, int]:
    """The image size to use, given what a bundle takes.

    Args:
        spec_sizes: `BundleSpec.sizes_hw`; empty: any size.
        wanted_hw: What the head asks for.
        source_hw: Of the source's frames.

    Returns:
        `wanted_hw` where the bundle takes it; otherwise, of the bundle's sizes, the one in which
        the image is largest without exceeding what was wanted by more than is needed.

    Raises:
        BundleError: No size fits.
    """
    if not spec_sizes or wanted_hw in spec_sizes:
        return wanted_hw
    if min(source_hw) < 1:
        raise BundleError(f"no image size of the bundle fits a source of {source_hw}")

    def misfit(size: tuple[int, int]) -> tuple[float, int]:
        wanted = Letterbox.fit(source_hw, wanted_hw).inner_hw
        given = Letterbox.fit(source_hw, size).inner_hw
        return abs(np.log(given[0] / wanted[0])), size[0] * size[1]

    return min(spec_sizes, key=misfit)
