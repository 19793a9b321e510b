"""Where the live server listens, and who may look.

By default only this machine can reach it. On any other address every request needs a token, in an
`Authorization: Bearer` header, as `?token=`, or in the cookie that the latter leaves behind.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from ..errors import RequestError

TOKEN_VARIABLE = "UNITRACK_TOKEN"
DEFAULT_HOST = "127.0.0.1"

_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[\w.-]+):)?(\d{1,5})")
_MIN_TOKEN = 8
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        host: An address or a name, without brackets.
        port: 0 takes any free one.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `--serve`.

    Args:
        text: `PORT`, `HOST:PORT` or `[IPv6]:PORT`; without a host, this machine alone.

    Raises:
        RequestError: Something else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise RequestError(f"--serve {text}: expected PORT or HOST:PORT, such as 8080")
    return Address((match[1] or DEFAULT_HOST).strip("[]"), int(match[2]))


def token_for(address: Address, token: str | None) -> str | None:
    """The token that an address asks for.

    Args:
        address: Where to listen.
        token: Of `--serve-token`; None: what the variable UNITRACK_TOKEN says.

    Returns:
        The token; None where everybody on this machine may look.

    Raises:
        RequestError: The address can be reached from elsewhere and there is no token, or it is
            too short.
    """
    token = os.environ.get(TOKEN_VARIABLE) if token is None else token
    if not token:
        if address.is_loopback:
            return None
        raise RequestError(
            f"--serve {address} can be reached from other machines: give --serve-token TOKEN (or "
            f"the variable {TOKEN_VARIABLE}), or serve this machine alone with --serve "
            f"{address.port}"
        )
    if len(token) < _MIN_TOKEN or not (token.isascii() and token.isprintable()):
        raise RequestError(
            f"--serve-token: got {len(token)} characters, expected {_MIN_TOKEN} printable ASCII "
            "ones or more"
        )
    return token


class Access:
    """Decides about requests.

    Args:
        address: Where the server listens.
        token: As `token_for` gives it.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        self._address = address
        self._token = token
        # The token itself does not lie about in a browser.
        self._cookie_value = hashlib.sha256((token or "").encode()).hexdigest()
        self._cookie_name = f"unitrack_{address.port}"

    @property
    def cookie(self) -> tuple[str, str]:
        """Name and value of the cookie of those who gave the token."""
        return self._cookie_name, self._cookie_value

    def knows(self, headers: Mapping[str, str], query_token: str | None) -> bool:
        """Whether a request comes with the token, or needs none.

        Args:
            headers: By lower-case name.
            query_token: `token` of the query.
        """
        if self._token is None:
            return True
        given = query_token
        authorization = headers.get("authorization", "")
        if authorization.lower().startswith(_BEARER):
            given = authorization[len(_BEARER) :].strip()
        if given is not None:
            return secrets.compare_digest(given.encode(), self._token.encode())
        cookie = _cookies(headers.get("cookie", "")).get(self._cookie_name, "")
        return secrets.compare_digest(cookie.encode(), self._cookie_value.encode())

    def is_asked_by_name(self, headers: Mapping[str, str]) -> bool:
        """Whether the Host header names this machine, where no token protects the server.

        A page elsewhere can make its own name mean 127.0.0.1 and then read what is served here.
        """
        if self._token is not None:
            return True
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        except ValueError:
            return False
        return host == self._address.host or Address(host, 0).is_loopback


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends this for a page that came from another server."""
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != headers.get("host")
    except ValueError:
        return True


def _cookies(text: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    except CookieError:
        return {}
