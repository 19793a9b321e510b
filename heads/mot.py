"""Multi-object tracking: a detector's boxes get identities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..records import BoolArray, Detections, FloatArray, Frame, IntArray, Tracks
from ..runtime.boxes import box_areas, clip_boxes, valid_rows
from ..runtime.inference.base import Array
from ..runtime.preprocessing import FeatureMap, Letterbox
from .association.tracklets import ObjectFeatures, Tracklet, points_of
from .config import MotConfig
from .tracked import Shown, TrackedHead

if TYPE_CHECKING:
    from .association.look_memory import Look


class MotHead(TrackedHead[MotConfig]):
    """Tracks boxes.

    Boxes that lie wholly outside the image are left out; others are tracked as they are.  The
    reported boxes are the motion filters'; with preset memory, for a moment also those of tracks
    that are missed.
    """

    graphs_used = ("box_features", "select", "rsm")
    fed_next = "box_features"

    def _own_numbers(self) -> dict[str, Any]:
        return {"confirm_limit": self._config.confirm_limit}

    def _own_fused_numbers(self) -> dict[str, Any]:
        config = self._config
        return {"confirm_limit": config.confirm_limit, "coast_s": config.coast or 0.0}

    def _usable(self, seen: Detections, size_hw: tuple[int, int]) -> Detections:
        inside = valid_rows(clip_boxes(seen.boxes_xyxy, size_hw))
        if (inside & (seen.scores >= self._lowest_confidence)).all():
            self._rows = None
            return seen
        self._rows = np.flatnonzero(self._probable(seen, "outside", inside))
        return seen[self._rows]

    def _describe(self, seen: Detections, features: FeatureMap) -> ObjectFeatures:
        output_hw = self._config.roi_height, self._config.roi_width
        weights_y, weights_x = roi_weights(
            features.letterbox.to_network(seen.boxes_xyxy),
            stride=features.stride,
            grid_hw=features.grid_hw,
            output_hw=output_hw,
        )
        points = points_of(self._graphs, "box_features", features.array, weights_y, weights_x)
        # A bin without any sample in the image is no point.
        inside_y = np.asarray(weights_y.any(axis=2), np.float32)
        inside_x = np.asarray(weights_x.any(axis=2), np.float32)
        present = inside_y[:, :, None] * inside_x[:, None, :]
        return ObjectFeatures(points, present.reshape(len(present), -1))

    def _where(self, seen: Detections, row: int, letterbox: Letterbox) -> npt.NDArray[np.float32]:
        """(6,) the box, and where the frame begins and ends, in pixels of the tile."""
        box = letterbox.to_network(seen.boxes_xyxy[row])
        top, left, (height, width) = letterbox.top, letterbox.left, letterbox.inner_hw
        frame = np.array([left, top, left + width, top + height], np.float32)
        return np.concatenate([box, frame])

    def _describe_looks(
        self, features: Array, looks: Sequence[Look], places: Sequence[tuple[int, int]]
    ) -> ObjectFeatures:
        """See the base class; a bin whose centre is outside the frame is no point."""
        output_hw = self._config.roi_height, self._config.roi_width
        where = np.array([look.where for look in looks], np.float32)
        stride = self._graphs.spec.stride
        sizes = [look.letterbox.network_hw for look in looks]
        weights = roi_weights(
            where[:, :4],
            stride=stride,
            grid_hw=(features.shape[1], features.shape[2]),
            output_hw=output_hw,
            parts=np.concatenate([places, sizes], axis=1) // stride,
        )
        points = points_of(self._graphs, "box_features", features, *weights)
        inside_y = _centres_inside(where[:, 1::2], output_hw[0])
        inside_x = _centres_inside(where[:, 0::2], output_hw[1])
        present = inside_y[:, :, None] & inside_x[:, None, :]
        return ObjectFeatures(points, present.reshape(len(looks), -1).astype(np.float32))

    def _present(
        self,
        frame: Frame,
        tracklets: Sequence[Tracklet],
        seen: Detections,
        missed: Sequence[Tracklet],
    ) -> Tracks:
        """See the base class; of objects, the boxes of the motion filters are all that is kept."""
        every, count = (*tracklets, *missed), len(tracklets)
        boxes = np.array([t.box for t in every], np.float32).reshape(-1, 4)
        rows = np.array([t.detection for t in tracklets], np.int64)
        scores = np.append(seen.scores[rows], np.array([t.score for t in missed], np.float32))
        classes = np.array([t.class_id for t in every], np.int64)
        # A filter may have lost its object altogether.
        if not (np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()):
            valid = valid_rows(boxes)
            count = int(valid[:count].sum())
            every = tuple(t for t, good in zip(every, valid, strict=True) if good)
            boxes, scores, classes = boxes[valid], scores[valid], classes[valid]
        predicted = np.arange(len(every)) >= count if count < len(every) else None
        ids = np.array([t.id for t in every], np.int64)
        wanted = self._wanted(boxes, classes)
        found = Detections(boxes, scores, classes, class_names=self._class_names)
        self._last = Shown(frame, every, count, found, boxes)
        tracks = Tracks(frame.index, ids, found, predicted=predicted)
        return tracks if wanted.all() else tracks[wanted]

    def _report(
        self, frame: Frame, ids: IntArray, found: Detections, predicted: BoolArray | None
    ) -> Tracks:
        wanted = self._wanted(found.boxes_xyxy, found.classes)
        return Tracks(frame.index, ids, found, predicted=predicted)[wanted]

    def _wanted(self, boxes: FloatArray, classes: IntArray) -> BoolArray:
        """(N,) bool: boxes that are large enough and, of people, upright."""
        large = box_areas(boxes) > self._config.min_area
        size = boxes[:, 2:] - boxes[:, :2]
        # What people's boxes look like says nothing of other classes.
        wide = size[:, 0] > (self._config.max_aspect or np.inf) * size[:, 1]
        upright = ~(wide & np.isin(classes, self._people))
        wanted: BoolArray = large & upright
        if not wanted.all():
            self._count_dropped("min_area", large)
            self._count_dropped("max_aspect", upright | ~large)
        return wanted

    def _drop_reasons(self) -> dict[str, str]:
        config = self._config
        return {
            **super()._drop_reasons(),
            "min_area": f"boxes not reported: not above --mot-min-area {config.min_area:g}",
            "max_aspect": f"boxes not reported: people wider than --mot-max-aspect "
            f"{config.max_aspect:g}",
        }


def _centres_inside(ends: npt.NDArray[np.float32], bins: int) -> BoolArray:
    """(N, bins) bool: whether the centres of an axis' bins are in the frame.

    Args:
        ends: (N, 4) first and last of the box, first and last of the frame.
        bins: How many the box is divided into.
    """
    low, high, first, last = ends.T[:, :, None]
    centre = low + (high - low) * ((np.arange(bins) + 0.5) / bins)
    return np.asarray((centre >= first) & (centre <= last), np.bool_)


def roi_weights(
    boxes_xyxy: npt.NDArray[np.float32],
    *,
    stride: int,
    grid_hw: tuple[int, int],
    output_hw: tuple[int, int],
    parts: IntArray | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights of the separable map `Wy · F · Wxᵀ` that equals RoIAlign.

    Args:
        boxes_xyxy: (N, 4) float32, pixels of the network's image.
        stride: Pixels per feature cell.
        grid_hw: Rows and columns of the feature map.
        output_hw: Rows and columns of the result.
        parts: (N, 4) the part of the map that is each box's own, and that its pixels are counted
            in: first row and column, rows and columns. None: all of it.

    Returns:
        (N, out_h, rows) and (N, out_w, cols) float32.  A bin outside the map has weights 0.
    """
    boxes = boxes_xyxy.astype(np.float64) / stride
    own = np.tile((0, 0, *grid_hw), (len(boxes), 1)) if parts is None else parts
    weights_y, weights_x = (
        _axis_weights(boxes[:, axis], boxes[:, axis + 2], own[:, side::2], cells, bins)
        for axis, side, cells, bins in zip((1, 0), (0, 1), grid_hw, output_hw, strict=True)
    )
    return weights_y, weights_x


def _axis_weights(
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
    own: IntArray,
    whole: int,
    bins: int,
) -> npt.NDArray[np.float32]:
    """(N, bins, whole), given (N, 2) first and number of each box's own cells."""
    count = len(low)
    first, cells = own.T[:, :, None, None]
    # A box below one cell is widened to one, as the unaligned form of RoIAlign has it.
    length = np.maximum(high - low, 1.0)
    # One sample a cell is all there is to see; a box of absurd size must not take absurd memory.
    most_samples = np.maximum(64, 4 * own[:, 1])
    samples = np.ceil(np.minimum(length / bins, most_samples)).astype(np.int64)
    most = int(samples.max(initial=1))
    bin_length = (length / bins)[:, None, None]
    sample = np.arange(most)[None, None, :]
    place = low[:, None, None] + bin_length * (
        np.arange(bins)[None, :, None] + (sample + 0.5) / samples[:, None, None]
    )
    counted = (sample < samples[:, None, None]) & (place >= -1.0) & (place <= cells)
    place = np.clip(place, 0.0, cells - 1.0)
    left = np.minimum(np.floor(place).astype(np.int64), cells - 1)
    right = np.minimum(left + 1, cells - 1)
    share = np.where(counted, 1.0 / samples[:, None, None], 0.0)
    fraction = place - left
    weights = np.zeros((count, bins, whole))
    box = np.broadcast_to(np.arange(count)[:, None, None], place.shape)
    row = np.broadcast_to(np.arange(bins)[None, :, None], place.shape)
    np.add.at(weights, (box, row, left + first), share * (1.0 - fraction))
    np.add.at(weights, (box, row, right + first), share * fraction)
    return weights.astype(np.float32)
