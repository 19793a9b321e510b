"""Gaps of tracks filled: frames wait until a track that is missed is found again, or given up.

A gap is what lies between two frames with a detection of the track, whether the track is missing
there or reported where motion takes it (`Tracks.predicted`).  Box, score and joints there lie
between those of the gap's ends, in proportion to time: b = a + (t - t_a) / (t_c - t_a) · (c - a).
What is detected stays as it is, and so does what motion says of a gap that nothing ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import UnitrackError
from ..heads.tracked import joined
from ..records import Detections, FloatArray, Frame, Tracks
from ..runtime.boxes import valid_rows
from ..runtime.formats.keypoints import seen_joints

_TOLERANCE_S = 0.002
"""Many files round the times of frames to milliseconds."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Where a track was detected last."""

    number: int
    clock_s: float
    tracks: Tracks
    row: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A frame that may still get rows; `rows` are these, one each, by task and identity."""

    number: int
    clock_s: float
    frame: Frame
    stages_s: dict[str, float]
    results: Sequence[Tracks]
    rows: Sequence[dict[int, Detections]]


class GapFiller:
    """Holds frames back and fills the gaps of their tracks; see `runtime.pipeline.Delay`.

    A frame waits while a track that was detected before it may still be found again in time: for at
    most the longest `seconds` of the source's clock. So many frames are in memory, each with its
    image where `keeps_images`, else without.

    Args:
        seconds: Task by task, the longest gap that is filled: from the last frame with a detection
            of the track to the next one. 0: none.
        fps: Of the source. Where its clock stands still, frame numbers count at this rate.
        keeps_images: Whether whoever gets the frames looks at their images; else the image of a
            frame that waited is black, and takes no memory.

    Attributes:
        filled: Task by task, how many rows were put into the results that were handed on, in place
            of others or not.
    """

    def __init__(self, seconds: Sequence[float], fps: float, *, keeps_images: bool = True) -> None:
        self._seconds, self._fps, self._keeps_images = tuple(seconds), fps, keeps_images
        self._last: list[dict[int, _Seen]] = [{} for _ in seconds]
        self._waiting: deque[_Waiting] = deque()
        self._newest: Frame | None = None
        self._number, self._clock_s = -1, 0.0
        self.filled = [0] * len(self._seconds)

    def __len__(self) -> int:
        """How many frames wait."""
        return len(self._waiting)

    def add(self, frame: Frame, stages_s: dict[str, float], results: Sequence[Tracks]) -> None:
        """Take the next frame, and fill the gaps that end with it.

        Args:
            frame: Its index is larger than that of the last one.
            stages_s: Handed on with it.
            results: Task by task.
        """
        self._advance(frame)
        for task, (tracks, most_s) in enumerate(zip(results, self._seconds, strict=True)):
            if not most_s:
                continue
            last, oldest_s = self._last[task], self._clock_s - most_s - _TOLERANCE_S
            for identity in [i for i, seen in last.items() if seen.clock_s < oldest_s]:
                del last[identity]
            for row in _detected(tracks):
                identity = int(tracks.ids[row])
                now = _Seen(self._number, self._clock_s, tracks, row)
                before, last[identity] = last.get(identity), now
                if before is not None:
                    self._fill(task, identity, before, now)
        if not self._keeps_images:
            nothing = np.broadcast_to(np.uint8(0), frame.image.shape)
            frame = replace(frame, image=nothing)
        rows: list[dict[int, Detections]] = [{} for _ in results]
        self._waiting.append(
            _Waiting(self._number, self._clock_s, frame, stages_s, tuple(results), rows)
        )

    def ready(
        self, *, ended: bool = False
    ) -> Iterator[tuple[Frame, dict[str, float], list[Tracks]]]:
        """The frames that get nothing more, in their order.

        A frame counts as waiting until the next one is asked for: what fails at it can say how many
        were handed on.

        Args:
            ended: Whether no frame follows: all that wait are ready, with what they have.
        """
        missed = (s.number for last in self._last for s in last.values() if s.number < self._number)
        latest = self._number if ended else min(missed, default=self._number)
        while self._waiting and self._waiting[0].number <= latest:
            first = self._waiting[0]
            pairs = zip(first.results, first.rows, strict=True)
            yield first.frame, first.stages_s, [_with(tracks, rows) for tracks, rows in pairs]
            for task, rows in enumerate(first.rows):
                self.filled[task] += len(rows)
            self._waiting.popleft()

    def _advance(self, frame: Frame) -> None:
        before, self._newest, self._number = self._newest, frame, self._number + 1
        if before is None:
            return
        elapsed_s = frame.time_s - before.time_s
        if elapsed_s <= 0:
            elapsed_s = max(1, frame.index - before.index) / self._fps
        self._clock_s += elapsed_s
        # Pixels of an image of another size are other places.
        if frame.size_hw != before.size_hw:
            for last in self._last:
                last.clear()

    def _fill(self, task: int, identity: int, before: _Seen, now: _Seen) -> None:
        """Give the frames between two in which a track is detected what lies between."""
        for frame in self._waiting:
            if before.number < frame.number:
                share = (frame.clock_s - before.clock_s) / (now.clock_s - before.clock_s)
                found = _between(before, now, share)
                if found is not None:
                    frame.rows[task][identity] = found


def fill_gaps(
    frames: Iterable[tuple[Frame, Tracks]], seconds: float, fps: float
) -> Iterator[tuple[Frame, Tracks]]:
    """The frames of one task with the gaps of their tracks filled, each as soon as it is known.

    Args:
        frames: Frames with their tracks, in order.
        seconds: The longest gap that is filled; see `GapFiller`.
        fps: Of the source.

    Raises:
        UnitrackError: Whatever `frames` raises, after the frames before it.
    """
    gaps = GapFiller([seconds], fps)
    try:
        for frame, tracks in frames:
            gaps.add(frame, {}, [tracks])
            yield from ((shown, filled) for shown, _, (filled,) in gaps.ready())
    except UnitrackError:
        yield from ((shown, filled) for shown, _, (filled,) in gaps.ready(ended=True))
        raise
    yield from ((shown, filled) for shown, _, (filled,) in gaps.ready(ended=True))


def _detected(tracks: Tracks) -> list[int]:
    """Rows that motion alone did not put there."""
    if tracks.predicted is None:
        return list(range(len(tracks)))
    rows: list[int] = np.flatnonzero(~tracks.predicted).tolist()
    return rows


def _between(before: _Seen, now: _Seen, share: float) -> Detections | None:
    """One row: what lies between two detections of a track; None where rounding leaves no box.

    The class is that of the earlier one.  A joint is seen where both see it.
    """
    one, other = before.tracks.detections, now.tracks.detections
    a, c = before.row, now.row
    box = _mean(one.boxes_xyxy[a], other.boxes_xyxy[c], share)[None]
    if not valid_rows(box).all():
        return None
    joints = None
    if one.keypoints is not None and other.keypoints is not None:
        first, last = one.keypoints[a], other.keypoints[c]
        both = seen_joints(first) & seen_joints(last)
        joints = np.zeros_like(first)[None]
        joints[0, both] = _mean(first[both], last[both], share)
    scores = _mean(one.scores[a : a + 1], other.scores[c : c + 1], share)
    names = one.class_names
    return Detections(box, scores, one.classes[a : a + 1], keypoints=joints, class_names=names)


def _mean(first: FloatArray, last: FloatArray, share: float) -> FloatArray:
    a, c = first.astype(np.float64), last.astype(np.float64)
    return np.asarray(a + share * (c - a), np.float32)


def _with(tracks: Tracks, rows: dict[int, Detections]) -> Tracks:
    """Tracks with more rows, or others in place of those of the same identity.

    They are marked predicted, and come after the others, in the order of their identities.
    """
    if not rows:
        return tracks
    new = sorted(rows)
    kept = ~np.isin(tracks.ids, new)
    found, own = tracks.detections[kept], int(kept.sum())
    for identity in new:
        more = rows[identity]
        if found.masks is not None and len(found):
            none: npt.NDArray[np.bool_] = np.zeros((1, *found.masks.shape[1:]), np.bool_)
            more = replace(more, masks=none)
        found = joined(found, more)
    predicted = np.ones(len(found), np.bool_)
    predicted[:own] = False if tracks.predicted is None else tracks.predicted[kept]
    ids = np.concatenate([tracks.ids[kept], np.array(new, np.int64)])
    return replace(tracks, ids=ids, detections=found, predicted=predicted)
