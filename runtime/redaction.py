"""Keeps passwords out of everything that is printed or written."""

from __future__ import annotations

import re

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
