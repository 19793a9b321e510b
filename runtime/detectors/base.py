"""What a detector is: it gives the detections of each frame of one source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from ...records import Detections, Frame, IntArray

MOTION = "motion"

_Self = TypeVar("_Self", bound="Detector")


class Detector(ABC):
    """Finds the objects in each frame of one source, frame after frame; a context manager.

    Attributes:
        class_names: By class number, empty where a number has none; None where the detector knows
            no names, or each of its `Detections` has its own.
        descriptions: What was recognised of the models' files, in a line each.
    """

    class_names: Sequence[str] | None = None
    descriptions: tuple[str, ...] = ()

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

    def close(self) -> None:
        """Give everything back; may be called twice. By default there is nothing to give back."""
        return

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
