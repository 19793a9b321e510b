"""One object of video object segmentation and the region around it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ...records import BoolArray, Frame, UInt8Array
from ...runtime.inference.base import Graphs
from ...runtime.preprocessing import FeatureExtractor, FeatureMap, Region
from ..config import VosConfig
from .focus import Focus, FocusNumbers
from .focused import FocusedPropagator, KeyList, Patch

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SEEN = 0.05
"""A cell may hold an object where its label is larger than this."""

REACH = 5
"""Cells around an object, and around where it would go, in which it is looked for."""

SPECK = 0.05
"""A piece of less than this share of an object's largest one is taken for a look-alike."""

ASTRAY = 0.5
"""And so is one with which the first frame agrees by less than this share of what is usual."""

SURE, STILL = 0.1, 0.8
"""Cells that the first frame alone would give less of the object than `SURE`, and that resemble it
by `STILL` or more, and more than the object does, are background that has not moved."""

LOST = 0.1
"""An object of less than this share of its usual area is looked for in the whole frame."""

FOUND = 0.2
"""Share of its usual area in one piece at which it is found again."""

ALIKE = 0.92
"""It must resemble the first frame at least by this share of what it did while it was followed."""

DIMINISHED, AGAIN = 0.5, 5
"""Where less than this share is left, the rest is looked for too, every so many frames."""

MORE = 1.5
"""What is found must then be larger than what was followed by this factor."""

STRETCHED = 1.4
"""After it was hidden, an object that has become so much longer along one axis than along the other
has not grown: its mask reaches onto what hid it, or is a web between the two."""

WARY = 50
"""Frames for which a mask is so watched after its object was hidden."""

SETTLED = 0.8
"""An object of at least this share of its usual area shows how it resembles the first frame."""


class Follower:
    """One object and the region around it.

    At the end of a frame the region of the next one is chosen. Where its pitch changes, or the
    object was found elsewhere, this frame is looked at again in the new region, and is all of the
    memory besides the first frame. That is seen at the pitch at which its object has as many cells
    as it has now. An object that is lost is looked for in the whole frame.

    Args:
        graphs: Runs `backbone` and the `propagate_*` graphs.
        config: Parameters.
        numbers: How much is looked at.
        focus: Chooses the regions.
        frame: The first one.
        mask: (H, W) uint8, 1 where the object is.

    Attributes:
        region: What is looked at in the next frame.
    """

    def __init__(
        self,
        graphs: Graphs,
        config: VosConfig,
        numbers: FocusNumbers,
        focus: Focus,
        frame: Frame,
        mask: UInt8Array,
    ) -> None:
        self._graphs, self._focus = graphs, focus
        self._extractor = FeatureExtractor(graphs)
        self._memory = FocusedPropagator(
            graphs,
            np.array([1, 0], np.float32),
            top_k=config.top_k,
            temperature=config.temperature,
            radius=min(config.radius, numbers.radius),
            memory=min(config.memory, numbers.recent),
        )
        self._first = frame, mask
        self._box, self._area = measured(mask)
        self._move = np.zeros(4)
        self._usual = self._first_area = self._area
        self._sides, self._wary = self._box[2:] - self._box[:2], 0
        self._alike, self._agreement = 1.0, 0.0
        self._turn = 0
        self._everywhere: KeyList | None = None
        self.region = focus.choose(self._box, np.sqrt(self._area))
        self._first_box, self._first_pitch = self._box, self.region.pitch
        self._start()
        self._memory.restart(*self._look(frame, mask, self.region))

    @property
    def lost(self) -> bool:
        """Whether hardly anything is left of it."""
        return self._area < LOST * self._usual

    @property
    def regions(self) -> tuple[Region, ...]:
        """What the next frame is looked at in, in this order."""
        if self.lost:
            return (self._focus.whole,)
        if self._area < DIMINISHED * self._usual and self._turn % AGAIN == 0:
            return self.region, self._focus.whole
        return (self.region,)

    def look(
        self, features: FeatureMap, size_hw: tuple[int, int]
    ) -> tuple[tuple[int, int], Float32]:
        """How sure each pixel of the region is the object's: x, y of the first, and (h, w)."""
        region = self.region
        patch = Patch(region, features.array)
        cells, alike = self._memory.step(patch, self._wanted(), self._clean)
        inside = cells[:, :, 1] > 0.5
        if inside.any() and self._area >= SETTLED * self._usual:
            alike_now = float(alike[inside].mean())
            self._alike += _NEWEST * (alike_now - self._alike)
        x, y = region.left * region.pitch, region.top * region.pitch
        height = min(region.rows * region.pitch, size_hw[0] - y)
        width = min(region.cols * region.pitch, size_hw[1] - x)
        return (x, y), scores_of_pixels(cells[:, :, 1], region.pitch, (height, width))

    def _clean(self, cells: Float32, by_first: Float32, alike: Float32) -> None:
        """Make background, in place, of what the first frame contradicts, and of specks.

        Of cells that are its background for sure; and of pieces with which it agrees far less than
        it did with the object.
        """
        self._by_first = by_first[:, :, 1]
        sure = (by_first[:, :, 1] < SURE) & (alike > max(self._alike, STILL))
        cells[sure & (cells[:, :, 1] > SEEN)] = (1, 0)
        inside = cells[:, :, 1] > 0.5
        if inside.any() and self._area >= SETTLED * self._usual:
            agreement = float(by_first[inside, 1].mean())
            share = _NEWEST if self._agreement else 1.0
            self._agreement += share * (agreement - self._agreement)
        without_specks(cells, by_first[:, :, 1], ASTRAY * self._agreement)

    def search(self, features: FeatureMap, free: BoolArray) -> tuple[tuple[int, int], Float32]:
        """The same of the whole frame, from the first frame alone; 0 where it is not found.

        Args:
            features: Of the whole frame.
            free: (H, W) what is no object's.
        """
        score, piece, alike = self._elsewhere(features, free.shape)
        piece &= free
        if np.count_nonzero(piece) < FOUND * self._usual or alike < ALIKE * self._alike:
            piece[:] = False
        return (0, 0), np.where(piece, score, np.float32(0))

    def more(self, features: FeatureMap, mask: BoolArray, free: BoolArray) -> BoolArray | None:
        """A better mask (H, W) than the one followed, or None: from the first frame alone.

        Args:
            features: Of the whole frame.
            mask: (H, W) what was followed.
            free: (H, W) what is no object's.
        """
        _, piece, alike = self._elsewhere(features, mask.shape)
        piece &= free | mask
        larger = np.count_nonzero(piece) >= MORE * np.count_nonzero(mask)
        return piece if larger and alike >= ALIKE * self._alike else None

    def _elsewhere(
        self, features: FeatureMap, size_hw: tuple[int, ...]
    ) -> tuple[Float32, BoolArray, float]:
        """Scores (H, W) of the whole frame, their largest piece, and its likeness to the object."""
        whole = self._focus.whole
        if self._everywhere is None:
            frame, mask = self._first
            region = self._focus.first(self._first_box, whole.pitch)
            self._everywhere = KeyList(self._graphs, *self._look(frame, mask, region))
        cells, alike = self._memory.search(Patch(whole, features.array), self._everywhere)
        score = scores_of_pixels(cells[:, :, 1], whole.pitch, (size_hw[0], size_hw[1]))
        inside = largest_piece(cells[:, :, 1] > 0.5)
        likeness = float(alike[inside].mean()) if inside.any() else 0.0
        return score, largest_piece(score > 0.5), likeness

    def stretched(self, mask: BoolArray) -> BoolArray:
        """What of the mask (H, W) reaches too far for the shape that the object had.

        Of the stretch along each axis that is as long as the object may be, what is kept is the one
        that holds most of what the first frame's labels agree with.
        """
        beyond = np.zeros_like(mask)
        box, area = measured(mask.view(np.uint8))
        hidden = area < DIMINISHED * self._usual
        self._wary = WARY if hidden else max(0, self._wary - 1)
        if area < LOST * self._usual:
            return beyond
        grown = (box[2:] - box[:2]) / self._sides
        over = (grown > STRETCHED) & (grown > STRETCHED * grown[::-1])
        if not self._wary:
            self._sides += _NEWEST * (box[2:] - box[:2] - self._sides)
        elif over.any():
            axis = int(np.flatnonzero(over)[0])
            most = int(STRETCHED * self._sides[axis] * max(1.0, grown[1 - axis]))
            places = np.nonzero(mask)[1 - axis]
            weights = np.bincount(places, self._agreed(mask), minlength=mask.shape[1 - axis])
            held = np.convolve(weights, np.ones(most), "valid")
            start = int(np.flatnonzero(held >= held.max() - 1e-6).mean())
            inside = slice(start, start + most)
            beyond |= mask
            beyond[(slice(None), inside) if axis == 0 else inside] = False
        return beyond

    def _agreed(self, mask: BoolArray) -> Float32:
        """How far the first frame's labels agree with each of a mask's pixels."""
        y, x = np.nonzero(mask)
        region = self.region
        row = np.clip(y // region.pitch - region.top, 0, region.rows - 1)
        col = np.clip(x // region.pitch - region.left, 0, region.cols - 1)
        return self._by_first[row, col]

    def give_up(self, others: BoolArray) -> None:
        """Remember nothing as the object's where others are, (H, W), in the last frame."""
        taken = labels_of_cells(others.view(np.uint8), self.region)[:, :, 1]
        if taken.any():
            self._memory.give_up(taken)

    def follow(self, frame: Frame, mask: UInt8Array, *, anew: bool = False) -> None:
        """Take place, motion and area from the object's mask (H, W) uint8, and look ahead.

        Args:
            frame: Where it was seen.
            mask: (H, W) uint8, 1 where the object is.
            anew: Whether it was found by `more`.
        """
        box, area = measured(mask)
        anew, self._area = anew or self.lost, area
        self._turn += 1
        if self.lost:
            self._move = np.zeros(4)
            return
        self._move = np.zeros(4) if anew else box - self._box
        self._box = box
        if anew:
            self._usual = max(self._usual, area)
        rate = _NEWEST if area >= DIMINISHED * self._usual else _LESS
        self._usual += rate * (area - self._usual)
        ahead = box + self._move
        both = np.concatenate([np.minimum(box, ahead)[:2], np.maximum(box, ahead)[2:]])
        before = self.region
        self.region = self._focus.choose(both, np.sqrt(self._usual), before)
        if anew or self.region.pitch != before.pitch:
            as_large = self.region.pitch * np.sqrt(self._first_area / self._usual)
            pitch = max(self._focus.finest, round(as_large))
            if pitch != self._first_pitch:
                self._first_pitch = pitch
                self._start()
            patch, cells = self._look(frame, mask, self.region)
            self._memory.restart(patch, self._seen_again(patch, cells) if anew else cells)

    def _seen_again(self, patch: Patch, cells: Float32) -> Float32:
        """Labels of an object that was found in the whole frame's cells, in its own.

        Those are (rows, cols, 2), coarse where it is small; around them the first frame is asked.
        """
        near = cv2.dilate((cells[:, :, 1] > SEEN).astype(np.uint8), np.ones((5, 5), np.uint8))
        labels = self._memory.search(patch)[0]
        labels[near == 0] = (1, 0)
        without_specks(labels, labels[:, :, 1], 0.0)
        return labels

    def _start(self) -> None:
        """See the first frame at its pitch."""
        frame, mask = self._first
        region = self._focus.first(self._first_box, self._first_pitch)
        self._memory.start(*self._look(frame, mask, region))

    def _look(self, frame: Frame, mask: UInt8Array, region: Region) -> tuple[Patch, Float32]:
        """Features of a frame in a region, and the labels of its cells."""
        letterbox = region.letterbox(frame.size_hw, self._graphs.spec.stride)
        image = self._extractor.image_of(frame, letterbox)
        patch = Patch(region, self._extractor.extract(image, letterbox).array)
        return patch, labels_of_cells(mask, region)

    def _wanted(self) -> BoolArray:
        """Which cells of the region may hold the object: near it, and near where it would go."""
        region = self.region
        seen = (self._memory.last_labels(region)[:, :, 1] > SEEN).astype(np.uint8)
        right, down = self._move[0::2].mean(), self._move[1::2].mean()
        along = np.array([[1, 0, right], [0, 1, down]]) / [[1, 1, region.pitch]]
        there = cv2.warpAffine(seen, along, (region.cols, region.rows), flags=cv2.INTER_NEAREST)
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * REACH + 1, 2 * REACH + 1))
        return np.asarray(cv2.dilate(cv2.bitwise_or(seen, there), disk) > 0, np.bool_)


_NEWEST = 0.2
"""Share of the newest frame in an object's usual area."""

_LESS = 0.02
"""The same while it is diminished: what hides it does not make it smaller, distance does."""


def measured(mask: UInt8Array) -> tuple[Float64, float]:
    """Box (4,) left, top, right, bottom and area of a mask (H, W) uint8 of 0 and 1.

    An object that is not there has area 0, and 0, 0, 0, 0.
    """
    x, y, width, height = cv2.boundingRect(mask)
    area = cv2.countNonZero(mask[y : y + height, x : x + width])
    return np.array([x, y, x + width, y + height], np.float64), float(area)


def without_specks(cells: Float32, by_first: Float32, agreement: float) -> None:
    """Make background, in place, of pieces that are small beside an object's largest one, or alien.

    They are look-alikes of its surroundings more often than parts of it, and from there an object
    would spread.

    Args:
        cells: (rows, cols, 2) float32 background and object.
        by_first: (rows, cols) float32 labels of the object that the first frame alone would give.
        agreement: Their least mean in a piece.
    """
    count, pieces = cv2.connectedComponents((cells[:, :, 1] > SEEN).astype(np.uint8))
    inside = cells[:, :, 1] > cells[:, :, 0]
    sizes = np.bincount(pieces[inside], minlength=count)
    agreed = np.bincount(pieces[inside], by_first[inside], minlength=count)
    kept = (agreed >= agreement * sizes) & (sizes >= SPECK * sizes.max(initial=0))
    kept[0] = True
    cells[~kept[pieces]] = (1, 0)


def largest_piece(mask: BoolArray) -> BoolArray:
    """The largest connected part of a mask."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    return np.asarray(pieces == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), np.bool_)


def _beside(pitch: int) -> int:
    """Pixels by which a cell's features lie left of and above the middle of its square.

    A convolution with stride is centred in the first pixel of each cell.  Where all cells are of
    one size this makes no difference, but labels move between cells of several sizes.
    """
    return round(pitch * 7 / 16)


def labels_of_cells(mask: UInt8Array, region: Region) -> Float32:
    """The shares (rows, cols, 2) float32 of background and object in the cells of a region.

    Args:
        mask: (H, W) uint8 of 0 and 1, at source size; outside the frame is background.
        region: Its cells.
    """
    pitch = region.pitch
    x, y = (first * pitch - _beside(pitch) for first in (region.left, region.top))
    height, width = region.rows * pitch, region.cols * pitch
    left, top = max(0, -x), max(0, -y)
    inside = mask[y + top : y + height, x + left : x + width]
    shown = np.zeros((height, width), np.float32)
    shown[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    share = cv2.resize(shown, (region.cols, region.rows), interpolation=cv2.INTER_AREA)
    return np.stack([1 - share, share], axis=2)


def scores_of_pixels(cells: Float32, pitch: int, size_hw: tuple[int, int]) -> Float32:
    """The inverse way: scores (rows, cols) of cells → (h, w) of pixels from the first cell on."""
    offset = (_beside(pitch) + 0.5) / pitch - 0.5
    matrix = np.array([[1 / pitch, 0, offset], [0, 1 / pitch, offset]])
    scores = cv2.warpAffine(
        np.ascontiguousarray(cells),
        matrix,
        (size_hw[1], size_hw[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(scores, np.float32)
