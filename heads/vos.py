"""Video object segmentation: objects are carried on from the frames whose masks show them first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import DetectionError
from ..records import BoolArray, Detections, Frame, Tracks, UInt8Array
from ..runtime.head import FeatureRequest
from ..runtime.inference.base import Graphs, to_host
from ..runtime.preprocessing import FeatureExtractor, FeatureMap, Region
from .config import VosConfig
from .propagated import PropagatedHead
from .propagation.focus import Focus, FocusNumbers
from .propagation.focused import FocusedPropagator, KeyList, Patch
from .propagation.label_maps import (
    LABEL_MAP,
    LabelMapper,
    downsample_labels,
    ids_in,
    upsample_labels,
)
from .propagation.propagator import Propagator

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


MOST_NAMED = 10
"""Objects that a note names one by one."""

Masks = Callable[[Frame], UInt8Array | None]
"""Gives the (H, W) uint8 labels of a frame that has a mask, else None; the first time that a label
appears, its object starts."""


class VosHead(PropagatedHead[VosConfig]):
    """Propagates a label map.

    With focus, the backbone sees regions around the objects; see `FocusedVos`.

    Args:
        graphs: Runs the `propagate_*` graphs.
        labels: (H, W) uint8 at the first frame's size: object ids, 0 is background. Or `Masks`:
            objects then start in the frame whose mask shows them first, and what later masks say
            of them is not looked at.
        config: Parameters.
        refine: Makes better labels of the first frame's image and `labels`, where those are only
            a box around the object.
        notes: What is to be said of `labels` in the end, one line each.

    Raises:
        DetectionError: No object in `labels`, or more top-k than the bundle was exported for.
    """

    def __init__(
        self,
        graphs: Graphs,
        labels: UInt8Array | Masks,
        config: VosConfig,
        refine: Callable[[UInt8Array, UInt8Array], UInt8Array] | None = None,
        *,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(graphs, config)
        self._notes = list(notes)
        if not callable(labels) and not labels.any():
            raise DetectionError("the first frame's mask holds no object: every pixel is 0")
        self._given = labels
        self._refine = refine
        self._memories: list[tuple[npt.NDArray[np.uint8], Propagator]] = []
        self._mapper = LabelMapper(graphs)
        self._focused: FocusedVos | None = None
        self._shown: dict[int, int] = {}
        self._newest = -1
        if not self._focuses and self._mapper.on_device:
            self.graphs_used = (*self.graphs_used, LABEL_MAP)

    def reset(self) -> None:
        """Forget the video; the labels stay and belong to the next frames again."""
        self._memories, self._focused = [], None
        self._shown, self._newest = {}, -1

    def step(
        self,
        frame: Frame,
        features: FeatureMap | Sequence[FeatureMap] | None,
        detections: Detections | None = None,  # noqa: ARG002
    ) -> Tracks:
        """Label the next frame; objects that start in it keep the labels that were given."""
        given = self._starting(frame)
        if self._focuses:
            labels = self._step_in_focus(frame, features, given)
        elif isinstance(features, FeatureMap):
            labels = self._step_whole(frame, features, given)
        else:
            raise TypeError("VosHead without focus needs the features of the whole frame")
        tracks = tracks_of_labels(frame.index, labels)
        self._newest = frame.index
        self._shown |= dict.fromkeys(tracks.ids.tolist(), frame.index)
        return tracks

    def drop_notes(self) -> list[str]:
        """Which objects were lost and not found again; or that there was never one."""
        if self._newest >= 0 and not self._shown:
            return [
                *self._notes,
                "task vos never started: no mask of --init that belongs to a frame of the source, "
                "by name or number, shows an object",
            ]
        lost = [
            f"object {identity} after frame {last}"
            for identity, last in sorted(self._shown.items())
            if last < self._newest
        ]
        if len(lost) > MOST_NAMED:
            lost[MOST_NAMED:] = [f"and {len(lost) - MOST_NAMED} more"]
        if not lost:
            return self._notes
        return [
            *self._notes,
            f"objects lost, and not found again up to frame {self._newest}: {', '.join(lost)}",
        ]

    def _starting(self, frame: Frame) -> UInt8Array | None:
        """(H, W) uint8 labels of the objects that start in a frame; None where none does."""
        if callable(self._given):
            labels = self._given(frame)
        else:
            labels = self._given if self._newest < 0 else None
        if labels is None:
            return None
        if labels.shape != frame.size_hw:
            raise DetectionError(
                f"the first frame's mask has size {labels.shape} (height, width), "
                f"the frame has {frame.size_hw}"
            )
        if self._refine is not None:
            labels = self._refine(frame.image, labels)
        new = np.where(np.isin(labels, list(self._shown)), 0, labels).astype(np.uint8)
        return new if new.any() else None

    def _step_in_focus(
        self,
        frame: Frame,
        features: FeatureMap | Sequence[FeatureMap] | None,
        given: UInt8Array | None,
    ) -> UInt8Array:
        if self._focused is None:
            if given is None:
                return np.zeros(frame.size_hw, np.uint8)
            self._focused = FocusedVos(self._graphs, self._config, frame, given)
            return given
        if not isinstance(features, Sequence):
            raise TypeError("VosHead needs the features of the regions that it asked for")
        return self._focused.step(frame, features, given)

    def _step_whole(
        self, frame: Frame, features: FeatureMap, given: UInt8Array | None
    ) -> UInt8Array:
        """Objects that start together share a memory; where memories differ, the surest decides."""
        rows, cols = features.grid_hw
        labels = np.zeros(frame.size_hw, np.uint8)
        surest = np.zeros(frame.size_hw, np.float32)
        for ids, memory in self._memories:
            cells = memory.propagate(features.array)
            names = np.concatenate([np.zeros(1, np.uint8), ids])
            if len(self._memories) == 1:
                labels = names[self._mapper.labels_of(cells, (rows, cols), features.letterbox)]
                break
            scores = upsample_labels(to_host(cells).reshape(rows, cols, -1), features.letterbox)
            which = scores.argmax(axis=2)
            found = names[which]
            sure = np.take_along_axis(scores, which[..., None], axis=2)[..., 0]
            better = (which > 0) & (sure > surest)
            np.copyto(labels, found, where=better)
            np.copyto(surest, sure, where=better)
        if given is not None:
            np.copyto(labels, given, where=given > 0)
            ids = ids_in(given)
            memory = self._propagator(features)
            scores = downsample_labels(given, ids, features.letterbox, (rows, cols))
            memory.start(features.array, scores.reshape(rows * cols, -1))
            self._memories.append((ids, memory))
        return labels


class FocusedVos:
    """Carries a label map on, object by object.

    Each object has a region, a pitch and a memory of its own; a pixel belongs to the object that is
    surest of it, where one is surer than of the background.  What one has won, the others do not
    remember as theirs; what was lost is found again only where no other object is.

    Args:
        graphs: Runs `backbone` and the `propagate_*` graphs.
        config: Parameters.
        frame: The first one.
        labels: (H, W) uint8, its label map, of at least one object.
        numbers: How much is looked at.
    """

    def __init__(
        self,
        graphs: Graphs,
        config: VosConfig,
        frame: Frame,
        labels: UInt8Array,
        numbers: FocusNumbers | None = None,
    ) -> None:
        self._graphs, self._config, self._numbers = graphs, config, numbers or FocusNumbers()
        self._focus = Focus(
            frame.size_hw, graphs.spec.stride, config.short_side, numbers=self._numbers
        )
        self._followers: list[Follower] = []
        self._ids: list[int] = []
        self._add(frame, labels)

    @property
    def request(self) -> FeatureRequest:
        """What the next frame's `step` needs: what each object's `regions` are."""
        return FeatureRequest(tuple(region for f in self._followers for region in f.regions))

    def step(
        self, frame: Frame, features: Sequence[FeatureMap], given: UInt8Array | None
    ) -> UInt8Array:
        """Label the next frame, (H, W) uint8.

        Args:
            frame: The frame.
            features: What `request` asked for.
            given: (H, W) uint8 labels of the objects that start in it; None: none does.
        """
        labels = np.zeros(frame.size_hw, np.uint8)
        surest = np.zeros(frame.size_hw, np.float32)
        every = iter(features)
        looked = [[next(every) for _ in follower.regions] for follower in self._followers]
        every_one = list(zip(self._ids, self._followers, looked, strict=True))
        for identity, follower, found in sorted(every_one, key=lambda one: one[1].lost):
            if follower.lost:
                (x, y), score = follower.search(found[0], labels == 0)
            else:
                (x, y), score = follower.look(found[0], frame.size_hw)
            place = slice(y, y + score.shape[0]), slice(x, x + score.shape[1])
            better = score > np.maximum(surest[place], 0.5)
            labels[place][better] = identity
            surest[place][better] = score[better]
        if given is not None:
            np.copyto(labels, given, where=given > 0)
        for identity, follower, found in every_one:
            mask = labels == identity
            more = follower.more(found[1], mask, labels == 0) if len(found) > 1 else None
            if more is not None:
                labels[mask], labels[more], mask = 0, identity, more
            elif not follower.lost:
                others = (labels != 0) & ~mask
                stretched = follower.stretched(mask)
                labels[stretched] = 0
                mask &= ~stretched
                follower.give_up(others | stretched)
            follower.follow(frame, mask.view(np.uint8), anew=more is not None)
        if given is not None:
            self._add(frame, given)
        return labels

    def _add(self, frame: Frame, labels: UInt8Array) -> None:
        """Follow the objects of a label map from this frame on."""
        ids = ids_in(labels).tolist()
        self._ids += ids
        self._focus.share(len(self._ids))
        for one in ids:
            mask = (labels == one).astype(np.uint8)
            self._followers.append(
                Follower(self._graphs, self._config, self._numbers, self._focus, frame, mask)
            )


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


def tracks_of_labels(frame_index: int, labels: UInt8Array) -> Tracks:
    """A record of every object with a pixel in a label map: id, tight box, mask."""
    ids = ids_in(labels)
    masks = labels[None] == ids[:, None, None]
    boxes = np.zeros((len(ids), 4), np.float32)
    for row, mask in enumerate(masks):
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        boxes[row] = x, y, x + width, y + height
    count = len(ids)
    detections = Detections(
        boxes, np.ones(count, np.float32), np.full(count, -1, np.int64), masks=masks
    )
    return Tracks(frame_index, ids.astype(np.int64), detections, label_map=labels)
