"""What the runtime asks of a head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from ..records import Detections, Frame, IntArray, Tracks
from .preprocessing import FeatureMap, Region


@dataclass(frozen=True, slots=True)
class FeatureRequest:
    """What a head needs of a frame.

    Attributes:
        regions: The parts that it looks at, each in its own size; empty: none, the backbone need
            not run. None: the whole frame.
        fed_next: The graph that the head runs first, when what it feeds it takes the host next to
            no time: images then go to a device with that. Empty: they go there ahead.
    """

    regions: tuple[Region, ...] | None
    fed_next: str = ""


WHOLE = FeatureRequest(None)
"""The whole frame, in the size that the first head with `needs_features` wants."""

NOTHING = FeatureRequest(())
"""No features."""


class Head(ABC):
    """One task over one video.

    Attributes:
        needs_detections: Whether `step` needs detections.
        needs_features: Whether it may ask for the features of the whole frame; a head that looks
            at regions, or runs the backbone on crops of its own, does not.
        may_shrink: Whether the image of the whole frame may change its size between two frames.
        asks_ahead: Whether `request` says the same before the last frame's `step` has ended.
        graphs_used: The graphs that it runs, besides `backbone`.
        fed_next: `FeatureRequest.fed_next` of the whole frame where there are detections.
        backbone_pixels: How many it gave the backbone itself so far, beside what it asked for.
    """

    needs_detections: bool = False
    needs_features: bool = True
    may_shrink: bool = False
    asks_ahead: bool = True
    graphs_used: tuple[str, ...] = ()
    fed_next: str = ""
    backbone_pixels: int = 0

    @abstractmethod
    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """The image size that the task's defaults ask for, for a source of a size."""

    def request(
        self,
        frame: Frame,  # noqa: ARG002
        detections: Detections | None = None,
    ) -> FeatureRequest:
        """What `step` needs of a frame; asked once before it, with the same arguments."""
        if not self.needs_features:
            return NOTHING
        known = self.fed_next and detections is not None and detections.scores.size
        return FeatureRequest(None, self.fed_next) if known else WHOLE

    @abstractmethod
    def step(
        self, frame: Frame, features: FeatureMap, detections: Detections | None = None
    ) -> Tracks:
        """Process the next frame.

        Args:
            frame: Its index is larger than that of the last one.
            features: Its features. Heads that ask for `NOTHING` are given None, and those that ask
                for regions a sequence in the order of these; they say so in their signature.
            detections: For heads that need them; None otherwise.

        Returns:
            The objects of this frame, in source pixels.
        """

    def predict(self, frame: Frame) -> Tracks:
        """The objects of the next frame where their motion takes them, without any detection.

        Called in place of `step` for heads with `needs_detections`, in frames in which no detector
        runs; the image is looked at for the camera's motion, and where tracks are followed by
        appearance.  By default nothing is known of such a frame.

        Args:
            frame: Its index is larger than that of the last one.
        """
        return Tracks(frame.index, np.zeros(0, np.int64))

    def matched_rows(self, ids: IntArray) -> IntArray:
        """(N,) int64: rows of the last `step`'s detections that tracks were matched to; -1: none.

        Args:
            ids: (N,) of the tracks.
        """
        return np.full(len(ids), -1, np.int64)

    def dropped(self) -> dict[str, int]:
        """How many objects are in no result, by reason; by default none is dropped."""
        return {}

    def drop_notes(self) -> list[str]:
        """`dropped` for people: a line a reason, with the option that decides."""
        return []

    def warm_up(self) -> None:
        """Run what later frames will ask of the graphs, where that is known before the first one.

        Called once where the graphs compute on a device, which prepares itself for every new size.
        """
        return

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: the next frame is the first of a video."""
