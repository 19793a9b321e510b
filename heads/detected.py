"""Heads that start from what a detector finds: `--init detect` and `--init detect:CLASS`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..records import Detections, Frame, Tracks
from ..runtime.boxes import clip_boxes, valid_rows, xyxy_to_xywh
from ..runtime.formats.keypoints import seen_joints
from ..runtime.head import FeatureRequest, Head
from ..runtime.inference.base import Graphs
from ..runtime.preprocessing import FeatureMap
from ..runtime.prompts.mask import cut_out, filled_box
from .config import PoseConfig, SotConfig, TaskConfig, VosConfig

LEAST_SCORE = 0.5
"""Nothing less probable starts a track, unless the user asks for it."""

MakeHead = Callable[[Detections, tuple[int, int]], Head | None]
"""Makes the head of what was found, at least one object, best first, in a frame of a height and
width; None where nothing can be started from it."""


class DetectedHead(Head):
    """Waits until the detector finds something, and tracks that from the same frame on.

    Args:
        config: Of task sot (the most probable object), vos (the same, cut out of its box) or pose
            (all people).
        graphs: Runs the task's graphs.
        init: What the user asked for, for messages.
        label: Name or number of the only class to start from; None: any.
        least_score: Detections of a lower score are none.

    Raises:
        UnitrackError: The bundle does not fit the task.
    """

    needs_detections = True

    def __init__(
        self,
        config: TaskConfig,
        graphs: Graphs,
        init: str = "detect",
        label: str | None = None,
        least_score: float = LEAST_SCORE,
    ) -> None:
        self._init, self._label, self._task = init, label, config.task
        self._least_score = least_score
        self._make, self._example = _STARTS[config.task](graphs, config)
        self._head: Head | None = None
        self._waited = 0
        self.needs_features = self._example.needs_features
        self.asks_ahead = self._example.asks_ahead
        self.graphs_used = self._example.graphs_used

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """That of the task."""
        return self._example.network_hw(source_hw)

    def request(self, frame: Frame, detections: Detections | None = None) -> FeatureRequest:
        """What the task needs; while it waits for an object, as for a first frame."""
        if self._head is None:
            return self._example.request(frame, detections)
        return self._head.request(frame, detections)

    def reset(self) -> None:
        """Forget everything: the next frames are looked through for an object again."""
        self._head, self._waited, self.needs_detections = None, 0, True

    def step(
        self, frame: Frame, features: FeatureMap, detections: Detections | None = None
    ) -> Tracks:
        """Process the next frame.

        Args:
            frame: Its index is larger than that of the last one.
            features: Its features; not looked at by sot.
            detections: What was found; not looked at once there is something to track.

        Raises:
            UnitrackError: As the task's head.
        """
        if self._head is None:
            self._head = self._started(frame, detections or Detections.empty())
            self.needs_detections = self._head is None
        if self._head is None:
            return self.predict(frame)
        return self._head.step(frame, features)

    def predict(self, frame: Frame) -> Tracks:
        """Nothing: only what waits for a detection is asked."""
        self._waited += 1
        labels = np.zeros(frame.size_hw, np.uint8) if self._task == "vos" else None
        return Tracks(frame.index, np.zeros(0, np.int64), label_map=labels)

    def drop_notes(self) -> list[str]:
        """Whether there was ever anything to track."""
        if self._head is not None or not self._waited:
            return []
        return [
            f"task {self._task} never started: --init {self._init} found nothing of score "
            f"{self._least_score:g} or more in {self._waited} frames"
        ]

    def _started(self, frame: Frame, found: Detections) -> Head | None:
        inside = valid_rows(clip_boxes(found.boxes_xyxy, frame.size_hw))
        found = found[inside & (found.scores >= self._least_score)]
        if self._label is not None:
            wanted = self._label.lower()
            labels = found.classes.tolist()
            same = [wanted in (str(k), found.name_of(k).lower()) for k in labels]
            found = found[np.array(same, np.bool_)]
        best_first = np.argsort(-found.scores.astype(np.float64), kind="stable")
        return self._make(found[best_first], frame.size_hw) if len(found) else None


def _sot(graphs: Graphs, config: TaskConfig) -> tuple[MakeHead, Head]:
    from .sot import SotHead

    if not isinstance(config, SotConfig):
        raise TypeError(f"task sot with {type(config).__name__}")

    def make(found: Detections, _size_hw: tuple[int, int]) -> Head:
        return SotHead(graphs, _first_box(found), config)

    return make, SotHead(graphs, (0.0, 0.0, 1.0, 1.0), config)


def _vos(graphs: Graphs, config: TaskConfig) -> tuple[MakeHead, Head]:
    from .vos import VosHead

    if not isinstance(config, VosConfig):
        raise TypeError(f"task vos with {type(config).__name__}")

    def make(found: Detections, size_hw: tuple[int, int]) -> Head:
        return VosHead(graphs, filled_box(_first_box(found), size_hw), config, cut_out)

    return make, VosHead(graphs, np.ones((1, 1), np.uint8), config)


def _pose(graphs: Graphs, config: TaskConfig) -> tuple[MakeHead, Head]:
    from .pose import PoseHead

    if not isinstance(config, PoseConfig):
        raise TypeError(f"task pose with {type(config).__name__}")

    def make(found: Detections, _size_hw: tuple[int, int]) -> Head | None:
        if found.keypoints is None:
            return None
        shown = seen_joints(found.keypoints).any(axis=1)
        return PoseHead(graphs, found.keypoints[shown], config) if shown.any() else None

    return make, PoseHead(graphs, np.ones((1, 17, 3), np.float32), config)


def _first_box(found: Detections) -> tuple[float, float, float, float]:
    """Left, top, width, height of the first row, in source pixels."""
    x, y, width, height = xyxy_to_xywh(found.boxes_xyxy[:1].astype(np.float64))[0].tolist()
    return x, y, width, height


_STARTS: dict[str, Callable[[Graphs, TaskConfig], tuple[MakeHead, Head]]] = {
    "sot": _sot,
    "vos": _vos,
    "pose": _pose,
}
"""By task: what makes its head, and one that is asked what the task needs and never runs."""
