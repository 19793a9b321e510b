"""What a detector is: it gives the detections of each frame of one source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from ...records import Detections, Frame, IntArray

BUILT_IN: Mapping[str, tuple[str, ...]] = {"motion": ("masks",)}
"""Detectors that run no model, by name: what they find beside boxes, `keypoints` or `masks`.
`open.py` opens them."""

_Self = TypeVar("_Self", bound="Detector")


class Detector(ABC):
    """Finds the objects in each frame of one source, frame after frame; a context manager.

    Attributes:
        class_names: By class number, empty where a number has none; None where the detector knows
            no names, or each of its `Detections` has its own.
        descriptions: What was recognised of the models' files, in a line each.
        most: How many objects it finds in a frame at most; None: any number.
    """

    class_names: Sequence[str] | None = None
    descriptions: tuple[str, ...] = ()
    most: int | None = None

    @abstractmethod
    def detect(self, frame: Frame) -> Detections:
        """The objects in a frame, in source pixels.

        Raises:
            DetectionError: The detector does not fit the source, or failed.
        """

    def notes(self, source_frames: int | None = None) -> list[str]:  # noqa: ARG002
        """One-line notes for the end of a run: what was left out, and why; by default none.

        Args:
            source_frames: How many frames the source turned out to have; None where it was not
                read to its end (a live source, `--max-frames`, an interruption).
        """
        return []

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """Of which frames a file speaks by their numbers; None for whatever is no such file.

        Returns:
            (M,) their positions from 0, rising, and the number that the file gives to position 0.
        """
        return None

    def dropped(self) -> dict[str, int]:
        """How many objects were found and left out, by reason; by default none."""
        return {}

    def drop_notes(self) -> list[str]:
        """`dropped` for people: a line a reason, with the option that decides."""
        return []

    def resize(self, scale: float) -> bool:  # noqa: ARG002
        """Look at images of so many times the usual side from now on; False: the size is fixed."""
        return False

    def save_time(self, on: bool) -> bool:  # noqa: ARG002
        """Look at smaller images from now on where what is found is large, or no longer.

        Returns:
            Whether the next image is smaller than it would have been; by default, never.
        """
        return False

    def close(self) -> None:
        """Give everything back; may be called twice. By default there is nothing to give back."""
        return

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PartOfDetector(Detector):
    """What a detector finds, of which a subclass reports a part.

    Args:
        detector: Closed with this one.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.class_names = detector.class_names
        self.descriptions = detector.descriptions
        self.most = detector.most

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """The detector's."""
        return self._detector.numbered_frames()

    def notes(self, source_frames: int | None = None) -> list[str]:
        """The detector's notes."""
        return self._detector.notes(source_frames)

    def resize(self, scale: float) -> bool:
        """The detector's."""
        return self._detector.resize(scale)

    def save_time(self, on: bool) -> bool:
        """The detector's."""
        return self._detector.save_time(on)

    def close(self) -> None:
        """Close the detector."""
        self._detector.close()


class OncePerFrame(PartOfDetector):
    """All that a detector finds, for several tasks: it looks at each frame once.

    Args:
        detector: Closed with this one.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__(detector)
        self._newest: tuple[Frame, Detections] | None = None

    def detect(self, frame: Frame) -> Detections:
        """What the detector finds, or has just found, in this frame.

        Raises:
            DetectionError: The detector does not fit the source, or failed.
        """
        if self._newest is None or self._newest[0] is not frame:
            self._newest = frame, self._detector.detect(frame)
        return self._newest[1]

    def dropped(self) -> dict[str, int]:
        """The detector's."""
        return self._detector.dropped()

    def drop_notes(self) -> list[str]:
        """The detector's."""
        return self._detector.drop_notes()


class MostDetections(PartOfDetector):
    """The detections of highest score of another detector, so many in a frame at most.

    What a frame costs grows with the square of its detections: a detector that goes wild, or a file
    that holds anything, must not take the memory of the machine.

    Args:
        detector: Closed with this one.
        limit: How many in a frame at most.
    """

    def __init__(self, detector: Detector, limit: int) -> None:
        super().__init__(detector)
        self._limit = limit
        self._left_out = self._frames = 0

    def detect(self, frame: Frame) -> Detections:
        """What the detector finds, in its order, less those of lowest score beyond the limit.

        Raises:
            DetectionError: The detector does not fit the source, or failed.
        """
        seen = self._detector.detect(frame)
        if len(seen) <= self._limit:
            return seen
        self._left_out += len(seen) - self._limit
        self._frames += 1
        # Of equal scores, the first ones.
        kept = np.argsort(-seen.scores.astype(np.float64), kind="stable")[: self._limit]
        return seen[np.sort(kept)]

    def dropped(self) -> dict[str, int]:
        """Detections beyond the limit, and what the detector dropped."""
        own = {"max_detections": self._left_out} if self._left_out else {}
        return {**self._detector.dropped(), **own}

    def drop_notes(self) -> list[str]:
        """How many detections were beyond the limit."""
        own = (
            f"{self._left_out} detections left out: the lowest scores of {self._frames} frames "
            f"with more than --max-detections {self._limit}"
        )
        return [*self._detector.drop_notes(), *([own] if self._left_out else [])]
