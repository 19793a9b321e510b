"""The gallery: one picture per task from the procedural scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..errors import OutputError
from ..records import Frame, Tracks, UInt8Array
from ..runtime.drawing import draw_tracks
from ..runtime.sinks import write_atomic
from ..runtime.trails import Trails

LAST_FRAME = {"sot": 80, "vos": 23, "mot": 80, "mots": 80, "posetrack": 80, "pose": 24}
"""How many frames each task is followed for; the picture is the last of them."""

SIZE_HW = 480, 854
"""Of the clip: that of DAVIS."""

WIDTH = 640
"""Of the pictures."""

GIVEN_ONCE = ("sot", "vos", "pose")
"""Tasks that are given the first frame alone: their pictures show it in a corner."""

JPEG_QUALITY = 82

_INSET = 0.28
_BORDER = (255, 255, 255)


@dataclass(slots=True)
class Exhibit:
    """What a task did on the scene, gathered frame by frame."""

    task: str
    tracks: list[Tracks] = field(default_factory=list)
    trails: Trails = field(default_factory=Trails)
    first: UInt8Array | None = None
    picture: UInt8Array | None = None

    def add(self, frame: Frame, tracks: Tracks) -> None:
        """Take in the next frame, and make it the picture."""
        self.tracks.append(tracks)
        caption = f"{self.task}  frame {frame.index + 1}"
        if self.task in GIVEN_ONCE:
            if self.first is None:
                self.first = draw_tracks(frame.image, tracks)
            drawn = draw_tracks(frame.image, tracks, caption=caption)
            self.picture = _with_inset(drawn, self.first)
        else:
            trails = self.trails.update(tracks)
            self.picture = draw_tracks(frame.image, tracks, trails=trails, caption=caption)

    def write(self, path: Path) -> int:
        """Write the picture as JPEG; gives back its bytes.

        Raises:
            OutputError: There is none, or it cannot be written.
        """
        if self.picture is None:
            raise OutputError(f"{path}: task {self.task} gave no frame, there is nothing to show")
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        picture = _scaled(self.picture, WIDTH / self.picture.shape[1])
        good, data = cv2.imencode(".jpg", picture, quality)
        if not good:
            raise OutputError(f"{path}: the picture cannot be encoded as JPEG")
        write_atomic(path, data.tobytes())
        return len(data)


def _with_inset(picture: UInt8Array, first: UInt8Array) -> UInt8Array:
    """The first frame, with what was given in it, small in the upper right corner."""
    nobody = Tracks(0, np.zeros(0, np.int64))
    small = draw_tracks(_scaled(first, _INSET), nobody, caption="given: frame 1")
    framed = cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=_BORDER)
    rows, columns = framed.shape[:2]
    margin = max(2, len(picture) // 60)
    picture[margin : margin + rows, -margin - columns : -margin] = framed
    return picture


def _scaled(picture: UInt8Array, factor: float) -> UInt8Array:
    smaller = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8)
