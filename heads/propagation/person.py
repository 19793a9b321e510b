"""Poses in focus: each person is looked at in a region of its own, and sought when it is lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...records import BoolArray, FloatArray, Frame
from ...runtime.formats.keypoints import seen_joints
from ...runtime.head import FeatureRequest
from ...runtime.inference.base import Graphs, to_host
from ...runtime.preprocessing import FeatureExtractor, FeatureMap, Region
from ..config import PoseConfig
from .belief_maps import VANISHED, WEAK, Float64, belief_maps, read_points, within_reach
from .focus import Focus, FocusNumbers
from .focused import FocusedPropagator, KeyList, Patch

NEAR = 6
"""Cells around a joint, and around where it would go, in which it is looked for in focus."""

EXTENT = 1.2
"""Body sizes that a joint may be away from the median of the person's joints."""

LOST = 0.15
"""A person whose maps are lower than this in the mean is looked for in the whole frame."""

FOUND, SURE = 0.5, 0.3
"""It is found again where this share of its joints has maps of at least `SURE`, ..."""

ALIKE = 0.92
"""... resembles the first frame at least by this share of what it did while it was seen well ..."""

BENT = 0.2
"""... and lies as in the first frame: the median joint is no more body sizes away from there."""

SETTLED = 0.5
"""A person whose maps are at least so high in the mean is seen well."""

COARSE = 2
"""Cells of the whole frame by which a joint that was found in it may be off."""

FEW = 4
"""Fewer joints do not say how large a person is: it is not looked at in finer cells."""

_NEWEST = 0.2
"""Share of the newest frame in a person's size, and in how it resembles the first frame."""


class FocusedPose:
    """Carries joints on, person by person: each has a region, a pitch and a memory of its own.

    Args:
        graphs: Runs `backbone` and the `propagate_*` graphs.
        config: Parameters.
        frame: The first one.
        keypoints: (N, K, 3) float32 of it, source pixels.
    """

    def __init__(
        self, graphs: Graphs, config: PoseConfig, frame: Frame, keypoints: FloatArray
    ) -> None:
        frame = frame.kept()
        self._given = seen_joints(keypoints)
        people = np.flatnonzero(self._given.any(axis=1)).tolist()
        focus = Focus(frame.size_hw, graphs.spec.stride, config.short_side, len(people))
        extractor = FeatureExtractor(graphs)
        place = focus.whole.letterbox(frame.size_hw, graphs.spec.stride)
        whole = extractor.extract(extractor.image_of(frame, place), place)
        self._followers = {
            row: PersonFollower(
                graphs, config, focus, frame, whole, keypoints[row, self._given[row], :2]
            )
            for row in people
        }

    @property
    def request(self) -> FeatureRequest:
        """What the next frame's `step` needs: what each person is looked for in."""
        return FeatureRequest(tuple(one.looked for one in self._followers.values()))

    def step(self, frame: Frame, features: Sequence[FeatureMap]) -> FloatArray:
        """The joints (N, K, 3) float32 of the next frame, source pixels.

        Args:
            frame: The frame.
            features: What `request` asked for.
        """
        found = np.zeros((*self._given.shape, 3), np.float32)
        for (row, follower), seen in zip(self._followers.items(), features, strict=True):
            found[row, self._given[row]] = follower.step(frame, seen)
        return found


class PersonFollower:
    """One person and the region around it; as `vos.Follower`, with a belief map a joint.

    Cells of the first frame that lie elsewhere, other people among them, are keys too, in the cells
    of the whole frame: what looks like them is not taken for the person.

    Args:
        graphs: Runs `backbone` and the `propagate_*` graphs.
        config: Parameters.
        focus: Chooses the regions.
        frame: The first one.
        whole: Its features in `focus.whole`.
        points: (J, 2) x, y of the person's joints in it, source pixels.

    Attributes:
        region: What is looked at in the next frame, unless the person is lost.
        lost: Whether hardly anything is left of its maps.
    """

    def __init__(
        self,
        graphs: Graphs,
        config: PoseConfig,
        focus: Focus,
        frame: Frame,
        whole: FeatureMap,
        points: FloatArray,
    ) -> None:
        self._config, self._focus = config, focus
        self._extractor, self._stride = FeatureExtractor(graphs), graphs.spec.stride
        count, numbers = len(points), FocusNumbers()
        self._points = points.astype(np.float64)
        self._heights = np.ones(count, np.float32)
        self._frames_weak = np.zeros(count, np.int64)
        self._memory = FocusedPropagator(
            graphs,
            np.eye(1, 1 + count, dtype=np.float32)[0],
            top_k=config.top_k,
            temperature=config.temperature,
            radius=min(config.radius, numbers.radius),
            memory=min(config.memory, numbers.recent),
        )
        # A few joints do not say how large a person is.
        finest = focus.finest if count >= FEW else focus.whole.pitch
        self._smallest = numbers.fewest * finest
        inside = ((self._points >= 0) & (self._points < frame.size_hw[::-1])).all(axis=1)
        self._first_box = _box_of(self._points[inside] if inside.any() else self._points)
        self._first = frame, self._points
        self._size = self._first_size = self._size_of(self._first_box)
        self._alike, self._move = 0.0, np.zeros(2)
        self.lost = False
        self.region = focus.choose(self._first_box, self._size)
        self._first_pitch = self.region.pitch
        self._everywhere = KeyList(graphs, *self._labelled(whole, focus.whole))
        near = focus.around(self._first_box, focus.whole.pitch, NEAR // 2)
        elsewhere = np.ones((focus.whole.rows, focus.whole.cols), np.bool_)
        elsewhere[near.top : near.top + near.rows, near.left : near.left + near.cols] = False
        self._elsewhere = to_host(whole.array)[0][elsewhere]
        self._start()
        self._memory.restart(*self._look(frame, self.region))

    @property
    def looked(self) -> Region:
        """What the next frame is looked at in."""
        return self._focus.whole if self.lost else self.region

    def step(self, frame: Frame, features: FeatureMap) -> FloatArray:
        """The joints (J, 3) float32 of the next frame: x, y in source pixels, confidence.

        Args:
            frame: The frame.
            features: Of `looked`.
        """
        before, anew = self._points, self.lost
        if self.lost:
            self.lost = not self._search(frame, features)
        else:
            self._carry(features)
            self.lost = bool(self._heights.mean() < LOST)
        seen = (self._heights >= WEAK) & (not self.lost)
        self._frames_weak = np.where(seen, 0, self._frames_weak + 1)
        if self.lost:
            return np.zeros((len(seen), 3), np.float32)
        self._follow(frame, before, seen, anew=anew)
        shown = self._heights > VANISHED
        confidence = np.where(shown, np.minimum(self._heights, 1.0), 0.0)
        return np.column_stack([self._points * shown[:, None], confidence]).astype(np.float32)

    def _carry(self, features: FeatureMap) -> None:
        """Find the joints in the region, near where they were."""
        place = features.letterbox
        last = place.points_to_network(self._points)
        moved = place.points_to_network(self._points + self._move)
        cells, alike = self._memory.step(
            Patch(self.region, features.array), _near(np.concatenate([last, moved]), features)
        )
        middle = np.median(moved[self._heights >= WEAK], axis=0)
        points, self._heights = self._read(cells, features, self.region, last, middle)
        shown = self._heights > VANISHED
        self._points = np.where(shown[:, None], place.points_to_source(points), self._points)
        if self._heights.mean() >= SETTLED:
            rate = _NEWEST if self._alike else 1.0
            self._alike += rate * (_mean_at(alike, points, features.stride) - self._alike)

    def _search(self, frame: Frame, features: FeatureMap) -> bool:
        """Find the joints in the whole frame, from the first frame alone; False: not there.

        Most must be found, look as they did and lie to one another as in the first frame; then
        they are looked for in finer cells around where they were found.
        """
        whole, place, stride = self._focus.whole, features.letterbox, features.stride
        cells, alike = self._memory.search(Patch(whole, features.array), self._everywhere)
        last = place.points_to_network(self._points)
        coarse, heights = self._read(cells, features, whole, last)
        sure = heights >= SURE
        if sure.mean() < FOUND or _mean_at(alike, coarse[sure], stride) < ALIKE * self._alike:
            return False
        points = place.points_to_source(coarse)
        middle = np.median(points[sure], axis=0)
        first = self._first[1][sure]
        bent = (points[sure] - middle) / self._size
        bent -= (first - np.median(first, axis=0)) / self._first_size
        if np.median(np.hypot(*bent.T)) > BENT:
            return False
        extent = EXTENT * self._size
        around = np.concatenate([middle - extent, middle + extent])
        region = self._focus.choose(around, self._size)
        seen = self._seen(frame, region)
        cells, _ = self._memory.search(Patch(region, seen.array))
        place = seen.letterbox
        found, heights = self._read(
            *(cells, seen, region, place.points_to_network(points)),
            place.points_to_network(middle),
            max(1.0, whole.pitch / region.pitch) * COARSE,
        )
        if heights.mean() < LOST:
            return False
        self.region, self._heights = region, heights
        self._points = place.points_to_source(found)
        return True

    def _read(
        self,
        cells: FloatArray,
        features: FeatureMap,
        region: Region,
        last: Float64,
        middle: Float64 | None = None,
        reach: float = 0.0,
    ) -> tuple[Float64, FloatArray]:
        """Network pixels (J, 2) of the joints, and how sure each is.

        Args:
            cells: (rows, cols, 1 + J) labels.
            features: Of the region.
            region: What was looked at.
            last: (J, 2) where the joints were, network pixels.
            middle: (2,) of the person; joints are no further from it than `EXTENT`. None: anywhere.
            reach: In cells, from `last`; 0: that of the config, and more for weak joints.
        """
        stride, grid_hw = features.stride, features.grid_hw
        maps = cells[..., 1:].reshape(-1, len(last))
        if middle is not None:
            extent = np.full(len(last), EXTENT * self._size / region.pitch)
            around = np.broadcast_to(middle, last.shape)
            maps = within_reach(maps, around, extent, stride=stride, grid_hw=grid_hw)
        if reach or self._config.reach:
            usual = self._config.reach * (1.0 + self._frames_weak)
            far = np.full(len(last), reach, np.float64) if reach else usual
            maps = within_reach(
                maps, last, np.asarray(far, np.float64), stride=stride, grid_hw=grid_hw
            )
        return read_points(maps, top_cells=self._config.top_cells, stride=stride, grid_hw=grid_hw)

    def _follow(self, frame: Frame, before: Float64, seen: BoolArray, *, anew: bool) -> None:
        """Take size and motion from the joints that are seen, and look ahead."""
        points = self._points[seen]
        if seen.mean() >= FOUND:
            self._size += _NEWEST * (self._size_of(_box_of(points)) - self._size)
        self._move = np.zeros(2) if anew else (points - before[seen]).mean(axis=0)
        former = self.region
        ahead = _box_of(np.concatenate([points, points + self._move]))
        self.region = self._focus.choose(ahead, self._size, former)
        if anew or self.region.pitch != former.pitch:
            # The first frame is seen in cells of which the person has as many there as now.
            as_large = self.region.pitch * self._first_size / self._size
            pitch = max(self._focus.finest, round(as_large))
            if pitch != self._first_pitch:
                self._first_pitch = pitch
                self._start()
            self._memory.restart(*self._look(frame, self.region))

    def _start(self) -> None:
        """See the first frame at its pitch."""
        frame, points = self._first
        region = self._focus.first(self._first_box, self._first_pitch)
        seen = self._seen(frame, region)
        patch = Patch(region, seen.array)
        size, sure = self._first_size, np.ones(len(points), np.float32)
        self._memory.start(patch, self._labels(seen, region, points, sure, size), self._elsewhere)

    def _seen(self, frame: Frame, region: Region) -> FeatureMap:
        """The features of a region of a frame."""
        letterbox = region.letterbox(frame.size_hw, self._stride)
        return self._extractor.extract(self._extractor.image_of(frame, letterbox), letterbox)

    def _look(self, frame: Frame, region: Region) -> tuple[Patch, FloatArray]:
        """Features of a frame in a region, and labels of the joints as they were found in it."""
        return self._labelled(self._seen(frame, region), region)

    def _labelled(self, seen: FeatureMap, region: Region) -> tuple[Patch, FloatArray]:
        labels = self._labels(seen, region, self._points, self._heights, self._size)
        return Patch(region, seen.array), labels

    def _labels(
        self, seen: FeatureMap, region: Region, points: Float64, heights: FloatArray, size: float
    ) -> FloatArray:
        """(rows, cols, 1 + J) float32 background and belief maps of joints in source pixels."""
        maps = belief_maps(
            seen.letterbox.points_to_network(points),
            np.full(len(points), self._config.sigma * size / region.pitch),
            stride=seen.stride,
            grid_hw=seen.grid_hw,
        ) * np.minimum(heights, np.float32(1))
        behind = 1 - maps.max(axis=1, keepdims=True)
        return np.concatenate([behind, maps], axis=1).reshape(*seen.grid_hw, -1)

    def _size_of(self, box: Float64) -> float:
        """Longer side of a box, not so small that its cells would be finer than they can be."""
        return max(float((box[2:] - box[:2]).max()), self._smallest)


def _near(points: Float64, features: FeatureMap) -> BoolArray:
    """(rows, cols) which cells are less than `NEAR` away from one of some points (n, 2)."""
    every = np.ones((features.array.shape[1] * features.array.shape[2], len(points)), np.float32)
    near = within_reach(
        *(every, points, np.full(len(points), float(NEAR))),
        stride=features.stride,
        grid_hw=features.grid_hw,
    )
    return np.asarray(near.any(axis=1).reshape(features.grid_hw), np.bool_)


def _mean_at(cells: FloatArray, points: Float64, stride: int) -> float:
    """Mean of cells (rows, cols) at some points (n, 2) in network pixels."""
    x, y = np.rint((points - 0.5) / stride).astype(np.int64).T
    return float(cells[y.clip(0, len(cells) - 1), x.clip(0, cells.shape[1] - 1)].mean())


def _box_of(points: Float64) -> Float64:
    """(4,) left, top, right, bottom of points (n, 2)."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])
