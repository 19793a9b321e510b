"""What a source is called: short names for folders, and no password in any text.

A password need not be in the source's text at all: `{secret:NAME}` stands for what a file or a
variable of that name holds, and is put in only where the source is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from ...errors import SourceError

_PLACE = re.compile(r"\{secret:([\w.-]+)\}")

# What hides a password: all between '://' and the last '@', since it may hold '/', '?' or '#'
# itself, and in a text that is a URL as a whole even blanks; the query; and the properties that
# GStreamer's elements take it by. One slash is a typing error that must not give it away; one
# letter before it is a Windows drive.
# A secret's name is none.
_NAMED = r"(?!\{secret:[\w.-]+\}@[^@]*$)"
_WHOLE = re.compile(rf"^(\w[\w+.-]+:/(?:/|(?!/))){_NAMED}.*@", re.DOTALL)
_CREDENTIALS = re.compile(rf"(?<=\w\w)(:/(?:/|(?!/))){_NAMED}\S*@")
_QUERY = re.compile(r"(?<=\w\w)(:/{1,2}[^\s?]*)\?\S*")

_SECRETS = re.compile(
    r"\b((?:user|proxy)-(?:id|pw)|username|password|passphrase)(\s*=\s*)"
    r"(?!\{secret:[\w.-]+\}(?:\s|$))(\"[^\"]*\"|\S+)"
)


def redact(text: str) -> str:
    """A text whose URLs have no user name, password and query; any other text as it is.

    Everything between '://' and the last '@' goes.
    """
    text = _CREDENTIALS.sub(r"\1***@", _WHOLE.sub(r"\1***@", text))
    return _SECRETS.sub(r"\1\2***", _QUERY.sub(r"\1?***", text))


def with_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text with the secrets that it names: in a URL encoded as it needs, elsewhere as they are.

    `{secret:NAME}` is the first line of the file NAME in the folder $CREDENTIALS_DIRECTORY, where
    systemd's LoadCredential puts it, or else the variable UNITRACK_SECRET_NAME (in capitals, `_`
    for other characters). In a URL it may be `user:password`.

    Args:
        text: Of a source.
        environment: Variables; None: this process's.

    Raises:
        SourceError: There is no such secret, or a pipeline cannot hold it.
    """
    given = os.environ if environment is None else environment

    def fill(match: re.Match[str]) -> str:
        secret = _secret(match[1], given)
        if "://" not in text or text.startswith("gst:"):
            if re.search(r"[\s\"'!\\]", secret):
                raise SourceError(
                    f"{match[0]}: a pipeline cannot hold a secret with blanks, quotes, '!' or '\\'"
                )
            return secret
        return ":".join(quote(part, safe="") for part in secret.split(":", 1))

    return _PLACE.sub(fill, text)


def token_of(text: str, environment: Mapping[str, str] | None = None) -> str:
    """What a text stands for that is a secret as a whole: itself, or what `{secret:NAME}` names.

    Args:
        text: Of a user.
        environment: Variables; None: this process's.

    Raises:
        SourceError: There is no such secret, or the text names one and holds something else too.
    """
    match = _PLACE.fullmatch(text)
    if match is not None:
        return _secret(match[1], os.environ if environment is None else environment)
    if "{secret:" in text:
        # As it stands it would be a secret that anybody can guess.
        raise SourceError("expected {secret:NAME} and nothing beside it, or no '{secret:'")
    return text


def _secret(name: str, environment: Mapping[str, str]) -> str:
    variable = "UNITRACK_SECRET_" + re.sub(r"\W", "_", name).upper()
    folder = environment.get("CREDENTIALS_DIRECTORY")
    secret = environment.get(variable, "")
    if folder and (Path(folder) / name).is_file():
        try:
            lines = (Path(folder) / name).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise SourceError(f"{{secret:{name}}}: its file cannot be read") from None
        secret = lines[0] if lines else ""
    if not secret.strip():
        raise SourceError(
            f"{{secret:{name}}}: no such secret; put it into the variable {variable}, or into a "
            f"file {name} in the folder $CREDENTIALS_DIRECTORY (systemd: LoadCredential)"
        )
    return secret.strip()


_LONGEST = 60


def short_name(text: str) -> str:
    """What a source is called in the name of a folder: letters, digits, '-' and '_'.

    A file's name without its suffix, the last part of a URL, `camera0`, or the beginning of a
    GStreamer pipeline.
    """
    shown = redact(_PLACE.sub("", text)).split("?")[0].rstrip("/")
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
