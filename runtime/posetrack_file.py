"""Detections in PoseTrack18's JSON format.

`images` lists the frames and `annotations` the persons: `keypoints` is 17 × (x, y, v) in one flat
list, in source pixels, joint not seen where v = 0; `pose_entries` says what else is read.  A file
whose categories name COCO's joints is brought into PoseTrack18's layout.

Frames of the source are found by file name: a name matches where the end of `file_name` is it.
Where the first frame's name matches none, frames are taken in order: by `frame_id` where all
images have different ones, else as listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ..errors import ObservationError
from ..records import Frame, IntArray, Observations
from .detection_files import TableFile, count, first_invalid
from .pose_entries import (
    box_of,
    has_coco_joints,
    image_size,
    in_order,
    joints_of,
    list_of_objects,
    load_json,
    score_of,
)
from .pose_format import JOINTS, posetrack_from_coco


class PosetrackFile(TableFile):
    """A PoseTrack18 file.

    Args:
        path: The file, as the user named it.

    Raises:
        ObservationError: The file cannot be read or an entry is malformed; names the entry.
    """

    def __init__(self, path: Path) -> None:
        data = load_json(path)
        images = in_order(path, list_of_objects(path, data, "images"))
        annotations = list_of_objects(path, data, "annotations")
        self._names = [PurePath(str(image.get("file_name", ""))).parts[::-1] for image in images]
        self._by_end: dict[str, list[int]] = {}
        for i, parts in enumerate(self._names):
            self._by_end.setdefault(parts[0] if parts else "", []).append(i)
        self._sizes = [image_size(image) for image in images]
        positions = {image["id"]: i for i, image in enumerate(images)}
        frames, rows, self._bare = _read_persons(path, annotations, positions)
        if has_coco_joints(data) and rows.keypoints is not None:
            rows = replace(rows, keypoints=posetrack_from_coco(rows.keypoints))
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
        keypoints = joints_of(where, annotation)
        box = box_of(where, annotation, keypoints)
        if box is None:
            bare.append(place)
            continue
        frames.append(positions[image])
        places.append(place)
        boxes.append(box)
        scores.append(score_of(where, annotation, keypoints))
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
