"""What the runtime asks of a head."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..records import Detections, Frame, Tracks
from .preprocessing import FeatureMap


class Head(ABC):
    """One task over one video.

    Attributes:
        needs_detections: Whether `step` needs detections.
        needs_features: Whether `step` needs the features of the whole frame; a head that
            runs the backbone on crops of its own does not.
        graphs_used: The graphs that it runs, besides `backbone`.
    """

    needs_detections: bool = False
    needs_features: bool = True
    graphs_used: tuple[str, ...] = ()

    @abstractmethod
    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """The image size that the task's defaults ask for, for a source of a size."""

    @abstractmethod
    def step(
        self, frame: Frame, features: FeatureMap, detections: Detections | None = None
    ) -> Tracks:
        """Process the next frame.

        Args:
            frame: Its index is larger than that of the last one.
            features: Its features. Heads without `needs_features` may be given None,
                and say so in their signature.
            detections: For heads that need them; None otherwise.

        Returns:
            The objects of this frame, in source pixels.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: the next frame is the first of a video."""
