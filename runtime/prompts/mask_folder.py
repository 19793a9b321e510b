"""Masks of several frames, from which mask propagation starts its objects one after the other."""

from __future__ import annotations

from pathlib import Path

from ...errors import DetectionError
from ...errors import count as number_of
from ...records import Frame, UInt8Array
from ..formats.davis import read_label_png
from ..formats.reading.named import NamedFrames
from ..sources.base import SourceInfo
from .mask import read_mask

_OTHER_IMAGES = frozenset({".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})


class MaskFolder:
    """Masks of several frames, in files called like the images of the source, or by numbers from 0.

    Args:
        folder: Of PNGs, see `read_label_png`; those of DAVIS, YouTube-VOS, and of `cli track`.

    Raises:
        DetectionError: There is no PNG in it, or the first one is no label map.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        every = sorted(folder.iterdir())
        self._files = [path for path in every if path.suffix.lower() == ".png"]
        self._others = [path.name for path in every if path.suffix.lower() in _OTHER_IMAGES]
        if not self._files:
            raise DetectionError(
                f"--init {folder}: a folder without masks, expected a PNG for each frame in which "
                "an object starts, called like the frame's image or by its number: 00000.png"
            )
        read_label_png(self._files[0])  # what is no folder of masks is said before the first frame
        self._frames = NamedFrames(folder, [path.name for path in self._files], first=0)

    def check(self, info: SourceInfo) -> list[str]:
        """Compare the masks with the frames of a source.

        Args:
            info: The source; of cameras and streams nothing is known.

        Returns:
            A line where some masks belong to no frame, where only their order says to which, and
            where there are images that are no PNGs.

        Raises:
            DetectionError: None does.
        """
        count, names = info.frame_count, info.names
        if info.live or count is None:
            return []
        # A number of frames that was made of a duration may be wrong.
        images = names or ("",) * (count if info.counted else 2 * count + 100)
        known = list(enumerate(images)) + list(zip(info.numbers or (), images, strict=False))
        used = {self._frames.place_of(name, index) for index, name in known}
        left = [path.name for place, path in enumerate(self._files) if place not in used]
        notes = []
        if self._others:
            notes.append(
                f"{number_of(len(self._others), 'image', 'images')} of --init {self._folder}, from "
                f"{self._others[0]} on: not used, masks are PNGs"
            )
        if self._frames.by_order and len(self._files) > 1:
            notes.append(
                f"the names in --init {self._folder} are not those of the source and have no "
                f"numbers: they were taken in order, {self._files[0].name!r} as the first frame"
            )
        if not left:
            return notes
        first, last = "00000.png", f"{count - 1:05d}.png"
        if names is not None:
            first, last = (Path(names[k]).with_suffix(".png").name for k in (0, -1))
        frames = number_of(count, "frame", "frames")
        text = (
            f"{self._folder}: got {_from_to(left[0], left[-1])}, expected {_from_to(first, last)} "
            f"as the source has {frames}"
        )
        if len(left) == len(self._files):
            raise DetectionError(f"--init {text}: no mask belongs to a frame")
        return [*notes, f"{number_of(len(left), 'mask', 'masks')} of --init {text}: not used"]

    def __call__(self, frame: Frame) -> UInt8Array | None:
        """(H, W) uint8 labels of a frame; None where it has no mask.

        Raises:
            DetectionError: Its file cannot be read, or is not of the frame's size.
        """
        place = self._frames.find(frame)
        return None if place is None else read_mask(self._files[place], frame.size_hw)


def _from_to(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"
