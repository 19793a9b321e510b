"""PoseTrack18's JSON format: detections and results."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ...errors import DetectionError, OutputError, count
from ...records import Detections, Frame, IntArray, Tracks
from ..boxes import xyxy_to_xywh
from ..writers.base import RowWriter, Writer, output_error
from .keypoints import (
    JOINTS,
    POSETRACK_JOINTS,
    box_of,
    has_coco_joints,
    image_size,
    in_order,
    joints_of,
    list_of_objects,
    load_json,
    posetrack_from_coco,
    score_of,
    seen_joints,
)
from .text import DamagedRows, ReadOptions, TableFile


class PosetrackFile(TableFile):
    """A PoseTrack18 file.

    Args:
        path: The file, as the user named it.
        options: How to read it.

    Raises:
        DetectionError: The file cannot be read, or most entries are damaged; names the entry.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        options = options or ReadOptions()
        damaged = DamagedRows(path, "annotation", options.strict)
        data = load_json(path)
        images = in_order(path, list_of_objects(path, data, "images"))
        annotations = list_of_objects(path, data, "annotations")
        self._names = [PurePath(str(image.get("file_name", ""))).parts[::-1] for image in images]
        self._by_end: dict[str, list[int]] = {}
        for i, parts in enumerate(self._names):
            self._by_end.setdefault(parts[0] if parts else "", []).append(i)
        self._sizes = [image_size(image) for image in images]
        positions = {image["id"]: i for i, image in enumerate(images)}
        frames, rows, self._bare = _read_persons(path, annotations, positions, damaged)
        if has_coco_joints(data) and rows.keypoints is not None:
            rows = replace(rows, keypoints=posetrack_from_coco(rows.keypoints))
        super().__init__(
            *(path, frames[0], rows, frames[1]),
            place="annotation",
            damaged=damaged,
            options=options,
        )
        self._by_name: bool | None = None
        self._seen: set[int] = set()

    def detect(self, frame: Frame) -> Detections:
        """The file's persons in one frame, with boxes and keypoints, in source pixels.

        Raises:
            DetectionError: The file gives another image size, most boxes lie outside the
                image, or names and order of the frames contradict one another.
        """
        position = self._find(frame)
        if position is None:
            return Detections.empty()
        self._seen.add(position)
        size_hw = self._sizes[position]
        if size_hw is not None and size_hw != frame.size_hw:
            raise DetectionError(
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
            raise DetectionError(
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
            raise DetectionError(
                f"{self.path}: {len(matches)} images are called {frame.name!r}: expected a "
                "file that covers one video"
            )
        return matches[0] if matches else None

    def _name(self, position: int) -> str:
        # Quoted, because a name in a damaged file may hold anything.
        return repr("/".join(self._names[position][::-1]))

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """None: the file names its images."""
        return None

    def notes(self, source_frames: int | None = None) -> list[str]:
        """Notes on what was left out; see `TableFile.notes`."""
        notes = super().notes(None if self._by_name else source_frames)
        if self._bare:
            notes.append(
                f"{count(len(self._bare), 'annotation', 'annotations')} of {self.path} left out: "
                f"neither box nor visible joint, the first is annotation {self._bare[0]}"
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
    path: Path,
    annotations: Sequence[Mapping[str, Any]],
    positions: Mapping[Any, int],
    damaged: DamagedRows,
) -> tuple[tuple[IntArray, IntArray], Detections, list[int]]:
    """Frame positions and places of the rows, the rows, and the places of those left out."""
    frames, places, boxes, scores, joints, bare = [], [], [], [], [], []
    for place, annotation in enumerate(annotations, 1):
        where = f"{path}, annotation {place}"
        image = annotation.get("image_id")
        try:
            if not isinstance(image, (int, str)) or image not in positions:
                raise DetectionError(f"{where}: image_id {image!r} is not among the images")
            keypoints = joints_of(where, annotation)
            box = box_of(where, annotation, keypoints)
            score = score_of(where, annotation, keypoints)
        except DetectionError as error:
            damaged.add(place, error)
            continue
        if box is None:
            bare.append(place)
            continue
        frames.append(positions[image])
        places.append(place)
        boxes.append(box)
        scores.append(score)
        joints.append(keypoints)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    good = damaged.add_empty(corners, places)
    damaged.check(int(np.count_nonzero(good)) + len(bare))
    rows = Detections(
        corners[good],
        np.array(scores, np.float32)[good],
        np.zeros(int(np.count_nonzero(good)), np.int64),
        keypoints=np.array(joints, np.float32).reshape(-1, JOINTS, 3)[good],
        class_names=("person",),
    )
    return (np.array(frames, np.int64)[good], np.array(places, np.int64)[good]), rows, bare


HEAD = '{"annotations": [\n'
"""What stands before the first of all annotations."""

_CHUNK = 1 << 20
_PERSON = 1


class JsonListsWriter(Writer):
    """A JSON object with the long lists `annotations` and `images`, and what stands behind them.

    While frames come in, both are streamed to two files beside it, one line an element:
    `tracks.json.partial` and `images.json.partial`, which are what a killed run leaves.  `close`
    makes them one file, at once: `tracks.json` is never there in part.

    Args:
        path: The file, `tracks.json`.
        open_rows: Opens what the annotations are streamed to.
        open_images: Likewise the images.

    Raises:
        OutputError: It cannot be created.
    """

    def __init__(
        self,
        path: Path,
        open_rows: Callable[[Path], ElementLines],
        open_images: Callable[[Path], ElementLines],
    ) -> None:
        self._path = path
        self._rows = open_rows(path.with_name(f"{path.name}.partial"))
        try:
            self._images = open_images(path.with_name("images.json.partial"))
        except BaseException:
            self._rows.close()
            raise
        self._closed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Adds one frame.

        Raises:
            OutputError: The disk is full, or the system refuses; complete frames stay.
        """
        before = self._images.length
        self._images.write(frame, tracks)
        try:
            self._rows.write(frame, tracks)
        except OutputError:
            # Both hold the same frames.
            with contextlib.suppress(OSError):
                self._images.cut(before)
            raise

    def close(self) -> None:
        """Completes `tracks.json`; may be called again.

        Raises:
            OutputError: It cannot be written; the two partial files stay.
        """
        if self._closed:
            return
        self._closed = True
        self._rows.close()
        self._images.close()
        tail = json.dumps(self._rows.tail(), ensure_ascii=False)[1:]
        partial, images = self._rows.path, self._images.path
        try:
            with partial.open("ab") as file, images.open("rb") as rows:
                file.write(b"" if self._rows.any else HEAD.encode())
                file.write(b'\n],\n"images": [\n')
                while data := rows.read(_CHUNK):
                    file.write(data)
                file.write(f"\n],\n{tail}\n".encode())
            partial.replace(self._path)
            images.unlink()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(partial, self._rows.length)
            failure = output_error(self._path, error)
            kept = f"what it is made of is in {partial.name} and {images.name}"
            raise OutputError(f"{failure}; {kept}") from None


class ElementLines(RowWriter):
    """Lines that become the elements of one JSON list.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    @property
    def any(self) -> bool:
        """Whether an element was written yet."""
        return self._length > 0

    def cut(self, length: int) -> None:
        """Leave so many bytes of whole frames.

        Raises:
            OSError: The system refuses.
        """
        os.truncate(self.path, length)
        self._length = length

    @property
    def length(self) -> int:
        """Bytes of the whole frames written."""
        return self._length

    def tail(self) -> dict[str, Any]:
        """What stands behind the lists, by name."""
        return {}

    def joined(self, entries: list[dict[str, Any]], head: str = "") -> list[str]:
        """The lines of elements, with the comma that parts them from those before.

        Args:
            entries: The elements.
            head: What stands before the first of all.
        """
        texts = [json.dumps(entry, allow_nan=False) for entry in entries]
        first = ",\n" if self.any else head
        return [(",\n" if row else first) + text for row, text in enumerate(texts)]


class PoseTrackWriter(JsonListsWriter):
    """PoseTrack18 JSON: `images`, `annotations` with `track_id`, `categories`.

    `keypoints` are x, y, 1 for joints seen and 0, 0, 0 for others, `scores` their confidences.
    Images count from 1 and bear the names of the source's frames.

    Args:
        path: The file, `tracks.json`.

    Raises:
        OutputError: It cannot be created.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _Persons, _Images)


class _Images(ElementLines):
    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:  # noqa: ARG002
        number = frame.index + 1
        height, width = frame.size_hw
        image = {
            "id": number,
            "frame_id": number,
            "file_name": frame.name or f"{number:06d}.jpg",
            "width": width,
            "height": height,
        }
        return self.joined([image])


class _Persons(ElementLines):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._joints = JOINTS
        self._next = 1

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        people = [
            {
                "id": self._next + row,
                "image_id": frame.index + 1,
                "track_id": int(identity),
                "category_id": _PERSON,
                **_person(tracks.detections, row),
            }
            for row, identity in enumerate(tracks.ids)
        ]
        self._next += len(people)
        if tracks.detections.keypoints is not None and len(tracks):
            self._joints = tracks.detections.keypoints.shape[1]
        return self.joined(people, HEAD)

    def tail(self) -> dict[str, Any]:
        """What the keypoints are called."""
        names = list(POSETRACK_JOINTS)
        if self._joints != JOINTS:
            names = [f"joint_{number}" for number in range(1, self._joints + 1)]
        return {"categories": [{"id": _PERSON, "name": "person", "keypoints": names}]}


def _person(seen: Detections, row: int) -> dict[str, Any]:
    box = xyxy_to_xywh(seen.boxes_xyxy[row : row + 1].astype(np.float64))[0]
    person: dict[str, Any] = {
        # Rounding must not take the area of a tiny box, which no reader would accept.
        "bbox": [*box[:2].round(2).tolist(), *np.maximum(box[2:].round(2), 0.01).tolist()],
        "score": round(float(seen.scores[row]), 4),
    }
    if seen.keypoints is None:
        return person
    joints = seen.keypoints[row].astype(np.float64)
    shown = seen_joints(joints)
    places = np.where(shown[:, None], joints[:, :2].round(2), 0.0) + 0.0  # no "-0.0"
    keypoints = np.column_stack([places, shown]).ravel().tolist()
    return {
        **person,
        "keypoints": keypoints,
        "scores": np.where(shown, joints[:, 2].round(4), 0.0).tolist(),
    }
