"""COCO's JSON for videos: images of a video, annotations with a track's id, classes with names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ....records import Frame, Tracks
from ...boxes import xyxy_to_xywh
from ..posetrack import HEAD, ElementLines, JsonListsWriter
from ..rle import encode_rle

UNKNOWN = 0
"""`category_id` of objects whose class is not known; class k of a detector is k + 1."""

_VIDEO = 1


class CocoVideoWriter(JsonListsWriter):
    """One video: `videos`, `images` with `video_id` and `frame_id` (from 0), `annotations`.

    An annotation has `bbox` (left, top, width, height in pixels from 0), `area`, `score`, and the
    track's number as `track_id` and `instance_id`; `segmentation` where the track has a mask
    (compressed RLE).  pycocotools reads the file.

    Args:
        path: The file, `tracks.json`.

    Raises:
        OutputError: It cannot be created.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _Objects, _Images)


class _Images(ElementLines):
    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:  # noqa: ARG002
        height, width = frame.size_hw
        image = {
            "id": frame.index + 1,
            "video_id": _VIDEO,
            "frame_id": frame.index,
            "file_name": frame.name or f"{frame.index:06d}.jpg",
            "width": width,
            "height": height,
            "time": round(frame.time_s, 4),
        }
        return self.joined([image])


class _Objects(ElementLines):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._next = 1
        self._names: dict[int, str] = {}
        self._video = path.parent.name

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        seen = tracks.detections
        boxes = xyxy_to_xywh(seen.boxes_xyxy.astype(np.float64))
        found = []
        for row, identity in enumerate(tracks.ids.tolist()):
            category = int(seen.classes[row]) + 1
            name = seen.name_of(category - 1) or self._names.get(category)
            self._names[category] = name or ("object" if category == UNKNOWN else str(category - 1))
            mask = None if seen.masks is None else seen.masks[row]
            if tracks.label_map is not None:
                mask = tracks.label_map == identity
            # Rounding must not take the area of a tiny box, which no reader would accept.
            width, height = np.maximum(boxes[row, 2:].round(2), 0.01).tolist()
            entry: dict[str, Any] = {
                "id": self._next + row,
                "image_id": frame.index + 1,
                "video_id": _VIDEO,
                "category_id": category,
                "track_id": identity,
                "instance_id": identity,
                "bbox": [*(boxes[row, :2].round(2) + 0.0).tolist(), width, height],
                "area": round(width * height, 2),
                "iscrowd": 0,
                "score": round(float(seen.scores[row]), 4),
            }
            if mask is not None:
                entry["area"] = int(np.count_nonzero(mask))
                entry["segmentation"] = {"size": list(mask.shape), "counts": encode_rle(mask)}
            found.append(entry)
        self._next += len(found)
        return self.joined(found, HEAD)

    def tail(self) -> dict[str, Any]:
        """The classes that occurred, and the video."""
        names = sorted(self._names.items())
        return {
            "categories": [{"id": number, "name": name} for number, name in names],
            "videos": [{"id": _VIDEO, "name": self._video}],
        }
