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
from ....records import FloatArray
from ..keypoints import box_of, load_json, numbers_of
from ..reading.named import NamedTable
from ..text import ReadOptions
from .people import People

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
    people = People(path, "person", options)
    content = _images(path)
    place = 0
    for image, (file, data) in enumerate(content.values()):
        key = _people_key(data) or "people"
        for number, person in enumerate(data.get(key) or [], 1):
            place += 1
            where = f"{file}, person {number}"
            try:
                keypoints = _joints(where, person, _JOINTS_OF[key])
                box = box_of(where, {}, keypoints)
                if box is None:
                    raise DetectionError(f"{where}: no visible joint")
                people.add(image, place, where, box, keypoints)
            except DetectionError as error:
                people.damaged.add(place, error)
    return people.table(list(content))


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
