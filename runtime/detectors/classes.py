"""The classes of a model: what they are called, and which of them are kept."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import DetectionError, RequestError, printable
from ...records import Detections, Frame
from ..formats.text import read_text
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


# Ids of COCO's categories that no class has; between them, the 80 classes follow in their order.
_UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def _by_category_id() -> tuple[str, ...]:
    names = iter(COCO_NAMES)
    return tuple("" if number in _UNUSED else next(names) for number in range(91))


COCO_91: tuple[str, ...] = _by_category_id()
"""COCO's classes by category id, 0 to 90; ids that have no category are empty."""


def names_by_count(count: int | None) -> tuple[str, ...]:
    """Names of a model that says how many classes it has and nothing else.

    Returns:
        COCO's for 80 classes, and for 91 by category id; empty ones for any other number; none
        where even that is not known.
    """
    known = {len(names): names for names in (COCO_NAMES, COCO_91)}
    return known.get(count or 0, ("",) * (count or 0))


def names_in_metadata(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What an ONNX file says of its classes in the entry `names`, as Ultralytics writes it.

    Args:
        metadata: Texts that are stored with the graph.

    Returns:
        By class number; empty where the file says nothing that can be read.
    """
    try:
        data = ast.literal_eval(metadata.get("names", ""))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    return _in_order(data)


def _in_order(data: object) -> tuple[str, ...]:
    """A list of names, or names by number from 0 without gaps; empty for anything else."""
    if isinstance(data, Mapping):
        numbers = {int(key): name for key, name in data.items() if str(key).isdecimal()}
        if len(numbers) != len(data) or set(numbers) != set(range(len(data))):
            return ()
        data = [numbers[place] for place in range(len(numbers))]
    if not isinstance(data, (list, tuple)):
        return ()
    return tuple(printable(str(name)) for name in data)


def read_names(path: Path, count: int | None) -> tuple[str, ...]:
    """Names of a file: one a line, or a list or numbered names under `names` in YAML or JSON.

    Args:
        path: The file; `.yaml`, `.yml` and `.json` are read as such, anything else by lines.
        count: Classes of the model; None: not known.

    Returns:
        By class number from 0.

    Raises:
        DetectionError: It cannot be read, holds no names, or not as many as the model has classes.
    """
    flag = f"--detector-names {path}"
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 or UTF-16 text"
        raise DetectionError(f"{flag}: cannot be read: {reason}") from None
    names = _parsed(text, path.suffix.lower())
    if not names:
        raise DetectionError(
            f"{flag}: got no names, expected one name a line, or a list under 'names' in a .yaml "
            "or .json file"
        )
    if count is not None and len(names) != count:
        raise DetectionError(
            f"{flag}: got {len(names)} names, and the model has {count} classes: expected one name "
            "a class, in the model's order"
        )
    return names


def _parsed(text: str, suffix: str) -> tuple[str, ...]:
    if suffix not in (".yaml", ".yml", ".json"):
        return tuple(printable(line.strip()) for line in text.strip().splitlines())
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return ()
    return _in_order(data.get("names") if isinstance(data, Mapping) else data)


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
