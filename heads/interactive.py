"""Heads that a viewer starts: how they are made and restarted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnitrackError
from ..records import Detections, Frame, Tracks
from ..runtime.head import NOTHING, FeatureRequest, Head
from ..runtime.inference.base import Graphs
from ..runtime.preprocessing import FeatureMap
from ..runtime.prompts.mask import cut_out, cutter_at, filled_box
from ..runtime.server.commands import Commands, StartCommand
from .config import SotConfig, TaskConfig, VosConfig

MakeHead = Callable[[StartCommand, tuple[int, int]], Head]
"""Makes the head of a command, for frames of a height and width."""


class StartedHead(Head):
    """Tracks what the last command said; nothing before the first one.

    A command that comes with a frame takes effect with the next one, since the backbone may have
    to look at the image first. A command that cannot be followed is reported and changes nothing.

    Args:
        make: See `MakeHead`.
        graphs_used: The graphs that such heads run.
        commands: Where commands come from.
        source: Short name of the source.
        task: Name of the task; `vos` gives an empty label map while nothing is tracked.
        say: Called with one line that says why a command was refused.
        head: What tracks until the first command; None: nothing does.
    """

    asks_ahead = False

    def __init__(
        self,
        make: MakeHead,
        graphs_used: tuple[str, ...],
        commands: Commands,
        source: str,
        task: str,
        say: Callable[[str], None],
        head: Head | None = None,
    ) -> None:
        self._make = make
        self._commands = commands
        self._source = source
        self._task = task
        self._say = say
        self._head = head
        self._former: Head | None = None
        self._is_new = False
        self.graphs_used = graphs_used

    @property
    def needs_features(self) -> bool:  # type: ignore[override]
        """Whether the head of the last command does."""
        return self._head is not None and self._head.needs_features

    @property
    def needs_detections(self) -> bool:  # type: ignore[override]
        """Whether the head of the last command does."""
        return self._head is not None and self._head.needs_detections

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """That of the head of the last command; the source's own where there is none."""
        return source_hw if self._head is None else self._head.network_hw(source_hw)

    def request(self, frame: Frame, detections: Detections | None = None) -> FeatureRequest:
        """What the head of the last command needs."""
        if self._head is None:
            return NOTHING
        return self._head.request(frame, detections)

    def reset(self) -> None:
        """Reset the head of the last command, which starts again from its first frame."""
        if self._head is not None:
            self._head.reset()

    def step(
        self,
        frame: Frame,
        features: FeatureMap,
        detections: Detections | None = None,
    ) -> Tracks:
        """Process the next frame, then the newest command, if any.

        Args:
            frame: Its index is larger than that of the last one.
            features: Its features; None while `needs_features` is False.
            detections: Not looked at.

        Raises:
            UnitrackError: As the head; but not in the first frame of a command.
        """
        tracks = self._step(frame, features, detections)
        commands = self._commands.take(self._source, self._task)
        if commands:
            self._begin(commands[-1], frame.size_hw)
        return tracks

    def predict(self, frame: Frame) -> Tracks:
        """What the head of the last command says of a frame in which no detector runs."""
        return self._nothing(frame) if self._head is None else self._head.predict(frame)

    def _begin(self, command: StartCommand, size_hw: tuple[int, int]) -> None:
        try:
            head = self._make(command, size_hw)
        except UnitrackError as error:
            self._refuse(error)
            return
        self._former, self._head, self._is_new = self._head, head, True

    def _step(self, frame: Frame, features: FeatureMap, detections: Detections | None) -> Tracks:
        if self._head is None:
            return self._nothing(frame)
        try:
            return self._head.step(frame, features, detections)
        except UnitrackError as error:
            if not self._is_new:
                raise
            # What was tracked before goes on with the next frame, for which it is asked first.
            self._head = self._former
            self._refuse(error)
            return self._nothing(frame)
        finally:
            self._former, self._is_new = None, False

    def _refuse(self, error: UnitrackError) -> None:
        self._say(f"{self._source}: {self._task} not started: {error}")

    def _nothing(self, frame: Frame) -> Tracks:
        labels = np.zeros(frame.size_hw, np.uint8) if self._task == "vos" else None
        return Tracks(frame.index, np.zeros(0, np.int64), label_map=labels)


def started_head(
    config: TaskConfig,
    graphs: Graphs,
    commands: Commands,
    source: str,
    say: Callable[[str], None],
    head: Head | None = None,
) -> StartedHead:
    """A head that viewers start.

    Args:
        config: Of a task in `STARTS`.
        graphs: Runs the task's graphs.
        commands: Where viewers' commands come from.
        source: Short name of the source.
        say: Called with one line that says why a command was refused.
        head: What tracks until the first command, from --init; None: nothing does.

    Raises:
        UnitrackError: The bundle does not fit the task.
    """
    make, graphs_used = STARTS[config.task](graphs, config)
    return StartedHead(make, graphs_used, commands, source, config.task, say, head)


def _sot(graphs: Graphs, config: TaskConfig) -> tuple[MakeHead, tuple[str, ...]]:
    from .sot import SotHead, check_first_box

    if not isinstance(config, SotConfig):
        raise TypeError(f"task sot with {type(config).__name__}")

    def make(command: StartCommand, size_hw: tuple[int, int]) -> Head:
        if command.box_xywh is None:
            raise TypeError("task sot starts from a box")
        check_first_box(command.box_xywh, size_hw)
        return SotHead(graphs, command.box_xywh, config)

    # One that is not used says before the first frame whether the bundle will do.
    return make, SotHead(graphs, (0.0, 0.0, 1.0, 1.0), config).graphs_used


def _vos(graphs: Graphs, config: TaskConfig) -> tuple[MakeHead, tuple[str, ...]]:
    from .vos import VosHead

    if not isinstance(config, VosConfig):
        raise TypeError(f"task vos with {type(config).__name__}")

    def make(command: StartCommand, size_hw: tuple[int, int]) -> Head:
        if command.box_xywh is not None:
            labels = filled_box(command.box_xywh, size_hw)
            return VosHead(graphs, labels, config, cut_out)
        if command.point_xy is None:
            raise TypeError("task vos starts from a box or a point")
        anywhere = np.ones(size_hw, np.uint8)
        return VosHead(graphs, anywhere, config, cutter_at(command.point_xy))

    return make, VosHead(graphs, np.ones((1, 1), np.uint8), config).graphs_used


STARTS: dict[str, Callable[[Graphs, TaskConfig], tuple[MakeHead, tuple[str, ...]]]] = {
    "sot": _sot,
    "vos": _vos,
}
"""By task: what makes a head of a command, and the graphs that such heads run."""
