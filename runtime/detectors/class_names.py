"""Names of a detector's classes: COCO's lists, names files, and classes that a user asks for."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import DetectionError

# COCO's categories by their id; ids that COCO does not use are "".
_COCO = (
    ",person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,,"
    "backpack,umbrella,,,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,,wine glass,cup,fork,knife,spoon,"
    "bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,,dining table,,,toilet,,tv,laptop,mouse,remote,keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)

COCO_91: tuple[str, ...] = tuple(_COCO.split(","))
"""By category id, 0 to 90; ids that have no category are empty."""

COCO_80: tuple[str, ...] = tuple(name for name in COCO_91 if name)
"""Without the gaps, from 0: what most detectors give."""

PERSON_NAME = "person"


def coco_names(count: int | None) -> tuple[str, ...]:
    """COCO's names for a model of so many classes: 80 or 91 (by category id); else none."""
    return {80: COCO_80, 91: COCO_91}.get(count or 0, ())


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
    return tuple(str(name) for name in data)


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
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
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
        return tuple(line.strip() for line in text.strip().splitlines())
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return ()
    return _in_order(data.get("names") if isinstance(data, Mapping) else data)


def class_numbers(
    asked: Sequence[int | str] | None, names: Sequence[str], count: int | None, model: str
) -> tuple[int, ...] | None:
    """The numbers of classes that were asked for by number or name.

    Args:
        asked: Numbers from 0 and names; None: all classes.
        names: Of the model's classes; empty where they are not known.
        count: Classes of the model; None: not known, and any number is taken.
        model: What it is called in messages.

    Returns:
        Class numbers, or None for all; a name that several classes have stands for all of them.

    Raises:
        DetectionError: The model has no such class; says which it has.
    """
    if asked is None:
        return None
    numbers: list[int] = []
    for wanted in asked:
        if isinstance(wanted, int):
            if wanted < 0 or (count is not None and wanted >= count):
                last = "" if count is None else f" to {count - 1}"
                raise DetectionError(
                    f"--detector-classes: got [{wanted}], but {model} has classes 0{last}"
                )
            numbers.append(wanted)
            continue
        found = [n for n, name in enumerate(names) if name.casefold() == wanted.casefold()]
        if not found:
            raise _no_such_class(wanted, names, model)
        numbers += found
    return tuple(numbers)


def _no_such_class(wanted: str, names: Sequence[str], model: str) -> DetectionError:
    if not names:
        return DetectionError(
            f"--detector-classes: got {wanted!r}, but the names of {model}'s classes are not "
            "known: give numbers, or the names with --detector-names FILE"
        )
    known = [name for name in names if name]
    close = difflib.get_close_matches(wanted.lower(), known, 3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return DetectionError(
        f"--detector-classes: {model} has no class {wanted!r}: {hint}it has {', '.join(known)}"
    )
