"""True objects of images, for `cli eval --task detect`: MOTChallenge, PoseTrack18 and COCO.

Sequences are those of the same layouts in `mot` and `posetrack`; of COCO, an annotation file is one
sequence: `--data FILE.json`, or a folder with `annotations/*.json`, of which `--split val2017`
takes `instances_val2017.json`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DetectionError
from ...records import BoolArray, FloatArray
from ...runtime.boxes import valid_rows, xywh_to_xyxy
from ...runtime.formats.keypoints import Entry, list_of_objects, load_json
from ...runtime.formats.mot import read_mot_rows
from ...runtime.paths import leads_out
from .base import Reader, Sequence, of_existing
from .mot import read_mot
from .posetrack import read_poses, read_posetrack

VISIBLE = 0.25
"""People of MOT16 to MOT20 who are less visible need not be found."""

_IGNORED = (2, 7, 8, 12)
"""Classes of MOT16 to MOT20 that need not be found: people on vehicles, static ones, distractors,
reflections."""

_PERSON = 1
_PEOPLE = ("person",)


@dataclass(frozen=True, slots=True)
class TrueObjects:
    """What is to be found in one image.

    Attributes:
        path: The image.
        boxes_xyxy: (M, 4) float32 left, top, right, bottom in pixels, from 0.
        names: Of the M objects' classes.
        categories: Names of the classes of which every object is marked.
        ignored: (M,) bool: need not be found, and finding it is not wrong.
        crowd: (M,) bool: of the ignored ones, boxes of many objects each.
        keypoints: (M, 17, 3) float32 in PoseTrack18's layout, or None.
        head_sizes: (M,) float64 in pixels, NaN where not known; or None.
    """

    path: Path
    boxes_xyxy: FloatArray
    names: tuple[str, ...]
    categories: tuple[str, ...]
    ignored: BoolArray
    crowd: BoolArray
    keypoints: FloatArray | None = None
    head_sizes: FloatArray | None = None


def _mot_objects(sequence: Sequence) -> list[TrueObjects]:
    """People of a MOTChallenge sequence; rows without a class are all people."""
    frames: dict[int, list[tuple[tuple[float, float, float, float], bool]]] = {}
    for row in read_mot_rows(sequence.truth) if sequence.truth else ():
        if row.label in (None, -1, _PERSON, *_IGNORED):
            hidden = row.visibility is not None and row.visibility < VISIBLE
            free = row.label in _IGNORED or row.flag == 0 or hidden
            frames.setdefault(row.frame, []).append((row.box_xywh, free))
    found = []
    for path, number in zip(sequence.images, sequence.numbers, strict=True):
        rows = frames.get(number, [])
        # Pixels count from 1 there; in float64, since float32 could not take 1 from a large x.
        boxes = np.array([box for box, _ in rows], np.float64).reshape(-1, 4) - (1, 1, 0, 0)
        ignored = np.array([free for _, free in rows], np.bool_)
        names = _PEOPLE * len(rows)
        true = np.asarray(xywh_to_xyxy(boxes), np.float32)
        found.append(TrueObjects(path, true, names, _PEOPLE, ignored, np.zeros_like(ignored)))
    return found


def _posetrack_objects(sequence: Sequence) -> list[TrueObjects]:
    """People of a PoseTrack18 sequence with their joints; those without a box are left out."""
    if sequence.truth is None:
        return []
    _, people = read_poses(sequence.truth)
    boxes: dict[int, dict[int, list[float]]] = {}
    for row in list_of_objects(sequence.truth, load_json(sequence.truth), "annotations"):
        if isinstance(row.get("bbox"), list) and len(row["bbox"]) == 4:
            boxes.setdefault(row["image_id"], {})[row["track_id"]] = row["bbox"]
    found = []
    for path, number in zip(sequence.images, sequence.numbers, strict=True):
        poses, here = people.get(number), boxes.get(number, {})
        ids = [] if poses is None else [i for i in poses.ids.tolist() if i in here]
        rows = np.flatnonzero(np.isin([] if poses is None else poses.ids, ids))
        true = np.array([here[i] for i in ids], np.float32).reshape(-1, 4)
        none = np.zeros(len(ids), np.bool_)
        found.append(
            TrueObjects(
                *(path, xywh_to_xyxy(true), _PEOPLE * len(ids), _PEOPLE, none, none),
                None if poses is None else poses.keypoints[rows],
                None if poses is None else poses.head_sizes[rows],
            )
        )
    return found


@of_existing
def read_coco(root: Path, split: str | None) -> list[Sequence]:
    """The annotation files of a data set in COCO's layout.

    Args:
        root: An annotation file, or a folder that holds some in `annotations`.
        split: The end of their names, such as `val2017`.

    Raises:
        DetectionError: None there, or an image that is named has no file.
    """
    files = [root] if root.is_file() else sorted((root / "annotations").glob("*.json"))
    if split is not None and root.is_dir():
        files = [path for path in files if path.stem.endswith(split)]
    if not files:
        raise DetectionError(
            f"--data {root}: no annotations{'' if split is None else ' of ' + split}, expected a "
            "COCO annotation file or a folder with annotations/*.json"
        )
    return [_coco_sequence(path) for path in files]


def _coco_sequence(path: Path) -> Sequence:
    part = path.stem.rpartition("_")[2]
    folders = [path.parent, path.parent / "images", path.parent.parent]
    root = path.parent.parent
    folders += [root / name for name in (part, "images", f"images/{part}")]
    images = list_of_objects(path, load_json(path), "images")
    if not images:
        raise DetectionError(f"{path}: names no image")
    files, numbers = [], []
    for image in images:
        name, number = str(image.get("file_name", "")), image.get("id")
        places = [folder / name for folder in folders]
        places = [place for place in places if not leads_out(os.path.relpath(place, root))]
        if not places:
            raise DetectionError(f"{path}: image {number} {name!r} is outside of {root}")
        file = next((place for place in places if name and place.is_file()), None)
        if file is None or not isinstance(number, int):
            raise DetectionError(
                f"{path}: image {number} {name!r} is not there; looked in "
                f"{', '.join(map(str, folders))}"
            )
        files.append(file)
        numbers.append(number)
    return Sequence(path.stem, tuple(files), tuple(numbers), path)


def _coco_objects(sequence: Sequence) -> list[TrueObjects]:
    path = sequence.truth
    if path is None:
        return []
    data = load_json(path)
    categories = list_of_objects(path, data, "categories")
    names = {category.get("id"): str(category.get("name")) for category in categories}
    rows: dict[int, list[Entry]] = {}
    for place, row in enumerate(list_of_objects(path, data, "annotations"), 1):
        box = row.get("bbox")
        if row.get("category_id") not in names or not isinstance(box, list) or len(box) != 4:
            raise DetectionError(
                f"{path}, annotation {place}: expected a bbox of four numbers and a category_id of "
                "its categories"
            )
        rows.setdefault(int(row["image_id"]), []).append(row)
    found = []
    for file, number in zip(sequence.images, sequence.numbers, strict=True):
        here = rows.get(number, [])
        boxes = xywh_to_xyxy(np.array([row["bbox"] for row in here], np.float32).reshape(-1, 4))
        whole = valid_rows(boxes)
        crowd = np.array([bool(row.get("iscrowd")) for row in here], np.bool_)
        labels = np.array([names[row["category_id"]] for row in here], np.object_)[whole]
        known = tuple(names.values())
        objects = TrueObjects(file, boxes[whole], tuple(labels), known, crowd[whole], crowd[whole])
        found.append(objects)
    return found


@dataclass(frozen=True, slots=True)
class DetectionFormat:
    """A layout of data with true boxes.

    Attributes:
        read: Root and split → sequences.
        objects: Of a sequence with truth: one a frame.
    """

    read: Reader
    objects: Callable[[Sequence], list[TrueObjects]]


DETECTION_FORMATS = {
    "mot": DetectionFormat(read_mot, _mot_objects),
    "coco": DetectionFormat(read_coco, _coco_objects),
    "posetrack": DetectionFormat(read_posetrack, _posetrack_objects),
}
"""By the name that `--format` takes."""
