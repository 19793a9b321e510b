"""Which detections of a detector are kept: classes by number or name, and how many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import DetectionError
from ...records import Detections, Frame, IntArray
from .base import Detector

COCO_NAMES = tuple(
    """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,
    stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,
    umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,
    baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,
    banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,
    bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,
    refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush""".replace(
        "\n    ", ""
    ).split(",")
)
"""The 80 classes of models of COCO, by number."""


def names_of(count: int | None) -> Sequence[str] | None:
    """Names of the classes of a model that says how many there are and nothing else.

    Returns:
        COCO's for 80, empty ones for any other number; None where even that is not known.
    """
    if count is None:
        return None
    return COCO_NAMES if count == len(COCO_NAMES) else ("",) * count


def class_numbers(
    asked: Sequence[int | str], names: Sequence[str] | None, flag: str
) -> tuple[int, ...]:
    """The numbers of classes that were asked for by number or name.

    Args:
        asked: Numbers or names, in any case.
        names: Of the detector's classes by number, empty where one has none; None: not known.
        flag: The option, for messages.

    Raises:
        DetectionError: One that the detector does not have; says which it has.
    """
    numbers = {name.lower(): number for number, name in enumerate(names or ()) if name}
    found = []
    for text in map(str, asked):
        number = int(text) if text.isascii() and text.isdigit() else numbers.get(text.lower())
        if number is None and not numbers:
            raise DetectionError(
                f"{flag}: got {text!r}, but the detector does not name its classes: give numbers"
            )
        if number is None or (names is not None and number >= len(names)):
            known = f"{', '.join(numbers)}" if numbers else f"classes 0 to {len(names or ()) - 1}"
            raise DetectionError(f"{flag}: got {text!r}, but the detector has {known}")
        found.append(number)
    return tuple(found)


class PartOfDetector(Detector):
    """What a detector finds, of which a subclass reports a part.

    Args:
        detector: Closed with this one.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.class_names = detector.class_names
        self.descriptions = detector.descriptions

    def numbered_frames(self) -> tuple[IntArray, int] | None:
        """The detector's."""
        return self._detector.numbered_frames()

    def notes(self, source_frames: int | None = None) -> list[str]:
        """The detector's notes."""
        return self._detector.notes(source_frames)

    def close(self) -> None:
        """Close the detector."""
        self._detector.close()


class ClassFilter(PartOfDetector):
    """Some classes of another detector.

    Args:
        detector: Closed with this one.
        classes: Numbers of those to keep.
        flag: What decided on them, for the note.
    """

    def __init__(self, detector: Detector, classes: Sequence[int], flag: str) -> None:
        super().__init__(detector)
        self._classes, self._flag = classes, flag
        self._left_out = 0
        names = enumerate(detector.class_names or ())
        self.class_names = tuple(name if k in classes else "" for k, name in names) or None

    def detect(self, frame: Frame) -> Detections:
        """What the detector finds, less the other classes.

        Raises:
            DetectionError: The detector does not fit the source, or failed.
        """
        seen = self._detector.detect(frame)
        kept = np.isin(seen.classes, self._classes)
        self._left_out += len(kept) - int(np.count_nonzero(kept))
        return seen[kept]

    def dropped(self) -> dict[str, int]:
        """Detections of other classes, and what the detector dropped."""
        return {**self._detector.dropped(), **({"class": self._left_out} if self._left_out else {})}

    def drop_notes(self) -> list[str]:
        """How many detections are of other classes."""
        noun = "detection" if self._left_out == 1 else "detections"
        own = f"{self._left_out} {noun} left out: of other classes than {self._flag}"
        return [*self._detector.drop_notes(), *([own] if self._left_out else [])]


class MostDetections(PartOfDetector):
    """The detections of highest score of another detector, so many in a frame at most.

    What a frame costs grows with the square of its detections: a detector that goes wild, or a file
    that holds anything, must not take the memory of the machine.

    Args:
        detector: Closed with this one.
        limit: How many in a frame at most.
    """

    def __init__(self, detector: Detector, limit: int) -> None:
        super().__init__(detector)
        self._limit = limit
        self._left_out = self._frames = 0

    def detect(self, frame: Frame) -> Detections:
        """What the detector finds, in its order, less those of lowest score beyond the limit.

        Raises:
            DetectionError: The detector does not fit the source, or failed.
        """
        seen = self._detector.detect(frame)
        if len(seen) <= self._limit:
            return seen
        self._left_out += len(seen) - self._limit
        self._frames += 1
        # Of equal scores, the first ones.
        kept = np.argsort(-seen.scores.astype(np.float64), kind="stable")[: self._limit]
        return seen[np.sort(kept)]

    def dropped(self) -> dict[str, int]:
        """Detections beyond the limit, and what the detector dropped."""
        own = {"max_detections": self._left_out} if self._left_out else {}
        return {**self._detector.dropped(), **own}

    def drop_notes(self) -> list[str]:
        """How many detections were beyond the limit."""
        own = (
            f"{self._left_out} detections left out: the lowest scores of {self._frames} frames "
            f"with more than --max-detections {self._limit}"
        )
        return [*self._detector.drop_notes(), *([own] if self._left_out else [])]
