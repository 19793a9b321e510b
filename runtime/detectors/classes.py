"""Which classes of a detector are kept, by number or name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import RequestError
from ...records import Detections, Frame
from .base import Detector, PartOfDetector

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
        RequestError: One that the detector does not have; says which it has.
    """
    numbers = {name.lower(): number for number, name in enumerate(names or ()) if name}
    found = []
    for text in map(str, asked):
        number = int(text) if text.isascii() and text.isdigit() else numbers.get(text.lower())
        if number is None and not numbers:
            raise RequestError(
                f"{flag}: got {text!r}, but the detector does not name its classes: give numbers"
            )
        if number is None or (names is not None and number >= len(names)):
            known = f"{', '.join(numbers)}" if numbers else f"classes 0 to {len(names or ()) - 1}"
            raise RequestError(f"{flag}: got {text!r}, but the detector has {known}")
        found.append(number)
    return tuple(found)


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
