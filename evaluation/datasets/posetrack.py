"""PoseTrack18's layout: `annotations/SPLIT/NAME.json` and the images that it names.

PoseTrack21 has the same files in `posetrack_data/SPLIT`, whose joints are PoseTrack18's.  A folder
`NAME` with `images`, `gt.json` and `det.json` is read as well.  All images of a file are
tracked; those that are labelled are scored, without the joints that lie in regions to ignore.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from ...errors import DetectionError
from ...records import BoolArray, FloatArray
from ...runtime.formats.keypoints import (
    JOINTS,
    Entry,
    in_order,
    joints_of,
    list_of_objects,
    load_json,
    numbers_of,
)
from .base import Sequence, check_result_frames, split_folder


@dataclass(frozen=True, slots=True)
class Poses:
    """The people of one image.

    Attributes:
        ids: (N,) int64.
        keypoints: (N, 17, 3) float32 x, y, confidence, PoseTrack18's joints; confidence 0: not
            seen, at 0, 0 where no place is known either.
        head_sizes: (N,) float64 in pixels; NaN where it is not known.
    """

    ids: Any
    keypoints: FloatArray
    head_sizes: Any

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: BoolArray) -> Poses:
        """Those of the rows (N,) bool."""
        return Poses(self.ids[rows], self.keypoints[rows], self.head_sizes[rows])

    def shown(self) -> Poses:
        """Those of whom a joint is seen."""
        return self[np.asarray((self.keypoints[..., 2] > 0).any(axis=1), np.bool_)]


def read_posetrack(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a data set.

    Args:
        root: Holds `annotations` or folders of sequences.
        split: `train`, `val`, `test`.

    Raises:
        DetectionError: None there, or a file that is not PoseTrack18's.
    """
    places = [root / "annotations", root / "posetrack_data"]
    lists = next((place for place in places if place.is_dir()), places[0])
    lists = lists / split if split else lists
    if lists.is_dir():
        files = sorted(lists.glob("*.json"))
        if not files:
            below = ", ".join(p.name for p in sorted(lists.iterdir()) if p.is_dir())
            raise DetectionError(f"{lists}: no .json in it; --split may be {below or 'missing'}")
        return [_sequence(path.stem, path, root, None) for path in files]
    return [
        _sequence(folder.name, folder / "gt.json", folder, folder / "det.json")
        for folder in split_folder(root, split, lambda path: (path / "gt.json").is_file())
    ]


def _sequence(name: str, path: Path, root: Path, detections: Path | None) -> Sequence:
    data = load_json(path)
    images = in_order(path, list_of_objects(path, data, "images"))
    found = [(image, _image(root, str(image.get("file_name", "")))) for image in images]
    present = [(image, file) for image, file in found if file is not None]
    notes: tuple[str, ...] = ()
    if present and len(present) < len(found):
        lost = len(found) - len(present)
        notes = (f"{name}: {lost} of {len(found)} images have no file and are left out",)
    numbers = tuple(_number_of(path, image) for image, _ in present or found)
    if not numbers:
        raise DetectionError(f"{path}: expected 'images', got none")
    has_truth = any("track_id" in person for person in list_of_objects(path, data, "annotations"))
    return Sequence(
        name,
        tuple(file for _, file in present),
        numbers,
        path if has_truth else None,
        detections=detections if detections is not None and detections.is_file() else None,
        notes=notes,
    )


def _number_of(path: Path, image: Entry) -> int:
    if not isinstance(image["id"], int):
        raise DetectionError(f"{path}: image id {image['id']!r}, expected a whole number")
    return image["id"]


def _image(root: Path, name: str) -> Path | None:
    pure = PurePosixPath(name)
    if not pure.name or pure.is_absolute() or ".." in pure.parts:
        return None
    places = (root / pure, root / "images" / pure.name, root / pure.name)
    return next((place for place in places if place.is_file()), None)


def read_poses(path: Path) -> tuple[list[Entry], dict[int, Poses]]:
    """The images of a file, and the people with an identity by image.

    Raises:
        DetectionError: The file is malformed, or has an identity twice in an image.
    """
    data = load_json(path)
    images = in_order(path, list_of_objects(path, data, "images"))
    people: dict[int, dict[int, tuple[FloatArray, float]]] = {}
    for place, person in enumerate(list_of_objects(path, data, "annotations"), 1):
        where = f"{path}, annotation {place}"
        image, identity = person.get("image_id"), person.get("track_id")
        if not isinstance(image, int) or not isinstance(identity, int):
            raise DetectionError(f"{where}: expected whole numbers in image_id and track_id")
        rows = people.setdefault(image, {})
        if identity in rows:
            raise DetectionError(f"{where}: track_id {identity} appears twice in image {image}")
        joints = joints_of(where, person)
        rows[identity] = joints, _head_size(where, person, joints)
    return images, {image: _poses(rows) for image, rows in people.items()}


def _poses(rows: dict[int, tuple[FloatArray, float]]) -> Poses:
    return Poses(
        np.array(list(rows), np.int64),
        np.array([joints for joints, _ in rows.values()], np.float32).reshape(-1, JOINTS, 3),
        np.array([size for _, size in rows.values()], np.float64),
    )


def _head_size(where: str, person: Entry, joints: FloatArray) -> float:
    """PCKh's unit: 0.6 of the head box's diagonal, or else from the foot of the head to its top."""
    if person.get("bbox_head"):
        _, _, width, height = numbers_of(where, "bbox_head", person["bbox_head"], 4)
        if width > 0 and height > 0:
            return 0.6 * float(np.hypot(width, height))
    # Joints that are hidden (v = 0) are annotated all the same; those that are not, lie at 0, 0.
    foot, top = joints[1, :2].astype(np.float64), joints[2, :2].astype(np.float64)
    if not foot.any() or not top.any():
        return float("nan")
    size = float(np.hypot(*(top - foot)))
    return size if size > 0 else float("nan")


def labelled_frames(sequence: Sequence, results: Path) -> Iterable[tuple[Poses, Poses]]:
    """Truth and results of every labelled frame, without joints in regions to ignore.

    Raises:
        DetectionError: A file is malformed, or the results are of other images.
    """
    if sequence.truth is None:
        return
    images, truth = read_poses(sequence.truth)
    found = _by_truth_ids(*read_poses(results), images)
    check_result_frames(sequence, results, found)
    no_poses = _poses({})
    for image in images:
        number = _number_of(sequence.truth, image)
        if number not in sequence.numbers or not image.get("is_labeled", True):
            continue
        regions = _regions(f"{sequence.truth}, image {number}", image)
        yield (
            _outside(truth.get(number, no_poses), regions),
            _outside(found.get(number, no_poses), regions),
        )


def _by_truth_ids(
    images: list[Entry], found: dict[int, Poses], true_images: list[Entry]
) -> dict[int, Poses]:
    """Results under the truth's image ids; `cli track` counts images from 1 and keeps names."""
    own = {PurePosixPath(str(image.get("file_name"))).name: image["id"] for image in true_images}
    if set(found) <= set(own.values()):
        return found
    names = {image["id"]: PurePosixPath(str(image.get("file_name"))).name for image in images}
    return {own.get(names.get(image, ""), image): poses for image, poses in found.items()}


def _regions(where: str, image: Entry) -> list[FloatArray]:
    regions = []
    xs, ys = (image.get(f"ignore_regions_{axis}") or [] for axis in "xy")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        raise DetectionError(f"{where}: expected as many lists in ignore_regions_x and _y")
    for x, y in zip(xs, ys, strict=True):
        length = len(x) if isinstance(x, list) else 0
        corners = [numbers_of(where, "ignore_regions", values, length) for values in (x, y)]
        if length > 2:
            regions.append(np.array(corners, np.float32).T.copy())
    return regions


def _outside(poses: Poses, regions: list[FloatArray]) -> Poses:
    keypoints = poses.keypoints.copy()
    for row, joint in np.argwhere(keypoints.any(axis=-1)):
        point = tuple(float(v) for v in keypoints[row, joint, :2])
        if any(cv2.pointPolygonTest(region, point, False) >= 0 for region in regions):
            keypoints[row, joint] = 0
    placed = np.asarray(keypoints.any(axis=(1, 2)), np.bool_)
    return replace(poses, keypoints=keypoints)[placed]
