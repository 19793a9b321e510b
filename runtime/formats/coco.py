"""Detections in COCO's result format: a bare list of objects with `image_id`, boxes or keypoints.

Such a file does not list its images, so frames are found by number.  Where the first frame's name
is a number that `image_id` may be (`000000397133.jpg`), frames are found by their names; otherwise
`image_id` counts frames, from 0 where any is 0 and from 1 where none is.

`keypoints` are COCO's 17 joints, flat or as triples of x, y, score, and are brought into
PoseTrack18's layout; entries with a `bbox` alone are boxes.  `keypoints` says what else is read.

`category_id` is the class, which such a file does not name.  Only in one with keypoints, which COCO
has of people alone, class 1 is named person, and is that of entries without a `category_id`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ...errors import DetectionError
from ...records import Detections, Frame, IntArray
from .keypoints import JOINTS, Entry, box_of, joints_of, load_json, posetrack_from_coco, score_of
from .text import TableFile, beyond_the_end, count, first_invalid

LAST_FRAME = 10_000_000
"""A larger `image_id` does not count frames: at 25 FPS this is more than four days."""

PERSON = 1
"""COCO's `category_id` of people."""

_BEGIN = re.compile(r"\s*\[\s*\{")
_LOOK = 4096


def is_coco_results(path: Path) -> bool:
    """Whether a file begins like a list of objects; False where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return _BEGIN.match(file.read(_LOOK)) is not None
    except (OSError, ValueError):
        return False


class CocoFile(TableFile):
    """A file of COCO results.

    Args:
        path: The file, as the user named it.
        default_class: Name of the class of entries without a `category_id`, which then are of class
            0; None: see the module.

    Raises:
        DetectionError: The file cannot be read or an entry is malformed; names the entry.
    """

    def __init__(self, path: Path, default_class: str | None = None) -> None:
        images, places, rows, self._bare = read_coco(path)
        if default_class is not None and rows.class_names is None:
            classes = np.maximum(rows.classes, 0)
            rows = replace(rows, classes=classes, class_names=(default_class,))
        self._first_image = 0 if (images == 0).any() else 1
        super().__init__(path, images, rows, places, place="entry")
        self._smallest = int(images.min()) if len(images) else 0
        self._largest = int(images.max(initial=0))
        self._by_name: bool | None = None
        self._looked: set[int] = set()

    def detect(self, frame: Frame) -> Detections:
        """The file's objects in one frame, in source pixels; see the module.

        Raises:
            DetectionError: Most boxes lie outside the image, or neither names nor order of the
                frames fit the file.
        """
        number = _number_of(frame.name)
        if self._by_name is None:
            self._by_name = self._is_by_name(number, frame.name)
        if not self._by_name:
            return self._at(frame.index + self._first_image, frame.size_hw)
        if number is None:
            return Detections.empty()
        self._looked.add(number)
        return self._at(number, frame.size_hw)

    def _is_by_name(self, number: int | None, name: str) -> bool:
        # No image of the file comes before the first frame, nor has more digits than its name.
        fits = number is not None and number <= self._smallest
        if fits and self._largest < 10 ** len(PurePath(name).stem):
            return True
        if self._largest > LAST_FRAME:
            raise DetectionError(
                f"{self.path}: image_id {self._smallest} to {self._largest} are neither numbers "
                f"of frames nor names like that of the first frame, {name!r}: give PoseTrack18 "
                "JSON, which lists its images"
            )
        return False

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """See `Detector.numbered_frames`; None where `image_id` is no number of a frame."""
        if self._largest > LAST_FRAME:
            return None
        return np.unique(self._frames) - self._first_image, self._first_image

    def notes(self, source_frames: int | None = None) -> list[str]:
        """Notes on what was left out; see `TableFile.notes`."""
        notes = super().notes()
        if self._bare:
            notes.append(
                f"{count(len(self._bare), 'entry', 'entries')} of {self.path} left out: neither "
                f"box nor visible joint, the first is entry {self._bare[0]}"
            )
        if source_frames is None:
            return notes
        if self._by_name:
            unused = sorted(set(self._frames.tolist()) - self._looked)
            if unused:
                notes.append(
                    f"detections for {count(len(unused), 'image', 'images')} of {self.path} not "
                    f"used, the first for image_id {unused[0]}: the source has no such frame"
                )
        else:
            frames = self._frames - self._first_image
            notes += beyond_the_end(self.path, frames, source_frames, self._first_image)
        return notes


def _number_of(name: str) -> int | None:
    stem = PurePath(name).stem
    return int(stem) if stem.isascii() and stem.isdigit() else None


def read_coco(path: Path) -> tuple[IntArray, IntArray, Detections, list[int]]:
    """Read a file of COCO results.

    Returns:
        `image_id` (M,) and number from 1 (M,) of each row, the M rows, and the numbers of entries
        left out, which have neither a box nor a visible joint.

    Raises:
        DetectionError: The file cannot be read or an entry is malformed; names the entry.
    """
    data = load_json(path)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise DetectionError(f"{path}: expected COCO results, a list of objects")
    images, places, boxes, scores, joints, bare = [], [], [], [], [], []
    classes = []
    for place, entry in enumerate(data, 1):
        where = f"{path}, entry {place}"
        image = _image_of(where, entry)
        keypoints = joints_of(where, _flat(entry))
        box = box_of(where, entry, keypoints)
        if box is None:
            bare.append(place)
            continue
        images.append(image)
        places.append(place)
        boxes.append(box)
        scores.append(score_of(where, entry, keypoints))
        joints.append(keypoints)
        classes.append(_class_of(where, entry))
    bad = first_invalid(boxes)
    if bad is not None:
        raise DetectionError(f"{path}, entry {places[bad]}: got an empty box {boxes[bad]}")
    rows = _rows(data, boxes, scores, joints, classes)
    return np.array(images, np.int64), np.array(places, np.int64), rows, bare


def _rows(
    data: list[Entry],
    boxes: Sequence[Any],
    scores: Sequence[float],
    joints: Sequence[Any],
    classes: Sequence[int],
) -> Detections:
    keypoints, names = None, None
    numbers = np.array(classes, np.int64)
    if any("keypoints" in entry for entry in data):
        numbers[numbers < 0] = PERSON
        names = ("", "person")
        keypoints = posetrack_from_coco(np.array(joints, np.float32).reshape(-1, JOINTS, 3))
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        numbers,
        keypoints=keypoints,
        class_names=names,
    )


def _class_of(where: str, entry: Entry) -> int:
    label = entry.get("category_id", -1)
    if isinstance(label, bool) or not isinstance(label, int) or not -1 <= label < 1 << 31:
        raise DetectionError(f"{where}: expected a whole 'category_id' from 0, got {label!r:.60}")
    return label


def _image_of(where: str, entry: Entry) -> int:
    image = entry.get("image_id")
    if isinstance(image, bool) or not isinstance(image, int) or not 0 <= image < 1 << 62:
        raise DetectionError(f"{where}: expected a whole 'image_id' from 0, got {image!r:.60}")
    return image


def _flat(entry: Entry) -> Entry:
    """The entry with `keypoints` as one list, where they are triples."""
    triples = entry.get("keypoints")
    if isinstance(triples, list) and triples and all(isinstance(t, list) for t in triples):
        return {**entry, "keypoints": [value for triple in triples for value in triple]}
    return entry
