"""Between label maps of pixels and scores of the feature grid's cells."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ...records import BoolArray, UInt8Array
from ...runtime.inference.base import Array, Graphs, takes, to_host
from ...runtime.preprocessing import Letterbox

Float32 = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

NEAR = 1e-5
"""Scores that differ by less of the largest one are compared as they are interpolated: rounding in
float32 (three sums of products of numbers up to 1) could turn them round."""

FEW = 0.25
"""Share of the squares between cells up to which those where labels meet are done one by one."""


def downsample_labels(
    labels: UInt8Array,
    ids: npt.NDArray[np.uint8],
    letterbox: Letterbox,
    grid_hw: tuple[int, int],
) -> Float32:
    """One-hot labels on the feature grid, bilinear.

    Args:
        labels: (H, W) uint8 at source size.
        ids: The L - 1 object ids.
        letterbox: From source to network.
        grid_hw: Rows and columns.

    Returns:
        (rows, cols, L) float32; channel 0 is background, padding included.
    """
    one_hot = np.stack([labels == identity for identity in (0, *ids)], axis=2).astype(np.float32)
    if letterbox.inner_hw == letterbox.network_hw:
        return _resize(one_hot, grid_hw)
    network = np.zeros((*letterbox.network_hw, one_hot.shape[2]), np.float32)
    network[:, :, 0] = 1.0
    height, width = letterbox.inner_hw
    top, left = letterbox.top, letterbox.left
    network[top : top + height, left : left + width] = _resize(one_hot, (height, width))
    return _resize(network, grid_hw)


def upsample_labels(scores: Float32, letterbox: Letterbox) -> Float32:
    """The inverse way: (rows, cols, L) scores on the grid → (H, W, L) at source size, bilinear."""
    if letterbox.inner_hw == letterbox.network_hw:
        return _resize(scores, letterbox.source_hw)
    network = _resize(scores, letterbox.network_hw)
    height, width = letterbox.inner_hw
    top, left = letterbox.top, letterbox.left
    return _resize(network[top : top + height, left : left + width], letterbox.source_hw)


def best_labels(scores: Float32, letterbox: Letterbox) -> UInt8Array:
    """The label of each pixel: where `upsample_labels` is largest, of equal ones the first.

    Interpolation weighs the four cells around a pixel.  Where one label is the largest in all of
    them it is so in between, whatever the weights; only the other pixels are interpolated.

    Args:
        scores: (rows, cols, L) float32 of cells, L up to 256.
        letterbox: From source to network.

    Returns:
        (H, W) uint8 numbers of labels, at source size.
    """
    if letterbox.inner_hw != letterbox.network_hw:
        height, width = letterbox.inner_hw
        top, left = letterbox.top, letterbox.left
        scores = _resize(scores, letterbox.network_hw)[top : top + height, left : left + width]
    height, width = letterbox.source_hw
    best = _largest(scores)
    if height < best.shape[0] or width < best.shape[1]:
        return _largest(_resize(scores, letterbox.source_hw))
    down, across = _Axis(best.shape[0], height), _Axis(best.shape[1], width)
    mixed = ~_settled(scores, best) & down.filled[:, None] & across.filled
    if mixed.mean() > FEW:
        return _largest(_resize(scores, letterbox.source_hw))
    # The label of a cell beside it is the right one for every other pixel.
    labels = cv2.resize(best, (width, height), interpolation=cv2.INTER_NEAREST)
    rows, cols = np.nonzero(mixed)
    y, weight_y = down.pixels(rows)
    x, weight_x = across.pixels(cols)
    before, behind = across.cells(cols)
    low, high = (
        _between(scores[row, before][:, None], scores[row, behind][:, None], weight_x)
        for row in down.cells(rows)
    )
    values = _between(low[:, None], high[:, None], weight_y[:, :, None])
    labels[y[:, :, None], x[:, None]] = _largest(values)
    return np.asarray(labels, np.uint8)


LABEL_MAP = "label_map"
"""The graph that gives labels of pixels, which bundles of before do not have."""


class LabelMapper:
    """Labels of pixels from scores of cells, where these were computed.

    On a device by the bundle's graph `label_map`, so that a byte a pixel is all that comes back;
    what that graph does not take, and all on a CPU, by `best_labels`, which looks at few pixels.

    Args:
        graphs: Runs `label_map`, where there is one.

    Attributes:
        on_device: Whether that is where labels come from.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self.on_device = graphs.on_device and LABEL_MAP in graphs.spec.graphs
        self._known: tuple[Letterbox, tuple[int, int]] | None = None
        self._shares: tuple[Array, Array] | None = None

    def labels_of(
        self, scores: Array, grid_hw: tuple[int, int], letterbox: Letterbox
    ) -> UInt8Array:
        """(H, W) uint8 numbers of labels, at source size, on the host; as `best_labels`.

        Args:
            scores: (rows * cols, L) float32 of cells.
            grid_hw: Rows and columns.
            letterbox: From source to network.
        """
        feeds = self._shares_of(grid_hw, letterbox) if self._takes(scores, letterbox) else None
        if feeds is None:
            return best_labels(to_host(scores).reshape(*grid_hw, -1), letterbox)
        (labels,) = self._graphs.run(LABEL_MAP, scores, *feeds)
        return np.asarray(to_host(labels), np.uint8)

    def _takes(self, scores: Array, letterbox: Letterbox) -> bool:
        """Whether the graph takes so many labels, and memory is granted for those of all pixels."""
        if not self.on_device or not takes(self._graphs, LABEL_MAP, 0, scores.shape):
            return False
        height, width = letterbox.source_hw
        return scores.shape[1] * height * width <= self._graphs.values_at_once()

    def _shares_of(
        self, grid_hw: tuple[int, int], letterbox: Letterbox
    ) -> tuple[Array, Array] | None:
        """(H, rows) and (W, cols) float32 of `upsample_labels`; None: the graph takes no such."""
        if self._known != (letterbox, grid_hw):
            self._known = letterbox, grid_hw
            self._shares = None
            shares = [_shares(letterbox, cells, axis) for axis, cells in enumerate(grid_hw)]
            if all(takes(self._graphs, LABEL_MAP, 1 + k, a.shape) for k, a in enumerate(shares)):
                down, across = (self._graphs.place(array) for array in shares)
                self._shares = down, across
        return self._shares


def _shares(letterbox: Letterbox, cells: int, axis: int) -> Float32:
    """(pixels, cells) float32: what of each pixel of an axis each cell is, as `upsample_labels`."""
    alone = np.eye(cells, dtype=np.float32)[:, None]
    if letterbox.inner_hw != letterbox.network_hw:
        before = (letterbox.top, letterbox.left)[axis]
        alone = _resize(alone, (letterbox.network_hw[axis], 1))
        alone = alone[before : before + letterbox.inner_hw[axis]]
    return np.ascontiguousarray(_resize(alone, (letterbox.source_hw[axis], 1))[:, 0])


def ids_in(labels: UInt8Array) -> UInt8Array:
    """(N,) uint8 the object ids of a label map, rising."""
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256])
    return np.asarray(np.flatnonzero(counts[1:]) + 1, np.uint8)


class _Axis:
    """Pixels along an axis, by the two cells between whose centres they lie.

    Square k, of 0 to the number of cells, lies between the centres of the cells k - 1 and k.

    Attributes:
        filled: (squares,) whether it holds a pixel.
    """

    def __init__(self, cells: int, pixels: int) -> None:
        self._cells = cells
        place = (np.arange(pixels) + 0.5) * (cells / pixels) - 0.5
        before = np.floor(place)
        self._weights = (place - before).astype(np.float32)
        self._ends = np.searchsorted(before, np.arange(-1, cells + 1))
        self._most = int(np.diff(self._ends).max())
        self.filled: BoolArray = np.diff(self._ends) > 0

    def cells(self, squares: Indices) -> tuple[Indices, Indices]:
        """(N,) the cells before and behind; at the ends of the axis one cell is both."""
        return np.maximum(squares - 1, 0), np.minimum(squares, self._cells - 1)

    def pixels(self, squares: Indices) -> tuple[Indices, Float32]:
        """(N, most) each square's pixels, the last one repeated, and their weights of the cell
        behind."""
        begin, end = self._ends[squares, None], self._ends[squares + 1, None]
        pixels = np.minimum(begin + np.arange(self._most), end - 1)
        return pixels, self._weights[pixels]


def _settled(scores: Float32, best: UInt8Array) -> BoolArray:
    """(rows + 1, cols + 1) whether all pixels of a square between cells have one known label."""
    if scores.shape[2] == 1:
        return np.ones((best.shape[0] + 1, best.shape[1] + 1), np.bool_)
    second, first = np.moveaxis(np.partition(scores, -2, axis=2)[..., -2:], 2, 0)
    clear = first - second > NEAR * np.abs(scores).max()
    # A cell without a clear winner is like no other.
    alike = np.pad(np.where(clear, best.astype(np.int16), -1), 1, "edge")
    corner = alike[:-1, :-1]
    others = alike[1:, :-1], alike[:-1, 1:], alike[1:, 1:]
    settled: BoolArray = corner >= 0
    for other in others:
        settled &= corner == other
    return settled


def _largest(scores: Float32) -> UInt8Array:
    """Where the last axis is largest: `argmax`, whose speed suffers from short axes."""
    best = np.zeros(scores.shape[:-1], np.uint8)
    height = scores[..., 0].copy()
    for label in range(1, scores.shape[-1]):
        better = scores[..., label] > height
        np.copyto(height, scores[..., label], where=better)
        best[better] = label
    return best


def _between(one: Float32, other: Float32, weight: Float32) -> Float32:
    """Interpolate (…, L) values, given (…) weights of the other."""
    return one + (other - one) * weight[..., None]


def _resize(channels: Float32, size_hw: tuple[int, int]) -> Float32:
    """Bilinear, pixel centres aligned as in PyTorch's `align_corners=False`; any channel count."""
    # OpenCV resizes up to four channels at once in its fast path, and drops a last axis of one.
    parts = [
        np.atleast_3d(
            cv2.resize(
                np.ascontiguousarray(channels[:, :, low : low + 4]),
                (size_hw[1], size_hw[0]),
                interpolation=cv2.INTER_LINEAR,
            )
        )
        for low in range(0, channels.shape[2], 4)
    ]
    return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2), np.float32)
