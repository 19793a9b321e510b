"""A task's whole pipeline as a contestant: the one that `cli track` runs, on frames in memory."""

from __future__ import annotations

import numpy as np

from ...evaluation.benchmark.measure import Runner
from ...records import Frame, Tracks
from ...runtime.boxes import iou_matrix
from ...runtime.events import StopRequest
from ...runtime.writers.base import Writer
from ..timing import Stages
from .timing import FRAME, DeviceStopwatch

_STAGES = ("letterbox", "backbone", "head")

_NEAR = 0.7
"""Overlap of two boxes that are one object's."""


class Newest(Writer):
    """Keeps the last frame's tracks."""

    tracks: Tracks | None = None

    def write(self, frame: Frame, tracks: Tracks) -> None:  # noqa: ARG002
        """Keep them."""
        self.tracks = tracks


class WholeSide:
    """A pipeline at work.

    Args:
        runner: Runs it.
        watch: Where the time of whole frames goes.
    """

    def __init__(self, runner: Runner, watch: DeviceStopwatch) -> None:
        self._runner = runner
        self._watch = watch
        self._stop = StopRequest()
        self.newest = Newest()
        runner.write_to(self.newest)

    def step(self, number: int) -> Stages:
        """The next frame; the stages are the host's, which waits for results in `head` alone."""
        del number
        with self._watch.stage("task"):
            self._runner.advance(self._stop)
        whole = self._watch.take()[FRAME]
        (stages,) = self._runner.take()
        return {**{name: stages.get(name, 0.0) for name in _STAGES}, FRAME: whole}


class WholeAgreement:
    """The share of objects that both sides put at one place under one identity."""

    def __init__(self) -> None:
        self._alike = self._all = 0

    @property
    def alike(self) -> float:
        """0 to 1; 1 where neither side found anything."""
        return self._alike / self._all if self._all else 1.0

    def add(self, reference: WholeSide, side: WholeSide) -> None:
        """Compare the frame that both have just done."""
        one, other = reference.newest.tracks, side.newest.tracks
        if one is None or other is None:
            return
        overlap = iou_matrix(one.detections.boxes_xyxy, other.detections.boxes_xyxy)
        same = (one.ids[:, None] == other.ids[None]) & (overlap >= _NEAR)
        self._alike += int(np.count_nonzero(same.any(axis=1)))
        self._all += max(len(one), len(other))

    def describe(self) -> str:
        """One line."""
        return f"{self.alike:.1%} of {self._all} objects alike"
