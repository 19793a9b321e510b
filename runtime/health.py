"""Whether a run sees and keeps up: useless features, frozen and covered cameras, dropped frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

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

INTERVALS = 1, 2, 4, 8
"""The detector runs so many times as seldom as asked for: the first steps down."""

SCALES = 1.0, 0.75, 0.5
"""Sides of the images that models look at, as shares of the usual ones: the steps after these."""

_LEAST_DETECTIONS_PER_S = 2.0
"""No step makes the detector run more seldom: with less, motion alone would carry the tracks."""

_CALM, _MOST_CALM = 4, 120
"""Windows without many drops before a step back up; doubled each time that was too early."""


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


@dataclass(frozen=True, slots=True)
class Pace:
    """What a run of a live source does to keep up.

    Attributes:
        interval: The detector runs so many times as seldom as asked for.
        scale: Sides of the images that models look at, as a share of the usual ones.
        down: How many steps down were taken so far.
        up: How many back.
    """

    interval: int = 1
    scale: float = 1.0
    down: int = 0
    up: int = 0


class Reducible(Protocol):
    """What can be made to cost less."""

    def lengthen(self, interval: int) -> bool:
        """Run the detector so many times as seldom as asked for; False: that is not possible."""

    def shrink(self, scale: float) -> bool:
        """Look at images of so many times the usual side; False: that changes nothing."""


class PaceWatch:
    """Makes a run do less while many frames are dropped, and more again when few are.

    Frames are counted over windows of 30 s.  After one in which more than a fifth was dropped, the
    run takes a step down: the detector runs in fewer frames (`INTERVALS`), then models look at
    smaller images (`SCALES`).  After some windows with few drops it takes a step back; where that
    was too early, the next attempt waits twice as long, up to an hour.  Every step is said, and
    that none is left at most once in ten minutes.

    Args:
        say: Called with a line.
        run: What takes the steps; None: nobody does, and it is only said that the run is late.

    Attributes:
        pace: At present.
    """

    def __init__(
        self, say: Callable[[str], None] = lambda _text: None, run: Reducible | None = None
    ) -> None:
        self.pace = Pace()
        self._say = say
        self._run = run
        self._began_s: float | None = None
        self._frames = self._dropped = 0
        self._behind = False
        self._said_s = -float("inf")
        self._calm, self._calm_needed, self._tried = 0, _CALM, False

    def look(
        self, time_s: float, frames: int, dropped: int, every: int, *, adapting: bool = False
    ) -> None:
        """Look at how a run goes.

        Args:
            time_s: Of the source.
            frames: Frames that are done so far.
            dropped: Frames that were dropped so far.
            every: In every how manieth frame the detector runs.
            adapting: Whether it is about to run in fewer frames anyway.
        """
        if self._began_s is None:
            self._began_s, self._frames, self._dropped = time_s, frames, dropped
            return
        span_s = time_s - self._began_s
        if span_s < _WINDOW_S:
            return
        done, lost = frames - self._frames, dropped - self._dropped
        self._began_s, self._frames, self._dropped = time_s, frames, dropped
        share, fps = lost / max(lost + done, 1), done / span_s
        if share > _TOO_MANY:
            self._calm = 0
            if not adapting:
                late = (
                    f"the run does not keep up: {100 * share:.0f} % of the frames of the last "
                    f"{_WINDOW_S:.0f} s were dropped, {fps:.1f} FPS were tracked"
                )
                self._reduce(late, (done + lost) / span_s / every, every, time_s)
        elif share > _FEW:
            self._calm = 0
        else:
            self._calm += 1
            self._restore(f"the run keeps up again, at {fps:.1f} FPS", every, time_s)

    def _reduce(self, late: str, detections_per_s: float, every: int, time_s: float) -> None:
        """A step down, or a line that says that there is none."""
        if self._tried:
            self._calm_needed, self._tried = min(2 * self._calm_needed, _MOST_CALM), False
        pace = self.pace
        for interval in INTERVALS[INTERVALS.index(pace.interval) + 1 :][:1]:
            share = pace.interval / interval
            seldom = detections_per_s * share < _LEAST_DETECTIONS_PER_S
            if self._run is not None and not seldom and self._run.lengthen(interval):
                self.pace = replace(pace, interval=interval, down=pace.down + 1)
                self._say(f"{late}; the detector now runs in one of {round(every / share)} frames")
                return
        for scale in SCALES[SCALES.index(pace.scale) + 1 :]:
            if self._run is not None and self._run.shrink(scale):
                self.pace = replace(pace, scale=scale, down=pace.down + 1)
                self._say(f"{late}; models now look at images of {scale:g} of the usual side")
                return
        if not self._behind and time_s - self._said_s >= _QUIET_S:
            self._behind, self._said_s = True, time_s
            now = f", not in one of {every}" if every > 1 else ""
            self._say(
                f"{late}; nothing is left to reduce: try a smaller model or fewer tasks"
                if self._run is not None
                else f"{late}; try --degrade, or the detector in fewer frames (--detect-every"
                f"{now}), a smaller image size of the task or --detector-size"
            )

    def _restore(self, well: str, every: int, time_s: float) -> None:
        """A step up where it is time for one; a line where it was said that there is no step."""
        if self._behind and time_s - self._said_s >= _QUIET_S:
            self._behind, self._said_s = False, time_s
            self._say(well)
        if self._calm < self._calm_needed:
            return
        pace, self._calm = self.pace, 0
        if self._tried:
            # The last step up was no mistake.
            self._calm_needed, self._tried = _CALM, False
        if self._run is None or (pace.interval == 1 and pace.scale == 1.0):
            return
        self._tried = True
        if pace.scale < 1.0:
            larger = SCALES[: SCALES.index(pace.scale)]
            scale = next((scale for scale in reversed(larger) if self._run.shrink(scale)), 1.0)
            self.pace = replace(pace, scale=scale, up=pace.up + 1)
            side = "the usual size" if scale == 1.0 else f"{scale:g} of the usual side"
            self._say(f"{well}; models look at images of {side} again")
            return
        interval = INTERVALS[INTERVALS.index(pace.interval) - 1]
        self._run.lengthen(interval)
        self.pace = replace(pace, interval=interval, up=pace.up + 1)
        often = round(every * interval / pace.interval)
        frames = "every frame" if often == 1 else f"one of {often} frames"
        self._say(f"{well}; the detector runs in {frames} again")
