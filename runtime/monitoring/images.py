"""Whether a live source still shows the world: frozen, covered, and how bright it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...records import Frame, UInt8Array

_EVERY_S = 1.0
_FROZEN_S = 10.0
_COVERED_S = 10.0
_STEP = 16  # of the pixels that are looked at
_LEAST_SPREAD = 3.0
"""Standard deviation in grey levels below which nothing is to be seen."""


@dataclass(frozen=True, slots=True)
class ImageHealth:
    """What the images of a live source look like at present.

    Attributes:
        brightness: Mean of all pixels and colours, 0 to 255.
        frozen: Whether the image has been the very same for 10 s; sensors have noise.
        covered: Whether nothing has been to be seen for 10 s: one grey level everywhere.
    """

    brightness: float
    frozen: bool = False
    covered: bool = False


class ImageWatch:
    """Looks at an image a second.

    Args:
        say: Called with a line when a state begins, and when it ends.

    Attributes:
        health: At the last look; None before the first.
    """

    def __init__(self, say: Callable[[str], None] = lambda _text: None) -> None:
        self.health: ImageHealth | None = None
        self._say = say
        self._next_s = -float("inf")
        self._last: UInt8Array | None = None
        self._changed_s = self._seen_s = 0.0

    def look(self, frame: Frame) -> None:
        """Look at a frame, if a second has passed since the last look."""
        if frame.time_s < self._next_s:
            return
        self._next_s = frame.time_s + _EVERY_S
        sample = frame.image[::_STEP, ::_STEP].copy()
        if self._last is None or not np.array_equal(sample, self._last):
            self._changed_s = frame.time_s
        if self._last is None or float(sample.std()) >= _LEAST_SPREAD:
            self._seen_s = frame.time_s
        self._last = sample
        health = ImageHealth(
            float(sample.mean()),
            frame.time_s - self._changed_s >= _FROZEN_S,
            frame.time_s - self._seen_s >= _COVERED_S,
        )
        self._compare(self.health, health)
        self.health = health

    def _compare(self, before: ImageHealth | None, now: ImageHealth) -> None:
        if now.frozen != (before is not None and before.frozen):
            seconds = f"the same for {_FROZEN_S:g} s"
            self._say(f"the image is frozen: {seconds}" if now.frozen else "the image moves again")
        if now.covered != (before is not None and before.covered):
            level = f"nothing but brightness {now.brightness:.0f} of 255 for {_COVERED_S:g} s"
            self._say(
                f"the camera seems covered or dark: {level}"
                if now.covered
                else "the camera sees again"
            )
