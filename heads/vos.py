"""Video object segmentation: the masks of the first frame are carried through the video."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import DetectionError
from ..records import Detections, Frame, Tracks, UInt8Array
from ..runtime.inference.base import Graphs
from ..runtime.preprocessing import FeatureMap, Letterbox
from .config import VosConfig
from .propagated import PropagatedHead
from .propagation.propagator import Propagator

Float32 = npt.NDArray[np.float32]


class VosHead(PropagatedHead[VosConfig]):
    """Propagates a label map.

    Args:
        graphs: Runs the `propagate_*` graphs.
        labels: (H, W) uint8 at the first frame's size: object ids, 0 is background.
        config: Parameters.
        refine: Makes better labels of the first frame's image and `labels`, where those are only
            a box around the object.

    Raises:
        DetectionError: No object in `labels`, or more top-k than the bundle was exported for.
    """

    def __init__(
        self,
        graphs: Graphs,
        labels: UInt8Array,
        config: VosConfig,
        refine: Callable[[UInt8Array, UInt8Array], UInt8Array] | None = None,
    ) -> None:
        super().__init__(graphs, config)
        self._ids = np.unique(labels[labels > 0])
        if not len(self._ids):
            raise DetectionError("the first frame's mask holds no object: every pixel is 0")
        self._labels = labels
        self._refine = refine
        self._memory: Propagator | None = None

    def reset(self) -> None:
        """Forget the video; the label map stays and belongs to the next frame again."""
        self._memory = None

    def step(
        self,
        frame: Frame,
        features: FeatureMap,
        detections: Detections | None = None,  # noqa: ARG002
    ) -> Tracks:
        """Label the next frame; the first one keeps the labels it was given."""
        if self._memory is None:
            labels = self._start(frame, features)
        else:
            rows, cols = features.grid_hw
            scores = self._memory.step(features.array).reshape(rows, cols, -1)
            which = upsample_labels(scores, features.letterbox).argmax(axis=2)
            labels = np.concatenate([np.zeros(1, np.uint8), self._ids])[which]
        return tracks_of_labels(frame.index, labels)

    def _start(self, frame: Frame, features: FeatureMap) -> UInt8Array:
        if self._labels.shape != frame.size_hw:
            raise DetectionError(
                f"the first frame's mask has size {self._labels.shape} (height, width), "
                f"the frame has {frame.size_hw}"
            )
        labels = self._labels
        if self._refine is not None:
            labels = self._refine(frame.image, labels)
        rows, cols = features.grid_hw
        self._memory = self._propagator(features)
        scores = downsample_labels(labels, self._ids, features.letterbox, (rows, cols))
        self._memory.start(features.array, scores.reshape(rows * cols, -1))
        return labels


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


def tracks_of_labels(frame_index: int, labels: UInt8Array) -> Tracks:
    """A record of every object with a pixel in a label map: id, tight box, mask."""
    ids = np.unique(labels[labels > 0]).astype(np.int64)
    masks = labels[None] == ids[:, None, None]
    boxes = np.zeros((len(ids), 4), np.float32)
    for row, mask in enumerate(masks):
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        boxes[row] = x, y, x + width, y + height
    count = len(ids)
    detections = Detections(
        boxes, np.ones(count, np.float32), np.full(count, -1, np.int64), masks=masks
    )
    return Tracks(frame_index, ids, detections, label_map=labels)
