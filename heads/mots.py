"""Multi-object tracking and segmentation: masks get identities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import ObservationError
from ..records import BoolArray, FloatArray, Frame, Observations, Tracks
from ..runtime.boxes import mask_boxes, nms, valid_rows
from ..runtime.features import FeatureMap
from ..runtime.graph_runner import GraphRunner
from ..runtime.head import Head
from .association import AssociationConfig, Associator
from .mask_configs import MotsConfig
from .mask_points import describe_masks
from .tracklets import Tracklet


class MotsHead(Head):
    """Tracks masks.

    Args:
        graphs: Runs `point_features`, `select` and `rsm`.
        config: Parameters.
        fps: Of the source, for the buffer.
    """

    needs_observations = True
    graphs_used = ("point_features", "select", "rsm")

    def __init__(self, graphs: GraphRunner, config: MotsConfig, fps: float = 30.0) -> None:
        self._graphs = graphs
        self._config = config
        self._associator = Associator(
            graphs,
            AssociationConfig(
                appearance_weight=config.appearance_weight,
                gate=False,
                cost_limit=config.cost_limit,
                overlap_limit=config.overlap_limit,
                duplicate_limit=config.duplicate_limit,
                buffer_frames=round(config.buffer * fps / 30.0),
                confirm_at_once=True,
                use_motion=config.use_motion,
                scale=config.rsm_scale,
            ),
        )

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:  # noqa: ARG002
        """One size for all sources, as the authors have it."""
        return self._config.height, self._config.width

    def reset(self) -> None:
        """Forget all tracks; ids start again from 1."""
        self._associator.reset()

    def step(
        self, frame: Frame, features: FeatureMap, observations: Observations | None = None
    ) -> Tracks:
        """Give identities to one frame's masks.

        Empty masks are left out, and of two masks whose boxes overlap too much the one of the
        lower score.  Boxes are the tight boxes of the masks, whatever the observer says.

        Returns:
            Disjoint masks, as the MOTS format asks for: where two overlap, the pixels belong to
            the one of the higher score, or else of the older track.  A mask of which nothing is
            left is tracked on and not reported.

        Raises:
            ObservationError: The observations have no masks, or masks of another size.
        """
        seen = self._usable(observations or Observations.empty(), frame.size_hw)
        appearance = None
        if seen.masks is not None:
            appearance = describe_masks(self._graphs, seen.masks, features, self._config.max_area)
        tracklets = self._associator.step(frame.index, seen, appearance)
        return _report(frame.index, tracklets, seen)

    def _usable(self, seen: Observations, size_hw: tuple[int, int]) -> Observations:
        if not len(seen):
            return Observations.empty()
        if seen.masks is None:
            raise ObservationError(
                "task mots tracks masks, and the observer gives boxes only: give --detections a "
                "MOTS file, or --detector motion"
            )
        if seen.masks.shape[1:] != size_hw:
            raise ObservationError(
                f"task mots: got masks of {seen.masks.shape[1:]} (height, width), expected the "
                f"source's {size_hw}"
            )
        boxes = mask_boxes(seen.masks)
        rows = np.flatnonzero(valid_rows(boxes) & (seen.scores >= self._config.confidence))
        kept = nms(boxes[rows], seen.scores[rows], self._config.overlap_removal, seen.classes[rows])
        rows = rows[np.sort(kept)]
        return replace(seen[rows], boxes_xyxy=boxes[rows])


def _report(frame_index: int, tracklets: list[Tracklet], seen: Observations) -> Tracks:
    tracklets = sorted(tracklets, key=lambda t: t.id)
    found = seen[np.array([t.detection for t in tracklets], np.int64)]
    if found.masks is None:
        return Tracks(frame_index, np.zeros(0, np.int64))
    masks = disjoint_masks(found.masks, found.scores)
    boxes = mask_boxes(masks)
    shown = valid_rows(boxes)
    ids = np.array([t.id for t in tracklets], np.int64)[shown]
    left = Observations(boxes[shown], found.scores[shown], found.classes[shown], masks[shown], None)
    return Tracks(frame_index, ids, left)


def disjoint_masks(masks: BoolArray, scores: FloatArray) -> BoolArray:
    """Give every pixel to one mask: that of the highest score, or else of the first row.

    Args:
        masks: (N, H, W) bool; left as it is.
        scores: (N,).

    Returns:
        (N, H, W) bool, disjoint.
    """
    apart: BoolArray = masks.copy()
    taken = np.zeros(masks.shape[1:], np.bool_)
    for row in np.argsort(-scores.astype(np.float64), kind="stable"):
        apart[row] &= ~taken
        taken |= apart[row]
    return apart
