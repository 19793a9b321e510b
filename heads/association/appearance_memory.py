"""What each tracklet is remembered to look like: several features, spread over time.

The look of the last match alone is a poor memory: it is often the one in which somebody else
already covered half of the object.  A tracklet therefore keeps its newest feature and snapshots
of earlier ones, at least an interval apart, and the best of them decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...runtime.inference.base import Graphs
from .similarity import SIMILARITIES
from .tracklets import ObjectFeatures, Tracklet, select_rows

_EPSILON_S = 1e-6
"""Times are sums of floats: so much is no difference."""


class AppearanceMemory:
    """Features of all tracklets of one video, kept where they were computed.

    A tracklet's row numbers are in `Tracklet.memory`, newest first.

    Args:
        graphs: Runs `select` and the graph of the similarity.
        size: Most features a tracklet, at least 1.
        interval_s: Time between two snapshots, in seconds.
    """

    def __init__(self, graphs: Graphs, size: int, interval_s: float) -> None:
        self._graphs = graphs
        self._size = size
        self._interval_s = interval_s
        self.features: ObjectFeatures | None = None

    def costs(
        self,
        tracklets: Sequence[Tracklet],
        detections: ObjectFeatures,
        similarity: str,
        scale: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float64]:
        """Appearance cost of every pair: the least over a tracklet's features.

        Args:
            tracklets: N of those that were given to the last `update`.
            detections: M objects.
            similarity: Key of `similarity.SIMILARITIES`.
            scale: (1,) float32, s of `softmax(s T Dᵀ)`.

        Returns:
            (N, M) float64; infinite where either has no point.
        """
        costs = np.full((len(tracklets), len(detections.mask)), np.inf)
        rows = np.array([row for tracklet in tracklets for row in tracklet.memory], np.int64)
        if self.features is None or not len(rows) or not len(detections.mask):
            return costs
        chosen = self.features
        if len(rows) < len(chosen.mask) or (rows != np.arange(len(rows))).any():
            chosen = select_rows(self._graphs, [chosen], rows)
        every = SIMILARITIES[similarity](self._graphs, chosen, detections, scale)
        counts = np.array([len(tracklet.memory) for tracklet in tracklets])
        starts = np.cumsum(counts) - counts
        known = counts > 0
        costs[known] = np.minimum.reduceat(every, starts[known], axis=0)
        costs[:, ~detections.present] = np.inf
        return costs

    def update(
        self, tracklets: Sequence[Tracklet], new: ObjectFeatures | None, time_s: float
    ) -> None:
        """Keep the features of `tracklets` only, and learn from the matches of this frame.

        The newest feature is replaced in every match; where the last snapshot is an interval old,
        it becomes a snapshot instead, and the oldest one goes.  A match without any point teaches
        nothing.  Rows are numbered anew.

        Args:
            tracklets: All that are left, with `detection` set for those matched in this frame.
            new: Features of the frame's detections; None where there is none.
            time_s: Time of the frame.
        """
        old_count = 0 if self.features is None else len(self.features.mask)
        present = [] if new is None else new.present.tolist()
        sources: list[int] = []
        for tracklet in tracklets:
            rows = tracklet.memory
            if tracklet.detection >= 0 and present and present[tracklet.detection]:
                due = time_s - tracklet.snapshot_s >= self._interval_s - _EPSILON_S
                if due or not rows:
                    tracklet.snapshot_s = time_s
                earlier = rows if due else rows[1:]
                rows = [old_count + tracklet.detection, *earlier][: self._size]
            tracklet.memory = list(range(len(sources), len(sources) + len(rows)))
            sources += rows
        if not sources:
            self.features = None
        elif sources != list(range(old_count)):
            stacks = [features for features in (self.features, new) if features is not None]
            self.features = select_rows(self._graphs, stacks, np.array(sources, np.int64))
