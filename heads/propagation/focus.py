"""Where propagation looks next: a region around an object, in cells that suit its size."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt

from ...runtime.preprocessing import Region
from ..config import FOCUS_MEMORY, FOCUS_RADIUS

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FocusNumbers:
    """How much is looked at; see docs/propagation.md for what was measured.

    Attributes:
        cells: Most cells along an object (square root of its area). Where the whole frame at the
            usual size gives it fewer, the geometric mean of the two is aimed at.
        finer: But no more than so many times what the whole frame gives it: twice as many cells
            along either axis cost four times as much.
        fewest: And at least so many, as far as `enlarged` allows.
        enlarged: Most network pixels to a source pixel.
        steady: The pitch stays while the one to aim at is less than this factor away.
        margin: Cells around an object that are looked at.
        least_margin: A region stays while so many are left.
        first_margin: Those of the first frame, which tells objects from look-alikes later on.
        multiple: Rows and columns of a region are a multiple of this: few shapes, which engines
            and ONNX Runtime prepare for.
        loose: A region stays while it is less than this factor larger than it had to be.
        radius: Largest neighbourhood in recent frames, in cells.
        recent: Most recent frames that are compared.
        budget: Most cells of all regions together, as a share of the whole frame's at the usual
            size: where they would be more, cells are coarser.
    """

    cells: float = 30.0
    finer: float = 1.4
    fewest: float = 14.0
    enlarged: float = 4.0
    steady: float = 1.2
    margin: int = 6
    least_margin: int = 4
    first_margin: int = 16
    multiple: int = 8
    loose: float = 1.6
    radius: float = FOCUS_RADIUS
    recent: int = FOCUS_MEMORY
    budget: float = 1.5


class Focus:
    """Chooses pitch and region of one object after the other, for frames of one size.

    Args:
        frame_hw: Height and width of the source's frames.
        stride: Of the network.
        short_side: Short side in pixels of the network's image where the whole frame is looked at;
            0: the source's.
        objects: How many share the budget.
        numbers: How much is looked at.

    Attributes:
        whole: The whole frame at the usual size.
        finest: Smallest pitch.
    """

    def __init__(
        self,
        frame_hw: tuple[int, int],
        stride: int,
        short_side: int,
        objects: int = 1,
        numbers: FocusNumbers | None = None,
    ) -> None:
        self._frame_hw = frame_hw
        self._numbers = numbers or FocusNumbers()
        self.finest = max(1, ceil(stride / self._numbers.enlarged))
        short = min(frame_hw)
        self._usual = stride * short / min(short_side or short, short)
        whole = ceil(self._usual)
        self.whole = Region(0, 0, *self.grid_hw(whole), whole)
        self.share(objects)

    def share(self, objects: int) -> None:
        """Divide the budget among so many objects."""
        self._budget = self._numbers.budget * self.whole.rows * self.whole.cols / objects

    def grid_hw(self, pitch: int) -> tuple[int, int]:
        """Rows and columns of the frame's grid."""
        return -(-self._frame_hw[0] // pitch), -(-self._frame_hw[1] // pitch)

    def choose(self, box_xyxy: Float64, size: float, before: Region | None = None) -> Region:
        """The region to look at.

        Args:
            box_xyxy: (4,) where the object may be, source pixels.
            size: Square root of its area, source pixels.
            before: The region of the last frame, which stays where it still does.
        """
        pitch = self._pitch(size, None if before is None else before.pitch)
        while True:
            region = self.around(box_xyxy, pitch, self._numbers.margin)
            if before is not None and before.pitch == pitch and self._serves(before, box_xyxy):
                return before
            slack = 1.0 if before is None or before.pitch != pitch else self._numbers.loose
            if pitch >= self.whole.pitch or _cells(region) <= slack * self._budget:
                return region
            pitch += 1

    def first(self, box_xyxy: Float64, pitch: int) -> Region:
        """The region of the first frame."""
        return self.around(box_xyxy, pitch, self._numbers.first_margin)

    def around(self, box_xyxy: Float64, pitch: int, margin: int) -> Region:
        """The region of a box (4,) in source pixels, with a margin in cells."""
        (top, bottom), (left, right) = self._needed(box_xyxy, pitch, margin)
        rows, cols = self.grid_hw(pitch)
        top, height = self._widened(top, bottom, rows)
        left, width = self._widened(left, right, cols)
        return Region(top, left, height, width, pitch)

    def _pitch(self, size: float, old: int | None) -> int:
        numbers = self._numbers
        usual = size / self._usual
        cells = min(numbers.cells, sqrt(usual * numbers.cells), usual * numbers.finer)
        cells = max(numbers.fewest, cells)
        wanted = max(size / cells, self.finest)
        if old is not None and 1 / numbers.steady < wanted / old < numbers.steady:
            return old
        return max(self.finest, round(wanted))

    def _serves(self, region: Region, box_xyxy: Float64) -> bool:
        """Whether a region holds a box with most of its margin, and little more."""
        margin = self._numbers.least_margin
        (top, bottom), (left, right) = self._needed(box_xyxy, region.pitch, margin)
        holds = (
            region.top <= top
            and region.left <= left
            and region.top + region.rows >= bottom
            and region.left + region.cols >= right
        )
        fresh = self.around(box_xyxy, region.pitch, self._numbers.margin)
        return holds and _cells(region) < self._numbers.loose * _cells(fresh)

    def _needed(
        self, box: Float64, pitch: int, margin: int
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """First row and the one after the last, and the same of the columns."""
        rows, cols = self.grid_hw(pitch)
        left, top, right, bottom = (float(value) / pitch for value in box)
        low_y = min(max(0, int(top) - margin), rows - 1)
        low_x = min(max(0, int(left) - margin), cols - 1)
        high_y = min(rows, max(low_y + 1, ceil(bottom) + margin))
        high_x = min(cols, max(low_x + 1, ceil(right) + margin))
        return (low_y, high_y), (low_x, high_x)

    def _widened(self, low: int, high: int, whole: int) -> tuple[int, int]:
        """Start and length of a multiple that holds low to high, or all of the axis."""
        multiple = self._numbers.multiple
        length = -(-(high - low) // multiple) * multiple
        if length >= whole:
            return 0, whole
        start = low - (length - (high - low)) // 2
        return min(max(0, start), whole - length), length


def _cells(region: Region) -> int:
    return region.rows * region.cols
