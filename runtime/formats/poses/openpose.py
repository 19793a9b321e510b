"""OpenPose's JSON: an object an image, `people` with `pose_keypoints_2d`.

A folder holds a file an image, `NAME_000000000012_keypoints.json` with frames from 0 or
`IMAGE_keypoints.json`; AlphaPose's forms of it (`open`, `cmu`) put objects under the images' names
into one file.  Joints are BODY_25 or COCO-18, and are brought into PoseTrack18's layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import DetectionError
from ....records import Detections, FloatArray
from ..keypoints import JOINTS, box_of, load_json, numbers_of, posetrack_from_coco, score_of
from ..reading.named import NamedFrames, NamedTable
from ..text import DamagedRows, ReadOptions

# Which joint of OpenPose each of COCO's 17 is.
_BODY_25 = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)
_COCO_18 = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
LAYOUTS = {25: _BODY_25, 18: _COCO_18}

_SUFFIX = "_keypoints"
_JOINTS_OF = {"people": "pose_keypoints_2d", "bodies": "joints"}


def is_openpose(data: Any) -> bool:
    """Whether JSON is OpenPose's of one image, or of several by their names."""
    if not isinstance(data, Mapping):
        return False
    if _people_key(data) is not None:
        return True
    return bool(data) and all(
        isinstance(image, Mapping) and _people_key(image) is not None for image in data.values()
    )


def openpose_files(folder: Path) -> list[Path]:
    """The files of a folder that are called like OpenPose's."""
    return sorted(folder.glob(f"*{_SUFFIX}.json"))


def _people_key(data: Mapping[str, Any]) -> str | None:
    return next((key for key in _JOINTS_OF if isinstance(data.get(key), list)), None)


def read_openpose(path: Path, options: ReadOptions | None = None) -> NamedTable:
    """Read a folder or a file.

    Raises:
        DetectionError: It cannot be read, or most people are damaged; names file and person.
    """
    options = options or ReadOptions()
    damaged = DamagedRows(path, "person", options.strict)
    images: list[int] = []
    boxes, scores, joints = [], [], []
    places: list[int] = []
    content = _images(path)
    place = 0
    for image, (where, data) in enumerate(content.values()):
        key = _people_key(data) or "people"
        for number, person in enumerate(data.get(key) or [], 1):
            place += 1
            try:
                keypoints = _joints(f"{where}, person {number}", person, _JOINTS_OF[key])
                box = box_of(where, {}, keypoints)
                if box is None:
                    raise DetectionError(f"{where}, person {number}: no visible joint")
            except DetectionError as error:
                damaged.add(place, error)
                continue
            images.append(image)
            places.append(place)
            boxes.append(box)
            scores.append(score_of(where, {}, keypoints))
            joints.append(keypoints)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    good = damaged.add_empty(corners, places)
    damaged.check(int(np.count_nonzero(good)))
    coco = np.array(joints, np.float32).reshape(-1, JOINTS, 3)[good]
    rows = Detections(
        corners[good],
        np.array(scores, np.float32)[good],
        np.zeros(len(coco), np.int64),
        keypoints=posetrack_from_coco(coco),
        class_names=("person",),
    )
    return NamedTable(
        path,
        NamedFrames(path, list(content), first=0),
        np.array(images, np.int64)[good],
        rows,
        np.array(places, np.int64)[good],
        place="person",
        damaged=damaged,
        options=options,
    )


def _images(path: Path) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Where it stands and what it holds, by the name of each image."""
    files = openpose_files(path) if path.is_dir() else [path]
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for file in files:
        data = load_json(file)
        if not is_openpose(data):
            raise DetectionError(f"{file}: expected OpenPose's object with the list 'people'")
        if _people_key(data) is not None:
            found[file.stem.removesuffix(_SUFFIX)] = (str(file), data)
        else:
            for number, (name, image) in enumerate(data.items(), 1):
                found[name] = (f"{file}, image {number}", image)
    if not found:
        raise DetectionError(f"--detections {path}: expected files NAME{_SUFFIX}.json")
    return found


def _joints(where: str, person: Any, name: str) -> FloatArray:
    """(17, 3) COCO's joints of a person."""
    flat = person.get(name) if isinstance(person, Mapping) else None
    count, rest = divmod(len(flat), 3) if isinstance(flat, list) else (0, 0)
    if count not in LAYOUTS or rest:
        raise DetectionError(f"{where}: expected BODY_25's 75 numbers in '{name}', or COCO's 54")
    values = np.array(numbers_of(where, name, flat, 3 * count), np.float32).reshape(count, 3)
    coco = values[list(LAYOUTS[count])]
    coco[:, 2] = np.clip(coco[:, 2], 0, 1)
    return np.asarray(coco, np.float32)
