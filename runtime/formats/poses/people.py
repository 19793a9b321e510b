"""People with COCO's 17 joints in named images, collected entry by entry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....records import Detections, FloatArray
from ..keypoints import JOINTS, posetrack_from_coco, score_of
from ..reading.named import NamedFrames, NamedTable
from ..text import DamagedRows, ReadOptions


class People:
    """The people of one file or folder.

    Args:
        path: As the user named it.
        place: What an entry is called, for messages.
        options: How it is read; None: as it stands.

    Attributes:
        damaged: The entries that cannot be read.
    """

    def __init__(self, path: Path, place: str, options: ReadOptions | None) -> None:
        self._path, self._place, self._options = path, place, options or ReadOptions()
        self.damaged = DamagedRows(path, place, self._options.strict)
        self._images: list[int] = []
        self._places: list[int] = []
        self._boxes: list[list[float]] = []
        self._scores: list[float] = []
        self._joints: list[FloatArray] = []

    def add(
        self, image: int, place: int, where: str, box: list[float], keypoints: FloatArray
    ) -> None:
        """Add a person, whose score is the mean of the joints' own.

        Args:
            image: Number of the image among the names that `table` is given.
            place: Where the entry stands.
            where: The same for messages.
            box: Left, top, right, bottom.
            keypoints: (17, 3) x, y, confidence, in COCO's order.

        Raises:
            DetectionError: The score is no number from 0 to 1.
        """
        self._scores.append(score_of(where, {}, keypoints))
        self._images.append(image)
        self._places.append(place)
        self._boxes.append(box)
        self._joints.append(keypoints)

    def table(self, names: Sequence[str]) -> NamedTable:
        """All of them, joints in PoseTrack18's layout.

        Args:
            names: Of the images, the first of which is frame 0.

        Raises:
            DetectionError: Most entries are damaged.
        """
        corners = np.array(self._boxes, np.float32).reshape(-1, 4)
        good = self.damaged.add_empty(corners, self._places)
        coco = np.array(self._joints, np.float32).reshape(-1, JOINTS, 3)[good]
        self.damaged.check(len(coco))
        rows = Detections(
            corners[good],
            np.array(self._scores, np.float32)[good],
            np.zeros(len(coco), np.int64),
            keypoints=posetrack_from_coco(coco),
            class_names=("person",),
        )
        return NamedTable(
            self._path,
            NamedFrames(self._path, names, first=0),
            np.array(self._images, np.int64)[good],
            rows,
            np.array(self._places, np.int64)[good],
            place=self._place,
            damaged=self.damaged,
            options=self._options,
        )
