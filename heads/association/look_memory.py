"""Appearance that is computed only where it decides.

Of every object that is remembered the tile is cut out of its frame, some kilobytes; its newest look
is only copied until the next frame, which mostly brings another one in its place.  The backbone
sees a tile when two objects are really compared, and never again: an object that is always matched
by its place alone costs nothing else.  Which features there are at a comparison does not depend on
when they were computed: the memory holds the same looks as one that computes all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...records import IntArray, UInt8Array
from ...runtime.inference.base import Array, Graphs
from ...runtime.preprocessing import Letterbox
from .appearance_memory import Comparison, Memory
from .tiles import Place, batches_for, images_of, one_below_another, sizes_for
from .tracklets import ObjectFeatures, Tracklet, select_rows


@dataclass(slots=True)
class Look:
    """One object in one frame.

    Attributes:
        image: (H, W, 3) uint8: the frame's; then its part of it (`is_own`); then the tile
            (`is_tile`); and nothing once the features are known.
        letterbox: From the frame's pixels to the tile's.
        where: What of the tile is the object: as the head's `Describe` wants it.
        present: Whether it has any point.
        points: (P, C) unit points, once they were needed.
        mask: (P,) float32, 1 where there is a point; with them.
        row: Where the features are on a device, once they were needed; -1 before.
    """

    image: UInt8Array
    letterbox: Letterbox
    where: npt.NDArray[np.generic]
    present: bool
    points: npt.NDArray[np.generic] | None = None
    mask: npt.NDArray[np.float32] | None = None
    row: int = -1
    is_own: bool = False
    is_tile: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the features were computed."""
        return self.points is not None or self.row >= 0

    def keep(self) -> None:
        """Copy the tile's part of the frame, which belongs to others and may change."""
        if not self.is_own:
            self.image, self.is_own = self.letterbox.cut_out(self.image).copy(), True

    def cut(self) -> None:
        """Make the tile."""
        if not self.is_tile:
            self.keep()
            self.image, self.is_tile = self.letterbox.apply(self.image), True


Describe = Callable[[Array, Sequence[Look], Sequence[Place]], ObjectFeatures]
"""Features of looks, given a feature map and where their tiles are in its image."""


class LookMemory(Memory[Sequence[Look]]):
    """An appearance memory of looks; features are on the host.

    A tracklet's numbers in `Tracklet.memory` are those of its looks, counted from the first one.

    Args:
        graphs: Runs `backbone`, the graph of `describe` and that of the similarity.
        size: Most looks a tracklet, at least 1.
        interval_s: Time between two snapshots, in seconds.
        describe: Of the task.
        describes: The graph that it runs.
        count: Called with the pixels of all images that the backbone sees.
    """

    def __init__(
        self,
        graphs: Graphs,
        size: int,
        interval_s: float,
        describe: Describe,
        describes: str,
        count: Callable[[int], object] = lambda _pixels: None,
    ) -> None:
        super().__init__(graphs, size, interval_s)
        self._describe = describe
        self._count = count
        self._sizes, self._batches = sizes_for(graphs), batches_for(graphs, describes)
        self._looks: dict[int, Look] = {}
        self._next = 0

    def _prepare(self, comparisons: Sequence[Comparison], new: Sequence[Look]) -> None:
        """Compute what is not known yet of all that will be compared, at once."""
        every = [look for one in comparisons for look in self._compared(one, new)]
        self._compute(every)

    def _compared(self, one: Comparison, new: Sequence[Look]) -> list[Look]:
        remembered = [self._looks[number] for some in one.numbers for number in some]
        return [*remembered, *(new[row] for row in one.rows.tolist())]

    def some(self, new: Sequence[Look], rows: IntArray) -> ObjectFeatures:
        """Features of some of the frame's objects."""
        return self._stacked([new[row] for row in rows.tolist()])

    def update(
        self, tracklets: Sequence[Tracklet], new: Sequence[Look] | None, time_s: float
    ) -> None:
        """See `Memory`; nothing is computed."""
        looks, first = new or (), self._next
        present = np.array([look.present for look in looks], np.bool_)
        self._learn(tracklets, present, first, time_s)
        self._next += len(looks)
        known = self._looks | {first + row: look for row, look in enumerate(looks)}
        self._looks = {row: known[row] for t in tracklets for row in t.memory}
        for row, look in self._looks.items():
            (look.keep if row >= first else look.cut)()

    def _remembered(self, rows: IntArray) -> ObjectFeatures:
        return self._stacked([self._looks[row] for row in rows.tolist()])

    def _stacks(self, new: Sequence[Look]) -> list[ObjectFeatures]:  # noqa: ARG002
        return []

    def _rows(self, numbers: IntArray) -> IntArray:
        return np.array([self._looks[number].row for number in numbers.tolist()], np.int64)

    def _new_rows(self, new: Sequence[Look], rows: IntArray) -> IntArray:
        return np.array([new[row].row for row in rows.tolist()], np.int64)

    def _stacked(self, looks: Sequence[Look]) -> ObjectFeatures:
        self._compute(looks)
        points = [look.points for look in looks if look.points is not None]
        masks = [look.mask for look in looks if look.mask is not None]
        return ObjectFeatures(np.stack(points), np.stack(masks))

    def _compute(self, looks: Sequence[Look]) -> None:
        pending = list({id(look): look for look in looks if not look.is_known}.values())
        for look in pending:
            look.cut()
        tiles = [look.image for look in pending]
        for images, chosen, places in images_of(tiles, self._sizes, self._batches):
            (features,) = self._graphs.run("backbone", images)
            some = [pending[k] for k in chosen]
            self._keep(some, self._describe(one_below_another(features), some, places))
            for look in some:
                look.image = look.image[:0].copy()
            self._count(images.size // 3)

    def _keep(self, looks: Sequence[Look], found: ObjectFeatures) -> None:
        """Give looks their features, row by row."""
        for look, own, mask in zip(looks, found.host_points(), found.mask, strict=True):
            look.points, look.mask = own.copy(), mask


class DeviceLookMemory(LookMemory):
    """A memory of looks whose features stay on the device: what is read of them is their costs.

    They are rows of two stacks at most, those that were remembered when something was last computed
    and what was computed then.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._found: list[ObjectFeatures] = []
        # The looks of all rows; and of these, those that the next `update` decides about.
        self._known: list[Look] = []
        self._fresh: list[Look] = []

    def update(
        self, tracklets: Sequence[Tracklet], new: Sequence[Look] | None, time_s: float
    ) -> None:
        """See `Memory`; nothing is computed."""
        super().update(tracklets, new, time_s)
        self._fresh = []

    def _stacks(self, new: Sequence[Look]) -> list[ObjectFeatures]:  # noqa: ARG002
        return self._found

    def _stacked(self, looks: Sequence[Look]) -> ObjectFeatures:
        self._compute(looks)
        rows = np.array([look.row for look in looks], np.int64)
        return select_rows(self._graphs, self._found, rows)

    def _keep(self, looks: Sequence[Look], found: ObjectFeatures) -> None:
        if len(self._found) > 1:
            self._forget()
        for row, look in enumerate(looks, len(self._known)):
            look.row = row
        self._found.append(found)
        self._known += looks
        self._fresh += looks

    def _forget(self) -> None:
        """Put the rows that are still wanted into one stack."""
        wanted = {id(look) for look in (*self._looks.values(), *self._fresh)}
        rows = [row for row, look in enumerate(self._known) if id(look) in wanted]
        self._known = [self._known[row] for row in rows]
        for row, look in enumerate(self._known):
            look.row = row
        chosen = np.array(rows, np.int64)
        self._found = [select_rows(self._graphs, self._found, chosen)] if rows else []
