"""Where the names of a model's classes come from: its metadata, a names file, or COCO."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from ...errors import DetectionError, printable
from ..formats.text import read_text
from .classes import COCO_NAMES, names_of

# Ids of COCO's categories that no class has; between them, the 80 classes follow in their order.
_UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def _by_category_id() -> tuple[str, ...]:
    names = iter(COCO_NAMES)
    return tuple("" if number in _UNUSED else next(names) for number in range(91))


COCO_91: tuple[str, ...] = _by_category_id()
"""COCO's classes by category id, 0 to 90; ids that have no category are empty."""

PERSON_NAME = "person"


def names_by_count(count: int | None) -> tuple[str, ...]:
    """Names of a model that says how many classes it has and nothing else.

    Returns:
        COCO's for 80 classes, and for 91 by category id; empty ones for any other number; none
        where even that is not known.
    """
    return COCO_91 if count == len(COCO_91) else tuple(names_of(count) or ())


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
