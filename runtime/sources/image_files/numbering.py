"""Numbers in the names of images as those of frames: MOTChallenge's 000004.png is frame 4."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ....errors import RequestError
from ....records import Frame, IntArray
from ..base import LAST_FRAME, PolledSource, SourceBase

NumberedFrames = tuple[IntArray, int]
"""Of which frames a file speaks: (M,) positions from 0, rising; and its number of the first one."""


def numbers_in_names(names: Sequence[str]) -> tuple[int, ...] | None:
    """The rising numbers that tell the names of some images apart.

    Args:
        names: Of files, in order.

    Returns:
        A number a name; None where more or less than one number changes from name to name, it does
        not rise, or is too large for the number of a frame.
    """
    stems = [re.split(r"(\d+)", name.rpartition(".")[0] or name, flags=re.ASCII) for name in names]
    if len({tuple(parts[::2]) for parts in stems}) != 1 or len(stems[0]) < 3:
        return None
    columns = list(zip(*(parts[1::2] for parts in stems), strict=True))
    changing = [column for column in columns if len(set(column)) > 1] or columns[-1:]
    if len(changing) != 1 or max(map(len, changing[0])) > 18:
        return None
    numbers = tuple(map(int, changing[0]))
    rising = all(a < b for a, b in pairwise(numbers))
    return numbers if rising and numbers[-1] <= LAST_FRAME else None


def numbered(
    source: PolledSource, way: str | None, files: Sequence[tuple[str, NumberedFrames]]
) -> PolledSource:
    """A source whose frames are numbered as asked for, or as files of detections number them.

    Names that begin with 0 count from 0; others count from the number that the files give to the
    first frame, or from 1.

    Args:
        source: Before its first frame; owned by what is returned.
        way: `name`, `order`, or None: by name, where that way the files have at least as many
            frames in the source as by order.
        files: Those that number frames, by name.

    Raises:
        RequestError: Numbers in names are asked for, and there are none.
    """
    numbers = source.info.numbers
    if way == "name" and numbers is None:
        raise RequestError(
            f"--frame-numbers name: {source.info.name} has no names of images that are told apart "
            "by one rising number; leave it out, or give --frame-numbers order"
        )
    if numbers is None or way == "order" or not (files or way):
        return source
    first = 0 if numbers[0] == 0 else files[0][1][1] if files else 1
    indices = np.array(numbers, np.int64) - first
    if (indices == np.arange(len(indices))).all():
        return source
    spoken = np.unique(np.concatenate([frames for _, (frames, _) in files] or [indices]))
    if way is None and not len(spoken):  # files without any row speak of neither
        return source
    by_name = int(np.isin(spoken, indices).sum())
    by_order = int((spoken < len(indices)).sum())
    who = " and ".join(name for name, _ in files)
    span = f"{numbers[0]} to {numbers[-1]}"
    if way is None and by_name < max(by_order, 1):
        said = f"{int(spoken.min()) + first} to {int(spoken.max()) + first}"
        note = (
            f"the names of the images go from {span}, and {who} has frames {said}: they were "
            "taken in order, the first image as the first frame; --frame-numbers name takes the "
            "names"
        )
        return NumberedSource(source, np.arange(len(indices)), note)
    note = f"frames are numbered by the names of the images, {span}"
    missing = np.setdiff1d(np.arange(indices[0], indices[-1] + 1), indices) + first
    if len(missing):
        note += f" ({len(missing)} of these are missing, the first is {missing[0]})"
    unused = np.setdiff1d(spoken, indices) + first
    if len(unused):
        count = "1 frame" if len(unused) == 1 else f"{len(unused)} frames"
        note += f"; {count} of {who} not among them, the first is {unused[0]}"
    return NumberedSource(source, indices, note)


class NumberedSource(SourceBase):
    """The frames of a file source with other numbers; their times follow the numbers.

    Args:
        source: Owned from here on.
        indices: (N,) rising `Frame.index` of each frame of the source.
        note: What is said of it.

    Attributes:
        info: The source's.
        dropped: The source's.
        started_s: The source's.
        ended_early: The source's.
    """

    def __init__(self, source: PolledSource, indices: IntArray, note: str) -> None:
        self._source, self._indices, self._note = source, indices, note
        self.info = source.info

    @property
    def dropped(self) -> int:
        """The source's."""
        return self._source.dropped

    @property
    def started_s(self) -> float | None:
        """The source's."""
        return self._source.started_s

    @property
    def ended_early(self) -> str | None:
        """The source's."""
        return self._source.ended_early

    def notes(self) -> list[str]:
        """How frames are numbered, and the source's."""
        return [self._note, *self._source.notes()]

    def ready(self) -> bool:
        """The source's."""
        return self._source.ready()

    def __next__(self) -> Frame:
        frame = next(self._source)
        index, fps = int(self._indices[frame.index]), self.info.fps
        # A file that plays at its own pace knows no gaps.
        if self.info.live or fps is None:
            return replace(frame, index=index)
        return replace(frame, index=index, time_s=(index - int(self._indices[0])) / fps)

    def close(self) -> None:
        """Frees the source; may be called again."""
        self._source.close()
