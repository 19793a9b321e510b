"""Trackers of other packages behind one function: boxes of a frame in, boxes with ids out.

Each has its own defaults; the frame rate is the source's.  A package is imported when one of its
trackers is opened, so none of them needs to be installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...records import Detections, FloatArray, Frame, IntArray, Tracks
from ...runtime.boxes import valid_rows

Update = Callable[[Frame, Detections], Tracks]
"""Gives identities to the detections of the next frame."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A tracker of another package.

    Attributes:
        name: For the table.
        package: What is imported.
        open: Frames per second → a tracker of one video.
        takes_raw: Whether it takes scores that are no probabilities.
    """

    name: str
    package: str
    open: Callable[[float], Update]
    takes_raw: bool = True

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return find_spec(self.package) is not None

    @property
    def title(self) -> str:
        """Package, version and name."""
        try:
            return f"{self.package} {version(self.package)} {self.name}"
        except PackageNotFoundError:
            return f"{self.package} {self.name}"


def _roboflow(class_name: str, *, looks: bool = False) -> Callable[[float], Update]:
    """A tracker of roboflow's package `trackers`.

    Args:
        class_name: Its class.
        looks: Whether it is given the image, to see how the camera moves.
    """

    def open_tracker(fps: float) -> Update:
        supervision = import_module("supervision")
        tracker = getattr(import_module("trackers"), class_name)(frame_rate=fps)

        def update(frame: Frame, seen: Detections) -> Tracks:
            given = supervision.Detections(
                xyxy=seen.boxes_xyxy, confidence=seen.scores, class_id=seen.classes.astype(int)
            )
            found = tracker.update(given, frame.image) if looks else tracker.update(given)
            ids = np.zeros(0) if found.tracker_id is None else found.tracker_id
            return tracks_of(frame, ids, found.xyxy, found.confidence)

        return update

    return open_tracker


def _boxmot(class_name: str, *, timed: bool = False, **given: Any) -> Callable[[float], Update]:
    """A tracker of `boxmot`, without its network for appearance where it has one.

    Args:
        class_name: Its class.
        timed: Whether it asks for the frame rate.
        **given: What else it is given.
    """

    def open_tracker(fps: float) -> Update:
        rate = {"frame_rate": round(fps)} if timed else {}
        tracker = getattr(import_module("boxmot"), class_name)(**rate, **given)

        def update(frame: Frame, seen: Detections) -> Tracks:
            rows = np.column_stack([seen.boxes_xyxy, seen.scores, seen.classes]).astype(np.float32)
            # Columns: four of the box, id, score, class, row of the detection.
            found = np.asarray(tracker.update(rows, frame.image), np.float64).reshape(-1, 8)
            return tracks_of(frame, found[:, 4], found[:, :4], found[:, 5])

        return update

    return open_tracker


def _norfair(fps: float) -> Update:
    """`norfair` by overlap of boxes; what it reports are the boxes of its filters."""
    del fps
    norfair = import_module("norfair")
    tracker = norfair.Tracker(distance_function="iou", distance_threshold=0.7)

    def update(frame: Frame, seen: Detections) -> Tracks:
        given = [
            norfair.Detection(points=box.reshape(2, 2), scores=np.array([score, score]))
            for box, score in zip(seen.boxes_xyxy, seen.scores, strict=True)
        ]
        found = tracker.update(detections=given)
        boxes = np.array([one.estimate for one in found]).reshape(-1, 4)
        scores = np.array([float(one.last_detection.scores[0]) for one in found])
        return tracks_of(frame, np.array([one.id for one in found]), boxes, scores)

    return update


def tracks_of(frame: Frame, ids: Any, boxes: Any, scores: Any) -> Tracks:
    """Tracks of what a peer gives back; rows without an identity or an area are left out.

    Args:
        frame: What it was given.
        ids: (N,) numbers; below 0: not confirmed yet.
        boxes: (N, 4): left, top, right, bottom.
        scores: (N,), or None.
    """
    numbers: IntArray = np.asarray(ids).astype(np.int64).reshape(-1)
    places: FloatArray = np.asarray(boxes, np.float32).reshape(-1, 4)
    sure = np.ones(len(places)) if scores is None else scores
    kept = (numbers >= 0) & valid_rows(places)
    # Some count from 0, results from 1.
    found = Detections(
        places[kept], np.asarray(sure, np.float32)[kept], np.zeros(int(kept.sum()), np.int64)
    )
    return Tracks(frame.index, numbers[kept] + 1, found)


PEERS = (
    Peer("SORT", "trackers", _roboflow("SORTTracker")),
    Peer("ByteTrack", "trackers", _roboflow("ByteTrackTracker")),
    Peer("OC-SORT", "trackers", _roboflow("OCSORTTracker")),
    Peer("C-BIoU", "trackers", _roboflow("CBIoUTracker")),
    Peer("BoT-SORT", "trackers", _roboflow("BoTSORTTracker", looks=True)),
    Peer("ByteTrack", "boxmot", _boxmot("ByteTrack", timed=True), takes_raw=False),
    Peer("OC-SORT", "boxmot", _boxmot("OcSort"), takes_raw=False),
    Peer(
        *("BoT-SORT, no ReID", "boxmot"),
        _boxmot("BotSort", timed=True, use_embeddings=False),
        takes_raw=False,
    ),
    Peer(
        *("HybridSORT, no ReID", "boxmot"),
        _boxmot("HybridSort", use_embeddings=False),
        takes_raw=False,
    ),
    Peer("IoU 0.7", "norfair", _norfair),
)
"""What is compared, where it is installed."""
