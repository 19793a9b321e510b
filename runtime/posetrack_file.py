"""Detections in PoseTrack18's JSON format.

`images` lists the frames and `annotations` the persons: `keypoints` is 17 × (x, y, v) in one flat
list, in source pixels, joint not seen where v = 0.

* The confidence of a joint is v, at most 1; where `scores` has 17 numbers it is the joint's score,
  and 0 where v is 0.
* The score of a person is `score`, or else the mean confidence of the joints seen.
* The box is `bbox` (left, top, width, height), or else the tight box of the joints seen, a tenth
  of its width and height larger on each side, so a fifth larger in all.
* Frames of the source are found by file name: a name matches where the end of `file_name` is it.
  Where the first frame's name matches none, frames are taken in order: by `frame_id` where all
  images have different ones, else as listed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ..errors import ObservationError
from ..records import FloatArray, Frame, IntArray, Observations
from .detection_files import LARGEST, TableFile, count, first_invalid, unreadable

JOINTS = 17
BOX_MARGIN = 0.1


class PosetrackFile(TableFile):
    """A PoseTrack18 file.

    Args:
        path: The file, as the user named it.

    Raises:
        ObservationError: The file cannot be read or an entry is malformed; names the entry.
    """

    def __init__(self, path: Path) -> None:
        images, annotations = _load(path)
        self._names = [PurePath(str(image.get("file_name", ""))).parts[::-1] for image in images]
        self._by_end: dict[str, list[int]] = {}
        for i, parts in enumerate(self._names):
            self._by_end.setdefault(parts[0] if parts else "", []).append(i)
        self._sizes = [_image_size(image) for image in images]
        positions = {image["id"]: i for i, image in enumerate(images)}
        frames, rows, self._bare = _read_persons(path, annotations, positions)
        super().__init__(path, frames[0], rows, frames[1], place="annotation")
        self._by_name: bool | None = None
        self._seen: set[int] = set()

    def observe(self, frame: Frame) -> Observations:
        """The file's persons in one frame, with boxes and keypoints, in source pixels.

        Raises:
            ObservationError: The file gives another picture size, most boxes lie outside the
                picture, or names and order of the frames contradict one another.
        """
        position = self._find(frame)
        if position is None:
            return Observations.empty()
        self._seen.add(position)
        size_hw = self._sizes[position]
        if size_hw is not None and size_hw != frame.size_hw:
            raise ObservationError(
                f"{self.path}: image {self._name(position)} is "
                f"{size_hw[1]}x{size_hw[0]} there, the source's frame is "
                f"{frame.size_hw[1]}x{frame.size_hw[0]}: give --detections a file made on this "
                "source"
            )
        return self._at(position, frame.size_hw)

    def _find(self, frame: Frame) -> int | None:
        """Position of a frame among the images; None where the file does not have it."""
        named = self._find_name(frame)
        if self._by_name is None:
            self._by_name = named is not None
        if self._by_name:
            return named
        if named is not None and named != frame.index:
            raise ObservationError(
                f"{self.path}: frame {frame.name!r} is number {frame.index + 1} of the source but "
                f"image {named + 1} of the file, and earlier frames are not in the file by name: "
                "give both the same frames"
            )
        return frame.index if frame.index < len(self._names) else None

    def _find_name(self, frame: Frame) -> int | None:
        parts = PurePath(frame.name).parts[::-1]
        if not parts:
            return None
        matches = [
            i
            for i in self._by_end.get(parts[0], [])
            if all(a == b for a, b in zip(self._names[i], parts, strict=False))
        ]
        if len(matches) > 1:
            raise ObservationError(
                f"{self.path}: {len(matches)} images are called {frame.name!r}: expected a "
                "file that covers one video"
            )
        return matches[0] if matches else None

    def _name(self, position: int) -> str:
        # Quoted, because a name in a damaged file may hold anything.
        return repr("/".join(self._names[position][::-1]))

    def notes(self, source_frames: int | None = None) -> list[str]:
        """Remarks on what was left out; see `TableFile.notes`."""
        notes = super().notes(None if self._by_name else source_frames)
        if self._bare:
            notes.append(
                f"{count(len(self._bare), 'annotation', 'annotations')} of {self.path} without a "
                f"box and a joint seen left out, the first is annotation {self._bare[0]}"
            )
        if self._by_name and source_frames is not None:
            unused = sorted(set(self._frames.tolist()) - self._seen)
            if unused:
                notes.append(
                    f"detections for {count(len(unused), 'image', 'images')} of {self.path} not "
                    f"used, the first for {self._name(unused[0])}: the source has no such frame"
                )
        return notes


def _load(path: Path) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ObservationError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg})"
        ) from error
    except RecursionError as error:
        raise ObservationError(f"{path}: JSON nested too deeply, expected PoseTrack18") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    return _in_order(path, _entries(path, data, "images")), _entries(path, data, "annotations")


def _entries(path: Path, data: Any, key: str) -> list[Mapping[str, Any]]:
    entries = data.get(key) if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ObservationError(
            f"{path}: expected PoseTrack18 JSON, an object with the lists 'images' and "
            f"'annotations', got no list '{key}' of objects"
        )
    return entries


def _in_order(path: Path, images: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    ids = [image.get("id") for image in images]
    if not all(isinstance(i, (int, str)) for i in ids) or len(set(ids)) != len(ids):
        raise ObservationError(f"{path}: expected an 'id' in every image, each at most once")
    order = [image.get("frame_id") for image in images]
    if all(isinstance(i, int) for i in order) and len(set(order)) == len(order):
        return sorted(images, key=lambda image: int(image["frame_id"]))
    return images


def _image_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _read_persons(
    path: Path, annotations: Sequence[Mapping[str, Any]], positions: Mapping[Any, int]
) -> tuple[tuple[IntArray, IntArray], Observations, list[int]]:
    """Frame positions and places of the rows, the rows, and the places of those left out."""
    frames, places, boxes, scores, joints, bare = [], [], [], [], [], []
    for place, annotation in enumerate(annotations, 1):
        where = f"{path}, annotation {place}"
        image = annotation.get("image_id")
        if not isinstance(image, (int, str)) or image not in positions:
            raise ObservationError(f"{where}: image_id {image!r} is not among the images")
        keypoints = _keypoints(where, annotation)
        box = _box(where, annotation, keypoints)
        if box is None:
            bare.append(place)
            continue
        frames.append(positions[image])
        places.append(place)
        boxes.append(box)
        scores.append(_score(where, annotation, keypoints))
        joints.append(keypoints)
    bad = first_invalid(boxes)
    if bad is not None:
        raise ObservationError(f"{path}, annotation {places[bad]}: got an empty box {boxes[bad]}")
    rows = Observations(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.zeros(len(boxes), np.int64),
        keypoints=np.array(joints, np.float32).reshape(-1, JOINTS, 3),
    )
    return (np.array(frames, np.int64), np.array(places, np.int64)), rows, bare


def _numbers(where: str, name: str, values: Any, length: int) -> list[float]:
    if isinstance(values, list) and len(values) == length:
        fits = [isinstance(v, (int, float)) and abs(v) <= LARGEST for v in values]
        if all(fits):
            return [float(value) for value in values]
    raise ObservationError(f"{where}: expected {length} finite numbers in '{name}'")


def _keypoints(where: str, annotation: Mapping[str, Any]) -> FloatArray:
    if "keypoints" not in annotation:
        return np.zeros((JOINTS, 3), np.float32)
    flat = _numbers(where, "keypoints", annotation["keypoints"], 3 * JOINTS)
    keypoints = np.array(flat, np.float32).reshape(JOINTS, 3)
    seen = keypoints[:, 2] > 0
    keypoints[:, 2] = np.clip(keypoints[:, 2], 0, 1)
    if annotation.get("scores"):
        scores = np.array(_numbers(where, "scores", annotation["scores"], JOINTS), np.float32)
        keypoints[:, 2] = np.where(seen, scores, 0)
    return keypoints


def _box(where: str, annotation: Mapping[str, Any], keypoints: FloatArray) -> list[float] | None:
    if annotation.get("bbox") is not None:
        x, y, w, h = _numbers(where, "bbox", annotation["bbox"], 4)
        if w <= 0 or h <= 0:
            raise ObservationError(f"{where}: got width {w} and height {h}, expected above 0")
        return [x, y, x + w, y + h]
    seen = keypoints[keypoints[:, 2] > 0, :2].astype(np.float64)
    if not len(seen):
        return None
    low, high = seen.min(axis=0), seen.max(axis=0)
    # A single joint, or joints in one line, still need a box with area.
    margin = np.maximum(BOX_MARGIN * (high - low), 0.5)
    return [*(low - margin).tolist(), *(high + margin).tolist()]


def _score(where: str, annotation: Mapping[str, Any], keypoints: FloatArray) -> float:
    if annotation.get("score") is not None:
        return _numbers(where, "score", [annotation["score"]], 1)[0]
    seen = keypoints[keypoints[:, 2] > 0, 2]
    return float(seen.mean()) if len(seen) else 1.0
