"""The tasks that a viewer can start, and how their heads are made of what he pointed at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..runtime.graph_runner import GraphRunner
from ..runtime.head import Head
from ..runtime.init_labels import cut_out, filled_box
from ..runtime.init_point import cutter_at
from ..runtime.viewer_commands import Commands, StartCommand
from .config import HeadConfig, VosConfig
from .sot_config import SotConfig
from .started_head import MakeHead, StartedHead


def started_head(
    task: str,
    graphs: GraphRunner,
    config: HeadConfig,
    commands: Commands,
    source: str,
    say: Callable[[str], None],
    head: Head | None = None,
) -> StartedHead:
    """A head that viewers start.

    Args:
        task: A key of `STARTS`.
        graphs: Runs the task's graphs.
        config: The task's parameters.
        commands: Where viewers' wishes come from.
        source: Short name of the source.
        say: Told in one line why a wish was not followed.
        head: What tracks until the first wish, from --init; None: nothing does.

    Raises:
        UnitrackError: The bundle does not fit the task.
    """
    make, graphs_used = STARTS[task](graphs, config)
    return StartedHead(make, graphs_used, commands, source, task, say, head)


def _sot(graphs: GraphRunner, config: HeadConfig) -> tuple[MakeHead, tuple[str, ...]]:
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


def _vos(graphs: GraphRunner, config: HeadConfig) -> tuple[MakeHead, tuple[str, ...]]:
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


STARTS: dict[str, Callable[[GraphRunner, HeadConfig], tuple[MakeHead, tuple[str, ...]]]] = {
    "sot": _sot,
    "vos": _vos,
}
"""By task: what makes a head of a command, and the graphs that such heads run."""
