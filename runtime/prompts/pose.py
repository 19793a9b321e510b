"""The poses that a video starts from, as `--init FILE.json` gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DetectionError, RequestError
from ...records import FloatArray, IntArray
from ..formats.coco import is_coco_results, read_coco
from ..formats.keypoints import (
    Entry,
    has_coco_joints,
    image_size,
    in_order,
    joints_of,
    list_of_objects,
    load_json,
    posetrack_from_coco,
    seen_joints,
)
from ..paths import is_file, is_folder


@dataclass(frozen=True, slots=True)
class InitPoses:
    """People of the first frame.

    Attributes:
        ids: (N,) int64, different ones, from 1.
        keypoints: (N, 17, 3) float32, PoseTrack18's joints: x, y in source pixels, confidence.
    """

    ids: IntArray
    keypoints: FloatArray


def poses_from_file(path: Path, size_hw: tuple[int, int] | None = None) -> InitPoses:
    """Read `--init`.

    Of a PoseTrack18 file that covers a video, the first image counts, by `frame_id`; of COCO
    results, the smallest `image_id`.  People without a visible joint are left out.  Where
    all of them have different `track_id`s, these are their ids, one higher in a file that counts
    from 0; else they are numbered from 1.

    Args:
        path: PoseTrack18 JSON or COCO keypoint results.
        size_hw: Height and width of the source's frames, to be compared where the file says one.

    Raises:
        RequestError: It is a folder.
        DetectionError: The file cannot be read or is malformed, is of another image size, or
            has no joint in its first frame.
    """
    if not is_file(path):
        folder = is_folder(path)
        raise (RequestError if folder else DetectionError)(
            f"--init {path}: {'a folder' if folder else 'there is no such file'}; "
            "expected PoseTrack18 JSON or COCO keypoint results of the first frame"
        )
    keypoints, names = _coco(path) if is_coco_results(path) else _posetrack(path, size_hw)
    shown = np.asarray(seen_joints(keypoints).any(axis=1), np.bool_)
    if not shown.any():
        raise DetectionError(
            f"--init {path}: no person in its first frame has a visible joint: give the "
            "keypoints of the source's first frame"
        )
    ids = _ids([name for name, seen in zip(names, shown, strict=True) if seen])
    return InitPoses(ids, keypoints[shown])


def _coco(path: Path) -> tuple[FloatArray, list[Any]]:
    images, _, rows, _ = read_coco(path)
    if rows.keypoints is None or not len(images):
        return np.zeros((0, 17, 3), np.float32), []
    first = rows.keypoints[images == images.min()]
    return first, [None] * len(first)


def _posetrack(path: Path, size_hw: tuple[int, int] | None) -> tuple[FloatArray, list[Any]]:
    data = load_json(path)
    images = in_order(path, list_of_objects(path, data, "images"))
    annotations = list_of_objects(path, data, "annotations")
    if not images:
        return np.zeros((0, 17, 3), np.float32), []
    size = image_size(images[0])
    if size is not None and size_hw is not None and size != size_hw:
        raise DetectionError(
            f"--init {path}: its first image is {size[1]}x{size[0]}, the source is "
            f"{size_hw[1]}x{size_hw[0]} (width x height): give poses of the source's first frame"
        )
    people: list[Entry] = []
    joints: list[FloatArray] = []
    for place, annotation in enumerate(annotations, 1):
        if annotation.get("image_id") == images[0]["id"]:
            people.append(annotation)
            joints.append(joints_of(f"{path}, annotation {place}", annotation))
    keypoints = np.array(joints, np.float32).reshape(-1, 17, 3)
    if has_coco_joints(data):
        keypoints = posetrack_from_coco(keypoints)
    return keypoints, [person.get("track_id") for person in people]


def _ids(names: list[Any]) -> IntArray:
    whole = all(isinstance(name, int) and 0 <= name < 1 << 31 for name in names)
    if not whole or len(set(names)) != len(names):
        return np.arange(1, len(names) + 1)
    # No person has number 0: that is the background of label maps.
    return np.array(names, np.int64) + (0 in names)
