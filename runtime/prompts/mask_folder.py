"""Masks of several frames, from which mask propagation starts its objects one after the other."""

from __future__ import annotations

from pathlib import Path

from ...errors import DetectionError
from ...records import Frame, UInt8Array
from ..formats.davis import read_label_png
from ..formats.reading.named import NamedFrames
from .mask import read_mask


class MaskFolder:
    """Masks of several frames, in files called like the images of the source, or by numbers from 0.

    Args:
        folder: Of PNGs, see `read_label_png`; those of DAVIS, YouTube-VOS, and of `cli track`.

    Raises:
        DetectionError: There is no PNG in it, or the first one is no label map.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
        if not self._files:
            raise DetectionError(
                f"--init {folder}: a folder without masks, expected a PNG for each frame in which "
                "an object starts, called like the frame's image or by its number: 00000.png"
            )
        read_label_png(self._files[0])  # what is no folder of masks is said before the first frame
        self._frames = NamedFrames(folder, [path.name for path in self._files], first=0)

    def __call__(self, frame: Frame) -> UInt8Array | None:
        """(H, W) uint8 labels of a frame; None where it has no mask.

        Raises:
            DetectionError: Its file cannot be read, or is not of the frame's size.
        """
        place = self._frames.find(frame)
        return None if place is None else read_mask(self._files[place], frame.size_hw)
