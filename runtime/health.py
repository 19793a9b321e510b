"""Whether a run sees and keeps up: useless features, frozen and covered cameras, dropped frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError
from ..records import Frame, UInt8Array
from .inference.base import Array, to_host
from .preprocessing import FeatureMap

FEATURES_EVERY = 100
"""Frames with features from one look at them to the next; the first is always looked at."""

IMAGES_EVERY_S = 1.0
"""Seconds from one look at the images of a live source to the next."""

_CELLS = 512
_SAME = 1e-6
_FEATURELESS = 2.0
"""Standard deviation of an image in grey levels from which its features cannot all be alike."""

_FROZEN_S = 10.0
_COVERED_S = 10.0
_STEP = 16  # of the pixels that are looked at
_LEAST_SPREAD = 3.0
"""Standard deviation in grey levels below which nothing is to be seen."""

_WINDOW_S = 30.0
_QUIET_S = 600.0
_TOO_MANY, _FEW = 0.2, 0.05
"""Shares of dropped frames from which a run does not keep up, and below which it does again."""


def check_features(features: Sequence[FeatureMap], images: Sequence[Array], frame: Frame) -> None:
    """Refuse features that are not numbers, or say nothing: every result would be wrong.

    Args:
        features: Of each image, (1, rows, cols, C).
        images: (1, height, width, 3) uint8 each, what the backbone was given.
        frame: That they are of.

    Raises:
        BackendError: They hold NaN or infinities, or are zero or the same everywhere although the
            image is not.
    """
    for one, image in zip(features, images, strict=True):
        values = to_host(one.array)
        wrong = _wrong(values.reshape(-1, values.shape[-1]), to_host(image)[0], frame.image)
        if wrong:
            raise BackendError(
                f"the backbone gives features that are {wrong} (frame {frame.index}): its graph is "
                "damaged, or this backend cannot run it in its precision; compare it with "
                "`cli parity BUNDLE`, or export it again"
            )


def _wrong(cells: npt.NDArray[Any], *images: UInt8Array) -> str:
    # One sum looks at every value: NaN and infinities do not leave it.
    with np.errstate(all="ignore"):
        total = np.sum(np.abs(cells), dtype=np.float32)
    if not np.isfinite(total):
        return "not finite (NaN or infinite)"
    # Of a uniform image, features may be uniform; its border in the network's image is not one.
    if len(cells) < 2 or min(float(one[::8, ::8].std()) for one in images) < _FEATURELESS:
        return ""
    if total == 0:
        return "all zero"
    some = cells[:: max(1, len(cells) // _CELLS)].astype(np.float32)
    return "the same everywhere" if np.abs(some - some[0]).max() < _SAME else ""


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
    """Looks at an image now and then.

    Args:
        say: Called with a line when a state begins, and when it ends.

    Attributes:
        health: At the last look; None before the first.
    """

    def __init__(self, say: Callable[[str], None] = lambda _text: None) -> None:
        self.health: ImageHealth | None = None
        self._say = say
        self._last: UInt8Array | None = None
        self._changed_s = self._seen_s = 0.0

    def look(self, frame: Frame) -> None:
        """Look at a frame."""
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


class PaceWatch:
    """Says when many frames are dropped, and when no more are; at most once in ten minutes.

    Args:
        say: Called with a line.
    """

    def __init__(self, say: Callable[[str], None] = lambda _text: None) -> None:
        self._say = say
        self._began_s: float | None = None
        self._frames = self._dropped = 0
        self._behind = False
        self._said_s = -float("inf")

    def look(self, time_s: float, frames: int, dropped: int, every: int) -> None:
        """Look at how a run goes.

        Args:
            time_s: Of the source.
            frames: Frames that are done so far.
            dropped: Frames that were dropped so far.
            every: In every how manieth frame the detector runs.
        """
        if self._began_s is None:
            self._began_s, self._frames, self._dropped = time_s, frames, dropped
            return
        span_s = time_s - self._began_s
        if span_s < _WINDOW_S:
            return
        done, lost = frames - self._frames, dropped - self._dropped
        self._judge(lost / max(lost + done, 1), done / span_s, time_s, every)
        self._began_s, self._frames, self._dropped = time_s, frames, dropped

    def _judge(self, share: float, fps: float, time_s: float, every: int) -> None:
        behind = share > (_FEW if self._behind else _TOO_MANY)
        if behind == self._behind or time_s - self._said_s < _QUIET_S:
            return
        self._behind, self._said_s = behind, time_s
        if not behind:
            self._say(f"the run keeps up again, at {fps:.1f} FPS")
            return
        now = f"; now every {every} frames" if every > 1 else ""
        self._say(
            f"the run does not keep up: {100 * share:.0f} % of the frames of the last "
            f"{_WINDOW_S:.0f} s were dropped, {fps:.1f} FPS were tracked; try --detect-every "
            f"auto{now}, a smaller image size of the task or --detector-size"
        )
