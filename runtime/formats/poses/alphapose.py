"""AlphaPose's JSON: a list of people whose `image_id` is the name of an image's file.

Of a video AlphaPose calls the images `0.jpg`, `1.jpg` …: the number is that of the frame, from 0.
`keypoints` are COCO's 17 joints, first of 17, 26, 133 or 136, as x, y, confidence; `score` is on a
scale of its own, so that the mean confidence of the joints stands for it; `box` is left, top,
width, height.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....errors import DetectionError
from ....records import FloatArray
from ..keypoints import JOINTS, box_of, joints_of, load_json, numbers_of
from ..reading.named import NamedTable
from ..text import ReadOptions
from .people import People

LAYOUTS = (17, 26, 133, 136)
"""How many joints a person may have: COCO, Halpe-26, COCO-WholeBody, Halpe-136; all begin with
COCO's 17."""

_LONGEST_NAME = 1024


def is_alphapose(data: Any) -> bool:
    """Whether JSON is a list of people that name their image."""
    return (
        isinstance(data, list)
        and bool(data)
        and isinstance(data[0], dict)
        and isinstance(data[0].get("image_id"), str)
        and "keypoints" in data[0]
    )


def read_alphapose(path: Path, options: ReadOptions | None = None) -> NamedTable:
    """Read a file.

    Raises:
        DetectionError: It cannot be read, or most entries are damaged; names the entry.
    """
    data = load_json(path)
    if not isinstance(data, list):
        raise DetectionError(f"{path}: expected AlphaPose's list of people")
    people = People(path, "entry", options)
    names: dict[str, int] = {}
    for place, entry in enumerate(data, 1):
        where = f"{path}, entry {place}"
        try:
            name, keypoints, box = _person(where, entry)
            people.add(names.get(name, len(names)), place, where, box, keypoints)
        except DetectionError as error:
            people.damaged.add(place, error)
            continue
        names.setdefault(name, len(names))
    return people.table(list(names))


def _person(where: str, entry: Any) -> tuple[str, FloatArray, list[float]]:
    """The image's name, (17, 3) joints, and left, top, right, bottom."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image_id"), str):
        raise DetectionError(f"{where}: expected a person with the name of its image in 'image_id'")
    name = str(entry["image_id"])
    if not name or len(name) > _LONGEST_NAME:
        raise DetectionError(f"{where}: expected the name of an image in 'image_id'")
    flat = entry.get("keypoints")
    if not isinstance(flat, list) or len(flat) not in [3 * n for n in LAYOUTS]:
        got = len(flat) if isinstance(flat, list) else type(flat).__name__
        raise DetectionError(f"{where}: expected 17, 26, 133 or 136 joints of 3 numbers, got {got}")
    keypoints = joints_of(where, {"keypoints": flat[: 3 * JOINTS]})
    given = {"bbox": entry["box"]} if entry.get("box") is not None else {}
    if given:
        numbers_of(where, "box", given["bbox"], 4)
    box = box_of(where, given, keypoints)
    if box is None:
        raise DetectionError(f"{where}: neither box nor visible joint")
    return name, keypoints, box
