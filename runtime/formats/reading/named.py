"""Detections that belong to images with names: which of them are those of a frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ....errors import DetectionError, count
from ....records import Detections, Frame, IntArray
from ...sources.base import IMAGE_SUFFIXES, LAST_FRAME
from ..text import TableFile

_NUMBER = re.compile(r"(\d+)(?!.*\d)")
_ENDINGS = IMAGE_SUFFIXES | {".txt", ".json"}


class NamedFrames:
    """Finds a source's frames among named images.

    A frame is looked for by the name of its file, without folder and ending.  Where the source's
    frames have no names (a video), or names of another kind, it is the last number in an image's
    name that counts frames; names without numbers count by their order.

    Args:
        path: The file, as the user named it.
        names: Of its images, in their order.
        first: The number that the first frame's image has, or would have; None: 0 where an image
            has it, else 1.
        listed: Whether the file lists all images of the source, so that without names and with
            numbers that have no gaps their order counts.

    Attributes:
        by_name: Whether frames are found by name; None until one was looked for.
        names: Of the images, without folder and ending.

    Raises:
        DetectionError: Two images have one name.
    """

    def __init__(
        self, path: Path, names: Sequence[str], first: int | None = None, *, listed: bool = False
    ) -> None:
        self._path, self._listed = path, listed
        self.names = [stem_of(name) for name in names]
        self._places = {name: place for place, name in enumerate(self.names)}
        if len(self._places) < len(self.names):
            twice = next(n for place, n in enumerate(self.names) if self._places[n] != place)
            raise DetectionError(
                f"{path}: several images are called {twice!r}: expected those of one video"
            )
        self._shapes = {_shape(name) for name in self.names}
        numbers = [_number(name) for name in self.names]
        known = sorted(number for number in numbers if number is not None)
        self._numbers: dict[int, int] | None = None
        if len(set(known)) == len(names) and not (listed and _without_gaps(known)):
            self._numbers = {number: p for p, number in enumerate(numbers) if number is not None}
        self.first = first if first is not None else int(0 not in known)
        self.by_name: bool | None = None

    @property
    def by_order(self) -> bool:
        """Whether frames were found by nothing better than the order of the names."""
        return self.by_name is False and self._numbers is None and not self._listed

    def find(self, frame: Frame) -> int | None:
        """The place of a frame's image among the names; None where it has none."""
        return self.place_of(frame.name, frame.index)

    def place_of(self, image: str, index: int) -> int | None:
        """The same of the image called so, empty where it has no name, of the frame from 0."""
        name = stem_of(image)
        if self.by_name is None:
            self.by_name = bool(name) and (name in self._places or _shape(name) in self._shapes)
        if self.by_name:
            return self._places.get(name)
        if self._numbers is not None:
            return self._numbers.get(index + self.first)
        return index if index < len(self.names) else None


def stem_of(name: str) -> str:
    """A file's name without folder and ending."""
    path = PurePosixPath(name.replace("\\", "/"))
    # Not every dot begins an ending: street.east_0001.
    return path.stem if path.suffix.lower() in _ENDINGS else path.name


def _number(name: str) -> int | None:
    match = _NUMBER.search(name)
    if match is None or len(match[1]) > 12 or not match[1].isascii():
        return None
    number = int(match[1])
    return number if number <= LAST_FRAME else None


def _shape(name: str) -> str:
    """A name with zeros for digits: of one kind are img_004 and img_017."""
    return re.sub(r"\d", "0", name)


def _without_gaps(numbers: Sequence[int]) -> bool:
    return bool(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1


class NamedTable(TableFile):
    """A table of detections whose rows belong to named images.

    Args:
        path: The file, as the user named it.
        images: The names of its images.
        rows_of: (M,) int64 place of each row's image among them.
        rows: All M detections.
        places: (M,) where each row stands, see `TableFile`.
        keywords: Of `TableFile`.
    """

    def __init__(
        self,
        path: Path,
        images: NamedFrames,
        rows_of: IntArray,
        rows: Detections,
        places: IntArray,
        **keywords: Any,
    ) -> None:
        super().__init__(path, rows_of, rows, places, **keywords)
        self._images = images
        self._looked: set[int] = set()

    def detect(self, frame: Frame) -> Detections:
        """The file's detections in one frame, in source pixels.

        Raises:
            DetectionError: More than half of the file's boxes lie outside the image.
        """
        place = self._images.find(frame)
        if place is None:
            return Detections.empty()
        self._looked.add(place)
        return self._at(place, frame.size_hw)

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """None: the file names its images."""
        return None

    def notes(self, source_frames: int | None = None) -> list[str]:
        """Notes on what was left out; see `TableFile.notes`."""
        notes = super().notes()
        if self._images.by_order:
            notes.append(
                f"the names in {self.path} are not those of the source and have no numbers: they "
                f"were taken in order, {self._images.names[0]!r} as the first frame"
            )
        if source_frames is None:
            return notes
        unused = sorted(set(self._frames.tolist()) - self._looked)
        if unused:
            how = "of that name" if self._images.by_name else "of that number"
            notes.append(
                f"detections for {count(len(unused), 'image', 'images')} of {self.path} not used, "
                f"the first for {self._images.names[unused[0]]!r}: the source has no frame {how}"
            )
        return notes
