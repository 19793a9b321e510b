"""Moving objects before a background that stands still: `--detector motion`.

Every pixel has a mixture of Gaussians for its background (OpenCV's MOG2), learnt as frames come.
What does not fit is cleaned, joined to objects and given out as masks with their tight boxes.  All
of it runs on a small copy of the frame.  An object that stands still becomes background in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import Detections, Frame, UInt8Array
from ..boxes import mask_boxes, valid_rows
from .base import Detector

MAX_OBJECTS = 255
"""Labels are bytes."""


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """Settings of the motion detector.

    Attributes:
        learn_frames: Frames that only teach the background, before the first detection.
        history: Frames over which the background forgets; until there are as many, it is the plain
            average of what was seen.
        background_ratio: What shows at a pixel for more than the rest of this share of `history`
            is background: at 0.7, an object that stands still for 0.36 × `history` frames.
        variance_threshold: Squared Mahalanobis distance from which a pixel is foreground.
        work_width: Frames wider than this are shrunk to it, in pixels.
        shadow_ratio: A pixel of the background's colour that is darker than it, down to this share
            of its brightness, is shadow; 1: nothing is.
        open_size: Specks thinner than this vanish, in pixels of the small frame; odd.
        close_size: Gaps narrower than this are filled, in pixels of the small frame; odd.
        join_width: Fragments nearer than this side by side are one object, in pixels of the small
            frame; odd.
        join_height: The same one above the other; larger, since people break up into head, body
            and legs, and walk side by side.
        min_area: Smallest object, as a share of the image.
        max_moving: With more of the image moving than this, the light or the camera changed:
            nothing is reported.
        max_objects: The largest ones are kept, 1 to 255.
    """

    learn_frames: int = 10
    history: int = 500
    background_ratio: float = 0.7
    variance_threshold: float = 16.0
    work_width: int = 320
    shadow_ratio: float = 0.7
    open_size: int = 3
    close_size: int = 7
    join_width: int = 3
    join_height: int = 15
    min_area: float = 0.0025
    max_moving: float = 0.6
    max_objects: int = 50

    def __post_init__(self) -> None:
        ranges = {
            "learn_frames": (self.learn_frames, 0, 1_000_000),
            "history": (self.history, 1, 1_000_000),
            "background_ratio": (self.background_ratio, 0.0, 1.0),
            "variance_threshold": (self.variance_threshold, 1e-6, 1e6),
            "work_width": (self.work_width, 16, 100_000),
            "shadow_ratio": (self.shadow_ratio, 0.0, 1.0),
            "open_size": (self.open_size, 1, 99),
            "close_size": (self.close_size, 1, 99),
            "join_width": (self.join_width, 1, 99),
            "join_height": (self.join_height, 1, 99),
            "min_area": (self.min_area, 0.0, 1.0),
            "max_moving": (self.max_moving, 0.0, 1.0),
            "max_objects": (self.max_objects, 1, MAX_OBJECTS),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise DetectionError(
                    f"motion detector: {name} is {value}, expected {low} to {high}"
                )
            if name.startswith(("open", "close", "join")) and value % 2 == 0:
                raise DetectionError(f"motion detector: {name} is {value}, expected an odd number")


class MotionDetector(Detector):
    """A detector of everything that moves; class 0, score 1.

    Args:
        config: Settings.
    """

    def __init__(self, config: MotionConfig | None = None) -> None:
        self._config = config or MotionConfig()
        self.most = self._config.max_objects
        self._open = _ellipse(self._config.open_size, self._config.open_size)
        self._close = _ellipse(self._config.close_size, self._config.close_size)
        self._join = _ellipse(self._config.join_width, self._config.join_height)
        self._restart((0, 0))
        self._detected = self._unsteady = 0

    def _restart(self, size_hw: tuple[int, int]) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2(
            self._config.history, self._config.variance_threshold, detectShadows=True
        )
        self._model.setBackgroundRatio(self._config.background_ratio)
        self._model.setShadowThreshold(self._config.shadow_ratio)
        self._size_hw = size_hw
        self._learnt = 0

    def detect(self, frame: Frame) -> Detections:
        """What moves in the next frame of the source, largest object first.

        Returns:
            Boxes and (N, H, W) masks in source pixels; empty while the background is learnt.
        """
        size_hw = frame.size_hw
        if size_hw != self._size_hw:
            self._restart(size_hw)
        self._learnt += 1
        moving = self._moving(_shrink(frame.image, self._config.work_width))
        if self._learnt <= self._config.learn_frames:
            return Detections.empty()
        self._detected += 1
        if cv2.countNonZero(moving) > self._config.max_moving * moving.size:
            self._unsteady += 1
            return Detections.empty()
        labels, objects = self._label(moving)
        return _detections(labels, objects, size_hw)

    def _moving(self, image: UInt8Array) -> UInt8Array:
        """(h, w) uint8, 255 where a pixel of the small frame is foreground."""
        # OpenCV's own rate, twice as slow at first, keeps people who were there from the start as
        # ghosts for longer, or needs a ratio at which slow objects vanish.
        rate = 1 / min(self._learnt, self._config.history)
        # 255 is foreground, 127 shadow.
        state = self._model.apply(image, learningRate=rate)
        moving = cv2.threshold(state, 200, 255, cv2.THRESH_BINARY)[1]
        moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, self._open)
        return np.asarray(cv2.morphologyEx(moving, cv2.MORPH_CLOSE, self._close), np.uint8)

    def _label(self, moving: UInt8Array) -> tuple[UInt8Array, int]:
        """(h, w) uint8 with 0 and the objects' numbers 1 … n, and n."""
        # What touches once grown is one object; its mask is what was there before growing.
        grown = cv2.dilate(moving, self._join)
        components = cv2.connectedComponents(grown, connectivity=8, ltype=cv2.CV_32S)[1]
        components[moving == 0] = 0
        areas = np.bincount(components.ravel())
        areas[0] = 0
        smallest = max(1.0, self._config.min_area * moving.size)
        order = np.argsort(-areas, kind="stable")[: self._config.max_objects]
        order = order[areas[order] >= smallest]
        numbers = np.zeros(len(areas), np.uint8)
        numbers[order] = np.arange(1, len(order) + 1)
        return numbers[components], len(order)

    def notes(self, source_frames: int | None = None) -> list[str]:  # noqa: ARG002
        """Notes where there was no time to learn, and where most of the image moved."""
        if self._learnt and not self._detected:
            return [
                f"--detector motion reported nothing: its first {self._config.learn_frames} frames "
                f"teach it the background, and there were {self._learnt}"
            ]
        if not self._unsteady:
            return []
        return [
            f"--detector motion reported nothing in {self._unsteady} of {self._detected} frames: "
            f"more than {self._config.max_moving:.0%} of the image moved, and it needs a camera "
            "that stands still"
        ]

    def close(self) -> None:
        """Forget the background."""
        self._restart((0, 0))


def _ellipse(width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, height)), np.uint8)


def _shrink(image: UInt8Array, width: int) -> UInt8Array:
    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _detections(labels: UInt8Array, objects: int, size_hw: tuple[int, int]) -> Detections:
    if not objects:
        return Detections.empty()
    # Nearest: a label in between two labels would be a third object.
    large = cv2.resize(labels, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    masks = np.stack([large == number for number in range(1, objects + 1)])
    boxes = mask_boxes(masks)
    rows = valid_rows(boxes)
    boxes, masks = boxes[rows], masks[rows]
    count = len(boxes)
    return Detections(boxes, np.ones(count, np.float32), np.full(count, -1, np.int64), masks)
