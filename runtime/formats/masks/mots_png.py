"""MOTS' masks as images: a folder of 16-bit PNGs, one a frame, of values class * 1000 + number.

Value 0 is background, and class 10 (value 10000) a region to ignore.  Files are called like the
source's images, or by number: KITTI counts from 0, MOTSChallenge from 1.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ....errors import DetectionError, count
from ....records import Detections, Frame
from ...boxes import mask_boxes
from ..mots import CLASS_NAMES, IGNORE_CLASS, MAX_FRAME_BYTES
from ..reading.named import NamedFrames
from ..text import DamagedRows, DetectionFile, ReadOptions

_MODES = ("I;16", "I;16B", "I", "L", "P")
_LARGEST = (IGNORE_CLASS + 1) * 1000


def png_files(folder: Path) -> list[Path]:
    """The PNGs of a folder, by name."""
    return sorted(p for p in folder.glob("*.png") if p.is_file())


def read_instances(path: Path) -> npt.NDArray[np.int32]:
    """(H, W) int32 of values class * 1000 + number.

    Raises:
        DetectionError: It cannot be read, or is no image of one channel.
    """
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mode = image.mode
            values = np.array(image, np.int32) if mode in _MODES else np.zeros((0, 0), np.int32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DetectionError(f"{path}: not an image of masks: {reason:.200}") from None
    if values.ndim != 2 or not values.size or values.min() < 0 or values.max() >= _LARGEST:
        raise DetectionError(
            f"{path}: got an image {mode}, expected one channel of values class * 1000 + number"
        )
    return values


class MotsPngFolder(DetectionFile):
    """A folder of masks; each file is read when its frame comes.

    Args:
        path: The folder, as the user named it.
        options: How to read it.

    Raises:
        DetectionError: There is no PNG in it, or the first one holds no masks.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path)
        options = options or ReadOptions()
        self._files = png_files(path)
        if not self._files:
            raise DetectionError(f"--detections {path}: expected a PNG with masks for each frame")
        read_instances(self._files[0])
        self._damaged = DamagedRows(path, "file", options.strict)
        self._images = NamedFrames(path, [f.name for f in self._files], options.first_frame)
        self._looked: set[int] = set()
        self._read = 0
        self._found = False

    def detect(self, frame: Frame) -> Detections:
        """The masks of one frame with their tight boxes, in source pixels.

        Raises:
            DetectionError: They are not of the frame's size or too many, or most files so far are
                damaged.
        """
        place = self._images.find(frame)
        if place is None:
            return Detections.empty()
        self._looked.add(place)
        try:
            values = read_instances(self._files[place])
        except DetectionError as error:
            self._damaged.add(place + 1, error)
            self._damaged.check(self._read)
            return Detections.empty()
        self._read += 1
        if values.shape != frame.size_hw:
            raise DetectionError(
                f"{self._files[place]}: got masks of {values.shape[0]}x{values.shape[1]} (height x "
                f"width), expected the source's {frame.size_hw[0]}x{frame.size_hw[1]}"
            )
        return self._objects(place, values)

    def _objects(self, place: int, values: npt.NDArray[np.int32]) -> Detections:
        numbers = [n for n in np.unique(values).tolist() if n and n // 1000 != IGNORE_CLASS]
        if len(numbers) * values.size > MAX_FRAME_BYTES:
            raise DetectionError(f"{self._files[place]}: {len(numbers)} masks, too many for memory")
        if not numbers:
            return Detections.empty()
        self._found = True
        masks = np.stack([values == number for number in numbers])
        labels = np.array([number // 1000 for number in numbers], np.int64)
        scores = np.ones(len(numbers), np.float32)
        return Detections(mask_boxes(masks), scores, labels, masks, class_names=CLASS_NAMES)

    def dropped(self) -> dict[str, int]:
        """Damaged files."""
        return {"damaged": len(self._damaged.places)} if self._damaged.places else {}

    def notes(self, source_frames: int | None = None) -> list[str]:
        """Notes on damaged files, files without a frame, and on a folder without any mask."""
        notes = self._damaged.notes()
        if not self._found:
            notes.append(f"{self.path} holds no detections for the frames that were read")
        unused = sorted(set(range(len(self._files))) - self._looked)
        if source_frames is not None and unused:
            notes.append(
                f"{count(len(unused), 'file', 'files')} of {self.path} not used, the first is "
                f"{self._files[unused[0]].name}: the source has no such frame"
            )
        return notes
