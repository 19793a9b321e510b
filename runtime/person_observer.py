"""Boxes of a detector, with a model that looks at the person in each."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from ..records import Frame, Observations
from .observers import Observer


class PersonModel(Protocol):
    """Adds poses or masks to boxes."""

    def describe(self, frame: Frame, seen: Observations) -> Observations:
        """The same boxes and scores, with what the model sees in each."""

    def notes(self) -> list[str]:
        """One-line remarks for the end of a run."""

    def close(self) -> None:
        """Give everything back; may be called twice."""


class PersonObserver:
    """An observer in two steps.

    Args:
        boxes: Says where people are; closed with this one.
        model: Looks at each of them; likewise.
    """

    def __init__(self, boxes: Observer, model: PersonModel) -> None:
        self._boxes, self._model = boxes, model

    def observe(self, frame: Frame) -> Observations:
        """The boxes of the first step, with poses or masks in source pixels; see the models.

        Raises:
            ObservationError: Boxes or model do not fit the source, or failed.
            BackendError: The backend failed.
        """
        return self._model.describe(frame, self._boxes.observe(frame))

    def notes(self, source_frames: int | None = None) -> list[str]:
        """The remarks of both steps."""
        return [*self._boxes.notes(source_frames), *self._model.notes()]

    def close(self) -> None:
        """Give both back."""
        self._boxes.close()
        self._model.close()

    def __enter__(self) -> PersonObserver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
