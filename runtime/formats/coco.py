"""Detections in COCO's formats: bare lists of results, and files that list their images.

Results are objects with `image_id`, boxes or keypoints.  Such a file does not list its images, so
frames are found by number.  Where the first frame's name is a number that `image_id` may be
(`000000397133.jpg`), frames are found by their names; otherwise `image_id` counts frames, from 0
where any is 0 and from 1 where none is.

`keypoints` are COCO's 17 joints, flat or as triples of x, y, score, and are brought into
PoseTrack18's layout; entries with a `bbox` alone are boxes.  `keypoints` says what else is read.

`category_id` is the class, which such a file does not name.  Only in one with keypoints, which COCO
has of people alone, class 1 is named person, and is that of entries without a `category_id`.

A full file has `images`, `annotations` and `categories`: frames are found by their names or
numbers, see `reading.named`, and classes are named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ...errors import DetectionError, count
from ...records import Detections, FloatArray, Frame, IntArray
from ..sources.base import LAST_FRAME
from .keypoints import (
    JOINTS,
    Entry,
    box_of,
    image_size,
    in_order,
    joints_of,
    list_of_objects,
    load_json,
    posetrack_from_coco,
    score_of,
)
from .reading.named import NamedFrames, NamedTable
from .text import DamagedRows, ReadOptions, TableFile, beyond_the_end, read_text

_LARGEST_NAMED = 1 << 20

PERSON = 1
"""COCO's `category_id` of people."""

_BEGIN = re.compile(r"\s*\[\s*[\{\]]")


def is_coco_results(path: Path) -> bool:
    """Whether a file is a list, of objects where not empty; False where it cannot be read."""
    try:
        return _BEGIN.match(read_text(path)) is not None
    except (OSError, ValueError):
        return False


class CocoFile(TableFile):
    """A file of COCO results.

    Args:
        path: The file, as the user named it.
        options: How to read it.  Entries without a `category_id` are of `default_class`, and then
            of class 0; without one, see the module.

    Raises:
        DetectionError: The file cannot be read, or most entries are damaged; names the entry.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        options = options or ReadOptions()
        damaged = DamagedRows(path, "entry", options.strict)
        images, places, rows, self._bare = read_coco(path, damaged)
        rows = _of_default_class(rows, options.default_class)
        self._first_image = options.first_of(images)
        super().__init__(
            path, images, rows, places, place="entry", damaged=damaged, options=options
        )
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
        positions = np.unique(self._frames) - self._first_image
        return positions[positions >= 0], self._first_image

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
            if stray := int(np.count_nonzero(frames < 0)):
                notes.append(
                    f"{count(stray, 'entry', 'entries')} of {self.path} for image_id 0 not used: "
                    "the other images go together and count from 1"
                )
            notes += beyond_the_end(self.path, frames, source_frames, self._first_image)
        return notes


def _number_of(name: str) -> int | None:
    stem = PurePath(name).stem
    return int(stem) if stem.isascii() and stem.isdigit() else None


def _of_default_class(rows: Detections, default_class: str | None) -> Detections:
    """The rows with a name for the classes of a file that names none."""
    if default_class is None or rows.class_names is not None:
        return rows
    return replace(rows, classes=np.maximum(rows.classes, 0), class_names=(default_class,))


def is_coco_file(data: Any) -> bool:
    """Whether JSON lists images, annotations with boxes, and classes, and says nothing of joints.

    PoseTrack's files have the same lists, and joints; those of boxes alone may leave out the
    classes, of which the only one is person, 1.
    """
    lists = ("images", "annotations")
    if not isinstance(data, dict) or not all(isinstance(data.get(name), list) for name in lists):
        return False
    entries = [entry for entry in data["annotations"] if isinstance(entry, dict)]
    categories = data.get("categories")
    if not isinstance(categories, list):
        others = (entry.get("category_id", PERSON) != PERSON for entry in entries)
        return any(others) and not any("keypoints" in entry for entry in entries)
    known = [*entries[:100], *categories]
    return not any(isinstance(entry, dict) and "keypoints" in entry for entry in known)


class CocoImagesFile(NamedTable):
    """A full COCO file: images, annotations and the names of classes; or a list of named images.

    Such a list is of results whose `image_id` is the name of a file, as Ultralytics' `save_json`
    writes them.

    Args:
        path: The file, as the user named it.
        options: How to read it.

    Raises:
        DetectionError: The file cannot be read, or most annotations are damaged; names the first.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        options = options or ReadOptions()
        data = load_json(path)
        listed = not isinstance(data, list)
        if not listed:
            data = _with_images(data)
        images = in_order(path, list_of_objects(path, data, "images"))
        positions = {image["id"]: place for place, image in enumerate(images)}
        self._sizes = [image_size(image) for image in images]
        damaged = DamagedRows(path, "annotation", options.strict)
        image_ids, boxes, scores, classes, places = [], [], [], [], []
        for place, entry in enumerate(list_of_objects(path, data, "annotations"), 1):
            where = f"{path}, annotation {place}"
            try:
                image = entry.get("image_id")
                if not isinstance(image, (int, str)) or image not in positions:
                    raise DetectionError(f"{where}: image_id {image!r:.60} is not among the images")
                box = box_of(where, {"bbox": entry.get("bbox")}, joints_of(where, {}))
                if box is None:
                    raise DetectionError(f"{where}: expected a box in 'bbox'")
                score, label = score_of(where, entry, joints_of(where, {})), _class_of(where, entry)
            except DetectionError as error:
                damaged.add(place, error)
                continue
            image_ids.append(positions[image])
            boxes.append(box)
            scores.append(score)
            classes.append(label)
            places.append(place)
        corners = np.array(boxes, np.float32).reshape(-1, 4)
        good = damaged.add_empty(corners, places)
        damaged.check(int(np.count_nonzero(good)))
        rows = Detections(
            corners[good],
            np.array(scores, np.float32)[good],
            np.array(classes, np.int64)[good],
            class_names=_category_names(data.get("categories")),
        )
        super().__init__(
            path,
            NamedFrames(path, [_name_of(image) for image in images], listed=listed),
            np.array(image_ids, np.int64)[good],
            _of_default_class(rows, options.default_class),
            np.array(places, np.int64)[good],
            place="annotation",
            damaged=damaged,
            options=options,
        )

    def detect(self, frame: Frame) -> Detections:
        """The file's objects in one frame, in source pixels.

        Raises:
            DetectionError: The file gives another image size, or most boxes lie outside the image.
        """
        place = self._images.find(frame)
        size_hw = None if place is None else self._sizes[place]
        if place is not None and size_hw not in (None, frame.size_hw):
            height, width = size_hw or (0, 0)
            raise DetectionError(
                f"{self.path}: image {self._images.names[place]!r} is {width}x{height} there, the "
                f"source's frame is {frame.size_hw[1]}x{frame.size_hw[0]}: give --detections a "
                "file made on this source"
            )
        return super().detect(frame)


def has_named_images(data: Any) -> bool:
    """Whether JSON is a list of boxes that name their image."""
    first = data[0] if isinstance(data, list) and data else None
    return isinstance(first, dict) and isinstance(first.get("image_id"), str) and "bbox" in first


def _with_images(results: list[Any]) -> dict[str, Any]:
    """A list of results as a full file: its images are those that are named."""
    entries = [entry if isinstance(entry, dict) else {} for entry in results]
    names = dict.fromkeys(
        entry["image_id"] for entry in entries if isinstance(entry.get("image_id"), str)
    )
    return {"images": [{"id": name} for name in names], "annotations": entries}


def _name_of(image: Entry) -> str:
    """What an image is called: by its file, else by its number."""
    return str(image.get("file_name") or image["id"])[:1000]


def _category_names(categories: Any) -> list[str] | None:
    """Names of classes by number; None where the file has none."""
    if not isinstance(categories, list):
        return None
    known = {}
    for category in categories:
        number = category.get("id") if isinstance(category, dict) else None
        if isinstance(number, int) and 0 <= number < _LARGEST_NAMED:
            known[int(number)] = str(category.get("name", ""))
    return [known.get(k, "") for k in range(max(known) + 1)] if known else None


def read_coco(
    path: Path, damaged: DamagedRows | None = None
) -> tuple[IntArray, IntArray, Detections, list[int]]:
    """Read a file of COCO results.

    Args:
        path: The file.
        damaged: Takes the entries that cannot be read; None: one is an error.

    Returns:
        `image_id` (M,) and number from 1 (M,) of each row, the M rows, and the numbers of entries
        left out, which have neither a box nor a visible joint.

    Raises:
        DetectionError: The file cannot be read, or most entries are damaged; names the entry.
    """
    damaged = damaged or DamagedRows(path, "entry", strict=True)
    data = load_json(path)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise DetectionError(f"{path}: expected COCO results, a list of objects")
    images, places, boxes, scores, joints, bare = [], [], [], [], [], []
    classes = []
    for place, entry in enumerate(data, 1):
        where = f"{path}, entry {place}"
        try:
            image, label = _image_of(where, entry), _class_of(where, entry)
            keypoints = joints_of(where, _flat(entry))
            box, score = box_of(where, entry, keypoints), score_of(where, entry, keypoints)
        except DetectionError as error:
            damaged.add(place, error)
            continue
        if box is None:
            bare.append(place)
            continue
        images.append(image)
        places.append(place)
        boxes.append(box)
        scores.append(score)
        joints.append(keypoints)
        classes.append(label)
    rows_of = np.array(images, np.int64), np.array(places, np.int64)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    good = damaged.add_empty(corners, places)
    damaged.check(int(np.count_nonzero(good)) + len(bare))
    rows = _rows(data, corners, scores, joints, classes)
    return rows_of[0][good], rows_of[1][good], rows[good], bare


def _rows(
    data: list[Entry],
    boxes: FloatArray,
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
        boxes,
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
