"""Video object segmentation: objects are carried on from the frames whose masks show them first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import DetectionError
from ..records import Detections, Frame, Tracks, UInt8Array
from ..runtime.head import FeatureRequest
from ..runtime.inference.base import Graphs, to_host
from ..runtime.preprocessing import FeatureMap
from .config import VosConfig
from .propagated import PropagatedHead
from .propagation.focus import Focus, FocusNumbers
from .propagation.follower import Follower
from .propagation.label_maps import (
    LABEL_MAP,
    LabelMapper,
    downsample_labels,
    ids_in,
    upsample_labels,
)
from .propagation.propagator import Propagator

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
        frame = frame.kept()
        ids = ids_in(labels).tolist()
        self._ids += ids
        self._focus.share(len(self._ids))
        for one in ids:
            mask = (labels == one).astype(np.uint8)
            self._followers.append(
                Follower(self._graphs, self._config, self._numbers, self._focus, frame, mask)
            )


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
