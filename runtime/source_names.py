"""Short names of sources, for folders and displays; unique in a run, without credentials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .redaction import redact

_LONGEST = 60


def short_name(text: str) -> str:
    """What a source is called in the name of a folder: letters, digits, '-' and '_'.

    A file's name without its suffix, the last part of a URL, `camera0`, or the beginning of a
    GStreamer pipeline.
    """
    shown = redact(text).split("?")[0].rstrip("/")
    if not text.startswith("gst:"):
        shown = Path(shown).stem
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in shown).strip("-")
    return name[:_LONGEST].strip("-") or "source"


def short_names(texts: Sequence[str]) -> list[str]:
    """The short name of each source; those that are alike get -2, -3 …"""
    names: list[str] = []
    for text in texts:
        first = name = short_name(text)
        number = 1
        while name in names:
            number += 1
            name = f"{first}-{number}"
        names.append(name)
    return names
