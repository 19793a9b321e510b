"""What a source is called: short names for folders, and no password in any text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

# What hides a password: all between '://' and the last '@', since it may hold '/', '?' or '#'
# itself, and in a text that is a URL as a whole even blanks; the query; and the properties that
# GStreamer's elements take it by. One slash is a typing error that must not give it away; one
# letter before it is a Windows drive.
_WHOLE = re.compile(r"^(\w[\w+.-]+:/{1,2}).*@", re.DOTALL)
_CREDENTIALS = re.compile(r"(?<=\w\w)(:/{1,2})\S*@")
_QUERY = re.compile(r"(?<=\w\w)(:/{1,2}[^\s?]*)\?\S*")

_SECRETS = re.compile(
    r"\b((?:user|proxy)-(?:id|pw)|username|password|passphrase)(\s*=\s*)(\"[^\"]*\"|\S+)"
)


def redact(text: str) -> str:
    """A text whose URLs have no user name, password and query; any other text as it is.

    Everything between '://' and the last '@' goes.
    """
    text = _CREDENTIALS.sub(r"\1***@", _WHOLE.sub(r"\1***@", text))
    return _SECRETS.sub(r"\1\2***", _QUERY.sub(r"\1?***", text))


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
