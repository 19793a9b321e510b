"""Pose propagation: the joints of the first frame are carried through the video (section 2.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ObservationError
from ..records import BoolArray, FloatArray, Frame, IntArray, Observations, Tracks
from ..runtime.features import FeatureMap
from ..runtime.graph_runner import GraphRunner
from ..runtime.head import Head
from ..runtime.pose_format import pose_boxes, seen_joints
from .belief_maps import belief_maps, read_points
from .mask_configs import PoseConfig
from .pose_mask import body_size
from .propagation import Propagator

VANISHED = 1e-3
"""A belief map that is nowhere higher than this says nothing."""

_CHANNELS = 256
"""Maps that are propagated together; the graphs serve no more at once."""


class PoseHead(Head):
    """Propagates keypoints.

    Args:
        graphs: Runs the `propagate_*` graphs.
        keypoints: (N, K, 3) float32 of the first frame: x, y in source pixels, confidence (<= 0:
            not given).
        config: Parameters.
        ids: (N,) int64 identities; by default 1 to N.

    Raises:
        ObservationError: No keypoint is given, or more top-k than the bundle was exported for.
    """

    graphs_used = ("propagate_global", "propagate_local", "propagate_labels")

    def __init__(
        self,
        graphs: GraphRunner,
        keypoints: FloatArray,
        config: PoseConfig,
        ids: IntArray | None = None,
    ) -> None:
        most = graphs.spec.parameters["top_k"]
        if config.top_k > most:
            raise ObservationError(
                f"pose: top-k {config.top_k} is more than the bundle keeps ({most}): "
                f"export one with `cli export --top-k {config.top_k}`"
            )
        self._given = seen_joints(keypoints)
        if not self._given.any():
            raise ObservationError(
                "the first frame's poses hold no keypoint: none has a confidence above 0"
            )
        self._ids = np.arange(1, len(keypoints) + 1) if ids is None else ids
        self._keypoints = keypoints
        self._graphs = graphs
        self._config = config
        self._propagators: list[Propagator] = []

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """The source's ratio with the configured short side; small sources are not enlarged."""
        short = min(source_hw)
        target = min(self._config.short_side or short, short)
        height, width = (max(8, round(side * target / short)) for side in source_hw)
        return height, width

    def reset(self) -> None:
        """Forget the video; the poses stay and belong to the next frame again."""
        self._propagators = []

    def step(
        self,
        frame: Frame,
        features: FeatureMap,
        observations: Observations | None = None,  # noqa: ARG002
    ) -> Tracks:
        """Find the joints of the next frame; the first one keeps what it was given.

        Joints that were not given are never found.  One whose belief map has vanished has
        confidence 0 and place 0, 0; a person without any joint left is not reported.
        """
        if not self._propagators:
            self._start(features)
            return self._report(frame.index, self._keypoints)
        maps = [propagator.step(features.array) for propagator in self._propagators]
        points, heights = read_points(
            np.concatenate(maps, axis=1),
            top_cells=self._config.top_cells,
            stride=features.stride,
            grid_hw=features.grid_hw,
        )
        found = np.zeros_like(self._keypoints)
        heights = np.where(heights > VANISHED, np.minimum(heights, 1.0), 0.0)
        places = features.letterbox.points_to_source(points) * (heights > 0)[:, None]
        found[self._given] = np.concatenate([places, heights[:, None]], axis=1)
        return self._report(frame.index, found)

    def _start(self, features: FeatureMap) -> None:
        rows, cols = features.grid_hw
        config = self._config
        maps = belief_maps(
            *self._placed(features), stride=features.stride, grid_hw=features.grid_hw
        )
        for first in range(0, maps.shape[1], _CHANNELS):
            propagator = Propagator(
                self._graphs,
                rows,
                cols,
                top_k=config.top_k,
                temperature=config.temperature,
                radius=config.radius,
                memory=config.memory,
                first_radius=config.first_radius or None,
            )
            part = np.ascontiguousarray(maps[:, first : first + _CHANNELS])
            propagator.start(features.array, part)
            self._propagators.append(propagator)

    def _placed(
        self, features: FeatureMap
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The given joints in network pixels, and the variances of their maps in cells²."""
        placed = np.where(self._given[..., None], self._keypoints, 0).astype(np.float64)
        placed[..., :2] = features.letterbox.points_to_network(placed[..., :2])
        sizes = np.array([body_size(person) for person in placed]) / features.stride
        variances = np.broadcast_to(self._config.sigma * sizes[:, None], self._given.shape)
        return placed[..., :2][self._given], variances[self._given]

    def _report(self, frame_index: int, keypoints: FloatArray) -> Tracks:
        keypoints = np.where(seen_joints(keypoints)[..., None], keypoints, np.float32(0))
        boxes, shown = pose_boxes(keypoints)
        scores = _mean_confidence(keypoints)
        people = Observations(
            boxes[shown],
            scores[shown],
            np.zeros(int(shown.sum()), np.int64),
            keypoints=keypoints[shown],
        )
        return Tracks(frame_index, self._ids[shown], people)


def _mean_confidence(keypoints: FloatArray) -> FloatArray:
    seen: BoolArray = keypoints[..., 2] > 0
    count = np.maximum(seen.sum(axis=1), 1)
    return np.asarray(np.where(seen, keypoints[..., 2], 0).sum(axis=1) / count, np.float32)
