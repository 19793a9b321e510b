"""Results with poses as PoseTrack18 JSON."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..records import Frame, Observations, Tracks
from .boxes import xyxy_to_xywh
from .pose_format import JOINTS, POSETRACK_JOINTS, seen_joints
from .sinks import RowFile, SinkBase, output_error

_HEAD = '{"annotations": [\n'
_CHUNK = 1 << 20
_PERSON = 1


class PoseFile(SinkBase):
    """PoseTrack18 JSON: `images`, `annotations` with `track_id`, `categories`.

    `keypoints` are x, y, 1 for joints seen and 0, 0, 0 for others, `scores` their confidences.
    Images count from 1 and bear the names of the source's frames.

    While frames come in, persons and images are streamed to two files beside it, one line each:
    `tracks.json.partial` and `images.json.partial`, which are what a killed run leaves.  `close`
    makes them one file, at once: whoever sees `tracks.json` sees all of it.

    Args:
        path: The file, `tracks.json`.

    Raises:
        OutputError: It cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._persons = _Persons(path.with_name(f"{path.name}.partial"))
        try:
            self._images = _Images(path.with_name("images.json.partial"))
        except BaseException:
            self._persons.close()
            raise
        self._closed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Adds one frame.

        Raises:
            OutputError: The disk is full, or the system refuses; complete frames stay.
        """
        self._images.write(frame, tracks)
        self._persons.write(frame, tracks)

    def close(self) -> None:
        """Completes `tracks.json`; may be called again.

        Raises:
            OutputError: It cannot be written; the two partial files stay.
        """
        if self._closed:
            return
        self._closed = True
        self._persons.close()
        self._images.close()
        tail = json.dumps([self._persons.category()])
        partial, images = self._persons.path, self._images.path
        try:
            with partial.open("ab") as file, images.open("rb") as rows:
                file.write(b"" if self._persons.any else _HEAD.encode())
                file.write(b'\n],\n"images": [\n')
                while data := rows.read(_CHUNK):
                    file.write(data)
                file.write(f'\n],\n"categories": {tail}}}\n'.encode())
            partial.replace(self._path)
            images.unlink()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(partial, self._persons.length)
            raise output_error(self._path, error) from None


class _Lines(RowFile):
    """Lines that become the elements of one JSON list."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.any = False

    @property
    def length(self) -> int:
        """Bytes of the whole frames written."""
        return self._length

    def _joined(self, entries: list[dict[str, Any]], head: str = "") -> list[str]:
        lines = []
        for entry in entries:
            lines.append((",\n" if self.any else head) + json.dumps(entry, allow_nan=False))
            self.any = True
        return lines


class _Images(_Lines):
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
        return self._joined([image])


class _Persons(_Lines):
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
                **_person(tracks.observations, row),
            }
            for row, identity in enumerate(tracks.ids)
        ]
        self._next += len(people)
        if tracks.observations.keypoints is not None and len(tracks):
            self._joints = tracks.observations.keypoints.shape[1]
        return self._joined(people, _HEAD)

    def category(self) -> dict[str, Any]:
        """What the keypoints are called."""
        names = list(POSETRACK_JOINTS)
        if self._joints != JOINTS:
            names = [f"joint_{number}" for number in range(1, self._joints + 1)]
        return {"id": _PERSON, "name": "person", "keypoints": names}


def _person(seen: Observations, row: int) -> dict[str, Any]:
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
