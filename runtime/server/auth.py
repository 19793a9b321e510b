"""Where the live server listens, and who may use it."""

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

from ...errors import RequestError

TOKEN_VARIABLE = "UNITRACK_TOKEN"
DEFAULT_HOST = "127.0.0.1"

_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[\w.-]+):)?(\d{1,5})")
_MIN_TOKEN_LENGTH = 8
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
    """Read the value of `--serve`.

    Args:
        text: `PORT`, `HOST:PORT` or `[IPv6]:PORT`; without a host: 127.0.0.1.

    Raises:
        RequestError: Anything else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise RequestError(f"--serve {text}: expected PORT or HOST:PORT, such as 8080")
    return Address((match[1] or DEFAULT_HOST).strip("[]"), int(match[2]))


def token_for(address: Address, token: str | None) -> str | None:
    """The token that requests to an address need.

    Args:
        address: Where to listen.
        token: Of `--serve-token`; None: the value of the variable UNITRACK_TOKEN.

    Returns:
        The token; None where everybody on this machine may look.

    Raises:
        RequestError: The address can be reached from other machines and there is no token, or the
            token is too short.
    """
    token = os.environ.get(TOKEN_VARIABLE) if token is None else token
    if not token:
        if address.is_loopback:
            return None
        raise RequestError(
            f"--serve {address} can be reached from other machines: give --serve-token TOKEN (or "
            f"set {TOKEN_VARIABLE}), or serve this machine alone with --serve {address.port}"
        )
    if len(token) < _MIN_TOKEN_LENGTH or not (token.isascii() and token.isprintable()):
        raise RequestError(
            f"--serve-token: got {len(token)} characters, expected {_MIN_TOKEN_LENGTH} printable "
            "ASCII ones or more"
        )
    return token


class Access:
    """Decides which requests are answered.

    Args:
        address: Where the server listens.
        token: As `token_for` returns it.

    Attributes:
        cookie: Name and value of the cookie of a browser that has given the token. The value is a
            hash, so that the browser does not store the token itself.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        self._address = address
        self._token = token
        digest = hashlib.sha256((token or "").encode()).hexdigest()
        self.cookie = (f"unitrack_{address.port}", digest)

    def refusal(
        self, method: str, headers: Mapping[str, str], query_token: str | None
    ) -> tuple[int, str] | None:
        """HTTP status and reason for refusing a request; None where it is allowed.

        Args:
            method: `GET`, `POST` …
            headers: By lower-case name.
            query_token: `token` of the query string.
        """
        if self._token is None and not self._host_allowed(headers.get("host", "")):
            return 403, "this server answers to localhost only"
        if not self.has_token(headers, query_token):
            return 401, "a token is needed: open http://HOST:PORT/?token=TOKEN"
        if method == "POST" and _may_be_cross_site(headers):
            return 403, "expected JSON, sent by this server's own page or by a program"
        return None

    def has_token(self, headers: Mapping[str, str], query_token: str | None) -> bool:
        """Whether a request carries the token, or needs none; see `refusal`."""
        if self._token is None:
            return True
        given = query_token
        authorization = headers.get("authorization", "")
        if authorization.lower().startswith(_BEARER):
            given = authorization[len(_BEARER) :].strip()
        if given is not None:
            return secrets.compare_digest(given.encode(), self._token.encode())
        name, value = self.cookie
        return secrets.compare_digest(
            _cookies(headers.get("cookie", "")).get(name, "").encode(), value.encode()
        )

    def _host_allowed(self, host: str) -> bool:
        # Without a token, DNS rebinding must not work: a web page can make its own name resolve to
        # 127.0.0.1 and then read what is served here. The Host header still holds that name.
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name == self._address.host or Address(name, 0).is_loopback


def _may_be_cross_site(headers: Mapping[str, str]) -> bool:
    """Whether a page of another server may have made a browser send this."""
    # A browser asks (CORS preflight) before it sends JSON to another server, and is refused.
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    origin = headers.get("origin")
    try:
        other = origin is not None and urlsplit(origin).netloc != headers.get("host")
    except ValueError:
        return True
    return other or kind != "application/json"


def _cookies(text: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    except CookieError:
        return {}
