"""How well a detector finds the objects of a data set, and what a frame costs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...records import PEOPLE, Detections
from ...runtime.detectors.base import BUILT_IN, Detector
from ...runtime.detectors.open import open_detector
from ...runtime.formats.keypoints import POSETRACK_JOINTS
from ...runtime.paths import DEFAULT_DETECTOR
from ...runtime.sources.images import open_images
from ...runtime.tables import TextTable
from ...tracking.config import DetectorConfig
from ..datasets.detection import TrueObjects
from ..metrics.detection import (
    DetectionScores,
    FrameMatch,
    PckhCount,
    match_frame,
    score_detections,
)

LOWEST = 1e-4
"""Detections down to here count for AP."""

ANY = ""
"""The group of all objects, where the detector names no classes."""

_BODY = range(5, len(POSETRACK_JOINTS))
"""Of PoseTrack18's joints those below the head."""


@dataclass(frozen=True, slots=True)
class DetectorChoice:
    """The detector that is measured.

    Attributes:
        config: As `cli track` takes it; names a detector.
        backend: What runs it, a key of `runtime.inference.registry.BACKENDS`.
        threads: Of the CPU; 0: all.
    """

    config: DetectorConfig
    backend: str = "cpu"
    threads: int = 0

    @property
    def detector(self) -> str:
        """A name, a path or `motion`."""
        return self.config.detector or DEFAULT_DETECTOR

    def open(self, confidence: float | None = None) -> Detector:
        """The detector.

        Args:
            confidence: Lowest score; None: that of the config, or else the detector's own.

        Raises:
            DetectionError: It cannot be opened.
        """
        config = self.config
        return open_detector(
            detector=self.detector,
            confidence=config.detector_confidence if confidence is None else confidence,
            classes=config.classes(),
            names=config.detector_names,
            layout=config.detector_layout,
            normalise=config.detector_normalise,
            size_hw=config.size_hw(),
            pose_model=config.pose_model,
            backend=self.backend,
            threads=self.threads,
        )


@dataclass(slots=True)
class Found:
    """What a detector found in some frames, beside the truth.

    Attributes:
        counted: A match a frame and class, of what the detector reports.
        all: The same of detections down to `LOWEST`, by class.
        joints: Of people.
        poses: Whether there were any to compare.
        milliseconds: Of each frame, resizing included.
        unknown: Objects of classes that the detector does not have, by class; they do not count.
    """

    counted: list[FrameMatch] = field(default_factory=list)
    all: dict[str, list[FrameMatch]] = field(default_factory=dict)
    joints: PckhCount = field(default_factory=PckhCount)
    poses: bool = False
    milliseconds: list[float] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """How many were looked at."""
        return len(self.milliseconds)

    def add(self, other: Found) -> None:
        """Add other frames."""
        self.counted += other.counted
        for name, matches in other.all.items():
            self.all.setdefault(name, []).extend(matches)
        self.joints.merge(other.joints)
        self.poses |= other.poses
        self.milliseconds += other.milliseconds
        for name, count in other.unknown.items():
            self.unknown[name] = self.unknown.get(name, 0) + count

    def values(self) -> dict[str, float | int | None]:
        """Scores by their names.

        recall and precision are over all objects, AP50 is the mean over the classes that have any.
        PCKh@0.5 is over the joints below the head; of a person that was not found, all are wrong.
        """
        scores: DetectionScores = score_detections(self.counted, -np.inf)
        parts = [score_detections(matches) for matches in self.all.values()]
        aps = [part.ap for part in parts if part.objects]
        return {
            "frames": self.frames,
            "objects": scores.objects,
            "recall": scores.recall,
            "precision": scores.precision,
            "AP50": float(np.mean(aps)) if aps else None,
            "PCKh": self.joints.share(_BODY) if self.poses else None,
            "ms_min": min(self.milliseconds, default=None),
            "ms_median": float(np.median(self.milliseconds)) if self.milliseconds else None,
        }

    def notes(self) -> list[str]:
        """What was not measured."""
        return [
            f"{count} objects of class {name} not counted: the detector does not look for it"
            for name, count in sorted(self.unknown.items())
        ]


_COLUMNS = ("objects", "recall", "precision", "AP50", "PCKh")


def table_of(results: Mapping[str, Found], together: Found) -> TextTable:
    """A row a sequence, and one for all where there are several."""
    named = {**results, **({"combined": together} if len(results) > 1 else {})}
    rows = []
    for name, found in named.items():
        values = found.values()
        cells = ["–" if values[c] is None else f"{values[c]:.3f}" for c in _COLUMNS[1:]]
        times = f"{values['ms_min']:.0f} / {values['ms_median']:.0f}"
        rows.append([name, str(found.frames), str(values["objects"]), *cells, times])
    return TextTable(["sequence", "frames", *_COLUMNS, "ms min / median"], rows)


def measure(
    choice: DetectorChoice,
    frames: Iterable[TrueObjects],
) -> Found:
    """Run a detector over the frames of one sequence.

    It runs twice: as it is used, which is timed, and with scores down to `LOWEST`, for AP.

    Args:
        choice: The detector.
        frames: In their order.

    Raises:
        UnitrackError: The detector cannot be opened or fails, or an image cannot be read.
    """
    found = Found()
    with choice.open() as detector:
        if choice.detector in BUILT_IN:
            _run(found, detector, None, frames)
        else:
            with choice.open(LOWEST) as low:
                _run(found, detector, low, frames)
    return found


def _run(
    found: Found,
    detector: Detector,
    low: Detector | None,
    frames: Iterable[TrueObjects],
) -> None:
    names = {_plain(name) for name in detector.class_names or () if name}
    for index, true in enumerate(frames):
        with open_images([true.path], str(true.path)) as source:
            frame = replace(next(source), index=index, time_s=0.0)
        start = time.perf_counter()
        seen = detector.detect(frame).named(detector.class_names)
        found.milliseconds.append((time.perf_counter() - start) * 1000)
        every = seen if low is None else low.detect(frame).named(low.class_names)
        categories = dict.fromkeys(map(_plain, true.categories))
        for name in [name for name in categories if name in names] if names else [ANY]:
            found.counted.append(_match(seen, true, name))
            found.all.setdefault(name, []).append(_match(every, true, name))
        for name in map(_plain, true.names):
            if names and name not in names:
                found.unknown[name] = found.unknown.get(name, 0) + 1
        found.poses |= _count_joints(found.joints, seen, true)


def _plain(name: str) -> str:
    """One name for people, and lower case for all."""
    return "person" if name.lower() in PEOPLE else name.lower()


def _match(seen: Detections, true: TrueObjects, group: str) -> FrameMatch:
    rows = _rows_of([seen.name_of(k) for k in seen.classes.tolist()], group)
    wanted = _rows_of(true.names, group)
    return match_frame(
        seen.boxes_xyxy[rows],
        seen.scores[rows],
        true.boxes_xyxy[wanted],
        true.ignored[wanted],
        true.crowd[wanted],
    )


def _rows_of(names: Sequence[str], group: str) -> Any:
    """(N,) bool: rows of a group."""
    return np.array([group in (ANY, _plain(name)) for name in names], np.bool_)


def _count_joints(joints: PckhCount, seen: Detections, true: TrueObjects) -> bool:
    """Count the joints of a frame: of a person that was not found, all are wrong."""
    if seen.keypoints is None or true.keypoints is None or true.head_sizes is None:
        return False
    match = match_frame(seen.boxes_xyxy, seen.scores, true.boxes_xyxy)
    order = np.argsort(-seen.scores.astype(np.float64), kind="stable")
    found = np.zeros_like(true.keypoints)
    for place, row in zip(order, match.truth_rows, strict=True):
        if row >= 0:
            found[row] = seen.keypoints[place]
    for person, truth, size in zip(found, true.keypoints, true.head_sizes, strict=True):
        joints.add(person, truth, float(size))
    return True
